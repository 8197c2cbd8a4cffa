"""Puts one received object into a clinic's inbox: whole and on the disk, or not at all."""

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dicom_importer import files

# What was not touched for so long belongs to an association that is over: an open one ends sooner when idle.
LEFT_OVER_S = 3600.0
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# The importer, of the same group, moves what lies there.
_FOLDER_MODE, _FILE_MODE = 0o770, 0o660
# The importer may remove a folder that it has just emptied.
_TRIES = 5


@dataclass(slots=True)
class Delivery:
    """What one association brings: the clinic, the folder's name, and how many objects lie on the disk."""

    clinic: str
    name: str
    count: int = 0


def has_room(inbox: Path, min_free_bytes: int) -> bool:
    """Say whether the disk may be filled further; raises OSError."""
    room = os.statvfs(inbox)
    return room.f_bavail * room.f_frsize >= min_free_bytes


def take(inbox: Path, spooled: Path, delivery: Delivery) -> int:
    """Show a whole file of the spool in the inbox, durably; returns its size in bytes, raises OSError.

    Its content is on the disk before its name is, and both when this returns: what is acknowledged
    then survives whatever ends this process.
    """
    with spooled.open("rb+") as file:
        os.fchmod(file.fileno(), _FILE_MODE)
        os.fsync(file.fileno())
        size_bytes = os.fstat(file.fileno()).st_size
    name = f"{delivery.count + 1:06}.dcm"
    for left in reversed(range(_TRIES)):
        with contextlib.ExitStack() as held:
            folder = _folder(held, inbox, delivery)
            try:
                _rename(spooled, folder, name)
                os.fsync(folder)
                break
            except FileNotFoundError:
                if not left or not spooled.exists():
                    raise
    delivery.count += 1
    return size_bytes


def _folder(held: contextlib.ExitStack, inbox: Path, delivery: Delivery) -> int:
    """Hold a descriptor of the delivery's folder, made if need be; the clinic's must be there."""
    above = held.enter_context(files.folder(inbox, delivery.clinic))
    with contextlib.suppress(FileExistsError):
        os.mkdir(delivery.name, _FOLDER_MODE, dir_fd=above)
        os.fsync(above)
    folder = os.open(delivery.name, _FOLDER, dir_fd=above)
    held.callback(os.close, folder)
    return folder


def _rename(spooled: Path, folder: int, name: str) -> None:
    try:
        os.rename(spooled, name, dst_dir_fd=folder)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # A clinic's inbox may be a disk of its own.
        part = name + ".part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with (
            spooled.open("rb") as source,
            os.fdopen(os.open(part, flags, _FILE_MODE, dir_fd=folder), "wb") as target,
        ):
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        spooled.unlink()


def tidy(spool: Path, age_s: float = LEFT_OVER_S) -> None:
    """Remove what associations left that were cut off, or everything with an age of 0: none of it was acknowledged."""
    before_s = time.time() - age_s
    for path in _entries(spool):
        with contextlib.suppress(OSError):
            if not age_s or path.stat().st_mtime < before_s:
                path.unlink()


def _entries(spool: Path) -> Iterable[Path]:
    with os.scandir(spool) as found:
        return [Path(entry.path) for entry in found if not entry.is_dir(follow_symlinks=False)]
