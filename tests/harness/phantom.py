"""Studies built in code: asymmetric pictures that differ by seed, in valid objects of their kind."""

from __future__ import annotations

import hashlib
import io
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    MPEG4HP41,
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EncapsulatedPDFStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RTStructureSetStorage,
    VideoPhotographicImageStorage,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Picture = NDArray[np.float64]

# Odd and unequal, so that no turn or flip maps the grid of blocks onto itself.
BLOCKS = 7, 9
HU_LOW, HU_HIGH = -150, 250
PIXEL_MM = 0.4
CODES = {
    "jaw": ("661005", "SCT", "Jaw region"),
    "panoramic": ("241046008", "SCT", "Panoramic projection"),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who and what a study says it is; its UIDs derive from `key`, new unless it is given."""

    patient_id: str = "PHANTOM-1"
    patient_name: str = "Phantom^One"
    institution: str = "What the modality says"
    description: str = "Phantom"
    key: str = field(default_factory=lambda: secrets.token_hex(8))

    def uid(self, *parts: object) -> UID:
        """Derive a UID: the same parts of the same key give the same one (PS3.5 B.2)."""
        digest = hashlib.sha256("\0".join(map(str, (self.key, *parts))).encode()).digest()
        return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


@dataclass(frozen=True, slots=True)
class Study:
    """A study to drop: files by name, and the pictures in them (0 to 1; frames, rows, columns)."""

    identity: Identity
    files: dict[str, bytes]
    pictures: Picture

    @property
    def uid(self) -> str:
        """Study Instance UID."""
        return self.identity.uid("study")


def pattern(seed: int, rows: int, columns: int) -> Picture:
    """Draw blocks of random grey; the patterns of two seeds are as good as uncorrelated."""
    blocks = np.random.default_rng(seed).uniform(0.1, 1, BLOCKS)
    row, column = (
        np.arange(n) * blocks_n // n for n, blocks_n in zip((rows, columns), BLOCKS, strict=True)
    )
    picture: Picture = blocks[np.ix_(row, column)]
    return picture


def patterns(seed: int, frames: int, rows: int, columns: int) -> Picture:
    """Draw a stack of patterns, each unlike the others."""
    return np.stack([pattern(seed * 1000 + index, rows, columns) for index in range(frames)])


def ct(seed: int, identity: Identity | None = None, *, slices: int = 5, size: int = 189) -> Study:
    """Build a CT of single slices: 16 bits, signed Hounsfield units by a rescale intercept."""
    who, pictures = identity or Identity(), patterns(seed, slices, size, size)
    files = {}
    for index, picture in enumerate(pictures):
        ds = _object(CTImageStorage, "CT", who, index)
        _set(ds, **_pixels(_hounsfield(picture), bits=16), **_RESCALE, **_WINDOW)
        _set(ds, **_position(index), **_ORIENTATION, **_MEASURES)
        _set(ds, AcquisitionNumber=1, BodyPartExamined="JAW", KVP=90)
        _set(ds, FrameOfReferenceUID=who.uid("frame"))
        _set(ds, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], PatientPosition="HFS")
        _set(ds, PositionReferenceIndicator="")
        files[f"CT{index + 1:04}.dcm"] = _file(ds)
    return Study(who, files, pictures)


def panoramic(
    seed: int,
    identity: Identity | None = None,
    *,
    rows: int = 301,
    columns: int = 603,
    is_packed: bool = False,
) -> Study:
    """Build a panoramic radiograph: one wide picture of 12 bits."""
    who, picture = identity or Identity(), pattern(seed, rows, columns)
    ds = _object(DigitalXRayImageStorageForPresentation, "PX", who, 0)
    _set(ds, **_pixels(np.round(picture * 4095).astype("<u2"), bits=12))
    _set(
        ds,
        WindowCenter=2048,
        WindowWidth=4096,
        RescaleIntercept=0,
        RescaleSlope=1,
        RescaleType="US",
    )
    _set(ds, AnatomicRegionSequence=[_code("jaw")], ViewCodeSequence=[_code("panoramic")])
    _set(ds, AcquisitionContextSequence=[], BurnedInAnnotation="NO", DetectorType="DIRECT")
    _set(
        ds,
        ImageLaterality="B",
        ImageType=["ORIGINAL", "PRIMARY", ""],
        ImagerPixelSpacing=[0.1, 0.1],
    )
    _set(
        ds,
        LossyImageCompression="00",
        PatientOrientation=["L", "F"],
        PresentationLUTShape="IDENTITY",
    )
    _set(ds, PixelIntensityRelationship="LOG", PixelIntensityRelationshipSign=-1)
    _set(ds, PositionerType="PANORAMIC", PresentationIntentType="FOR PRESENTATION")
    return Study(
        who, {"PX0001.dcm": (_packed_file if is_packed else _file)(ds)}, picture[np.newaxis]
    )


def packed_panoramic(seed: int, identity: Identity | None = None) -> Study:
    """Build a panoramic radiograph as JPEG 2000, which the viewer decodes by itself."""
    return panoramic(seed, identity, is_packed=True)


def cone_beam(
    seed: int, identity: Identity | None = None, *, frames: int = 8, size: int = 161
) -> Study:
    """Build a cone beam CT as one multi-frame object (Enhanced CT, PS3.3 A.38)."""
    who, pictures = identity or Identity(), patterns(seed, frames, size, size)
    ds = _object(EnhancedCTImageStorage, "CT", who, 0)
    _set(ds, **_pixels(_hounsfield(pictures), bits=16), NumberOfFrames=frames)
    _set(
        ds, AcquisitionContextSequence=[], AcquisitionDateTime="20260102030405", AcquisitionNumber=1
    )
    _set(ds, BurnedInAnnotation="NO", ContentQualification="RESEARCH", DeviceSerialNumber="1")
    _set(ds, FrameOfReferenceUID=who.uid("frame"), PositionReferenceIndicator="")
    _set(ds, **_VOLUME, ImageType=_FRAME_TYPE, LossyImageCompression="00", PatientPosition="HFS")
    _set(ds, MultienergyCTAcquisition="NO", PresentationLUTShape="IDENTITY", SoftwareVersions="1")
    organization = {"DimensionOrganizationUID": who.uid("dimensions")}
    pointers = {"DimensionIndexPointer": 0x00209057, "FunctionalGroupPointer": 0x00209111}
    _set(ds, DimensionOrganizationSequence=[_item(**organization)])
    _set(ds, DimensionIndexSequence=[_item(**organization, **pointers)])
    _set(ds, SharedFunctionalGroupsSequence=[_shared_groups(who)])
    _set(ds, PerFrameFunctionalGroupsSequence=[_frame_groups(index) for index in range(frames)])
    return Study(who, {"CBCT.dcm": _file(ds)}, pictures)


KINDS: dict[str, Callable[..., Study]] = {
    "ct": ct,
    "panoramic": panoramic,
    "panoramic in jpeg 2000": packed_panoramic,
    "cone beam": cone_beam,
}

_RESCALE = {"RescaleIntercept": -1024, "RescaleSlope": 1, "RescaleType": "HU"}
_WINDOW = {"WindowCenter": (HU_LOW + HU_HIGH) / 2, "WindowWidth": HU_HIGH - HU_LOW}
# DERIVED, as a reconstruction is: an original would have to describe a helical scanner.
_FRAME_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
_VOLUME = {
    "PixelPresentation": "MONOCHROME",
    "VolumeBasedCalculationTechnique": "NONE",
    "VolumetricProperties": "VOLUME",
}
_ORIENTATION = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
_MEASURES = {"PixelSpacing": [PIXEL_MM, PIXEL_MM], "SliceThickness": PIXEL_MM}


def _set(ds: Dataset, **attributes: object) -> None:
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)


def _item(**attributes: object) -> Dataset:
    ds = Dataset()
    _set(ds, **attributes)
    return ds


def _code(name: str) -> Dataset:
    value, scheme, meaning = CODES[name]
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _position(index: int) -> dict[str, object]:
    return {"ImagePositionPatient": [0, 0, round(index * PIXEL_MM, 3)]}


def _hounsfield(picture: Picture) -> NDArray[np.int16]:
    stored: NDArray[np.int16] = np.round(HU_LOW + picture * (HU_HIGH - HU_LOW) + 1024).astype("<i2")
    return stored


def _pixels(stored: NDArray[np.integer], *, bits: int) -> dict[str, object]:
    return {
        "BitsAllocated": 16,
        "BitsStored": bits,
        "Columns": stored.shape[-1],
        "HighBit": bits - 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelData": stored.tobytes(),
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        "Rows": stored.shape[-2],
        "SamplesPerPixel": 1,
    }


def _object(sop_class: UID, modality: str, who: Identity, index: int) -> Dataset:
    """Begin an object with what every class has: patient, study, series, equipment, SOP common."""
    ds = Dataset()
    _set(
        ds,
        SOPClassUID=sop_class,
        SOPInstanceUID=who.uid("instance", index),
        InstanceNumber=index + 1,
    )
    _set(ds, StudyInstanceUID=who.uid("study"), SeriesInstanceUID=who.uid("series"))
    _set(
        ds, SpecificCharacterSet="ISO_IR 192", PatientID=who.patient_id, PatientBirthDate="19700101"
    )
    _set(ds, PatientName=who.patient_name, PatientSex="O", InstitutionName=who.institution)
    _set(ds, StudyDate="20260102", StudyTime="030405", StudyID="1", AccessionNumber="")
    _set(ds, ContentDate="20260102", ContentTime="030405", ReferringPhysicianName="")
    _set(ds, StudyDescription=who.description, SeriesDescription=modality, SeriesNumber=1)
    _set(ds, Modality=modality, Manufacturer="Phantoms", ManufacturerModelName="Blocks")
    return ds


def _shared_groups(who: Identity) -> Dataset:
    anatomy = _item(AnatomicRegionSequence=[_code("jaw")], FrameLaterality="B")
    window = _item(**{key: [value] for key, value in _WINDOW.items()})
    return _item(
        CTImageFrameTypeSequence=[_item(FrameType=_FRAME_TYPE, **_VOLUME)],
        FrameAnatomySequence=[anatomy],
        FrameVOILUTSequence=[window],
        IrradiationEventIdentificationSequence=[_item(IrradiationEventUID=who.uid("event"))],
        PixelMeasuresSequence=[_item(**_MEASURES)],
        PixelValueTransformationSequence=[_item(**_RESCALE)],
        PlaneOrientationSequence=[_item(**_ORIENTATION)],
    )


def _frame_groups(index: int) -> Dataset:
    content = _item(
        DimensionIndexValues=[index + 1],
        FrameAcquisitionDateTime="20260102030405",
        FrameAcquisitionDuration=1.5,
        FrameReferenceDateTime="20260102030405",
        InStackPositionNumber=index + 1,
        StackID="1",
    )
    return _item(FrameContentSequence=[content], PlanePositionSequence=[_item(**_position(index))])


def _file(ds: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def _packed_file(ds: Dataset) -> bytes:
    codestream = io.BytesIO()
    stored = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)
    Image.fromarray(stored).save(codestream, "JPEG2000", no_jp2=True, irreversible=False)
    _set(ds, BitsStored=16, HighBit=15)  # as Pillow's encoder says in the codestream
    ds.PixelData = encapsulate([codestream.getvalue()])
    ds["PixelData"].VR = "OB"
    return _file(ds, JPEG2000Lossless)


def document(pdf: bytes, identity: Identity) -> Study:
    """Put a PDF into an object."""
    ds = _object(EncapsulatedPDFStorage, "DOC", identity, 0)
    _set(ds, BurnedInAnnotation="YES", ConversionType="WSD", DocumentTitle="Report")
    _set(ds, EncapsulatedDocument=pdf, EncapsulatedDocumentLength=len(pdf))
    _set(ds, MIMETypeOfEncapsulatedDocument="application/pdf")
    return Study(identity, {"DOC.dcm": _file(ds)}, np.empty(0))


def video(mp4: bytes, identity: Identity, *, rows: int, columns: int, frames: int) -> Study:
    """Put an H.264 video into an object."""
    ds = _object(VideoPhotographicImageStorage, "XC", identity, 0)
    _set(ds, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0, SamplesPerPixel=3)
    _set(ds, Columns=columns, FrameIncrementPointer=0x00181063, FrameTime=40, Rows=rows)
    _set(ds, ImageType=["ORIGINAL", "PRIMARY"], LossyImageCompression="01", NumberOfFrames=frames)
    _set(ds, PhotometricInterpretation="YBR_PARTIAL_420", PlanarConfiguration=0)
    ds.PixelData = encapsulate([mp4 + bytes(len(mp4) % 2)])
    ds["PixelData"].VR = "OB"
    return Study(identity, {"XC.dcm": _file(ds, MPEG4HP41)}, np.empty(0))


def structures(study: Study, half_mm: float) -> dict[str, bytes]:
    """Draw a square of twice `half_mm` around the middle of each slice of a CT (RT Structure Set, PS3.3 A.19)."""
    who, (slices, rows, columns) = study.identity, study.pictures.shape
    images = [
        _item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=who.uid("instance", n))
        for n in range(slices)
    ]
    x, y = columns * PIXEL_MM / 2, rows * PIXEL_MM / 2
    corners = ((-half_mm, -half_mm), (half_mm, -half_mm), (half_mm, half_mm), (-half_mm, half_mm))
    contours = [
        _item(
            ContourData=[
                f"{value:.3f}" for a, b in corners for value in (x + a, y + b, index * PIXEL_MM)
            ],
            ContourGeometricType="CLOSED_PLANAR",
            ContourImageSequence=[image],
            NumberOfContourPoints=len(corners),
        )
        for index, image in enumerate(images)
    ]
    ds = _object(RTStructureSetStorage, "RTSTRUCT", who, slices)
    _set(ds, SeriesInstanceUID=who.uid("structures"), SeriesNumber=2, StructureSetLabel="Plan")
    _set(ds, StructureSetDate="20260102", StructureSetTime="030405")
    series = _item(ContourImageSequence=images, SeriesInstanceUID=who.uid("series"))
    reference = _item(
        RTReferencedSeriesSequence=[series],
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=who.uid("study"),
    )
    frame = {"FrameOfReferenceUID": who.uid("frame")}
    _set(
        ds,
        ROIContourSequence=[
            _item(ContourSequence=contours, ROIDisplayColor=[255, 0, 0], ReferencedROINumber=1)
        ],
        RTROIObservationsSequence=[
            _item(ObservationNumber=1, RTROIInterpretedType="", ReferencedROINumber=1)
        ],
        ReferencedFrameOfReferenceSequence=[_item(RTReferencedStudySequence=[reference], **frame)],
        StructureSetROISequence=[
            _item(
                ROIGenerationAlgorithm="MANUAL",
                ROIName="Jaw",
                ROINumber=1,
                ReferencedFrameOfReferenceUID=who.uid("frame"),
            )
        ],
    )
    return {"RS.dcm": _file(ds)}
