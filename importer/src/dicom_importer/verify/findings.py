"""What a verification finds: each kind in words, with what to do about it."""

from dataclasses import asdict, dataclass

_RESTORE = "no original of it is kept: restore the file from a backup of the archive"
_AGAIN = "verify --repair (make verify REPAIR=1)"
_WORDS = {
    # Of the archive's disk.
    "gone": "is gone from the archive's disk",
    "resized": "has another size on the archive's disk than when it was stored",
    "changed": "has other bytes on the archive's disk than when it was stored",
    "unreadable": "cannot be read from the archive's disk",
    "unlisted": "is in the archive's index without a file",
    "orphan": "lies on the archive's disk and is not in its index",
    "leftover": "was left on the archive's disk by a store that was cut off; what it holds is there",
    # Of the journal.
    "lacking": "is not in the archive",
    "differs": "is another version in the archive than its original",
    "elsewhere": "is not this clinic's in the archive",
    "unknown": "is in the archive and not in the journal",
    # Of processed/.
    "no_original": "has lost its original before the time of that was over",
    "bad_original": "has an original that cannot be compared",
    "stray": "is not in the journal",
}
_ASIDE = f"{_AGAIN} moves it to .quarantine beside it; nothing is deleted"
_ADVICE = {
    "orphan": _ASIDE,
    "leftover": _ASIDE,
    "differs": "see which of the two is right; make replace exchanges the archive's",
    "elsewhere": "nobody but an administrator can have changed that: see the audit",
    "unknown": (
        "the journal may be older than the archive: make replay notes down again what has an"
        " original; else ask who stored it past the importer"
    ),
    "no_original": (
        "somebody removed it, or PROCESSED_RETENTION_DAYS was smaller; the archive has the image"
    ),
    "bad_original": "see the disk of processed/; the archive's own file is whole",
    "stray": "somebody put it there: drop it into the inbox if it is to be imported",
}

# Moved aside instead of mended.
ASIDE = ("orphan", "leftover")
# What is told and is no difference: nothing is lost and nothing is wrong.
HARMLESS = ("leftover",)


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference, by identifiers, since a path may carry a patient's name.

    `file` is where to look; `original` how the original is found, empty when none is kept;
    `detail` why it was not repaired, or more of what was seen.
    """

    kind: str
    clinic: str = ""
    study_uid: str = ""
    sop_uid: str = ""
    file: str = ""
    original: str = ""
    detail: str = ""
    repaired: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """What is the same when it is found a second time."""
        return self.kind, self.clinic, self.study_uid, self.sop_uid, self.file

    @property
    def words(self) -> str:
        """The line that people read."""
        of = [f"study {self.study_uid}"] if self.study_uid else []
        of += [f"image {self.sop_uid}"] if self.sop_uid else []
        of += [f"file {self.file}"] if self.file else []
        parts = [f"{', '.join(of)} {_WORDS[self.kind]}", self.detail, self.advice]
        return f"{self.clinic or 'of no clinic'}: {'; '.join(filter(None, parts))}"

    @property
    def advice(self) -> str:
        """What was done about it, or is to be done."""
        if self.repaired:
            return "moved to .quarantine beside it" if self.kind in ASIDE else "repaired"
        if self.kind in _ADVICE:
            return _ADVICE[self.kind]
        if self.original:
            return f"its original: {self.original}; {_AGAIN} stores it anew"
        return f"{_AGAIN} makes it anew" if not self.sop_uid else _RESTORE

    @property
    def record(self) -> dict[str, object]:
        """The same for programs."""
        return {
            **asdict(self),
            "words": f"{_WORDS[self.kind]}",
            "advice": self.advice,
        }
