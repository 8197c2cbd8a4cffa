"""Reads what counts of a DICOM file and notes where it lies.

pydicom knows the encodings; the walking is ours, since its reader keeps sequences in memory, at
35 times the size of a structured report.
"""

import contextlib
import re
import struct
from dataclasses import dataclass, replace
from typing import BinaryIO

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import TEXT_VR_DELIMS

from dicom_importer.reasons import NotDicom, Rejected
from dicom_importer.walk import Span, top_level

GROUP_8, CHARSET, SOP_CLASS, SOP = 0x00080000, 0x00080005, 0x00080016, 0x00080018
INSTITUTION, PATIENT, STUDY, SERIES = 0x00080080, 0x00100020, 0x0020000D, 0x0020000E
GROUP_10, NAME, BIRTH_DATE, SEX = 0x00100000, 0x00100010, 0x00100030, 0x00100040
GROUP_400, ORIGINAL = 0x04000000, 0x04000561
_WANTED = (CHARSET, SOP_CLASS, SOP, INSTITUTION, PATIENT, STUDY, SERIES)
# What coercion and corrections set, in the order of their tags.
_SET = (INSTITUTION, NAME, PATIENT, BIRTH_DATE, SEX, ORIGINAL)
_LOCATED = (GROUP_8, GROUP_10, GROUP_400, *_SET)
MAX_VALUE_BYTES = 1 << 15
MEDIA_CLASS, MEDIA_DIRECTORY, TRANSFER_SYNTAX = 0x00020002, "1.2.840.10008.1.3.10", 0x00020010
MEDIA_SOP = 0x00020003
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)
_NAMES = {
    SOP_CLASS: "SOPClassUID (0008,0016)",
    SOP: "SOPInstanceUID (0008,0018)",
    STUDY: "StudyInstanceUID (0020,000D)",
    SERIES: "SeriesInstanceUID (0020,000E)",
}


@dataclass(frozen=True, slots=True)
class Header:
    """What the importer knows of an instance; offsets count from the file's first byte."""

    transfer_syntax: str
    implicit: bool
    little: bool
    missing_lead: bytes
    preamble: bytes
    dataset_start: int
    institution: bytes
    spans: dict[int, Span]
    places: dict[int, int]
    charset: str
    patient_id: str
    sop_class_uid: str
    sop_uid: str
    study_uid: str
    series_uid: str


@dataclass(frozen=True, slots=True)
class Meta:
    """The file meta information: where the data set starts and how it is encoded (PS3.10 7)."""

    transfer_syntax: str
    dataset_start: int
    missing_lead: bytes
    preamble: bytes = b""


def read_meta(file: BinaryIO) -> Meta:
    """Read preamble and meta header; raises NotDicom."""
    head = file.read(132)
    if not head:
        raise NotDicom("empty")
    start, lead = (132, b"") if head[128:] == b"DICM" else (0, bytes(128) + b"DICM")
    if lead and not _plausible(head):
        raise NotDicom("not_dicom")
    file.seek(start)
    transfer_syntax, end = "", start
    size_bytes = file.seek(0, 2)
    file.seek(start)
    for span in top_level(file, size_bytes, implicit=False, little=True, group=2):
        end = span.end
        if span.tag == MEDIA_CLASS and _text(_value(file, span)) == MEDIA_DIRECTORY:
            raise Rejected("dicomdir")
        if span.tag == TRANSFER_SYNTAX:
            transfer_syntax = _text(_value(file, span))
    file.seek(end)
    if end == start == 0:
        lead = b""  # No meta header at all: one is written when the identifiers are known.
    preamble = head[:start][:-4].rstrip(b"\0")
    return Meta(transfer_syntax or _guess(file), end, lead, preamble)


def media_sop_uid(file: BinaryIO) -> str:
    """Return the SOP Instance UID of a meta header (0002,0003), empty where there is none that is whole."""
    size_bytes = file.seek(0, 2)
    file.seek(128)
    if file.read(4) == b"DICM":
        with contextlib.suppress(Rejected):
            for span in top_level(file, size_bytes, implicit=False, little=True, group=2):
                if span.tag == MEDIA_SOP:
                    return _text(_value(file, span))
    return ""


def _plausible(head: bytes) -> bool:
    """Say whether a file without preamble may start with an element of group 2 or 8."""
    if len(head) < 16:
        return False
    little, big = struct.unpack("<H", head[:2])[0], struct.unpack(">H", head[:2])[0]
    explicit = _is_vr(head[4:6])
    short = struct.unpack("<L", head[4:8])[0] < 256
    return (little in (2, 8) and (explicit or short)) or (big == 8 and explicit)


