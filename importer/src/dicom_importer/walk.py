"""Walks a data set's elements without their values, to see that it is whole and in order."""

import contextlib
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from dicom_importer.reasons import Rejected

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
# The deepest that any IOD nests is below ten; readers that recurse die of thousands.
MAX_DEPTH = 64
MAX_PADDING_BYTES = 1 << 16
# What is shorter has no room for more levels: a sequence and its item take 20 bytes of heads.
_DEEP_BYTES = MAX_DEPTH * 10
PIXELS = 0x7FE0
_LONG = frozenset(str(vr).encode() for vr in EXPLICIT_VR_LENGTH_32)


class Span(NamedTuple):
    """Where an element lies: byte offsets of its first byte, its value and what follows it.

    The VR is empty where none stands there.
    """

    tag: int
    vr: bytes
    start: int
    value: int
    end: int
    undefined_length: bool


class _Level(NamedTuple):
    """A sequence or an item of undefined length that is open."""

    sequence: bool
    implicit: bool


class _Head(NamedTuple):
    """An element's header; items have no VR."""

    start: int
    tag: int
    vr: bytes
    length: int


def top_level(
    file: BinaryIO, size_bytes: int, *, implicit: bool, little: bool, group: int | None = None
) -> Iterator[Span]:
    """Yield the top-level elements (of this group only) from the file's position on.

    It takes no memory to speak of; the consumer may move the file's position.

    Raises Rejected for what is cut off or wrong. Tags must ascend (PS3.5 7.1): a second (0008,0080)
    further back would be the clinic that another reader sees.
    """
    order = "<" if little else ">"
    levels: list[_Level] = []
    outermost, value, last_tag = _Head(0, 0, b"", 0), 0, -1
    end = file.tell()
    while levels or not _ends(file, end, size_bytes, group):
        level = levels[-1] if levels else _Level(sequence=False, implicit=implicit)
        head = read_head(file, order, implicit=level.implicit)
        _check_place(head, level, -1 if levels else last_tag, top=not levels)
        if not levels:
            outermost, value, last_tag = head, file.tell(), head.tag
        if head.tag in (ITEM_END, SEQUENCE_END):
            levels.pop()
        elif head.length != UNDEFINED:
            value_at = file.tell()
            skip(file, size_bytes, head)
            if head.length >= _DEEP_BYTES and outermost.tag >> 16 != PIXELS:
                _probe(file, value_at, head, order, levels)
        elif len(levels) >= MAX_DEPTH:
            raise Rejected("too_deep", f"more than {MAX_DEPTH} levels")
        else:
            # An unknown VR of undefined length holds implicit VR (PS3.5 6.2.2, note 2).
            levels.append(_Level(head.tag != ITEM, level.implicit or head.vr == b"UN"))
        if not levels:
            end = file.tell()
            undefined = outermost.length == UNDEFINED
            yield Span(outermost.tag, outermost.vr, outermost.start, value, end, undefined)


def _probe(file: BinaryIO, value_at: int, head: _Head, order: str, levels: list[_Level]) -> None:
    """Raise Rejected where sequences of defined length nest too deep; judge nothing else of them.

    It is but a look ahead: the file's position, behind the value, stays.
    """
    behind = file.tell()
    file.seek(value_at)
    implicit = levels[-1].implicit if head.tag == ITEM else head.vr != b"SQ"
    ends = [(behind, False)] if _holds_items(file, head, order) else []
    with contextlib.suppress(_Garbled):
        while ends:
            if len(levels) + len(ends) > MAX_DEPTH:
                raise Rejected("too_deep", f"more than {MAX_DEPTH} levels")
            end, undefined = ends[-1]
            if file.tell() >= end:
                ends.pop()
                continue
            inner = _fitting_head(file, order, end, implicit=implicit)
            if inner.tag in (ITEM_END, SEQUENCE_END):
                if undefined:
                    ends.pop()
            elif inner.length == UNDEFINED:
                ends.append((end, True))
            elif inner.length >= _DEEP_BYTES and _holds_items(file, inner, order):
                ends.append((file.tell() + inner.length, False))
            else:
                file.seek(inner.length, 1)
    file.seek(behind)


def _holds_items(file: BinaryIO, head: _Head, order: str) -> bool:
    """Say whether a value is an item's or a sequence's, which implicit VR does not tell."""
    if head.tag == ITEM:
        return True
    if head.vr not in (b"SQ", b"UN", b""):
        return False
    start = file.read(4)
    file.seek(-len(start), 1)
    return start == struct.pack(order + "HH", ITEM >> 16, ITEM & 0xFFFF)


class _Garbled(Exception):  # noqa: N818
    """What is looked into makes no sense as a data set."""


def _fitting_head(file: BinaryIO, order: str, end: int, *, implicit: bool) -> _Head:
    try:
        head = read_head(file, order, implicit=implicit)
    except Rejected:
        raise _Garbled from None
    if head.length != UNDEFINED and file.tell() + head.length > end:
        raise _Garbled
    return head


def _check_place(head: _Head, level: _Level, last_tag: int, *, top: bool) -> None:
    if head.tag in (ITEM, ITEM_END, SEQUENCE_END):
        if top or level.sequence == (head.tag == ITEM_END):
            raise Rejected("malformed", f"an item tag has no place at byte {head.start}")
    elif level.sequence:
        raise Rejected("malformed", f"a sequence holds no item at byte {head.start}")
    elif head.tag <= last_tag:
        raise Rejected("malformed", f"the tags do not ascend at byte {head.start}")


def read_head(file: BinaryIO, order: str, *, implicit: bool) -> _Head:
    """Read what precedes a value (PS3.5 7.1.2, 7.1.3)."""
    start = file.tell()
    try:
        head = file.read(8)
        group, element, length = struct.unpack(order + "HHL", head)
        tag, vr = group << 16 | element, head[4:6]
        if implicit or tag >> 16 == ITEM >> 16 or not (vr.isalpha() and vr.isupper()):
            return _Head(start, tag, b"", length)
        if vr in _LONG:
            (length,) = struct.unpack(order + "L", file.read(4))
        else:
            (length,) = struct.unpack(order + "H", head[6:])
    except struct.error:
        raise Rejected("truncated", f"it ends inside the element at byte {start}") from None
    return _Head(start, tag, vr, length)


def skip(file: BinaryIO, size_bytes: int, head: _Head) -> None:
    """Step over an element's value; raises Rejected when it is not all there."""
    missing = file.tell() + head.length - size_bytes
    if missing > 0:
        raise Rejected(
            "truncated", f"{missing} bytes of the element at byte {head.start} are missing"
        )
    file.seek(head.length, 1)


def _ends(file: BinaryIO, position: int, size_bytes: int, group: int | None) -> bool:
    """Say whether what is walked ends here; only zeros after it count as padding."""
    file.seek(position)
    start = file.read(8)
    if group is None:
        padding = size_bytes - position < MAX_PADDING_BYTES and not start.strip(b"\0")
        ends = not start or (padding and not file.read().strip(b"\0"))
    else:
        ends = start[:2] != group.to_bytes(2, "little")
    file.seek(position)
    return ends
