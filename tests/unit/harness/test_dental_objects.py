"""The dental phantoms are valid objects of their kinds, and the importer takes them."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from dicom_importer import header
from harness import dental
from harness.dental.teeth import MODIFIERS, MOUNT, REGIONS, TEETH
from pydicom.sr.codedict import codes
from pydicom.uid import (
    CTImageStorage,
    DigitalIntraOralXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    EnhancedCTImageStorage,
)
from unit.harness.dental_files import ALL, WHO, made_of, read

# Attributes of type 1, which have a value, and of type 2, which may be empty (PS3.3 A.1.2), by module.
COMMON_1 = """SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID Modality Rows Columns BitsAllocated
    BitsStored HighBit PixelRepresentation SamplesPerPixel PhotometricInterpretation PixelData"""
COMMON_2 = """PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime ReferringPhysicianName StudyID
    AccessionNumber SeriesNumber Manufacturer InstanceNumber"""
# C.8.11.1 to C.8.11.4, and of C.11.2 what FOR PRESENTATION asks for.
RADIOGRAPH_1 = """PresentationIntentType ImageLaterality ImageType PixelIntensityRelationship
    PixelIntensityRelationshipSign RescaleIntercept RescaleSlope RescaleType PresentationLUTShape
    LossyImageCompression BurnedInAnnotation ImagerPixelSpacing WindowCenter WindowWidth PatientOrientation"""
RADIOGRAPH_2 = "AnatomicRegionSequence DetectorType AcquisitionContextSequence"
# C.8.11.9.
INTRA_ORAL_1 = "PositionerType AnatomicRegionSequence PrimaryAnatomicStructureSequence"
# C.7.4.1, C.7.6.2, C.8.2.1.
CT_1 = """ImageType RescaleIntercept RescaleSlope FrameOfReferenceUID PixelSpacing ImageOrientationPatient
    ImagePositionPatient"""
CT_2 = "SliceThickness KVP AcquisitionNumber PositionReferenceIndicator"
# C.7.6.16, C.7.6.17, C.8.15.2, C.7.5.2.
ENHANCED_1 = """ImageType NumberOfFrames ContentDate ContentTime SharedFunctionalGroupsSequence
    PerFrameFunctionalGroupsSequence DimensionOrganizationSequence DimensionIndexSequence PixelPresentation
    VolumetricProperties VolumeBasedCalculationTechnique BurnedInAnnotation LossyImageCompression
    PresentationLUTShape ContentQualification AcquisitionDateTime ManufacturerModelName DeviceSerialNumber
    SoftwareVersions FrameOfReferenceUID MultienergyCTAcquisition"""
ENHANCED_2 = "AcquisitionContextSequence PositionReferenceIndicator"
DX, IO = DigitalXRayImageStorageForPresentation, DigitalIntraOralXRayImageStorageForPresentation
REQUIRED = {
    "panoramic": (DX, "PX", RADIOGRAPH_1, f"{RADIOGRAPH_2} PositionerType"),
    "cephalometric": (DX, "DX", RADIOGRAPH_1, f"{RADIOGRAPH_2} PositionerType"),
    "mount": (IO, "IO", f"{RADIOGRAPH_1} {INTRA_ORAL_1}", RADIOGRAPH_2),
    "slices": (CTImageStorage, "CT", CT_1, CT_2),
    "volume": (EnhancedCTImageStorage, "CT", ENHANCED_1, ENHANCED_2),
}


@pytest.mark.parametrize("kind", ALL)
def test_what_its_class_requires_is_there(kind: str) -> None:
    sop_class, modality, valued, present = REQUIRED[kind]
    for ds in read(made_of(kind)).values():
        assert (ds.SOPClassUID, ds.Modality) == (sop_class, modality)
        for keyword in f"{COMMON_1} {valued}".split():
            assert ds[keyword].value not in (None, "", []), keyword
        assert [keyword for keyword in f"{COMMON_2} {present}".split() if keyword not in ds] == []
        assert len(ds.PixelData) == ds.Rows * ds.Columns * 2 * int(ds.get("NumberOfFrames", 1))


@pytest.mark.parametrize("kind", ALL)
def test_the_importer_takes_it(kind: str) -> None:
    study = made_of(kind).study
    seen = set()
    for content in study.files.values():
        file = io.BytesIO(content)
        head = header.read(file, len(content), header.read_meta(file))
        assert (head.patient_id, head.study_uid) == ("DENTAL-1", study.uid)
        assert head.sop_class_uid == REQUIRED[kind][0]
        seen.add(head.sop_uid)
    assert len(seen) == len(study.files)


def test_a_cephalogram_is_calibrated_to_the_middle_plane_by_its_geometry() -> None:
    (ds,) = read(made_of("cephalometric")).values()
    assert ds.PixelSpacingCalibrationType == "GEOMETRY"
    assert ds.PixelSpacingCalibrationDescription
    enlarged = float(ds.DistanceSourceToDetector) / float(ds.DistanceSourceToPatient)
    assert float(ds.EstimatedRadiographicMagnificationFactor) == pytest.approx(enlarged)
    at_detector = [float(n) * enlarged for n in ds.PixelSpacing]
    assert [float(n) for n in ds.ImagerPixelSpacing] == pytest.approx(at_detector)
    assert enlarged > 1.1


def test_a_panoramic_radiograph_has_no_spacing_but_the_detectors() -> None:
    (ds,) = read(made_of("panoramic")).values()
    assert "PixelSpacing" not in ds
    assert [float(n) for n in ds.ImagerPixelSpacing] == [0.5, 0.5]


def test_a_mount_has_its_18_places_with_the_codes_of_their_teeth() -> None:
    numbers = {value: number for number, (value, _) in TEETH.items()}
    made = read(made_of("mount"))
    assert len(made) == 18
    for ds, place in zip(made.values(), MOUNT, strict=True):
        shown = [numbers[tooth.CodeValue] for tooth in ds.PrimaryAnatomicStructureSequence]
        assert shown == list(place.teeth)
        sides = {"R" if number // 10 in (1, 4) else "L" for number in shown}
        assert ds.ImageLaterality == ("B" if sides == {"L", "R"} else min(sides))
        (region,) = ds.AnatomicRegionSequence
        both = {number // 10 > 2 for number in shown}
        jaw = "Jaw region" if len(both) == 2 else "Mandible" if min(both) else "Maxilla"
        assert region.CodeMeaning == jaw
        forward = {"R": "A", "L": "P", "B": "L"}[ds.ImageLaterality]
        assert list(ds.PatientOrientation) == [forward, "F"]
    molars = itertools.chain(*(place.teeth for place in MOUNT))
    assert set(molars) == set(TEETH), "every tooth is on one of them"


def test_codes_of_teeth_and_regions_are_those_of_their_context_groups() -> None:
    permanent = {(code.value, code.meaning) for code in codes.cid4018.concepts.values()}
    assert permanent == set(TEETH.values())
    regions = {(code.value, code.scheme_designator) for code in codes.cid4016.concepts.values()}
    assert {(value, scheme) for value, scheme, _ in REGIONS.values()} < regions


@pytest.mark.parametrize(("in_one_series", "count"), [(True, 1), (False, 18)])
def test_a_mount_is_one_series_or_as_many_as_there_are_places(
    *, in_one_series: bool, count: int
) -> None:
    made = read(dental.mount(WHO, in_one_series=in_one_series)).values()
    assert len({ds.SeriesInstanceUID for ds in made}) == count
    assert [ds.InstanceNumber for ds in made] == list(range(1, 19))
    assert len({ds.SOPInstanceUID for ds in made}) == 18


def test_no_two_radiographs_of_a_mount_look_alike() -> None:
    flat = made_of("mount").study.pictures.reshape(18, -1)
    alike = np.corrcoef(flat) - np.eye(18)
    assert alike.max() < 0.99


def test_a_mount_that_names_no_teeth_says_of_which_region_each_image_is() -> None:
    modifiers = {(code.value, code.meaning) for code in codes.cid4017.concepts.values()}
    assert modifiers == set(MODIFIERS.values())
    said = read(dental.mount(WHO, names_teeth=False)).values()
    for ds, place in zip(said, MOUNT, strict=True):
        assert "PrimaryAnatomicStructureSequence" not in ds
        # One of the two is required (PS3.3 C.8.11.9).
        (modifier,) = ds.AnatomicRegionSequence[0].AnatomicRegionModifierSequence
        assert modifier.CodeValue == MODIFIERS[place.middle][0]
        assert any(tooth % 10 == place.middle for tooth in place.teeth)
