"""Inflates and deflates data sets (PS3.5 A.5) on disk, in chunks, up to a size."""

import contextlib
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dicom_importer.coerce import CHUNK_BYTES, Body
from dicom_importer.reasons import Rejected


@contextlib.contextmanager
def inflated(
    file: BinaryIO, dataset_start: int, spool: Path, limit_bytes: int
) -> Iterator[BinaryIO]:
    """Hold a nameless file: the meta header as it is, and the data set inflated."""
    with tempfile.TemporaryFile(dir=spool) as out:
        file.seek(0)
        out.write(file.read(dataset_start))
        for chunk in _inflate(file):
            out.write(chunk)
            if out.tell() > limit_bytes:
                raise Rejected("too_large", f"more than {limit_bytes} bytes once inflated")
        out.flush()
        yield out


def _inflate(file: BinaryIO) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        while not inflater.eof and (chunk := file.read(CHUNK_BYTES)):
            while chunk and not inflater.eof:
                yield inflater.decompress(chunk, CHUNK_BYTES)
                chunk = inflater.unconsumed_tail
    except zlib.error:
        raise Rejected("malformed", "the data set is not deflated as its header says") from None
    if not inflater.eof:
        raise Rejected("truncated", "the deflated data set has no end")


@contextlib.contextmanager
def deflated(body: Body, plain: BinaryIO, dataset_start: int, spool: Path) -> Iterator[BinaryIO]:
    """Hold a nameless file: the meta header, and the spliced data set deflated."""
    with tempfile.TemporaryFile(dir=spool) as out:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        lead = tuple(splice for splice in body.splices if splice.offset < dataset_start)
        rest = Body(body.size_bytes, body.splices[len(lead) :])
        for chunk in Body(dataset_start, lead).chunks(plain.fileno()):
            out.write(chunk)
        size_bytes = 0
        for chunk in rest.chunks(plain.fileno(), dataset_start):
            size_bytes += out.write(deflater.compress(chunk))
        size_bytes += out.write(deflater.flush())
        # PS3.5 A.5: the deflated stream is padded to an even length.
        out.write(b"\0" * (size_bytes % 2))
        out.flush()
        yield out
