"""backed-up.json beside the links by day: what the last good backup holds, for who would delete something here."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from dicom_importer import log

from dicom_backup import farm
from dicom_backup.config import Config
from dicom_backup.durable import write_json
from dicom_backup.state import State

NAME = "backed-up.json"


@dataclass(frozen=True, slots=True)
class BackedUp:
    """Of the last run that ended: `problem` is what makes it no good, in words, empty where it is.

    `days` are the images' days: the time of change (ns) of each folder when its snapshot was made,
    and when that was begun. Times are seconds since 1970.
    """

    target: str
    problem: str
    succeeded_s: float
    stale_after_s: float
    dumped_s: float
    days: dict[str, tuple[int, float]]


def write(config: Config, known: State) -> None:
    """Tell what a run or a check came to; what cannot be told now leaves what was told before, and that gets old."""
    made = BackedUp(
        target=known.target,
        problem=known.error or known.dump_error or known.check_error,
        succeeded_s=known.succeeded_s,
        stale_after_s=config.stale_after_s,
        dumped_s=known.dumped_s,
        days={day: (of.folder_mtime_ns, of.saved_s) for day, of in known.days.items()},
    )
    try:
        write_json(config.storage_dir / farm.FOLDER / NAME, asdict(made))
    except OSError as error:
        log.line("backed_up_not_told", error=error.strerror)


def read(storage: Path) -> BackedUp | None:
    """Read what was told, None where there is nothing; raises OSError where it may not be read."""
    try:
        found = json.loads((storage / farm.FOLDER / NAME).read_text())
        days = {day: (int(ns), float(at_s)) for day, (ns, at_s) in found.pop("days").items()}
        return BackedUp(**found, days=days)
    except FileNotFoundError:
        return None
    except (AttributeError, KeyError, TypeError, ValueError):
        # Of another version: the next run writes it anew.
        return None


def doubt(known: BackedUp | None, target: str, now_s: float) -> str:
    """Say why nothing can be taken for backed up, empty where it can."""
    if known is None or not known.succeeded_s:
        return "there is no backup yet"
    if known.target != target:
        return f"there is no backup at {target} yet"
    if known.problem:
        return f"the last backup is not good: {known.problem}"
    if not 0 <= now_s - known.succeeded_s <= known.stale_after_s:
        return f"the last backup is too old: {datetime.fromtimestamp(known.succeeded_s, UTC):%F %R}"
    return ""


def lacking(storage: Path, known: BackedUp, names: Iterable[str]) -> int:
    """Count which of these files of Orthanc's the last good backup may not hold as they are."""
    return sum(not _holds(storage, known, name) for name in names)


def _holds(storage: Path, known: BackedUp, name: str) -> bool:
    try:
        file = farm.place(storage, name).stat()
        day = farm.day_of(file.st_mtime)
        folder = storage / farm.FOLDER / day
        if not os.path.samestat(file, (folder / name).stat()):
            return False
        folder_mtime_ns, saved_s = known.days[day]
        # As the backup itself asks whether a day must be saved anew.
        is_same = folder.stat().st_mtime_ns == folder_mtime_ns
    except (FileNotFoundError, KeyError):
        return False
    return is_same and saved_s - file.st_mtime >= farm.YOUNG_S
