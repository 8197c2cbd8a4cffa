"""One upload on disk: a part named by what is acknowledged of it, until it is whole.

All of a drop lies hidden in the clinic's inbox, in a folder of the account and of the folder that
was dropped: parts/<id>.<offset>, files/ with what is whole under its own path. The offset stands in
the name, not in the file's length: after a power cut the length may count bytes that never came to
disk. What a name says is there, for it is given after fsync.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import BinaryIO

from dicom_importer import files, rename
from dicom_importer.files import Place

# How much may have to be sent again after a kill.
SYNC_BYTES = 1 << 24
_NOTE = ".json"
_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class TooMuchError(ValueError):
    """More came than was announced."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client will send: its path below the drop, its size, and when it was changed (ms since 1970)."""

    path: str
    size_bytes: int
    modified_ms: int

    @property
    def id(self) -> str:
        """The same for the same file, chosen again tomorrow."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Part:
    """An upload that is under way, and how much of it is on disk."""

    wanted: Wanted
    offset: int


def found(drop: Place, name: str) -> Part | None:
    """Return an upload by its id, None where none is under way; raises OSError."""
    offset = _offsets(drop).get(name)
    if offset is None:
        return None
    try:
        with files.open_file(_in(drop, f"parts/{name}{_NOTE}")) as note:
            return Part(Wanted(**json.load(note)), offset)
    except FileNotFoundError:
        return None


def all_there(drop: Place) -> list[Part]:
    """Return the uploads that are whole and were not finished: the importer was killed in between."""
    found_ = (found(drop, name) for name in _offsets(drop))
    return [part for part in found_ if part and part.offset == part.wanted.size_bytes]


def count(drop: Place) -> int:
    """Return how many uploads of a drop are under way."""
    return len(_offsets(drop))


def begin(drop: Place, wanted: Wanted) -> Part:
    """Begin with an upload, of which nothing is there; that it has begun is on disk when this returns."""
    note = json.dumps(asdict(wanted)).encode()
    files.write(_in(drop, f"parts/{wanted.id}{_NOTE}"), note)
    files.create(_in(drop, f"parts/{wanted.id}.0"), [], lambda: None)
    with files.folder(drop.root, f"{drop.path}/parts") as folder:
        os.fsync(folder)
    return Part(wanted, 0)


def append(drop: Place, part: Part, chunks: Iterable[bytes]) -> Part:
    """Write what comes; also of what breaks off, all that came is acknowledged on disk.

    Raises TooMuchError for more than was announced, OSError, and what the chunks do.
    """
    place = _in(drop, f"parts/{part.wanted.id}.{part.offset}")
    with files.parent(place) as folder:
        descriptor = os.open(place.name, _WRITE, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as out:
        # What lies behind it was written and never acknowledged.
        out.truncate(part.offset)
        out.seek(part.offset)
        end = part.offset
        try:
            for chunk in chunks:
                if end + len(chunk) > part.wanted.size_bytes:
                    raise TooMuchError
                out.write(chunk)
                end += len(chunk)
                if end - part.offset >= SYNC_BYTES:
                    part = _acknowledged(drop, part, out, end)
        finally:
            if end > part.offset:
                part = _acknowledged(drop, part, out, end)
    return part


def _acknowledged(drop: Place, part: Part, out: BinaryIO, end: int) -> Part:
    out.flush()
    os.fsync(out.fileno())
    _rename(drop, f"{part.wanted.id}.{part.offset}", f"{part.wanted.id}.{end}")
    return Part(part.wanted, end)


def finish(drop: Place, part: Part) -> None:
    """Give a whole file its own path among those that wait for the rest of the drop."""
    name = part.wanted.id
    place = _in(drop, f"parts/{name}.{part.offset}")
    time_ns = part.wanted.modified_ms * 1_000_000
    with files.parent(place) as folder:
        # By this it is known again when the same folder is chosen once more.
        os.utime(place.name, ns=(time_ns, time_ns), dir_fd=folder, follow_symlinks=False)
    rename.to_free_name(place, _in(drop, f"files/{part.wanted.path}"))
    _forget(drop, [f"{name}{_NOTE}"])


def is_whole(drop: Place, wanted: Wanted) -> bool:
    """Say whether this file came already and waits for the rest of the drop."""
    lies = files.look(_in(drop, f"files/{wanted.path}"))
    return lies is not None and lies.key == (wanted.size_bytes, wanted.modified_ms * 1_000_000)


def remove(drop: Place, name: str) -> None:
    """Remove an upload that is not whole."""
    ends = [one for one in _names(drop) if one.partition(".")[0] == name]
    # The note goes last: without it an interrupted removal would leave a part that nobody finds.
    _forget(drop, sorted(ends, key=lambda one: one.endswith(_NOTE)))


def stale(drop: Place, before_s: float) -> list[str]:
    """Return the ids of uploads of which nothing came since a time (s since 1970)."""
    with contextlib.suppress(FileNotFoundError):
        with files.folder(drop.root, f"{drop.path}/parts") as folder:
            times: dict[str, float] = {}
            for one in os.scandir(folder):
                name = one.name.partition(".")[0]
                changed_s = one.stat(follow_symlinks=False).st_mtime
                times[name] = max(times.get(name, 0.0), changed_s)
        return [name for name, changed_s in times.items() if changed_s < before_s]
    return []


def _names(drop: Place) -> list[str]:
    with (
        contextlib.suppress(FileNotFoundError),
        files.folder(drop.root, f"{drop.path}/parts") as folder,
    ):
        return [one.name for one in os.scandir(folder)]
    return []


def _offsets(drop: Place) -> dict[str, int]:
    split = (one.split(".") for one in _names(drop))
    return {one[0]: int(one[1]) for one in split if len(one) == 2 and one[1].isdecimal()}  # noqa: PLR2004


def _rename(drop: Place, old: str, new: str) -> None:
    with files.folder(drop.root, f"{drop.path}/parts") as folder:
        os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)


def _forget(drop: Place, names: Iterable[str]) -> None:
    with files.folder(drop.root, f"{drop.path}/parts") as folder:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)


def _in(drop: Place, path: str) -> Place:
    return Place(drop.root, f"{drop.path}/{path}")