def _guess(file: BinaryIO) -> str:
    """Tell the transfer syntax from the first element, where no meta header names it."""
    head = file.read(6)
    file.seek(-len(head), 1)
    if not _is_vr(head[4:6]):
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRBigEndian if head[:1] == b"\0" else ExplicitVRLittleEndian)


def read(file: BinaryIO, size_bytes: int, meta: Meta) -> Header:
    """Walk the data set and read what counts of it; raises NotDicom and Rejected."""
    little = meta.transfer_syntax != ExplicitVRBigEndian
    file.seek(meta.dataset_start + 4)
    # As pydicom and DCMTK do: what the first element looks like wins over what is claimed.
    implicit = not _is_vr(file.read(2))
    file.seek(meta.dataset_start)
    values: dict[int, bytes] = {}
    spans: dict[int, Span] = {}
    places: dict[int, int] = {}
    ahead = [*_SET]
    end = meta.dataset_start
    for span in top_level(file, size_bytes, implicit=implicit, little=little):
        if span.tag >> 16 == 4:  # directory records, in a DICOMDIR without meta header
            raise Rejected("dicomdir")
        while ahead and span.tag > ahead[0]:
            places[ahead.pop(0)] = span.start
        if span.tag in _LOCATED:
            spans[span.tag] = span
        end = span.end
        if span.tag in _WANTED:
            if not implicit and not span.vr:
                # What we put in would be read as another reader goes on from here.
                raise Rejected("malformed", f"the encoding changes before byte {span.start}")
            values[span.tag] = _value(file, span)
    places |= dict.fromkeys(ahead, end)
    header = _header(meta, _Found(values, spans, places), implicit=implicit, little=little)
    if meta.dataset_start == 0:
        header = replace(header, missing_lead=_meta_header(header))
    return header


def _is_vr(text: bytes) -> bool:
    return text.isalpha() and text.isupper()


def _value(file: BinaryIO, span: Span) -> bytes:
    if span.undefined_length or span.end - span.value > MAX_VALUE_BYTES:
        name = f"({span.tag >> 16:04X},{span.tag & 0xFFFF:04X})"
        raise Rejected("malformed", f"{name} is too long for a text")
    file.seek(span.value)
    return file.read(span.end - span.value)


@dataclass(frozen=True, slots=True)
class _Found:
    values: dict[int, bytes]
    spans: dict[int, Span]
    places: dict[int, int]


def _header(meta: Meta, found: _Found, *, implicit: bool, little: bool) -> Header:
    values = found.values
    uids = {tag: _text(values.get(tag)) for tag in _NAMES}
    if meta.dataset_start == 0 and not any(uids.values()):
        raise NotDicom("not_dicom", "it holds no identifier")
    for tag, uid in uids.items():
        if not uid:
            raise Rejected("missing_attribute", f"{_NAMES[tag]} is missing")
        if not _UID.fullmatch(uid):
            raise Rejected("invalid_uid", f"{_NAMES[tag]} is {uid[:80]!r}")
    charset = _text(values.get(CHARSET))
    patient = _decode(values.get(PATIENT, b""), charset)
    return Header(
        meta.transfer_syntax,
        implicit,
        little,
        meta.missing_lead,
        meta.preamble,
        meta.dataset_start,
        values.get(INSTITUTION, b""),
        found.spans,
        found.places,
        charset,
        patient.strip("\0 "),
        *(uids[tag] for tag in (SOP_CLASS, SOP, STUDY, SERIES)),
    )


def _decode(value: bytes, charset: str) -> str:
    """Decode text by Specific Character Set (PS3.3 C.12.1.1.2), one that is unknown as Latin-1."""
    try:
        return decode_bytes(value, convert_encodings(charset.split("\\")), TEXT_VR_DELIMS)
    except (LookupError, ValueError):
        return value.decode("latin-1")


def _text(value: bytes | None) -> str:
    return (value or b"").decode("latin-1").strip("\0 ")


def _meta_header(header: Header) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(header.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(header.sop_uid)
    meta.TransferSyntaxUID = UID(header.transfer_syntax)
    buffer = DicomBytesIO()
    write_file_meta_info(buffer, meta)
    return bytes(128) + b"DICM" + buffer.getvalue()


def is_image(file: BinaryIO) -> bool:
    """Say whether a file is DICOM, also a broken one, and no index of others."""
    try:
        meta = read_meta(file)
        if meta.missing_lead or meta.dataset_start == 0:
            read(file, file.seek(0, 2), meta)
    except NotDicom:
        return False
    except Rejected as rejection:
        return rejection.code != "dicomdir"
    return True


def is_deflated(meta: Meta) -> bool:
    """Say whether the data set is one deflated stream (PS3.5 A.5)."""
    return meta.transfer_syntax == DeflatedExplicitVRLittleEndian
