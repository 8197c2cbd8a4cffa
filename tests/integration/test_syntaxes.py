"""Images come in other transfer syntaxes than they are stored in; whatever is asked for, the archive goes on."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pydicom
import pytest
from harness.dicomweb import Reader, single_part
from harness.drop import drop_files
from harness.objects import bundled, real_objects
from harness.phantom import KINDS, Study, packed_panoramic, panoramic
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

if TYPE_CHECKING:
    from harness.people import People
    from harness.stack import Stack

SYNTAXES = (
    *(ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian),
    *(DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless),
    *(JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless, JPEG2000Lossless, JPEG2000, RLELossless),
    "1.2.840.10008.1.2.4.201",
    "1.2.3",
    "*",
)
UNENCODED = (JPEGLSLossless, JPEGLSNearLossless, JPEG2000Lossless, JPEG2000)
DICOM = 'multipart/related; type="application/dicom"'
ACCEPTED = ("*/*", DICOM, *(f"{DICOM}; transfer-syntax={syntax}" for syntax in SYNTAXES))


def path(content: bytes) -> str:
    """Return where an instance is retrieved."""
    ds = read(content)
    series = f"{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
    return f"/dicom-web/studies/{series}/instances/{ds.SOPInstanceUID}"


def read(content: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(content))


def first(study: Study) -> bytes:
    return next(iter(study.files.values()))


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_syntax_is_asked_for_the_archive_goes_on(
    stack: Stack, people: People, kind: str
) -> None:
    study = KINDS[kind](91)
    assert drop_files(stack, "clinic-a", study.files).failed == {}
    reader = Reader(stack, people.token("physician-a", fresh=True))
    runs = stack.main_process("orthanc")
    where = path(first(study))
    answers = {accept: reader.get(where, accept).status_code for accept in ACCEPTED}
    assert {answers[accept] for accept in ("*/*", DICOM, ACCEPTED[-1])} == {200}
    # What it cannot make it says: 503 would be nginx' word for an archive that is gone.
    assert set(answers.values()) <= {200, 400, 406, 500}, answers
    assert {one for one in ACCEPTED if answers[one] == 406} == {
        f"{DICOM}; transfer-syntax={syntax}" for syntax in UNENCODED
    }
    for media_type in ("image/jls", "image/jp2"):
        refused = reader.get(f"{where}/frames/1", f'multipart/related; type="{media_type}"')
        assert refused.status_code == 406
        assert "encodes neither JPEG-LS nor JPEG 2000" in refused.text
    assert stack.main_process("orthanc") == runs


def test_what_is_stored_as_jpeg_2000_comes_plain_with_the_same_pixels(
    stack: Stack, people: People
) -> None:
    # The bridge runs Debian's Orthanc too, without what the Podman form's image adds.
    assert stack.main_process("orthanc")
    packed, plain = packed_panoramic(92), panoramic(92)
    assert drop_files(stack, "clinic-a", packed.files).failed == {}
    reader = Reader(stack, people.token("physician-a", fresh=True))
    answer = reader.get(path(first(packed)), DICOM)
    assert answer.status_code == 200, answer.text[:500]
    ds = read(single_part(answer))
    assert ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert np.array_equal(ds.pixel_array, read(first(plain)).pixel_array)


@pytest.mark.parametrize("name", ["rtdose_1frame.dcm", "rtdose_expb_1frame.dcm"])
def test_a_dose_without_number_of_frames_is_read_in_any_syntax(
    stack: Stack, people: People, name: str
) -> None:
    # GDCM ends over them, and the archive with it.
    (dose,) = [one for one in real_objects("pydicom", bundled()) if one.name == name]
    assert drop_files(stack, "clinic-a", {name: dose.content}).failed == {}
    reader = Reader(stack, people.token("physician-a", fresh=True))
    runs = stack.main_process("orthanc")
    where = path(dose.content)
    answers = {accept: reader.get(where, accept).status_code for accept in ACCEPTED}
    assert {answers[accept] for accept in ("*/*", DICOM, ACCEPTED[-1])} == {200}
    assert reader.get(f"{where}/frames/1", "*/*").status_code == 200
    assert stack.main_process("orthanc") == runs
