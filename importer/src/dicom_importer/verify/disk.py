"""The archive's disk against its index: every listed file is read, and every file is listed."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from clinic_access import storage as rules

from dicom_importer import header, listing
from dicom_importer.listing import Listed
from dicom_importer.reasons import Unavailable
from dicom_importer.verify import originals
from dicom_importer.verify.desk import Desk, Stopped
from dicom_importer.verify.findings import Finding

_CHUNK_BYTES = 1 << 20
# The storage's folders, one a step; images without a file come first of all.
_TOPS = ("", *(f"{number:02x}" for number in range(256)))
_STAGE = "disk"
# How begins what the archive's DICOMweb keeps ready of a series' metadata, and makes anew (RFC 1952, 2.3.1).
_GZIP = b"\x1f\x8b"


def check(desk: Desk) -> None:
    """Read the archive's files; raises Stopped and Unavailable."""
    storage, clinic = desk.config.archive_dir, desk.wanted.clinic
    total, total_bytes = desk.notes.total(clinic)
    if total and not any((storage / top).is_dir() for top in _TOPS[1:]):
        raise Stopped(
            f"Not one of the archive's {total:,} files lies in {storage}: see that its disk is in"
            " its place. Nothing was compared or repaired."
        )
    done = desk.notes.fact(_STAGE, None)
    desk.progress.begin("files of the archive", total, total_bytes)
    if done is not None:
        desk.progress.skip(desk.notes.fact("read", 0), desk.notes.fact("read_bytes", 0))
    for top in _TOPS:
        if done is not None and top <= done:
            continue
        every = desk.notes.begins_with(top)
        mine = [one for one in every if clinic in ("", one.clinic)]
        size_bytes = _read(desk, mine)
        if not clinic and top:
            _find_orphans(desk, top, {one.uuid for one in every})
        read = len(mine) if top else 0
        desk.notes.passed(_STAGE, top, read=read, read_bytes=size_bytes)
        desk.tell_audit()


def _read(desk: Desk, some: list[Listed]) -> int:
    """Read files, several at once, and tell of those that are not as listed; returns their bytes."""
    looks = desk.pool.map(lambda one: _look(desk, one, is_first=True), some)
    for one, kind in zip(some, looks, strict=True):
        if kind:
            _tell(desk, one)
    return sum(one.size_bytes for one in some)


def _look(desk: Desk, one: Listed, *, is_first: bool) -> str:
    """Read a file as the disk has it; returns the kind of finding that it is, empty for none."""
    kind = "unlisted"
    if one.uuid:
        try:
            kind = _compare(desk, one)
        except FileNotFoundError:
            kind = "gone"
        except OSError:
            kind = "unreadable"
        if is_first:
            desk.progress.step(1, one.size_bytes)
    return kind


def _compare(desk: Desk, one: Listed) -> str:
    path = one.path(desk.config.archive_dir)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_size != one.size_bytes:
            return "resized"
        # What lies on the disk, and not what the kernel remembers of it; nor is the memory filled.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        digest = hashlib.md5(usedforsecurity=False)
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            desk.throttle.take(len(chunk))
            digest.update(chunk)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    return "changed" if one.md5 and digest.hexdigest() != one.md5 else ""


def _tell(desk: Desk, one: Listed) -> None:
    """Tell of a file that is not as listed, unless it is another one by now, or well."""
    if not listing.is_listed(desk.archive, one) or not (kind := _look(desk, one, is_first=False)):
        return
    desk.notes.damaged(one)
    sop_uid = one.sop_uid if one.is_image else ""
    file = str(one.path(desk.config.archive_dir)) if one.uuid else ""
    seen = Finding(kind, one.clinic, one.study_uid, sop_uid, file)
    if not sop_uid and desk.repairs:
        return  # when all images are there that it is made of
    found = originals.treat(desk, seen, lost=True) if sop_uid else seen
    if found:
        desk.found(found)


def make_anew(desk: Desk) -> None:
    """Have the archive make anew what it had made of images and is damaged, when told to; raises Unavailable."""
    damaged = desk.notes.damaged_not_images() if desk.repairs else []
    for study in sorted({one.study for one in damaged}):
        # One that lacks images cannot be read whole.
        with contextlib.suppress(Unavailable):
            desk.archive.refresh(study)
    for one in damaged:
        is_same = listing.is_listed(desk.archive, one)
        kind = _look(desk, one, is_first=False)
        file = str(one.path(desk.config.archive_dir))
        seen = Finding(kind or "changed", one.clinic, one.study_uid, file=file)
        desk.found(replace(seen, repaired=not is_same or not kind))


def _find_orphans(desk: Desk, top: str, listed: set[str]) -> None:
    """Tell of the files of a folder that the index does not list, and are not on their way into it."""
    before_s = desk.began.timestamp() - rules.MIN_AGE_S
    storage = desk.config.archive_dir
    orphans = [
        path
        for path, changed_s in _walk(storage / top)
        if changed_s < before_s and not (path.name in listed and _is_own(storage, path))
    ]
    own = [path for path in orphans if _is_own(storage, path)]
    left_over = {path for path in own if _is_left_over(desk, path)}
    moved = (
        listing.set_aside(desk.archive, [path.name for path in own])
        if desk.repairs and own
        else set()
    )
    for path in orphans:
        kind = "leftover" if path in left_over else "orphan"
        is_moved = path.name in moved and path in own
        desk.found(Finding(kind, file=str(path), repaired=is_moved))


def _is_left_over(desk: Desk, path: Path) -> bool:
    """Say whether a file holds no image, or how one begins that the archive has in another file.

    Orthanc writes a file and then the row that tells of it: cut off in between, nobody was told
    that the image is stored, and who sent it stored it again.
    """
    with contextlib.suppress(OSError), path.open("rb") as file:
        if file.read(len(_GZIP)) in (b"", _GZIP):
            return True
        for one in desk.notes.images(header.media_sop_uid(file)):
            with (
                contextlib.suppress(OSError),
                one.path(desk.config.archive_dir).open("rb") as other,
            ):
                if _begins_alike(file, other):
                    return True
    return False


def _begins_alike(file: BinaryIO, other: BinaryIO) -> bool:
    file.seek(0)
    while chunk := file.read(_CHUNK_BYTES):
        if other.read(len(chunk)) != chunk:
            return False
    return True


def _is_own(storage: Path, path: Path) -> bool:
    """Say whether a file lies where Orthanc puts one of this name."""
    return rules.is_name(path.name) and path == rules.path(storage, path.name)


def _walk(top: Path) -> Iterator[tuple[Path, float]]:
    """Yield every file below a folder of the storage, and when (s) it was changed."""
    waiting = [top]
    while waiting:
        with contextlib.suppress(FileNotFoundError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                    continue
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        yield Path(entry.path), status.st_mtime
