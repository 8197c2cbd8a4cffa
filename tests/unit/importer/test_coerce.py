"""The clinic is set, what was there is kept, and nothing else changes."""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from typing import TYPE_CHECKING, BinaryIO

import pydicom
import pytest
from dicom_importer import coerce, compare, corrections, deflate, header
from dicom_importer.corrections import Correction
from dicom_importer.header import GROUP_10, INSTITUTION, NAME, ORIGINAL
from dicom_importer.instance import Limits, prepared
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from unit.importer.building import SYNTAXES, dataset, encode, instance, parse, shipped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIME = "20261124083300.123456+0000"


@pytest.fixture
def file() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as made:
        yield made


def read(file: BinaryIO, content: bytes) -> header.Header:
    file.seek(0)
    file.truncate()
    file.write(content)
    file.flush()
    file.seek(0)
    return header.read(file, len(content), header.read_meta(file))


def coerced(file: BinaryIO, content: bytes, clinic: str = "clinic-a", time: str = TIME) -> bytes:
    found = read(file, content)
    body = coerce.coerce(found, file.fileno(), len(content), clinic, time)
    result = b"".join(body.chunks(file.fileno()))
    assert len(result) == body.length
    return result


def rest(content: bytes) -> list[tuple[object, ...]]:
    """Return every element but those that coercion is about."""
    return [
        (element.tag, element.VR, element.value)
        for element in parse(content)
        if element.tag not in (INSTITUTION, ORIGINAL, 0x00080000, 0x04000000)
    ]


@pytest.mark.parametrize("level", [1, 6, 9])
def test_what_is_deflated_comes_out_whole_wherever_it_ends(level: int) -> None:
    for size_bytes in (1048577, 1 << 18, (1 << 18) + 1, (1 << 18) - 258):
        deflater = zlib.compressobj(level, wbits=-zlib.MAX_WBITS)
        stream = deflater.compress(bytes(size_bytes)) + deflater.flush()
        assert b"".join(deflate.inflate([stream])) == bytes(size_bytes)
        with pytest.raises(EOFError):
            list(deflate.inflate([stream[:-1]]))


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("institution", ["St. Elsewhere", "", None])
def test_the_clinic_is_set_and_the_old_value_kept(
    file: BinaryIO, syntax: str, institution: str | None
) -> None:
    content = instance(syntax, InstitutionName=institution)
    result = parse(coerced(file, content))
    assert result.InstitutionName == "clinic-a"
    (item,) = result.OriginalAttributesSequence
    assert item.ModifiedAttributesSequence[0].InstitutionName == (institution or "")
    assert item.AttributeModificationDateTime == TIME
    assert item.ModifyingSystem == coerce.MODIFYING_SYSTEM
    assert item.SourceOfPreviousValues == "clinic-a"
    assert item.ReasonForTheAttributeModification == "COERCE"
    assert rest(coerced(file, content)) == rest(content)


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "ExplVR_BigEnd.dcm", "JPEG2000.dcm", "rtplan.dcm"]
)
def test_every_other_byte_of_a_real_file_stays(file: BinaryIO, name: str) -> None:
    content = shipped(name).read_bytes()
    found = read(file, content)
    body = coerce.coerce(found, file.fileno(), len(content), "clinic-a", TIME)
    result = b"".join(body.chunks(file.fileno()))
    assert parse(result).InstitutionName == "clinic-a"
    restored, position = b"", 0
    for splice in body.splices:
        kept = splice.offset - len(restored)
        restored += result[position : position + kept]
        position += kept
        assert result[position : position + len(splice.inserted)] == splice.inserted
        position += len(splice.inserted)
        restored += content[splice.offset : splice.offset + splice.deleted]
    assert restored + result[position:] == content


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [True, False])
def test_items_that_others_left_are_kept(file: BinaryIO, syntax: str, *, undefined: bool) -> None:
    other = Dataset()
    other.ModifyingSystem = "PACS"
    other.ReasonForTheAttributeModification = "CORRECT"
    made = dataset(OriginalAttributesSequence=Sequence([other]))
    made["OriginalAttributesSequence"].is_undefined_length = undefined
    content = encode(made, syntax)
    result = parse(coerced(file, content))
    systems = [item.ModifyingSystem for item in result.OriginalAttributesSequence]
    assert systems == ["PACS", coerce.MODIFYING_SYSTEM]
    assert rest(coerced(file, content)) == rest(content)


