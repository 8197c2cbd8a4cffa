"""`dicom-importer retry`: failed files go back into the inbox of their clinic, to be tried again.

The running service takes them after its cool-down, as if they had been exported again, and files
them anew. Each goes by one rename that overwrites nothing, so that whatever interrupts it, a file
is in one of the two places; its reason is removed afterwards, or by the next retry. A file whose
reason lies in its own bytes would only fail again: it is named and left, unless it is asked for by
its own path or by that reason.
"""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dicom_importer import places, rename, scan
from dicom_importer.config import Config
from dicom_importer.files import Place
from dicom_importer.filing import ERROR_SUFFIX, Folders
from dicom_importer.journal import JOURNAL, Journal
from dicom_importer.reasons import REASONS
from dicom_importer.records import Row

# What the bytes themselves are: neither time nor the archive changes that.
LASTING = frozenset(
    {
        "dicomdir",
        "empty",
        "invalid_uid",
        "malformed",
        "missing_attribute",
        "not_dicom",
        "packed_broken",
        "packed_encrypted",
        "packed_unsafe",
        "too_deep",
        "truncated",
    }
)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}/", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to put back: paths below failed/ or all of a clinic, and with which reason."""

    paths: tuple[Path, ...] = ()
    clinic: str = ""
    reason: str = ""


def retry(config: Config, wanted: Wanted, say: Callable[[str], None]) -> int:
    """Put files back and say what was done; returns the exit status, 0 when nothing was left."""
    folders = places.folders(config)
    if wanted.clinic and not (folders.inbox / wanted.clinic).is_dir():
        say(f"Clinic {wanted.clinic} has no inbox: it is closed, or there is no such clinic.")
        return 1
    if wanted.reason and wanted.reason not in REASONS:
        say(f"There is no reason {wanted.reason}; the reasons are {', '.join(sorted(REASONS))}.")
        return 1
    if not (config.state_dir / JOURNAL).exists():
        say("The importer has not been running yet: there is no journal.")
        return 1
    tops = [wanted.clinic] if wanted.clinic else []
    missing = places.missing(folders.failed, wanted.paths, say)
    tops += [
        places.below(path, folders.failed) or "" for path in wanted.paths if path not in missing
    ]
    back = left = 0
    with contextlib.closing(Journal(config.state_dir / JOURNAL, read_only=True)) as journal:
        for top in tops:
            for place in places.failed_files(folders.failed, top):
                row = places.record(journal, place, failed=True)
                reason = row.decision.verdict.reason if row else places.reason_beside(place)
                if wanted.reason not in ("", reason):
                    continue
                named = bool(wanted.reason) or top in (place.path, place.path + ERROR_SUFFIX)
                why = _why_not(folders, place, row, "" if named else reason)
                shown = place.root / place.path
                if why:
                    say(f"{shown}: {why}; left.")
                    left += 1
                elif inbox := _put_back(folders, place, row):
                    say(f"{shown}: back as {inbox.root / inbox.path}")
                    back += 1
        for top in tops:
            _forget_orphans(journal, folders.failed, top)
    say(f"{back} put back, {left} left.")
    return 1 if missing or left else 0


def _why_not(folders: Folders, place: Place, row: Row | None, reason: str) -> str:
    clinic = place.path.partition("/")[0]
    if row and row.state == "filing":
        return "it is being moved there right now"
    if not scan.CLINIC.match(clinic) or not (folders.inbox / clinic).is_dir():
        return f"clinic {clinic} has no inbox: it is closed, or there is no such clinic"
    return f"{reason}, which trying again does not change" if reason in LASTING else ""


def _put_back(folders: Folders, place: Place, row: Row | None) -> Place | None:
    """Move a file and then remove its reason; None when another retry was quicker."""
    clinic, _, rest = place.path.partition("/")
    path = row.arrival.path if row else _DAY.sub("", rest, count=1)
    try:
        inbox = rename.to_free_name(place, Place(folders.inbox, f"{clinic}/{path}"))
    except FileNotFoundError:
        return None
    places.forget_reason(place)
    return inbox


def _forget_orphans(journal: Journal, failed: Path, top: str) -> None:
    """Remove reasons whose file an interrupted retry moved; one may as well await its file."""
    for reason in places.lone_reasons(failed, top):
        file = places.of_reason(reason)
        row = places.record(journal, file, failed=True)
        if row and row.state == "done" and places.reason_beside(file):
            places.forget_reason(file)
