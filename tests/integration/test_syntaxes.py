"""Images come in other transfer syntaxes than they are stored in; whatever is asked for, the archive goes on."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pydicom
import pytest
from harness.dicomweb import Reader, single_part
from harness.drop import drop_files
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
DICOM = 'multipart/related; type="application/dicom"'
ACCEPTED = ("*/*", DICOM, *(f"{DICOM}; transfer-syntax={syntax}" for syntax in SYNTAXES))


def path(study: Study) -> str:
    """Return where its first instance is retrieved."""
    ds = first(study)
    series = f"{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
    return f"/dicom-web/studies/{series}/instances/{ds.SOPInstanceUID}"


def first(study: Study) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(next(iter(study.files.values()))))


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_syntax_is_asked_for_the_archive_goes_on(
    stack: Stack, people: People, kind: str
) -> None:
    study = KINDS[kind](91)
    assert drop_files(stack, "clinic-a", study.files).failed == {}
    reader = Reader(stack, people.token("physician-a", fresh=True))
    runs = stack.main_process("orthanc")
    answers = {accept: reader.get(path(study), accept).status_code for accept in ACCEPTED}
    assert {answers[accept] for accept in ("*/*", DICOM, ACCEPTED[-1])} == {200}
    # What it cannot make it says: 503 would be nginx' word for an archive that is gone.
    assert set(answers.values()) <= {200, 400, 406, 500}, answers
    assert {one for one in ACCEPTED if answers[one] == 406} == {
        f"{DICOM}; transfer-syntax={syntax}" for syntax in (JPEGLSLossless, JPEGLSNearLossless)
    }
    jls = reader.get(f"{path(study)}/frames/1", 'multipart/related; type="image/jls"')
    assert jls.status_code == 406
    assert "does not encode JPEG-LS" in jls.text
    assert stack.main_process("orthanc") == runs


def test_what_is_stored_as_jpeg_2000_comes_plain_with_the_same_pixels(
    stack: Stack, people: People
) -> None:
    # The bridge runs Debian's Orthanc too, without what the Podman form's image adds.
    assert stack.main_process("orthanc")
    packed, plain = packed_panoramic(92), panoramic(92)
    assert drop_files(stack, "clinic-a", packed.files).failed == {}
    reader = Reader(stack, people.token("physician-a", fresh=True))
    answer = reader.get(path(packed), DICOM)
    assert answer.status_code == 200, answer.text[:500]
    ds = pydicom.dcmread(io.BytesIO(single_part(answer)))
    assert ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert np.array_equal(ds.pixel_array, first(plain).pixel_array)
