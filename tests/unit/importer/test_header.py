"""What is DICOM, what is broken, and where things lie."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from dicom_importer import header
from dicom_importer.reasons import Failure, Rejected
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from unit.importer.building import SYNTAXES, dataset, encode, instance, parse, shipped

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def read(content: bytes) -> header.Header:
    file = io.BytesIO(content)
    return header.read(file, len(content), header.read_meta(file))


def reason(content: bytes) -> str:
    with pytest.raises(Failure) as failure:
        read(content)
    return failure.value.code


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_identifiers_are_read_in_every_encoding(syntax: str) -> None:
    made = dataset(PatientID="P7")
    found = read(encode(made, syntax))
    assert (found.study_uid, found.series_uid, found.sop_uid, found.patient_id) == (
        made.StudyInstanceUID,
        made.SeriesInstanceUID,
        made.SOPInstanceUID,
        "P7",
    )
    assert found.institution == b"St. Elsewhere "


def test_a_patient_id_is_decoded_by_its_character_set() -> None:
    found = read(instance(SpecificCharacterSet="ISO_IR 192", PatientID="Ä7"))
    assert found.patient_id == "Ä7"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty"),
        (b"%PDF-1.7 and more of it, so that it is longer than a preamble" * 4, "not_dicom"),
        (b"\0", "not_dicom"),
        (b"\x08\x00\x05\x00CS", "not_dicom"),
    ],
)
def test_what_is_not_dicom_is_said_to_be_that(content: bytes, code: str) -> None:
    assert reason(content) == code


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
)
def test_a_missing_identifier_is_named(keyword: str) -> None:
    made = dataset()
    content = encode(made).replace(_element(made, keyword), b"")
    with pytest.raises(Rejected, match=keyword) as failure:
        read(content)
    assert failure.value.code == "missing_attribute"


def _element(made: Dataset, keyword: str) -> bytes:
    element = made[keyword]
    value = str(element.value).encode()
    value += b"\0" * (len(value) % 2)
    return (
        struct.pack("<HH", element.tag.group, element.tag.elem)
        + b"UI"
        + struct.pack("<H", len(value))
        + value
    )


@pytest.mark.parametrize("uid", ["1.2.x", "../1.2", "1.2\\1.3", "1." * 40])
def test_an_identifier_that_is_no_uid_is_refused(uid: str) -> None:
    made = dataset(SeriesInstanceUID="1.2.3.4.5")
    old = _element(made, "SeriesInstanceUID")
    value = uid.encode() + b"\0" * (len(uid) % 2)
    content = encode(made).replace(old, old[:6] + struct.pack("<H", len(value)) + value)
    assert reason(content) == "invalid_uid"


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-implicit", "DICOMDIR-bigEnd"])
def test_a_dicomdir_is_told_apart(name: str) -> None:
    assert reason(shipped(f"dicomdirtests/{name}").read_bytes()) == "dicomdir"


@pytest.mark.parametrize("name", ["rtplan_truncated.dcm", "MR_truncated.dcm"])
def test_a_file_that_was_cut_off_is_refused(name: str) -> None:
    assert reason(shipped(name).read_bytes()) == "truncated"


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_cut_at_any_byte_of_the_last_element_is_noticed(syntax: str) -> None:
    content = instance(syntax)
    codes = {reason(content[:end]) for end in range(len(content) - 16 - 7, len(content))}
    assert codes == {"truncated"}


def test_encapsulated_pixels_without_an_end_are_cut_off() -> None:
    content = shipped("JPEG2000.dcm").read_bytes()
    assert read(content).transfer_syntax.startswith("1.2.840.10008.1.2.4.9")
    assert reason(content[:-8]) == "truncated"


def test_a_second_institution_behind_the_first_is_refused() -> None:
    made = dataset()
    content = encode(made) + encode_element(0x0008, 0x0080, b"LO", b"clinic-b")
    assert reason(content) == "malformed"


def test_a_second_institution_right_beside_the_first_is_refused() -> None:
    first = encode_element(0x0008, 0x0080, b"LO", b"St. Elsewhere ")
    content = instance()
    assert first in content
    doubled = content.replace(first, encode_element(0x0008, 0x0080, b"LO", b"clinic-b") + first)
    assert reason(doubled) == "malformed"


def test_an_encoding_that_changes_within_the_data_set_is_refused() -> None:
    content = instance(ImplicitVRLittleEndian)
    start = content.index(b"\x08\x00\x16\x00")
    first = encode_element(0x0008, 0x0005, b"CS", b"ISO_IR 100")
    assert reason(content[:start] + first + content[start:]) == "malformed"


def encode_element(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


def test_trailing_zeros_are_padding_and_nothing_hides_behind_them() -> None:
    content = instance()
    read(content + bytes(512))
    assert (
        reason(content + bytes(8) + encode_element(0x0008, 0x0080, b"LO", b"clinic-b"))
        == "malformed"
    )


@pytest.mark.parametrize("group", [0x0040, 0x5200])
def test_deep_nesting_is_refused_without_harm(group: int) -> None:
    nested = b""
    opening = struct.pack("<HH2sHL", group, 0x9230, b"SQ", 0, 0xFFFFFFFF)
    opening += struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    closing = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    nested = opening * 10_000 + closing * 10_000
    made = dataset(PixelData=None)
    assert reason(encode(made) + nested) == "too_deep"


def test_a_large_report_takes_no_memory() -> None:
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    item += encode_element(0x0040, 0xA040, b"CS", b"TEXT") + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    sequence = struct.pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + item * 5_000
    content = encode(dataset(PixelData=None)) + sequence + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    tracemalloc.start()
    try:
        read(content)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < len(content) + (1 << 17)


def test_mutated_files_only_ever_fail_with_a_reason() -> None:
    chance = random.Random(7)  # noqa: S311 - the same mutations each time
    originals = [instance(syntax) for syntax in SYNTAXES]
    originals += [shipped(name).read_bytes() for name in ("reportsi.dcm", "JPEG2000.dcm")]
    read_well = 0
    for _ in range(400):
        content = bytearray(chance.choice(originals))
        for _ in range(chance.choice((1, 2, 8))):
            content[chance.randrange(min(len(content), 1500))] = chance.choice((0, 255, 254, 8))
        try:
            read(bytes(content))
            read_well += 1
        except Failure:
            continue
    assert 0 < read_well < 400


def test_a_file_without_preamble_and_meta_header_gets_them() -> None:
    made = dataset()
    content = encode(made)
    bare = content[content.index(b"\x08\x00\x16\x00UI") :]
    found = read(bare)
    again = parse(found.missing_lead + bare)
    assert again.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert again.SOPInstanceUID == again.file_meta.MediaStorageSOPInstanceUID == found.sop_uid


def test_a_bare_implicit_data_set_is_recognised() -> None:
    content = instance(ImplicitVRLittleEndian)
    bare = content[content.index(b"\x08\x00\x16\x00\x1a\x00\x00\x00") :]
    assert parse(read(bare).missing_lead + bare).file_meta.TransferSyntaxUID == (
        ImplicitVRLittleEndian
    )
