"""Unpacks a zip file in the inbox: hidden until all is on disk and journalled, then shown by one rename.

What it held lies beside it from then on and settles as any files do; the zip itself is filed. A
zip inside a zip is not unpacked.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import BinaryIO

from dicom_importer import files, rename, upkeep, zipped
from dicom_importer.files import Arrival, Place
from dicom_importer.reasons import NoRoom, NotDicom
from dicom_importer.scan import UNPACKED, UNPACKING

SUFFIX = ".zip"
MAX_ENTRIES = 100_000
# Images with much air in them pack to a twentieth; only a bomb packs this much to so little.
MAX_RATIO, FREE_OF_RATIO_BYTES = 100, 1 << 28
_BLOCK_BYTES = 4096
_HEAD_BYTES = 30


def is_zip(arrival: Arrival, file: BinaryIO) -> bool:
    """Say whether a file is a zip by name and content, and in no other one."""
    file.seek(0)
    return (
        arrival.path.lower().endswith(SUFFIX)
        and not any(part.endswith(UNPACKED) for part in arrival.path.split("/")[:-1])
        and file.read(4) in zipped.STARTS
    )


def unpack(
    file: BinaryIO, arrival: Arrival, inbox: Path, limit_bytes: int, alive: Callable[[], None]
) -> int:
    """Unpack where nobody looks, and return how many files it held.

    Raises NotDicom for what is not to be unpacked, NoRoom and OSError; then nothing is left.
    """
    working = _working(inbox, arrival)
    where = zipped.directory(file, arrival.seen.size_bytes)
    count = _check(file, where, inbox / arrival.clinic, limit_bytes)
    forget(inbox, arrival)
    try:
        for entry in zipped.entries(file, where):
            if entry.path:
                place = Place(inbox, f"{working.path}/{entry.path}")
                _write(place, zipped.content(file, entry, where), alive)
        _sync(working)
    except BaseException:
        with contextlib.suppress(OSError):
            forget(inbox, arrival)
        raise
    return count


def _check(file: BinaryIO, where: zipped.Directory, clinic: Path, limit_bytes: int) -> int:
    """Read the whole directory before anything is written; returns the number of files."""
    count = size_bytes = packed_bytes = 0
    for number, entry in enumerate(zipped.entries(file, where), 1):
        count += bool(entry.path)
        size_bytes += entry.size_bytes
        packed_bytes += _HEAD_BYTES + len(entry.raw_name) + entry.packed_bytes
        if number > MAX_ENTRIES:
            raise NotDicom("packed_too_large", f"more than {MAX_ENTRIES} entries")
        if size_bytes > limit_bytes:
            raise NotDicom("packed_too_large", f"more than {limit_bytes} bytes once unpacked")
    if packed_bytes > where.start:
        raise zipped.unsafe("its entries overlap")
    if size_bytes > max(FREE_OF_RATIO_BYTES, MAX_RATIO * packed_bytes):
        raise NotDicom("packed_too_large", f"{size_bytes} bytes out of {packed_bytes}")
    if not count:
        raise NotDicom("empty", "The zip file holds no file.")
    room = os.statvfs(clinic)
    if room.f_bavail * room.f_frsize < size_bytes + count * _BLOCK_BYTES:
        raise NoRoom("inbox", paused=False)
    return count


def _write(place: Place, chunks: Iterable[bytes], alive: Callable[[], None]) -> None:
    try:
        files.create(place, chunks, alive)
    except (FileExistsError, NotADirectoryError):
        raise zipped.unsafe("two of its entries have the same name") from None


def _sync(top: Place) -> None:
    """Bring the names of all files to disk; those of folders are when they are made."""
    waiting = [top.path]
    while waiting:
        path = waiting.pop()
        with files.folder(top.root, path) as descriptor:
            with os.scandir(descriptor) as found:
                waiting += [f"{path}/{one.name}" for one in found if one.is_dir()]
            os.fsync(descriptor)


def show(inbox: Path, arrival: Arrival) -> None:
    """Let what was unpacked appear beside the zip, unless it has before an interruption."""
    working = _working(inbox, arrival)
    if _lies(working):
        wanted = Place(inbox, f"{arrival.clinic}/{arrival.path[: -len(SUFFIX)]}{UNPACKED}")
        rename.to_free_name(working, wanted)
        forget_empty(inbox, arrival.clinic)


def forget(inbox: Path, arrival: Arrival) -> None:
    """Remove what was unpacked and is not shown yet, if anything."""
    working = _working(inbox, arrival)
    if _lies(working):
        upkeep.remove(inbox, working.path)
        forget_empty(inbox, arrival.clinic)


def forget_all_but(inbox: Path, clinic: str, kept: Collection[Arrival]) -> None:
    """Remove what killed processes left of a clinic's zips, but for those that are decided on."""
    names = {_working(inbox, arrival).name for arrival in kept}
    forget_hidden(inbox, clinic, lambda name: name not in names)


def forget_hidden(inbox: Path, clinic: str, is_left: Callable[[str], bool]) -> None:
    """Remove what is hidden in a clinic's inbox under names that nobody needs; raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        with (
            files.folder(inbox, f"{clinic}/{UNPACKING}") as descriptor,
            os.scandir(descriptor) as found,
        ):
            left = [one.name for one in found if is_left(one.name)]
        for name in left:
            upkeep.remove(inbox, f"{clinic}/{UNPACKING}/{name}")
        forget_empty(inbox, clinic)


def _working(inbox: Path, arrival: Arrival) -> Place:
    name = hashlib.sha256(repr(arrival).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return Place(inbox, f"{arrival.clinic}/{UNPACKING}/{name}")


def _lies(place: Place) -> bool:
    try:
        with files.folder(place.root, place.path):
            return True
    except FileNotFoundError:
        return False


def forget_empty(inbox: Path, clinic: str) -> None:
    """Remove the hidden folder once nothing lies in it."""
    with contextlib.suppress(OSError), files.folder(inbox, clinic) as descriptor:
        os.rmdir(UNPACKING, dir_fd=descriptor)
