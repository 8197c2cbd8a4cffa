"""CT volumes without their pixels: single slices, or one multi-frame object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.uid import CTImageStorage, EnhancedCTImageStorage

from harness.phantom.building import Identity, begin, code, item, put

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

JAW = ("661005", "SCT", "Jaw region")
INTERCEPT = -1024
RESCALE = {"RescaleIntercept": INTERCEPT, "RescaleSlope": 1, "RescaleType": "HU"}
ORIENTATION = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
# DERIVED, as a reconstruction is: an original would have to describe a helical scanner.
FRAME_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
VOLUME = {
    "PixelPresentation": "MONOCHROME",
    "VolumeBasedCalculationTechnique": "NONE",
    "VolumetricProperties": "VOLUME",
}


@dataclass(frozen=True, slots=True)
class Stack:
    """How axial frames lie in the patient, in mm: the first voxel's centre, and the voxels' edge."""

    voxel_mm: float
    window: tuple[float, float]
    origin_mm: tuple[float, float, float] = (0, 0, 0)

    def position(self, index: int) -> dict[str, object]:
        """Return Image Position (Patient) of a frame, counted from 0."""
        x, y, z = self.origin_mm
        return {"ImagePositionPatient": [x, y, round(z + index * self.voxel_mm, 3)]}

    @property
    def measures(self) -> dict[str, object]:
        """Pixel Spacing, and Slice Thickness which is also the frames' distance."""
        return {"PixelSpacing": [self.voxel_mm] * 2, "SliceThickness": self.voxel_mm}

    @property
    def shown(self) -> dict[str, float]:
        """Window Center and Window Width."""
        low, high = self.window
        return {"WindowCenter": (low + high) / 2, "WindowWidth": high - low}


def single(who: Identity, stack: Stack, index: int) -> Dataset:
    """Begin a CT image (PS3.3 A.3) of a stack."""
    ds = begin(CTImageStorage, "CT", who, index)
    put(ds, **RESCALE, **stack.shown, **stack.position(index), **ORIENTATION, **stack.measures)
    put(ds, AcquisitionNumber=1, KVP=90)
    put(ds, FrameOfReferenceUID=who.uid("frame"))
    put(ds, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], PatientPosition="HFS")
    put(ds, PositionReferenceIndicator="")
    return ds


def multi_frame(who: Identity, stack: Stack, frames: int) -> Dataset:
    """Begin an Enhanced CT image (PS3.3 A.38) of a whole stack."""
    ds = begin(EnhancedCTImageStorage, "CT", who, 0)
    put(
        ds, AcquisitionContextSequence=[], AcquisitionDateTime="20260102030405", AcquisitionNumber=1
    )
    put(ds, BurnedInAnnotation="NO", ContentQualification="RESEARCH", DeviceSerialNumber="1")
    put(ds, FrameOfReferenceUID=who.uid("frame"), PositionReferenceIndicator="")
    put(ds, **VOLUME, ImageType=FRAME_TYPE, LossyImageCompression="00", PatientPosition="HFS")
    put(ds, MultienergyCTAcquisition="NO", PresentationLUTShape="IDENTITY", SoftwareVersions="1")
    organization = {"DimensionOrganizationUID": who.uid("dimensions")}
    pointers = {"DimensionIndexPointer": 0x00209057, "FunctionalGroupPointer": 0x00209111}
    put(ds, DimensionOrganizationSequence=[item(**organization)])
    put(ds, DimensionIndexSequence=[item(**organization, **pointers)])
    put(ds, NumberOfFrames=frames, SharedFunctionalGroupsSequence=[_shared(who, stack)])
    put(ds, PerFrameFunctionalGroupsSequence=[_frame(stack, index) for index in range(frames)])
    return ds


def _shared(who: Identity, stack: Stack) -> Dataset:
    anatomy = item(AnatomicRegionSequence=[code(*JAW)], FrameLaterality="B")
    window = item(**{key: [value] for key, value in stack.shown.items()})
    return item(
        CTImageFrameTypeSequence=[item(FrameType=FRAME_TYPE, **VOLUME)],
        FrameAnatomySequence=[anatomy],
        FrameVOILUTSequence=[window],
        IrradiationEventIdentificationSequence=[item(IrradiationEventUID=who.uid("event"))],
        PixelMeasuresSequence=[item(**stack.measures)],
        PixelValueTransformationSequence=[item(**RESCALE)],
        PlaneOrientationSequence=[item(**ORIENTATION)],
    )


def _frame(stack: Stack, index: int) -> Dataset:
    content = item(
        DimensionIndexValues=[index + 1],
        FrameAcquisitionDateTime="20260102030405",
        FrameAcquisitionDuration=1.5,
        FrameReferenceDateTime="20260102030405",
        InStackPositionNumber=index + 1,
        StackID="1",
    )
    place = item(**stack.position(index))
    return item(FrameContentSequence=[content], PlanePositionSequence=[place])
