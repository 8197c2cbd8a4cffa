"""Says whether two instances are equal but for the clinic and the items that we ourselves added."""

import hashlib
import io
import os
from typing import BinaryIO

from pydicom.filereader import read_sequence

from dicom_importer.coerce import MODIFYING_SYSTEM, Body, Splice
from dicom_importer.header import GROUP_8, GROUP_10, GROUP_400, INSTITUTION, ORIGINAL, Header
from dicom_importer.reasons import Rejected
from dicom_importer.walk import UNDEFINED

MAX_ITEMS_BYTES = 1 << 20


def same(
    ours: BinaryIO,
    our_header: Header,
    theirs: BinaryIO,
    their_header: Header,
    corrected: frozenset[int] = frozenset(),
) -> bool:
    """Compare two files' data sets, but for what was corrected; both are read in chunks."""
    return (
        our_header.transfer_syntax == their_header.transfer_syntax
        and _digest(ours, our_header, corrected) == _digest(theirs, their_header, corrected)
        and _foreign_items(ours, our_header) == _foreign_items(theirs, their_header)
    )


def _digest(file: BinaryIO, header: Header, corrected: frozenset[int]) -> bytes:
    """Digest the data set without what coercion and corrections touch."""
    lengths = {GROUP_10} if corrected else frozenset()
    spans = sorted(
        (header.spans[tag].start, header.spans[tag].end)
        for tag in {GROUP_8, INSTITUTION, GROUP_400, ORIGINAL, *corrected, *lengths}
        if tag in header.spans
    )
    cuts = tuple(Splice(start, end - start, b"") for start, end in spans)
    digest = hashlib.sha256()
    size_bytes = os.fstat(file.fileno()).st_size
    for chunk in Body(size_bytes, cuts).chunks(file.fileno(), header.dataset_start):
        digest.update(chunk)
    return digest.digest()


def _foreign_items(file: BinaryIO, header: Header) -> list[str]:
    """Return the items of Original Attributes Sequence that others made, as JSON."""
    span = header.spans.get(ORIGINAL)
    if span is None:
        return []
    if span.end - span.value > MAX_ITEMS_BYTES:
        raise Rejected("malformed", "(0400,0561) is longer than any history of changes")
    value = io.BytesIO(os.pread(file.fileno(), span.end - span.value, span.value))
    length = UNDEFINED if span.undefined_length else span.end - span.value
    try:
        items = read_sequence(value, header.implicit, header.little, length, "latin-1")
        return [
            item.to_json(suppress_invalid_tags=True)
            for item in items
            if item.get("ModifyingSystem") != MODIFYING_SYSTEM
        ]
    except RecursionError:
        raise Rejected("too_deep") from None
    except (EOFError, LookupError, NotImplementedError, OSError, TypeError, ValueError) as error:
        # pydicom has no error of its own for content that it cannot make sense of.
        raise Rejected("malformed", f"(0400,0561): {type(error).__name__}") from None
