"""The web front before a living archive: its answers are for one reader, and small where that is possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness.drop import drop_files
from harness.phantom import ct

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.dicomweb import Reader
    from harness.people import People
    from harness.phantom import Study
    from harness.stack import Stack
    from requests import Response


@pytest.fixture(scope="module")
def study(stack: Stack, people: People) -> Study:  # noqa: ARG001 - the people come with their clinics
    """Provide a study of clinic-a."""
    result = ct(5)
    assert not drop_files(stack, "clinic-a", result.files).failed
    return result


@pytest.fixture
def metadata(study: Study, reader: Callable[[str], Reader]) -> Response:
    """Provide the answer to a physician's question for metadata."""
    return reader("physician-a").get(f"/dicom-web/studies/{study.uid}/metadata")


@pytest.fixture
def frame(study: Study, reader: Callable[[str], Reader]) -> Response:
    """Provide the answer to a physician's question for a frame."""
    series, instance = study.identity.uid("series"), study.identity.uid("instance", 0)
    place = f"/dicom-web/studies/{study.uid}/series/{series}/instances/{instance}/frames/1"
    return reader("physician-a").get(place)


def test_what_the_archive_answers_is_kept_by_no_cache_and_runs_as_no_page(
    metadata: Response, frame: Response
) -> None:
    for answer in (metadata, frame):
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Security-Policy"].endswith("sandbox")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_metadata_is_packed_and_frames_are_not(metadata: Response, frame: Response) -> None:
    assert metadata.headers.get("Content-Encoding") == "gzip"
    assert "Content-Encoding" not in frame.headers
    assert len(frame.content) > 189 * 189 * 2


def test_addresses_inside_metadata_are_public(metadata: Response, stack: Stack) -> None:
    found = [
        str(element["BulkDataURI"])
        for dataset in metadata.json()
        for element in dataset.values()
        if "BulkDataURI" in element
    ]
    assert found
    assert [address for address in found if not address.startswith(f"{stack.url}/")] == []


@pytest.mark.parametrize("comma", [",", "%2C"])
def test_a_search_returns_every_field_that_was_asked_for(
    study: Study, reader: Callable[[str], Reader], comma: str
) -> None:
    asked = f"StudyInstanceUID={study.uid}&includefield=00081030{comma}00201208"
    (row,) = reader("physician-a").search(f"/dicom-web/studies?{asked}")
    assert row["00081030"]["Value"] == [study.identity.description]
    assert row["00201208"]["Value"] == [len(study.files)]
