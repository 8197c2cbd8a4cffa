"""Images come back, the newest day first, while people read those that are there.

A day is brought into its folder of .by-day/ and, when it is whole, linked to where Orthanc looks
for it. A day that was cut off is looked through again: what is there already is not fetched twice.
"""

import errno
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clinic_access.returning import MARKER

from dicom_backup import farm, restore_state
from dicom_backup.config import Config
from dicom_backup.record import Part, Run
from dicom_backup.restic import NoRoomError, Repository, ResticError
from dicom_backup.restore_known import Known
from dicom_backup.restore_run import DiskFullError
from dicom_backup.restore_state import State

KNOWN = "archive-files"
MISSING = "missing-images"
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Tools:
    """What a restore works with."""

    config: Config
    repository: Repository
    say: Callable[[str], None]


def announce(storage: Path) -> None:
    """Tell the archive that images are not all there yet."""
    storage.mkdir(mode=0o700, exist_ok=True)
    (storage / MARKER).touch()
    os.sync()


def bring(tools: Tools, run: Run, state: State) -> None:
    """Bring back every day that is not yet; raises DiskFullError.

    A day that cannot be read is named and left, and the others go on.
    """
    config = tools.config
    known = Known(config.backup_dir / KNOWN)
    days = [day for day in sorted(run.images, reverse=True) if day not in state.days]
    pace = _Pace(sum(run.images[day].bytes for day in days), time.monotonic())
    _say_room(tools, pace.total_bytes)
    for day in days:
        one = run.images[day]
        try:
            count = _day(tools, known, day, one)
        except ResticError as error:
            state.lost.append(f"images of {day}: {error}")
            tools.say(f"images of {day} are NOT back: {error}")
            restore_state.save(config.backup_dir, state)
            continue
        state.days.append(day)
        restore_state.save(config.backup_dir, state)
        pace.done_bytes += one.bytes
        tools.say(
            f"images of {day}: {count} files, {one.bytes / _GB:.2f} GB; {pace.words(time.monotonic())}"
        )
    took_s = time.monotonic() - pace.began_s
    tools.say(f"images: {pace.done_bytes} bytes in {took_s:.1f} s")
    _conclude(tools, known, state)


@dataclass(slots=True)
class _Pace:
    total_bytes: int
    began_s: float
    done_bytes: int = 0

    def words(self, now_s: float) -> str:
        """Say how far it has come and how long the rest takes at this rate."""
        took_s = max(now_s - self.began_s, 0.001)
        rate = self.done_bytes / took_s
        left = self.total_bytes - self.done_bytes
        head = f"{self.done_bytes / _GB:.2f} of {self.total_bytes / _GB:.2f} GB"
        if not left or not rate:
            return f"{head}, {rate / 1e6:.0f} MB/s"
        return f"{head}, {rate / 1e6:.0f} MB/s, about {duration(left / rate)} left"


def duration(seconds: float) -> str:
    """Write a duration for people."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"  # noqa: PLR2004 - two hours


def _say_room(tools: Tools, wanted_bytes: int) -> None:
    free = shutil.disk_usage(tools.config.storage_dir).free
    if free < wanted_bytes:
        tools.say(
            f"! {wanted_bytes / _GB:.1f} GB of images come back and {free / _GB:.1f} GB are free:"
            " the newest come first; when the disk is full this stops, and goes on where it was after room was made"
        )


def _day(tools: Tools, known: Known, day: str, one: Part) -> int:
    storage = tools.config.storage_dir
    folder = storage / farm.FOLDER / day
    try:
        _make(folder.parent, storage)
        _make(folder, folder.parent)
        tools.repository.run(
            *("restore", one.snapshot, "--no-lock", f"--target={folder}"), timeout_s=7 * 86400
        )
        count = _link(folder, storage, known)
        # Before it counts as done: the disk has it.
        os.sync()
    except (NoRoomError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(storage).free
        raise DiskFullError(
            f"the disk of {storage} is full ({free / _GB:.1f} GB free) at the images of {day},"
            f" which need {one.bytes / _GB:.2f} GB."
            " What is back is whole and can be read; nothing half is shown. Make room or enlarge the disk,"
            " then give the same command again: it goes on with this day"
        ) from error
    return count


def _link(folder: Path, storage: Path, known: Known) -> int:
    """Show a day's files where Orthanc looks for them, as its own; returns how many."""
    owner = storage.stat()
    count = 0
    for entry in os.scandir(folder):
        if entry.name not in known:
            # Came after the dump: no row of the index names it, and its original is replayed.
            Path(entry.path).unlink()
            continue
        target = farm.place(storage, entry.name)
        place = target.parent
        _make(place.parent, storage)
        _make(place, storage)
        os.chown(entry.path, owner.st_uid, owner.st_gid)
        if not target.exists():
            os.link(entry.path, target)
        count += 1
    return count


def _make(folder: Path, like: Path) -> None:
    """Make a folder that belongs to whom another one belongs to."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700)
        owner = like.stat()
        os.chown(folder, owner.st_uid, owner.st_gid)


def _conclude(tools: Tools, known: Known, state: State) -> None:
    """Say what the index lists and the disk does not hold; with nothing missing the archive is whole."""
    config = tools.config
    missing = [name for name in known if not farm.place(config.storage_dir, name).exists()]
    if missing:
        path = config.backup_dir / MISSING
        path.write_text("".join(f"{name}\n" for name in missing))
        tools.say(
            f"! {len(missing)} of the archive's {len(known)} files did not come back (names in {path}):"
            " their studies stay closed."
            " make verify says which they are; make verify REPAIR=1 brings back those whose originals are there"
        )
    else:
        (config.storage_dir / MARKER).unlink(missing_ok=True)
        tools.say(f"images: all {len(known)} files of the archive are back")
    if not state.lost:
        state.steps.append("images")
        restore_state.save(config.backup_dir, state)
