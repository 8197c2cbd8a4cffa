"""What precedes the pixels of the bench's files: a computed tomography as scanners write it."""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

# What a stamp replaces, each of the length of what takes its place.
NO_STAMP = "0" * 20
NO_NUMBER = "1864208642"
NO_PATIENT = "BENCH-" + "X" * 24
NO_INSTITUTION = "What the modality says"
NO_DATE = "20260102"
# Where a slice lies along the body, in millimetres.
NO_POSITION = "08642.1"
SLICE_MM = 0.4
_NOW = (NO_DATE, "030405.678")


@dataclass(frozen=True, slots=True)
class Kind:
    """A file's series, bytes of pixels and number of square frames."""

    series: str
    pixel_bytes: int
    frames: int

    @property
    def side(self) -> int:
        """Rows and columns, of 16 bits."""
        return math.isqrt(self.pixel_bytes // self.frames // 2)


def uid(stamp: str, level: int, index: int) -> str:
    """Return a UID of 44 characters (PS3.5 B.2); levels are 1 study, 2 series, 3 instance."""
    return f"2.25.1{stamp}{level:02}{index:016}"


def encode(kind: Kind) -> bytes:
    """Encode the header, up to the first byte of the pixels."""
    ds = _item(**_EQUIPMENT, **_PATIENT, **_picture(kind), SeriesDescription=kind.series)
    for moment in ("Study", "Series", "Acquisition", "Content"):
        setattr(ds, f"{moment}Date", _NOW[0])
        setattr(ds, f"{moment}Time", _NOW[1])
    ds.SOPInstanceUID = uid(NO_STAMP, 3, 0)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(NO_STAMP, 1, 0), uid(NO_STAMP, 2, 0)
    ds.ReferencedImageSequence = [
        _item(
            ReferencedSOPClassUID=CTImageStorage,
            ReferencedSOPInstanceUID=uid(NO_STAMP, 5, number),
        )
        for number in range(3)
    ]
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue() + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, kind.pixel_bytes)


def _item(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def _picture(kind: Kind) -> dict[str, object]:
    single = {"SOPClassUID": CTImageStorage, "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}
    multi = {
        "SOPClassUID": EnhancedCTImageStorage,
        "ImageType": ["DERIVED", "PRIMARY", "VOLUME"],
        "NumberOfFrames": kind.frames,
        "PerFrameFunctionalGroupsSequence": [_frame(number) for number in range(kind.frames)],
    }
    return {
        **_PIXELS,
        **(multi if kind.frames > 1 else single),
        "Rows": kind.side,
        "Columns": kind.side,
    }


def _frame(number: int) -> Dataset:
    content = _item(
        DimensionIndexValues=[number + 1],
        FrameAcquisitionDateTime="20260102030405",
        InStackPositionNumber=number + 1,
        StackID="1",
    )
    position = _item(ImagePositionPatient=[0, 0, round(number * SLICE_MM, 3)])
    return _item(FrameContentSequence=[content], PlanePositionSequence=[position])


_PATIENT = {
    "AccessionNumber": "A1",
    "PatientAge": "056Y",
    "PatientBirthDate": "19700101",
    "PatientID": NO_PATIENT,
    "PatientName": "Bench^Patient",
    "PatientSex": "O",
    "ReferringPhysicianName": "Referrer^One",
    "StudyDescription": "Bench",
    "StudyID": "1",
}
_EQUIPMENT = {
    "BodyPartExamined": "CHEST",
    "ConvolutionKernel": "H60s",
    "Exposure": 10,
    "ExposureTime": 10,
    "InstitutionAddress": "1 Main Street",
    "InstitutionName": NO_INSTITUTION,
    "KVP": 90,
    "Manufacturer": "Phantoms",
    "ManufacturerModelName": "Blocks",
    "Modality": "CT",
    "PatientPosition": "HFS",
    "ProtocolName": "Jaw",
    "SliceThickness": SLICE_MM,
    "SoftwareVersions": "1.0",
    "SpecificCharacterSet": "ISO_IR 192",
    "StationName": "CT1",
    "XRayTubeCurrent": 10,
}
_PIXELS = {
    "AcquisitionNumber": 1,
    "BitsAllocated": 16,
    "BitsStored": 16,
    "FrameOfReferenceUID": uid(NO_STAMP, 4, 0),
    "HighBit": 15,
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "ImagePositionPatient": [0, 0, NO_POSITION],
    "InstanceNumber": NO_NUMBER,
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelRepresentation": 1,
    "PixelSpacing": [0.4, 0.4],
    "PositionReferenceIndicator": "",
    "RescaleIntercept": -1024,
    "RescaleSlope": 1,
    "RescaleType": "HU",
    "SamplesPerPixel": 1,
    "SeriesNumber": 1,
    "WindowCenter": 50,
    "WindowWidth": 400,
}
