"""Opens and moves files below a root without following symlinks or overwriting a name."""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dicom_importer import transfer

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a pipe that was swapped in would wait for its writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAX_NAME_BYTES = 255
_MAX_SUFFIX_BYTES = 32


@dataclass(frozen=True, order=True, slots=True)
class Seen:
    """What tells one version of a file from another."""

    size_bytes: int
    mtime_ns: int
    inode: int

    @property
    def key(self) -> tuple[int, int]:
        """What a copy has in common with it."""
        return self.size_bytes, self.mtime_ns


@dataclass(frozen=True, order=True, slots=True)
class Arrival:
    """One version of a file in a clinic's inbox, by its path below that."""

    clinic: str
    path: str
    seen: Seen


@dataclass(frozen=True, slots=True)
class Place:
    """A path below a root; the root is the operator's, what lies below is anybody's."""

    root: Path
    path: str

    @property
    def name(self) -> str:
        """The last part."""
        return self.path.rpartition("/")[2]

    def sibling(self, name: str) -> "Place":
        """Another name in the same folder."""
        return Place(self.root, self.path[: len(self.path) - len(self.name)] + name)


def seen(status: os.stat_result) -> Seen:
    """Take what counts out of a stat."""
    return Seen(status.st_size, status.st_mtime_ns, status.st_ino)


