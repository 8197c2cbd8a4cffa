"""Reads a zip file (APPNOTE 6.3) in a stream: what it lists, checked, and the content of each entry.

Python's zipfile keeps a whole directory in memory, a few hundred bytes for each of what may be
millions of entries, and believes what it says.
"""

import re
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from dicom_importer.coerce import CHUNK_BYTES
from dicom_importer.deflate import inflate
from dicom_importer.reasons import NotDicom

_END, _END_MARK = struct.Struct("<4s4H2LH"), b"PK\5\6"
_LOCATOR, _LOCATOR_MARK = struct.Struct("<4sLQL"), b"PK\6\7"
_END64, _END64_MARK = struct.Struct("<4sQ2H2L4Q"), b"PK\6\6"
_CENTRAL, _CENTRAL_MARK = struct.Struct("<4s6H3L5H2L"), b"PK\1\2"
_LOCAL, _LOCAL_MARK = struct.Struct("<4s5H3L2H"), b"PK\3\4"
STARTS = (_LOCAL_MARK, _END_MARK)
_MAX_COMMENT_BYTES = 0xFFFF
_IN_ZIP64, _MANY = 0xFFFFFFFF, 0xFFFF
_ENCRYPTED, _UTF8 = 1 | 1 << 6 | 1 << 13, 1 << 11
_STORED, _DEFLATED = 0, 8
_UNIX = 3
_MAX_DEPTH = 64
_MAX_NAME_BYTES = 255
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the central directory lies (byte offsets), and how many entries it says to have."""

    start: int
    end: int
    entries: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: its path, empty for a folder, and its sizes in bytes."""

    path: str
    raw_name: bytes
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int
    offset: int


def broken(detail: str) -> NotDicom:
    """Return the failure of a zip that does not hold together."""
    return NotDicom("packed_broken", detail)


def unsafe(detail: str) -> NotDicom:
    """Return the failure of a zip that no honest program makes."""
    return NotDicom("packed_unsafe", detail)


def directory(file: BinaryIO, size_bytes: int) -> Directory:
    """Find the central directory; raises NotDicom."""
    tail_at = max(0, size_bytes - _END.size - _MAX_COMMENT_BYTES)
    file.seek(tail_at)
    tail = file.read(size_bytes - tail_at)
    at = tail.rfind(_END_MARK)
    if at < 0 or len(tail) - at < _END.size:
        raise broken("it has no end")
    disk, first, here, entries, length, start, comment = _END.unpack_from(tail, at)[1:]
    if at + _END.size + comment != len(tail):
        raise broken("something follows its end")
    end = tail_at + at
    if _IN_ZIP64 in (length, start) or entries == _MANY:
        disk, first, here, entries, length, start, end = _zip64(file, end)
    if disk or first or here != entries:
        raise NotDicom("packed", "it is one part of several")
    if start + length != end:
        raise broken("its directory is not where it says")
    return Directory(start, end, entries)


def _zip64(file: BinaryIO, end: int) -> tuple[int, int, int, int, int, int, int]:
    _, at, _ = _read(file, end - _LOCATOR.size, _LOCATOR_MARK, _LOCATOR)
    disk, first, here, entries, length, start = _read(file, at, _END64_MARK, _END64)[3:]
    return disk, first, here, entries, length, start, at


def _read(file: BinaryIO, at: int, mark: bytes, layout: struct.Struct) -> list[int]:
    """Read one of its records, without the mark that it must begin with."""
    file.seek(max(0, at))
    record = file.read(layout.size)
    if len(record) < layout.size or not record.startswith(mark):
        raise broken("it is cut off, or a part of it is not where it says")
    return list(layout.unpack(record)[1:])


