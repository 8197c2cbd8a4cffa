"""Inflates and deflates data sets (PS3.5 A.5) on disk, in chunks, up to a size."""

import contextlib
import tempfile
import zlib
from collections.abc import Iterable, Iterator
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
        try:
            for chunk in inflate(iter(lambda: file.read(CHUNK_BYTES), b"")):
                out.write(chunk)
                if out.tell() > limit_bytes:
                    raise Rejected("too_large", f"more than {limit_bytes} bytes once inflated")
        except zlib.error:
            words = "the data set is not deflated as its header says"
            raise Rejected("malformed", words) from None
        except EOFError:
            raise Rejected("truncated", "the deflated data set has no end") from None
        out.flush()
        yield out


def inflate(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Inflate a stream in chunks; raises zlib.error, and EOFError where it has no end."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for chunk in chunks:
        rest = chunk
        while rest and not inflater.eof:
            yield inflater.decompress(rest, CHUNK_BYTES)
            rest = inflater.unconsumed_tail
        if inflater.eof:
            return
    # A chunk that came out full may have left something behind though all is read.
    while not inflater.eof and (chunk := inflater.decompress(b"", CHUNK_BYTES)):
        yield chunk
    if not inflater.eof:
        raise EOFError


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
