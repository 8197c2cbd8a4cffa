"""The link farm: every file of Orthanc once more under the day it was written on, as a hard link.

`dicom/.by-day/2026-11-25/<uuid>` is the same file as `dicom/aa/bb/<uuid>`. So a day is a folder that can be
saved and brought back by itself, and what Orthanc deletes stays until `release`, which a new dump allows.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dicom_backup.durable import sync, write_json

FOLDER = ".by-day"
KNOWN = "folders.json"
# A folder or file as young as this may still change without a newer time of its own: it is looked at again.
SETTLED_AFTER_S = 2.0
# What was saved within this time of its last change may have been saved half written: it is saved again.
YOUNG_S = 600.0
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_PAIR = re.compile(r"[0-9a-f]{2}")


class FarmError(OSError):
    """The farm cannot be kept; the text says why and what to do."""


@dataclass(slots=True)
class Scan:
    """What one look at the storage found: how many links were made, and on which days."""

    linked: int = 0
    folders: int = 0
    days: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Dead:
    """Links of files that Orthanc had deleted when they were looked for."""

    names: tuple[tuple[str, str], ...] = ()


def day_of(mtime_s: float) -> str:
    """Return the day (UTC) that a file belongs to, by its time of change in seconds since 1970."""
    return f"{datetime.fromtimestamp(mtime_s, UTC):%Y-%m-%d}"


def place(storage: Path, name: str) -> Path:
    """Return where Orthanc looks for the file of this name."""
    return storage / name[:2] / name[2:4] / name


def days(storage: Path) -> list[str]:
    """Return the days of the farm, newest first."""
    root = storage / FOLDER
    found = [path.name for path in root.iterdir()] if root.is_dir() else []
    return sorted((name for name in found if _DAY.fullmatch(name)), reverse=True)


def scan(storage: Path, now_s: float, *, every: bool = False) -> Scan:
    """Link what came since the last scan; `every` looks into folders that seem unchanged, too.

    Raises FarmError where links cannot be made. A file may be linked while Orthanc still writes
    it: whoever saves its day does so again until it is older than YOUNG_S.
    """
    root = storage / FOLDER
    known = {} if every else _known(root)
    seen: dict[str, int] = {}
    result = Scan()
    for name, mtime_ns in _folders(storage):
        if known.get(name) != mtime_ns:
            result.folders += 1
            _link_folder(storage, name, result)
        # A change within the same tick of the clock would not show.
        if abs(now_s - mtime_ns / 1e9) > SETTLED_AFTER_S:
            seen[name] = mtime_ns
    for day in result.days:
        sync(root / day)
    if seen != known:
        # Last: a kill before repeats the looking.
        write_json(root / KNOWN, seen)
    return result


def dead(storage: Path) -> Dead:
    """Find the links that Orthanc has no file for any more."""
    root = storage / FOLDER
    return Dead(
        tuple(
            (day, entry.name)
            for day in days(storage)
            for entry in os.scandir(root / day)
            if entry.stat(follow_symlinks=False).st_nlink == 1
        )
    )


def release(storage: Path, found: Dead) -> set[str]:
    """Let go of dead links, which a dump made after they were found does not name; returns their days."""
    root = storage / FOLDER
    for day, name in found.names:
        link = root / day / name
        # Somebody may have put it back, or removed the link too.
        if link.exists() and link.stat().st_nlink == 1:
            link.unlink()
    return {day for day, _ in found.names}


def newest_s(storage: Path, day: str) -> float:
    """Return the last change of any file of a day, in seconds since 1970; 0 for a day without files."""
    entries = os.scandir(storage / FOLDER / day)
    return max((entry.stat(follow_symlinks=False).st_mtime for entry in entries), default=0.0)


def _known(root: Path) -> dict[str, int]:
    try:
        found = json.loads((root / KNOWN).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _folders(storage: Path) -> Iterator[tuple[str, int]]:
    for first in _pairs(storage):
        for second in _pairs(storage / first):
            name = f"{first}/{second}"
            try:
                yield name, (storage / name).stat().st_mtime_ns
            except FileNotFoundError:  # Orthanc removes emptied folders.
                continue


def _pairs(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if _PAIR.fullmatch(path.name))
    except FileNotFoundError:
        return []


def _link_folder(storage: Path, name: str, result: Scan) -> None:
    try:
        entries = list(os.scandir(storage / name))
    except FileNotFoundError:
        return
    for entry in entries:
        try:
            status = entry.stat(follow_symlinks=False)
            if status.st_nlink == 1 and entry.is_file(follow_symlinks=False):
                _link(storage, Path(entry.path), day_of(status.st_mtime))
                result.linked += 1
                result.days.add(day_of(status.st_mtime))
        except FileNotFoundError:  # Orthanc removed it meanwhile.
            continue


def _link(storage: Path, file: Path, day: str) -> None:
    folder = storage / FOLDER / day
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        os.link(file, folder / file.name, follow_symlinks=False)
    except FileExistsError:
        # A name comes back with another content only where somebody restored it: what lies in the archive counts.
        (folder / file.name).unlink()
        os.link(file, folder / file.name, follow_symlinks=False)
    except FileNotFoundError:
        if not folder.is_dir():
            raise FarmError(f"{folder.parent} is missing: run make up") from None
        raise
    except OSError as error:
        raise FarmError(
            f"no link can be made in {folder}: {error.strerror}; it must lie on the archive's own file system"
        ) from error
