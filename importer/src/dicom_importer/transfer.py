"""Copies a file to another file system, so that it is there whole and proven before its name is."""

import contextlib
import hashlib
import os
import stat

CHUNK_BYTES = 1 << 20
COPY_SUFFIX = ".copy.part"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
# The coarsest that a file system keeps times is two seconds.
_COARSE_NS = 2_000_000_000


def copy(from_folder: int, source: str, to_folder: int, target: str) -> None:
    """Copy a file to a name that is free; raises FileExistsError, and OSError for the rest.

    Written under a passing name, forced to disk, compared there, and only then linked. Done again
    after an interruption, it begins anew or finds its own copy. The source stays.
    """
    working = f".{hashlib.sha256(os.fsencode(target)).hexdigest()[:16]}{COPY_SUFFIX}"
    descriptor = os.open(source, _READ, dir_fd=from_folder)
    try:
        if not _is_copied(descriptor, to_folder, target):
            try:
                _write(descriptor, to_folder, working)
                os.link(working, target, src_dir_fd=to_folder, dst_dir_fd=to_folder)
            except OSError:
                # What is left would take the room that it lacked.
                _unlink(to_folder, working)
                raise
    finally:
        os.close(descriptor)
    _unlink(to_folder, working)
    os.fsync(to_folder)


def same_version(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Say whether sizes and mtimes (ns) are of one version; a copy has another inode."""
    return one[0] == other[0] and abs(one[1] - other[1]) < _COARSE_NS


def _is_copied(source: int, folder: int, target: str) -> bool:
    """Say whether the target is our own copy, from before an interruption; raises FileExistsError for another."""
    try:
        descriptor = os.open(target, _READ, dir_fd=folder)
    except FileNotFoundError:
        return False
    try:
        here, there = os.fstat(source), os.fstat(descriptor)
        versions = [(status.st_size, status.st_mtime_ns) for status in (here, there)]
        regular = stat.S_ISREG(there.st_mode)
        if not (regular and same_version(*versions) and _equal(source, descriptor)):
            raise FileExistsError(target)
        return True
    finally:
        os.close(descriptor)


def _write(source: int, folder: int, name: str) -> None:
    status = os.fstat(source)
    descriptor = os.open(name, _WRITE, 0o600, dir_fd=folder)
    try:
        position = 0
        while chunk := os.pread(source, CHUNK_BYTES, position):
            view = memoryview(chunk)
            while view:
                view = view[os.write(descriptor, view) :]
            position += len(chunk)
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
        os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(descriptor)
        # What is compared comes from the disk.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        if not _equal(source, descriptor):
            raise OSError("the copy differs")
    finally:
        os.close(descriptor)


def _equal(one: int, other: int) -> bool:
    position = 0
    while True:
        chunk = os.pread(one, CHUNK_BYTES, position)
        if chunk != os.pread(other, CHUNK_BYTES, position):
            return False
        if not chunk:
            return True
        position += len(chunk)


def _unlink(folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
