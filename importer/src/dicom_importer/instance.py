"""An instance made ready to be sent: read, coerced, and deflated again where it was deflated."""

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from dicom_importer import coerce, corrections, deflate, header, holes
from dicom_importer.archive import identifier
from dicom_importer.coerce import Body, Step
from dicom_importer.corrections import Correction
from dicom_importer.header import Header
from dicom_importer.reasons import Busy, Rejected
from dicom_importer.records import Identity

INFLATED = 4


def _none(_: str) -> tuple[Correction, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Where working files go, the size of an instance that the archive takes, what corrects a study."""

    spool: Path
    instance_bytes: int
    # Each may fill the spool with as much: who comes when all are taken comes again.
    inflating: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(INFLATED))
    corrections: Callable[[str], tuple[Correction, ...]] = _none


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
    """What is sent: a body over a source, which is the original unless it was deflated anew.

    The header bears the corrected patient.
    """

    opened: Opened
    body: Body
    source: BinaryIO
    original: BinaryIO
    corrections: tuple[Correction, ...] = ()

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
    if holes.unfinished(file):
        raise Rejected("truncated", "it has its full size, and its end was never written")
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
    """Read, coerce and correct a file; raises Failure."""
    with opened(file, limits) as found:
        rules = limits.corrections(found.header.study_uid)
        with _made(found, file, corrections.steps(clinic, time, rules), limits) as ready:
            yield replace(ready, opened=_of_patient(found, rules), corrections=rules)


@contextlib.contextmanager
def corrected(file: BinaryIO, one: Correction, limits: Limits) -> Iterator[Prepared]:
    """Read what the archive holds and correct it once more; raises Failure."""
    with (
        opened(file, limits) as found,
        _made(found, file, [corrections.step(one, one.at)], limits) as ready,
    ):
        yield replace(ready, opened=_of_patient(found, (one,)), corrections=(one,))


def _of_patient(found: Opened, rules: Sequence[Correction]) -> Opened:
    patient = corrections.patient_id(rules)
    if patient is None:
        return found
    return replace(found, header=replace(found.header, patient_id=patient))


@contextlib.contextmanager
def _made(
    found: Opened, file: BinaryIO, steps: Sequence[Step], limits: Limits
) -> Iterator[Prepared]:
    head, plain = found.header, found.plain
    body = coerce.apply(head, plain.fileno(), size(plain), steps)
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