def test_the_old_value_is_kept_byte_for_byte_whatever_its_character_set(file: BinaryIO) -> None:
    content = instance(SpecificCharacterSet="ISO_IR 100", InstitutionName="Spital Zürich Süd ")
    old = b"LO\x12\x00Spital Z\xfcrich S\xfcd "
    assert content.count(old) == 1
    assert coerced(file, content).count(old) == 1


def test_coercion_is_a_pure_function_of_file_clinic_and_time(file: BinaryIO) -> None:
    content = instance()
    assert coerced(file, content) == coerced(file, content)
    assert coerced(file, content) != coerced(file, content, time=TIME.replace("33", "34"))


def test_an_export_from_the_archive_comes_back_unchanged(file: BinaryIO) -> None:
    once = coerced(file, instance())
    assert coerced(file, once, time="20271231000000.000000+0000") == once


def test_group_lengths_stay_true(file: BinaryIO) -> None:
    group = b"\x08\x00\x00\x00UL\x04\x00"
    content = instance()
    start = content.index(b"\x08\x00\x16\x00UI")
    length = (content.index(b"\x10\x00\x20\x00LO") - start).to_bytes(4, "little")
    content = content[:start] + group + length + content[start:]
    result = coerced(file, content)
    at = result.index(group) + len(group)
    told = int.from_bytes(result[at : at + 4], "little")
    assert told == result.index(b"\x10\x00\x20\x00LO") - (at + 4)


def test_a_deflated_file_stays_deflated_and_whole(file: BinaryIO, tmp_path: Path) -> None:
    content = shipped("image_dfl.dcm").read_bytes()
    file.write(content)
    file.seek(0)
    meta = header.read_meta(file)
    assert header.is_deflated(meta)
    with deflate.inflated(file, meta.dataset_start, tmp_path, 1 << 24) as plain:
        size_bytes = os.fstat(plain.fileno()).st_size
        found = header.read(plain, size_bytes, meta)
        body = coerce.coerce(found, plain.fileno(), size_bytes, "clinic-a", TIME)
        with deflate.deflated(body, plain, meta.dataset_start, tmp_path) as out:
            out.seek(0)
            result = out.read()
    assert parse(result).InstitutionName == "clinic-a"
    assert rest(result) == rest(content)
    assert list(tmp_path.iterdir()) == []


def test_a_deflated_bomb_stops_at_the_limit(file: BinaryIO, tmp_path: Path) -> None:
    made = dataset(PixelData=bytes(1 << 22))
    content = encode(made, pydicom.uid.DeflatedExplicitVRLittleEndian)
    assert len(content) < 1 << 14
    file.write(content)
    file.seek(0)
    start = header.read_meta(file).dataset_start
    with (
        pytest.raises(Exception, match="too_large"),
        deflate.inflated(file, start, tmp_path, 1 << 20),
    ):
        pass


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_archives_copy_is_the_same_instance(file: BinaryIO, syntax: str) -> None:
    content = instance(syntax)
    copy = coerced(file, content)
    ours = read(file, content)
    with tempfile.TemporaryFile() as theirs:
        assert compare.same(file, ours, theirs, read(theirs, copy))


@pytest.mark.parametrize(
    "change", [{"PixelData": bytes(16)}, {"PatientID": "P2"}, {"Rows": 5}, {"PatientName": "A"}]
)
def test_other_content_is_another_version(file: BinaryIO, change: dict[str, object]) -> None:
    made = dataset()
    content = encode(made)
    for keyword, value in change.items():
        setattr(made, keyword, value)
    copy = coerced(file, encode(made))
    ours = read(file, content)
    with tempfile.TemporaryFile() as theirs:
        assert not compare.same(file, ours, theirs, read(theirs, copy))


