"""The bench's sets are valid DICOM, of the sizes that they claim, and new to the archive each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pydicom
import pytest
from bench.__main__ import in_turn
from bench.peers import curl_config
from bench.sets import SampleSet, Shape, orthanc_study, sample_set, shapes
from dicom_importer.archive import identifier

if TYPE_CHECKING:
    from pathlib import Path

STAMP, OTHER = "01234567890123456789", "98765432109876543210"


def read(sample: SampleSet) -> list[pydicom.FileDataset]:
    return [pydicom.dcmread(sample.path(index)) for index in range(sample.shape.files)]


@pytest.fixture
def sample(tmp_path: Path) -> SampleSet:
    made = sample_set(Shape("few", "", files=12, pixel_bytes=32 * 32 * 2, studies=3), tmp_path)
    made.stamp(STAMP)
    return made


def test_a_set_is_valid_dicom_of_its_size(sample: SampleSet) -> None:
    assert {ds.pixel_array.shape for ds in read(sample)} == {(32, 32)}
    files = [path for path in sample.folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) == sample.size_bytes


def test_a_lone_file_has_many_frames(tmp_path: Path) -> None:
    shape = shapes(0.01, 100)["multiframe"]
    (ds,) = read(sample_set(shape, tmp_path))
    assert ds.pixel_array.shape == (10, 512, 512)
    assert len(ds.PerFrameFunctionalGroupsSequence) == 10


def test_slices_of_a_study_lie_one_above_the_other(sample: SampleSet) -> None:
    heights = [float(ds.ImagePositionPatient[2]) for ds in read(sample)]
    assert heights == [0.0, 0.4, 0.8, 1.2] * 3


def test_every_identifier_changes_with_the_stamp(sample: SampleSet) -> None:
    def identifiers() -> set[str]:
        names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID")
        return {str(ds[name].value) for ds in read(sample) for name in names}

    before = identifiers()
    sample.stamp(OTHER)
    assert len(before) == len(identifiers()) == 3 * 3 + 12
    assert not before & identifiers()
    assert all(ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID for ds in read(sample))


def test_a_uid_is_a_valid_one(sample: SampleSet) -> None:
    for ds in read(sample):
        assert ds.SOPInstanceUID.is_valid
        assert int(ds.SOPInstanceUID.removeprefix("2.25.")) < 2**128


def test_the_archive_is_asked_for_the_studies_that_were_sent(sample: SampleSet) -> None:
    sent = {identifier(ds.PatientID, ds.StudyInstanceUID) for ds in read(sample)}
    assert sent == {orthanc_study(STAMP, study) for study in range(3)}


def test_a_part_of_a_set_is_stamped_with_it(sample: SampleSet) -> None:
    part = sample.part(5)
    sample.stamp(OTHER)
    found = {pydicom.dcmread(path).SOPInstanceUID for path in part.iterdir()}
    assert found == {ds.SOPInstanceUID for ds in read(sample)[:5]}


def test_each_round_has_another_order_with_everybody_in_it() -> None:
    names = ["a", "b", "c"]
    orders = [in_turn(names, turn) for turn in range(3)]
    assert orders == [["a", "b", "c"], ["b", "a", "c"], ["c", "a", "b"]]
    assert all(sorted(order) == names for order in orders)


def test_curl_is_given_every_file() -> None:
    text = curl_config(["/sets/a", "/sets/b"])
    assert text.count("url = ") == text.count("output = ") == 2
    assert 'upload-file = "/sets/b"' in text
