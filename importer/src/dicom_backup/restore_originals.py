"""Originals come back beside their places and are moved there whole: the importer works meanwhile."""

import filecmp
import os
import shutil
from pathlib import Path

from dicom_backup.record import Run
from dicom_backup.restic import NoRoomError
from dicom_backup.restore_images import Tools
from dicom_backup.restore_run import DiskFullError

# On the file system of inbox, processed and failed, so that a move is a rename.
ASIDE = ".returning"
# What the importer made meanwhile under the same name stays; what comes back lies beside it.
_SECOND = ".from-backup"


def bring(tools: Tools, run: Run) -> None:
    """Bring back what clinics delivered; raises DiskFullError, ResticError."""
    files = tools.config.files_dir
    aside = files / ASIDE
    try:
        aside.mkdir(mode=0o700, exist_ok=True)
        tools.repository.run(
            *("restore", run.originals.snapshot, "--no-lock", f"--target={aside}"),
            timeout_s=7 * 86400,
        )
        os.sync()
    except NoRoomError as error:
        free = shutil.disk_usage(files).free
        raise DiskFullError(
            f"the disk of {files} is full ({free / 1e9:.1f} GB free) at the originals. Images are not concerned."
            " Make room or enlarge the disk, then give the same command again: it goes on"
        ) from error
    count = _move(aside, files)
    shutil.rmtree(aside)
    tools.say(f"originals: {count} files")


def _move(source: Path, target: Path) -> int:
    """Move a tree into another, which keeps what it has; returns how many files came."""
    count = 0
    for entry in sorted(os.scandir(source), key=lambda e: e.name):
        place = target / entry.name
        if entry.is_dir(follow_symlinks=False):
            if not place.is_dir():
                place.mkdir()
                status = entry.stat()
                os.chown(place, status.st_uid, status.st_gid)
                place.chmod(status.st_mode & 0o7777)
            count += _move(Path(entry.path), place)
            continue
        if place.exists():
            if filecmp.cmp(entry.path, place, shallow=False):
                Path(entry.path).unlink()
                continue
            place = place.with_name(place.name + _SECOND)
        Path(entry.path).rename(place)
        count += 1
    return count