def entries(file: BinaryIO, where: Directory) -> Iterator[Entry]:
    """Yield what the directory lists; the consumer may move the file's position.

    Raises NotDicom at the first entry that is not to be unpacked.
    """
    at = where.start
    number = 0
    while at < where.end:
        number += 1
        record = _read(file, at, _CENTRAL_MARK, _CENTRAL)
        made, _, flags, method, _, _, crc, packed, size = record[:9]
        name_bytes, extra_bytes, comment_bytes, disk, _, attributes, offset = record[9:]
        raw = file.read(name_bytes)
        size, packed, offset = _large(file.read(extra_bytes), (size, packed, offset))
        at += _CENTRAL.size + name_bytes + extra_bytes + comment_bytes
        if flags & _ENCRYPTED:
            raise NotDicom("packed_encrypted")
        if method not in (_STORED, _DEFLATED) or disk:
            raise NotDicom("packed", f"its entry {number} is packed by method {method}")
        mode = attributes >> 16 if made >> 8 == _UNIX else 0
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise unsafe(f"its entry {number} is a link or a device")
        path = _path(raw, flags, number)
        yield Entry(path, raw, method, crc, packed, size, offset)
    if at != where.end or number != where.entries:
        raise broken("its directory does not end where it says")


def _large(extra: bytes, values: tuple[int, int, int]) -> list[int]:
    """Fill in what stands in the ZIP64 field (APPNOTE 4.5.3), in its order."""
    result = list(values)
    while len(extra) > 4:  # noqa: PLR2004 - an identifier and a length
        kind, length = struct.unpack_from("<2H", extra)
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind != 1:
            continue
        for index, value in enumerate(result):
            if value == _IN_ZIP64:
                if len(field) < 8:  # noqa: PLR2004 - a number of 64 bits
                    raise broken("a size is missing")
                result[index] = int.from_bytes(field[:8], "little")
                field = field[8:]
    return result


def _path(raw: bytes, flags: int, number: int) -> str:
    """Return an entry's path, empty for a folder; raises NotDicom for one that leads elsewhere."""
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        if flags & _UTF8:
            raise unsafe(f"the name of its entry {number} is not the UTF-8 that it says") from None
        name = raw.decode("cp437")  # what a name is unless it says otherwise (APPNOTE D.1)
    name = name.replace("\\", "/")  # as some programs for Windows write it
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or _DRIVE.match(name) or ".." in parts or "\0" in name:
        raise unsafe(f"the path of its entry {number} leads out of it")
    if len(parts) > _MAX_DEPTH or any(len(part.encode()) > _MAX_NAME_BYTES for part in parts):
        raise unsafe(f"the path of its entry {number} is too deep or too long")
    if not parts and not name.endswith("/"):
        raise broken(f"its entry {number} has no name")
    return "" if name.endswith("/") else "/".join(parts)


def content(file: BinaryIO, entry: Entry, where: Directory) -> Iterator[bytes]:
    """Yield an entry's content in chunks; raises NotDicom unless it is what the directory says."""
    record = _read(file, entry.offset, _LOCAL_MARK, _LOCAL)
    method, name_bytes, extra_bytes = record[2], record[-2], record[-1]
    start = entry.offset + _LOCAL.size + name_bytes + extra_bytes
    agrees = (method, file.read(name_bytes)) == (entry.method, entry.raw_name)
    if not agrees or start + entry.packed_bytes > where.start:
        raise broken("an entry is not what its directory says")
    file.seek(start)
    crc = size_bytes = 0
    packed = _chunks(file, entry.packed_bytes)
    try:
        for chunk in inflate(packed) if entry.method == _DEFLATED else packed:
            crc = zlib.crc32(chunk, crc)
            size_bytes += len(chunk)
            if size_bytes > entry.size_bytes:
                break
            yield chunk
    except (zlib.error, EOFError):
        raise broken("an entry cannot be unpacked") from None
    if (size_bytes, crc) != (entry.size_bytes, entry.crc):
        raise broken("the content of an entry has changed")


def _chunks(file: BinaryIO, left_bytes: int) -> Iterator[bytes]:
    while left_bytes:
        chunk = file.read(min(CHUNK_BYTES, left_bytes))
        if not chunk:
            raise broken("it is cut off")
        left_bytes -= len(chunk)
        yield chunk
