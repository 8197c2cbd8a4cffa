"""Tells a copy that was given its full size first and whose end did not come: nothing was ever written there."""

import errno
import os
from pathlib import Path
from typing import BinaryIO

MOUNTS = Path("/proc/self/mountinfo")
# Of these it is known that what was written is no hole. ZFS, for one, makes holes of zeros, of which images have many.
_TOLD_BY = frozenset({"ext2", "ext3", "ext4", "tmpfs", "xfs"})


def unfinished(file: BinaryIO, mounts: Path = MOUNTS) -> bool:
    """Say whether the end of a file was never written; False where the file system cannot tell.

    Windows gives a copy its size before its content. One that was cut off is as long as a whole one
    and reads as zeros, so that its format looks right: the missing half would be black.
    """
    descriptor = file.fileno()
    status = os.fstat(descriptor)
    if not status.st_size:
        return False
    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        os.lseek(descriptor, status.st_size - 1, os.SEEK_DATA)
    except OSError as error:
        return error.errno == errno.ENXIO and _kind(status.st_dev, mounts) in _TOLD_BY
    finally:
        os.lseek(descriptor, position, os.SEEK_SET)
    return False


def _kind(device: int, mounts: Path) -> str:
    """Return the kind of a file system by its device (proc_pid_mountinfo(5)), empty where it is not named."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        if fields.split()[2] == wanted:
            return kind.split()[0]
    return ""