@pytest.mark.parametrize("lead", [b"MZ\x90", b"\x7fELF", b"#!/bin/sh\n", b"II*\0", b"\1"])
def test_a_preamble_that_holds_anything_is_zeroed(file: BinaryIO, lead: bytes) -> None:
    content = instance()
    dressed = lead + content[len(lead) :]
    assert parse(coerced(file, dressed)) == parse(coerced(file, content))
    assert coerced(file, dressed) == coerced(file, content)
    own = coerced(file, content)
    assert coerced(file, lead + own[len(lead) :]) == own


@pytest.mark.parametrize("cut", [0, 132])
def test_a_deflated_file_gets_a_clean_preamble(tmp_path: Path, cut: int) -> None:
    content = shipped("image_dfl.dcm").read_bytes()
    file = tmp_path / "one.dcm"
    file.write_bytes((b"MZ" + content[2:])[cut:])
    limits = Limits(tmp_path, 1 << 24)
    with file.open("rb") as opened, prepared(opened, "clinic-a", TIME, limits) as ready:
        result = b"".join(ready.body.chunks(ready.source.fileno()))
    assert result[:132] == bytes(128) + b"DICM"
    assert parse(result).InstitutionName == "clinic-a"
    assert rest(result) == rest(content)


LATER = "20261125090000.000000+0000"


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("absent", [(), ("PatientID",), ("PatientName", "PatientSex"), ("ALL",)])
def test_a_correction_of_what_is_archived_gives_what_its_original_becomes_from_then_on(
    file: BinaryIO, syntax: str, absent: tuple[str, ...], *, lengths: bool
) -> None:
    made = dataset(PatientName="A^B", PatientBirthDate="19000101", PatientSex="O")
    for keyword in list(made.dir("Patient")) if absent == ("ALL",) else absent:
        delattr(made, keyword)
    original = encode(made, syntax)
    if lengths:
        original = with_length(file, original, syntax)
    patient = {"PATIENT_ID": "P22", "NAME": "C^D", "BIRTH_DATE": "19010203", "SEX": "F"}
    uid = str(made.StudyInstanceUID)
    rules = (
        Correction(uid, LATER, "correct", "clinic-a", "x", "y", patient=patient),
        Correction(uid, LATER[:-6] + "1+0000", "move", "clinic-a", "x", "y", "clinic-b"),
    )
    archived = coerced(file, original)
    for rule in rules:
        archived = stepped(file, archived, [corrections.step(rule, rule.at)])
    assert stepped(file, original, corrections.steps("clinic-b", TIME, rules)) == archived
    found = parse(archived)
    assert (found.PatientID, found.PatientName, found.PatientSex) == ("P22", "C^D", "F")
    assert found.InstitutionName == "clinic-b"
    items = [one.ModifiedAttributesSequence[0] for one in found.OriginalAttributesSequence]
    assert [one.get("InstitutionName") for one in items] == ["St. Elsewhere", None, "clinic-a"]
    assert items[1].PatientID == (made.get("PatientID") or "")
    if lengths:
        rest_of = read(file, archived)
        (told,) = struct.unpack("<>"[syntax == SYNTAXES[2]] + "L", archived[_value_of(rest_of)])
        ends = [span.end for tag, span in rest_of.spans.items() if tag >> 16 == 0x10]
        assert told == max(ends) - rest_of.spans[GROUP_10].end


def _value_of(found: header.Header) -> slice:
    span = found.spans[GROUP_10]
    return slice(span.value, span.end)


def with_length(file: BinaryIO, content: bytes, syntax: str) -> bytes:
    """Put a true length before what there is of group 10."""
    found = read(file, content)
    spans = [span for tag, span in found.spans.items() if tag >> 16 == 0x10]
    start = min((one.start for one in spans), default=found.places[NAME])
    length = max((one.end for one in spans), default=start) - start
    order = ">" if syntax == SYNTAXES[2] else "<"
    head = struct.pack(order + "HH", 0x10, 0)
    head += b"UL" + struct.pack(order + "H", 4) if not found.implicit else struct.pack("<L", 4)
    return content[:start] + head + struct.pack(order + "L", length) + content[start:]


def stepped(file: BinaryIO, content: bytes, steps: list[coerce.Step]) -> bytes:
    """Take steps on a file."""
    found = read(file, content)
    return b"".join(coerce.apply(found, file.fileno(), len(content), steps).chunks(file.fileno()))
