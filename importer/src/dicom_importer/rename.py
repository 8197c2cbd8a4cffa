"""Moves a file in one atomic step that never overwrites: interrupted, it has happened or it has not.

Only to another file system it is a copy: interrupted, the file may be in both places.
"""

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dicom_importer import files, transfer
from dicom_importer.files import Place

_NOREPLACE = 1  # RENAME_NOREPLACE of renameat2(2), which Python has no function for
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def rename(source: Place, target: Place) -> None:
    """Move a file to a name that is free; raises FileExistsError, and OSError for the rest.

    Folders that are missing are made as open as the one that they are made in: a workstation must
    be able to go on writing there. Both folders are on disk when it returns.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with files.parent(source) as from_folder, _folder(target) as to_folder:
        names = os.fsencode(source.name), os.fsencode(target.name)
        if libc.renameat2(from_folder, names[0], to_folder, names[1], _NOREPLACE):
            code = ctypes.get_errno()
            if code != errno.EXDEV:
                raise OSError(code, os.strerror(code))
            transfer.copy(from_folder, source.name, to_folder, target.name)
            os.unlink(source.name, dir_fd=from_folder)
        os.fsync(to_folder)
        os.fsync(from_folder)


def to_free_name(source: Place, wanted: Place) -> Place:
    """Move a file to the wanted name, or to the first that is free; returns where it is."""
    while True:
        target = files.free(wanted)
        with contextlib.suppress(FileExistsError):
            rename(source, target)
            return target


@contextlib.contextmanager
def _folder(place: Place) -> Iterator[int]:
    descriptor = os.open(Path(place.root), _FOLDER & ~os.O_NOFOLLOW)
    try:
        for part in place.path.split("/")[:-1]:
            made = False
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o750, dir_fd=descriptor)
                made = True
            below = os.open(part, _FOLDER, dir_fd=descriptor)
            if made:
                os.fchmod(below, stat.S_IMODE(os.fstat(descriptor).st_mode))
                os.fsync(descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)
