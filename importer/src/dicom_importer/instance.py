"""An instance made ready to be sent: read, coerced, and deflated again where it was deflated."""

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from dicom_importer import coerce, deflate, header
from dicom_importer.archive import identifier
from dicom_importer.coerce import Body
from dicom_importer.header import Header
from dicom_importer.reasons import Busy, Rejected
from dicom_importer.records import Identity

INFLATED = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """Where working files go, and the size of an instance that the archive takes."""

    spool: Path
    instance_bytes: int
    # Each may fill the spool with as much: who comes when all are taken comes again.
    inflating: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(INFLATED))


@dataclass(frozen=True, slots=True)
class Opened:
    """A file that was read: its header, and its bytes with the data set inflated."""

    header: Header
    plain: BinaryIO
    deflated: bool
    identity: Identity = field(init=False)

    def __post_init__(self) -> None:
        """Tell what is journalled of it."""
        head = self.header
        patient = hashlib.sha256(head.patient_id.encode()).hexdigest()[:32]
        made = Identity(patient, head.study_uid, head.series_uid, head.sop_uid)
        object.__setattr__(self, "identity", made)

    @property
    def archive_id(self) -> str:
        """What Orthanc calls this instance, if it decodes PatientID as we do."""
        head = self.header
        return identifier(head.patient_id, head.study_uid, head.series_uid, head.sop_uid)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is sent: a body over a source, which is the original unless it was deflated anew."""

    opened: Opened
    body: Body
    source: BinaryIO
    original: BinaryIO

    @property
    def md5(self) -> str:
        """The MD5 that the archive would give it."""
        return self.body.md5(self.source.fileno())


@contextlib.contextmanager
def opened(file: BinaryIO, limits: Limits) -> Iterator[Opened]:
    """Read a file; raises Failure, and Busy while too many are inflated."""
    meta = header.read_meta(file)
    if size(file) > limits.instance_bytes:
        raise Rejected("too_large", f"{size(file)} bytes; {limits.instance_bytes} are taken")
    if not header.is_deflated(meta):
        yield Opened(header.read(file, size(file), meta), file, deflated=False)
        return
    if not limits.inflating.acquire(blocking=False):
        raise Busy
    try:
        with deflate.inflated(
            file, meta.dataset_start, limits.spool, limits.instance_bytes
        ) as plain:
            yield Opened(header.read(plain, size(plain), meta), plain, deflated=True)
    finally:
        limits.inflating.release()


@contextlib.contextmanager
def prepared(file: BinaryIO, clinic: str, time: str, limits: Limits) -> Iterator[Prepared]:
    """Read and coerce a file; raises Failure."""
    with opened(file, limits) as found:
        head, plain = found.header, found.plain
        body = coerce.coerce(head, plain.fileno(), size(plain), clinic, time)
        if not found.deflated:
            yield Prepared(found, body, file, file)
        elif not body.splices:
            yield Prepared(found, Body(size(file), ()), file, file)
        else:
            with deflate.deflated(body, plain, head.dataset_start, limits.spool) as out:
                yield Prepared(found, Body(size(out), ()), out, file)


def size(file: BinaryIO) -> int:
    """Return an open file's size in bytes."""
    return os.fstat(file.fileno()).st_size
