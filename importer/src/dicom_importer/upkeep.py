"""Removes what has had its time: days of processed/, and folders that were emptied."""

import contextlib
import os
import re
from datetime import date, timedelta
from pathlib import Path

from dicom_importer import files, log
from dicom_importer.files import Arrival
from dicom_importer.received import RECEIVED
from dicom_importer.scan import DELIVERED, HIDDEN, UNPACKED, UPLOADED, submission

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def remove_old_days(processed: Path, today: date, retention_days: int) -> int:
    """Remove day folders older than the retention; anything else stays. Returns their number.

    One that cannot be removed keeps no other.
    """
    limit = today - timedelta(days=retention_days)
    removed = 0
    with os.scandir(processed) as entries:
        clinics = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
    for clinic in clinics:
        with os.scandir(processed / clinic) as entries:
            days = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
        for day in days:
            if _DAY.fullmatch(day) and _older(day, limit):
                try:
                    remove(processed, f"{clinic}/{day}")
                    removed += 1
                except OSError as error:
                    log.line("day_stays", clinic=clinic, day=day, error=error.strerror)
    return removed


def remove(root: Path, top: str) -> None:
    """Remove a folder however deep it is, which shutil.rmtree does not."""
    folders, waiting = [], [top]
    while waiting:
        folders.append(path := waiting.pop())
        with files.folder(root, path) as descriptor:
            with os.scandir(descriptor) as entries:
                found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
            waiting += [f"{path}/{name}" for name, is_folder in found if is_folder]
            for name in (name for name, is_folder in found if not is_folder):
                os.unlink(name, dir_fd=descriptor)
    for path in reversed(folders):
        above, _, name = path.rpartition("/")
        with files.folder(root, above) as descriptor:
            os.rmdir(name, dir_fd=descriptor)


def remove_emptied(inbox: Path, arrival: Arrival) -> None:
    """Remove the folders that a file came in by HTTP or DICOM once nothing lies in them any more."""
    if submission(arrival.path).endswith((DELIVERED, UPLOADED, RECEIVED)):
        path = arrival.path
        with contextlib.suppress(OSError):
            while "/" in path:
                path = path.rpartition("/")[0]
                above, _, name = f"{arrival.clinic}/{path}".rpartition("/")
                with files.folder(inbox, above) as descriptor:
                    os.rmdir(name, dir_fd=descriptor)


def _older(name: str, limit: date) -> bool:
    try:
        return date.fromisoformat(name) < limit
    except ValueError:
        return False


def remove_empty_folders(inbox: Path, clinic: str, now_s: float, age_s: float) -> int:
    """Remove empty folders not changed for so long, below the first-level ones.

    A first-level folder is a workstation's export path and stays, but for what we made.
    """
    removed = 0
    waiting = [clinic]
    while waiting:
        path = waiting.pop()
        with contextlib.suppress(OSError), files.folder(inbox, path) as descriptor:
            with os.scandir(descriptor) as entries:
                below = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
            below = [name for name in below if path != clinic or name not in HIDDEN]
            waiting += [f"{path}/{name}" for name in below]
            for name in below:
                if path == clinic and not name.endswith((UNPACKED, DELIVERED, UPLOADED, RECEIVED)):
                    continue
                changed_s = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mtime
                if now_s - changed_s >= age_s:
                    with contextlib.suppress(OSError):  # not empty
                        os.rmdir(name, dir_fd=descriptor)
                        removed += 1
    return removed
