"""Structures drawn over a CT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.uid import CTImageStorage, RTStructureSetStorage

from harness.phantom.blocks import STACK
from harness.phantom.building import as_file, begin, item, put

if TYPE_CHECKING:
    from harness.phantom.building import Study


def structures(study: Study, half_mm: float) -> dict[str, bytes]:
    """Draw a square of twice `half_mm` around the middle of each slice of a CT (RT Structure Set, PS3.3 A.19)."""
    who, (slices, rows, columns) = study.identity, study.pictures.shape
    images = [
        item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=who.uid("instance", n))
        for n in range(slices)
    ]
    pixel_mm = STACK.voxel_mm
    x, y = columns * pixel_mm / 2, rows * pixel_mm / 2
    corners = ((-half_mm, -half_mm), (half_mm, -half_mm), (half_mm, half_mm), (-half_mm, half_mm))
    contours = [
        item(
            ContourData=[
                f"{value:.3f}" for a, b in corners for value in (x + a, y + b, index * pixel_mm)
            ],
            ContourGeometricType="CLOSED_PLANAR",
            ContourImageSequence=[image],
            NumberOfContourPoints=len(corners),
        )
        for index, image in enumerate(images)
    ]
    ds = begin(RTStructureSetStorage, "RTSTRUCT", who, slices)
    put(ds, SeriesInstanceUID=who.uid("structures"), SeriesNumber=2, StructureSetLabel="Plan")
    put(ds, StructureSetDate="20260102", StructureSetTime="030405")
    series = item(ContourImageSequence=images, SeriesInstanceUID=who.uid("series"))
    reference = item(
        RTReferencedSeriesSequence=[series],
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=who.uid("study"),
    )
    frame = {"FrameOfReferenceUID": who.uid("frame")}
    put(
        ds,
        ROIContourSequence=[
            item(ContourSequence=contours, ROIDisplayColor=[255, 0, 0], ReferencedROINumber=1)
        ],
        RTROIObservationsSequence=[
            item(ObservationNumber=1, RTROIInterpretedType="", ReferencedROINumber=1)
        ],
        ReferencedFrameOfReferenceSequence=[item(RTReferencedStudySequence=[reference], **frame)],
        StructureSetROISequence=[
            item(
                ROIGenerationAlgorithm="MANUAL",
                ROIName="Jaw",
                ROINumber=1,
                ReferencedFrameOfReferenceUID=who.uid("frame"),
            )
        ],
    )
    return {"RS.dcm": as_file(ds)}
