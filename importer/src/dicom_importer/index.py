"""Reads what the index of a medium (DICOMDIR, PS3.3 F) lists, without keeping it in memory."""

from collections.abc import Iterator
from typing import BinaryIO

from dicom_importer import walk
from dicom_importer.reasons import Rejected

_FILE_ID, _RECORDS = 0x00041500, 0x00041220
_MAX_ID_BYTES = 1024


def listed(file: BinaryIO) -> Iterator[str]:
    """Yield each Referenced File ID as a path beside the index; it ends where the index breaks."""
    size_bytes = file.seek(0, 2)
    file.seek(128)
    start = 132 if file.read(4) == b"DICM" else 0
    file.seek(start)
    try:
        for span in walk.top_level(file, size_bytes, implicit=False, little=True, group=2):
            start = span.end
        yield from _file_ids(file, start, size_bytes)
    except Rejected:
        return


def _file_ids(file: BinaryIO, start: int, size_bytes: int) -> Iterator[str]:
    """Step through the records and over everything else; a record's items are flat enough."""
    file.seek(start)
    order = ">" if file.read(2) == b"\0\4" else "<"
    file.seek(start + 4)
    vr = file.read(2)
    implicit = not (vr.isalpha() and vr.isupper())
    file.seek(start)
    while file.tell() < size_bytes:
        head = walk.read_head(file, order, implicit=implicit)
        inside = head.tag in (_RECORDS, walk.ITEM, walk.ITEM_END, walk.SEQUENCE_END)
        if inside or head.length == walk.UNDEFINED:
            continue
        if head.tag == _FILE_ID and head.length <= _MAX_ID_BYTES:
            parts = file.read(head.length).decode("latin-1").split("\\")
            yield "/".join(part.strip("\0 ") for part in parts)
        else:
            walk.skip(file, size_bytes, head)
