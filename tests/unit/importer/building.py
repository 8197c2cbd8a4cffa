"""Builds DICOM files in code, and finds those that pydicom ships."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def dataset(**attributes: object) -> Dataset:
    """Return a small image with identifiers of its own; None leaves an attribute out."""
    made = Dataset()
    made.SOPClassUID = SECONDARY_CAPTURE
    made.SOPInstanceUID = generate_uid()
    made.PatientID = "P1"
    made.StudyInstanceUID = generate_uid()
    made.SeriesInstanceUID = generate_uid()
    made.InstitutionName = "St. Elsewhere"
    made.Rows, made.Columns, made.BitsAllocated, made.SamplesPerPixel = 4, 4, 8, 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.PixelData = bytes(range(16))
    made["PixelData"].VR = "OB"
    for keyword, value in attributes.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made


def encode(made: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Encode a data set as a file."""
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()


def instance(syntax: str = ExplicitVRLittleEndian, **attributes: object) -> bytes:
    """Return a small image's file."""
    return encode(dataset(**attributes), syntax)


def shipped(name: str) -> Path:
    """Return the path of a file that pydicom ships."""
    found = get_testdata_file(name, download=False)
    assert isinstance(found, str), name
    return Path(found)


def parse(content: bytes) -> Dataset:
    """Read a file as another program would."""
    return pydicom.dcmread(io.BytesIO(content))


def other(content: bytes) -> bytes:
    """Return as many bytes, one of which has turned."""
    return content[:-1] + bytes([content[-1] ^ 1])