@contextlib.contextmanager
def folder(root: Path, path: str, *, create: bool = False) -> Iterator[int]:
    """Hold a descriptor of a folder below the root, reached step by step; raises OSError."""
    descriptor = os.open(root, _FOLDER & ~os.O_NOFOLLOW)
    try:
        for part in filter(None, path.split("/")):
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o750, dir_fd=descriptor)
                    os.fsync(descriptor)
            below = os.open(part, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def parent(place: Place, *, create: bool = False) -> Iterator[int]:
    """Hold a descriptor of the folder that a place lies in."""
    with folder(place.root, place.path.rpartition("/")[0], create=create) as descriptor:
        yield descriptor


def open_file(place: Place) -> BinaryIO:
    """Open a regular file for reading; raises OSError, also for anything else."""
    with parent(place) as descriptor:
        file = os.fdopen(os.open(place.name, _FILE, dir_fd=descriptor), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("not a regular file")
    return file


def look(place: Place) -> Seen | None:
    """Tell which version lies there, None when no regular file does; raises OSError.

    A root that is away is an error: its mount may be missing, with everything still on it.
    """
    place.root.stat()
    try:
        with parent(place) as descriptor:
            status = os.stat(place.name, dir_fd=descriptor, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return seen(status) if stat.S_ISREG(status.st_mode) else None


def holds(place: Place, version: Seen) -> bool:
    """Say whether this version of a file was moved to this place; raises OSError.

    Not by its inode: on another file system it lies as a copy.
    """
    there = look(place)
    return there is not None and transfer.same_version(there.key, version.key)


def move(source: Place, target: Place) -> None:
    """Move a file to a name that is free; raises FileExistsError, and OSError for the rest."""
    (error,) = move_all([(source, target)])
    if error:
        raise error


@dataclass(slots=True)
class _Moving:
    source: Place
    target: Place
    from_folder: int = -1
    to_folder: int = -1
    error: OSError | None = None


def move_all(moves: Iterable[tuple[Place, Place]]) -> list[OSError | None]:
    """Move files to names that are free, in step; returns what each failed with.

    A link and an unlink, since rename overwrites; to another file system a copy. Done again after
    an interruption, it goes on where it was; both folders and the file are on disk before the old
    name goes. In step, because the first of several syncs brings nearly all there is to disk.
    """
    each = [_Moving(*one) for one in moves]
    with contextlib.ExitStack() as held:
        known: dict[tuple[Path, str], int] = {}

        def reach(place: Place, *, create: bool) -> int:
            key = place.root, place.path.rpartition("/")[0]
            if key not in known:
                known[key] = held.enter_context(folder(*key, create=create))
            return known[key]

        def open_folders(one: _Moving) -> None:
            one.from_folder = reach(one.source, create=False)
            one.to_folder = reach(one.target, create=True)

        _step(each, open_folders)
        _step(each, _name_anew)
        _step(each, _sync_file)
        _sync_folders(each, lambda one: one.to_folder)
        _step(each, lambda one: os.unlink(one.source.name, dir_fd=one.from_folder))
        _sync_folders(each, lambda one: one.from_folder)
    return [one.error for one in each]


def _step(each: Iterable[_Moving], do: Callable[[_Moving], None]) -> None:
    for one in each:
        if one.error is None:
            try:
                do(one)
            except OSError as error:
                one.error = error


def _sync_folders(each: Iterable[_Moving], which: Callable[[_Moving], int]) -> None:
    """Sync each folder once: a second time would not tell that the first one failed."""
    moved = [one for one in each if one.error is None]
    errors: dict[int, OSError] = {}
    for descriptor in {which(one) for one in moved}:
        try:
            os.fsync(descriptor)
        except OSError as error:
            errors[descriptor] = error
    for one in moved:
        one.error = errors.get(which(one))


def _name_anew(one: _Moving) -> None:
    """Give a file a second name, of its own inode or, on another file system, of a synced copy."""
    names = one.from_folder, one.source.name, one.to_folder, one.target.name
    try:
        _link(*names)
    except OSError as error:
        # A name that is taken may be that of our own copy.
        if error.errno not in (errno.EXDEV, errno.EEXIST):
            raise
        transfer.copy(*names)


def _link(from_folder: int, source: str, to_folder: int, target: str) -> None:
    try:
        os.link(source, target, src_dir_fd=from_folder, dst_dir_fd=to_folder, follow_symlinks=False)
    except FileExistsError:
        there = os.stat(target, dir_fd=to_folder, follow_symlinks=False)
        here = os.stat(source, dir_fd=from_folder, follow_symlinks=False)
        if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            raise


def _sync_file(one: _Moving) -> None:
    descriptor = os.open(one.target.name, _FILE, dir_fd=one.to_folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(place: Place, content: bytes) -> None:
    """Write a file whole or not at all, over an older one of ours."""
    working = f".{hashlib.sha256(os.fsencode(place.name)).hexdigest()[:16]}.part"
    with parent(place, create=True) as descriptor:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(working, flags, 0o640, dir_fd=descriptor), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(working, place.name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        os.fsync(descriptor)


def create(place: Place, chunks: Iterable[bytes], alive: Callable[[], None]) -> None:
    """Write a new file as its content comes; raises FileExistsError, OSError, and what alive does.

    Its content is on disk when this returns; its name is when its folder is synced.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with parent(place, create=True) as folder_of:
        descriptor = os.open(place.name, flags, 0o640, dir_fd=folder_of)
    with os.fdopen(descriptor, "wb") as out:
        for chunk in chunks:
            alive()
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())


def free(target: Place, beside: str = "") -> Place:
    """Return the target, or the first of `name (2)`, `name (3)`… that is free, also beside it."""
    stem, dot, suffix = target.name.rpartition(".")
    if not stem:
        stem, dot, suffix = target.name, "", ""
    number = 1
    while True:
        middle = f" ({number})" if number > 1 else ""
        name = _short(stem, f"{middle}{dot}{suffix}", len(beside))
        candidate = target.sibling(name)
        if not _taken(candidate) and not (beside and _taken(target.sibling(name + beside))):
            return candidate
        number += 1


def _short(stem: str, rest: str, reserve_bytes: int) -> str:
    """Join both, with a digest in place of what no file system takes."""
    whole = os.fsencode(stem + rest)
    if len(whole) + reserve_bytes <= _MAX_NAME_BYTES:
        return stem + rest
    mark = "~" + hashlib.sha256(os.fsencode(stem)).hexdigest()[:8]
    rest = rest if len(os.fsencode(rest)) <= _MAX_SUFFIX_BYTES else ""
    left = _MAX_NAME_BYTES - reserve_bytes - len(os.fsencode(mark + rest))
    return os.fsdecode(os.fsencode(stem)[:left]) + mark + rest


def _taken(place: Place) -> bool:
    try:
        with parent(place) as descriptor:
            os.stat(place.name, dir_fd=descriptor, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
