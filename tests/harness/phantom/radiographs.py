"""Radiographs without their pixels: panoramic, cephalometric, intra-oral (PS3.3 A.26, A.28)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.uid import (
    UID,
    DigitalIntraOralXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
)

from harness.phantom.building import Identity, begin, code, put
from harness.phantom.volumes import JAW

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PANORAMIC = ("241046008", "SCT", "Panoramic projection")
SKULL = ("89546000", "SCT", "Skull")
LEFT_LATERAL = ("399173006", "SCT", "left lateral")
# Of X-ray tube and detector, and of X-ray tube and the head's middle plane: 1.12 times as large.
CEPHALOSTAT_MM = 1680, 1500


def radiograph(sop_class: UID, modality: str, who: Identity, index: int) -> Dataset:
    """Begin a digital radiograph of 12 bits (PS3.3 C.8.11), shown as it is stored."""
    ds = begin(sop_class, modality, who, index)
    put(ds, WindowCenter=2048, WindowWidth=4096)
    put(ds, RescaleIntercept=0, RescaleSlope=1, RescaleType="US")
    put(ds, AcquisitionContextSequence=[], BurnedInAnnotation="NO", DetectorType="DIRECT")
    put(ds, ImageType=["ORIGINAL", "PRIMARY", ""], LossyImageCompression="00")
    put(ds, PixelIntensityRelationship="LOG", PixelIntensityRelationshipSign=-1)
    put(ds, PresentationIntentType="FOR PRESENTATION", PresentationLUTShape="IDENTITY")
    return ds


def panoramic_image(who: Identity, *, pixel_mm: float) -> Dataset:
    """Begin a panoramic radiograph; its pixels have a size at the detector alone."""
    ds = radiograph(DigitalXRayImageStorageForPresentation, "PX", who, 0)
    put(ds, AnatomicRegionSequence=[code(*JAW)], ViewCodeSequence=[code(*PANORAMIC)])
    put(ds, ImageLaterality="B", PatientOrientation=["L", "F"], PositionerType="PANORAMIC")
    put(ds, ImagerPixelSpacing=[pixel_mm, pixel_mm])
    return ds


def cephalometric_image(who: Identity, *, pixel_mm: float) -> Dataset:
    """Begin a cephalometric radiograph from the left, calibrated by its cephalostat's geometry.

    `pixel_mm` is a pixel's size in the head's middle plane (PS3.3 10.7.1.3).
    """
    detector_mm, patient_mm = CEPHALOSTAT_MM
    enlarged = detector_mm / patient_mm
    ds = radiograph(DigitalXRayImageStorageForPresentation, "DX", who, 0)
    put(ds, AnatomicRegionSequence=[code(*SKULL)], ViewCodeSequence=[code(*LEFT_LATERAL)])
    put(ds, ImageLaterality="U", PatientOrientation=["A", "F"], PositionerType="CEPHALOSTAT")
    put(ds, DistanceSourceToDetector=detector_mm, DistanceSourceToPatient=patient_mm)
    put(ds, EstimatedRadiographicMagnificationFactor=round(enlarged, 6))
    put(ds, ImagerPixelSpacing=[round(pixel_mm * enlarged, 6)] * 2)
    put(ds, PixelSpacing=[pixel_mm, pixel_mm], PixelSpacingCalibrationType="GEOMETRY")
    put(ds, PixelSpacingCalibrationDescription="Middle plane of the head in the cephalostat")
    put(ds, SeriesDescription="Cephalometric", ViewPosition="LL")
    return ds


def intra_oral_image(who: Identity, index: int, *, pixel_mm: float) -> Dataset:
    """Begin an intra-oral radiograph, whose sensor touches the teeth: nothing is enlarged."""
    ds = radiograph(DigitalIntraOralXRayImageStorageForPresentation, "IO", who, index)
    put(ds, ImagerPixelSpacing=[pixel_mm, pixel_mm], PixelSpacing=[pixel_mm, pixel_mm])
    put(ds, PositionerType="NONE")
    return ds
