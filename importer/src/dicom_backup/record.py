"""run.json, the record that makes a run complete: which snapshots belong together, and what is in them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from dicom_backup.dumps import Dump, DumpFile
from dicom_backup.restic import Repository, ResticError, Saved, Snapshot

NAME = "run.json"
COMPLETE = "complete"
SERVICE = "service"
IMAGES = "images"
ORIGINALS = "originals"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Part:
    """One snapshot of a run: what it holds in all, and what it added to the repository."""

    snapshot: str
    files: int
    bytes: int
    added_bytes: int
    # When it began, RFC 3339 in UTC: nothing newer is in it.
    at: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run. `images` is by day, and holds every day of the archive, saved by this run or before."""

    format: int
    began: str
    ended: str
    dump: Dump
    service: Part
    originals: Part
    images: Mapping[str, Part]
    # In restic's words: what could not be read of the archive, and so is in no snapshot of this run.
    unread: tuple[str, ...] = ()

    @property
    def snapshots(self) -> set[str]:
        """Ids of every snapshot that this run needs."""
        parts = (self.service, self.originals, *self.images.values())
        return {part.snapshot for part in parts}


def part(saved: Saved, at: str, seconds: float) -> Part:
    """Make the record of what was saved."""
    return Part(saved.snapshot, saved.files, saved.bytes, saved.added_bytes, at, round(seconds, 1))


def write(repository: Repository, run: Run) -> str:
    """Save the record, by which the run becomes complete; returns its snapshot."""
    text = json.dumps(asdict(run), indent=1, sort_keys=True)
    return repository.backup_text([COMPLETE], NAME, text).snapshot


def read(repository: Repository, snapshot: str) -> Run:
    """Read the record of a complete run; raises ResticError."""
    return parse(repository.read_text(snapshot, f"/{NAME}"))


def parse(text: str) -> Run:
    """Read a record; raises ResticError where it is none or of another version."""
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise ResticError(f"{NAME} is of version {found['format']}, not {FORMAT}")
        dump = found.pop("dump")
        files = {name: DumpFile(**of) for name, of in dump.pop("files").items()}
        images = {day: Part(**of) for day, of in found.pop("images").items()}
        service, originals = (Part(**found.pop(key)) for key in (SERVICE, ORIGINALS))
        unread = tuple(found.pop("unread"))
        return Run(
            **found,
            dump=Dump(**dump, files=files),
            service=service,
            originals=originals,
            images=images,
            unread=unread,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResticError(f"{NAME} cannot be read: {error}") from error


def complete(repository: Repository) -> list[Snapshot]:
    """List the snapshots that make runs complete, eldest first; a restore begins with one of these."""
    return repository.snapshots(COMPLETE)
