"""STOW-RS by PyPI's dicomweb-client: a whole study, a connection that breaks off, another clinic."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, cast

import pydicom
import pytest
import requests
from dicomweb_client import DICOMwebClient
from harness.drop import drop_files
from harness.phantom import ct
from harness.stack import Session
from harness.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from harness.dicomweb import Reader
    from harness.people import People
    from harness.phantom import Study
    from harness.stack import Stack

SLICES, BATCH = 500, 100


def client(stack: Stack, people: People, session: requests.Session) -> DICOMwebClient:
    """Return the client of a technician of clinic A."""
    token = people.token("technician-a", fresh=True)
    session.headers["Authorization"] = f"Bearer {token}"
    # What is larger it sends by and by. In one piece it would name the host without its port.
    url = f"{stack.url}/dicom-web"
    made = DICOMwebClient(url, session=session, chunk_size=4_000, timeout=120)
    # It would send the rest of a broken body as if that were all of it.
    made.set_http_retry_params(retry=False)
    return made


def read(study: Study) -> list[pydicom.Dataset]:
    """Return a study's instances."""
    return [pydicom.dcmread(io.BytesIO(content)) for content in study.files.values()]


def failure(dataset: pydicom.Dataset) -> list[int]:
    """Return the failure reasons of a response."""
    return [int(one.FailureReason) for one in dataset.get("FailedSOPSequence", ())]


def test_500_slices_are_stored_and_read_by_the_physician(
    stack: Stack, people: People, reader: Callable[[str], Reader]
) -> None:
    study = ct(seed=601, slices=SLICES, size=64)
    instances = read(study)
    with stack.session() as session:
        sender = client(stack, people, session)
        for first in range(0, SLICES, BATCH):
            answer = sender.store_instances(instances[first : first + BATCH])
            assert len(answer.ReferencedSOPSequence) == BATCH
            assert failure(answer) == []
    found = reader("physician-a").search(f"/dicom-web/studies?StudyInstanceUID={study.uid}")
    assert [one["00201208"]["Value"] for one in found] == [[SLICES]]


def test_of_a_request_that_breaks_off_nothing_is_stored_and_the_next_one_brings_it_all(
    stack: Stack, people: People, reader: Callable[[str], Reader]
) -> None:
    study = ct(seed=602, slices=20, size=189)
    instances, sent = read(study), []

    class Cut(Session):
        """A session whose connection is lost in the middle of a body."""

        def request(self, method: str, url: str, **kwargs: object) -> requests.Response:  # type: ignore[override]
            body = kwargs.get("data")
            assert not isinstance(body, bytes), "it sends by and by"
            return super().request(
                method, url, **(kwargs | {"data": cut(cast("Iterable[bytes]", body))})
            )

    def cut(body: Iterable[bytes]) -> Iterator[bytes]:
        for number, chunk in enumerate(body):
            if number == 100:
                raise ConnectionResetError
            sent.append(len(chunk))
            yield chunk

    with Cut(stack.ca_file) as session, pytest.raises(OSError):  # noqa: PT011 - however requests names it
        client(stack, people, session).store_instances(instances)
    assert sum(sent) > 100_000
    wait_until(lambda: hidden(stack) == [], 30, "what came of it is removed", stack.logs)
    assert study.uid not in reader("physician-a").study_uids()
    with stack.session() as whole:
        answer = client(stack, people, whole).store_instances(instances)
    assert (len(answer.ReferencedSOPSequence), failure(answer)) == (20, [])
    assert study.uid in reader("physician-a").study_uids()


def hidden(stack: Stack) -> list[str]:
    """Return what lies hidden in the inboxes of a store request."""
    found = stack.inbox("clinic-a").glob(".dicom-importer-unpacking/*")
    return [path.name for path in found]


def test_into_another_clinic_nothing_is_stored(
    stack: Stack, people: People, reader: Callable[[str], Reader]
) -> None:
    theirs, new = ct(seed=603, slices=1, size=63), ct(seed=604, slices=1, size=63)
    assert drop_files(stack, "clinic-b", theirs.files).failed == {}
    with stack.session() as session:
        sender = client(stack, people, session)
        with pytest.raises(requests.HTTPError, match="403") as refused:
            sender.store_instances(read(new), additional_params={"clinic": "clinic-b"})
        assert "stores nothing for that clinic" in refused.value.response.text
    with stack.session() as session:
        sender = client(stack, people, session)
        # A study that another clinic holds cannot be added to (PS3.18 10.5.3: 0110H, processing failure).
        with pytest.raises(requests.HTTPError, match="409"):
            sender.store_instances(read(theirs))
        # The control: what is nobody's is taken.
        assert failure(sender.store_instances(read(new))) == []
    assert theirs.uid not in reader("physician-a").study_uids()
    assert new.uid in reader("physician-a").study_uids()
    assert new.uid not in reader("physician-b").study_uids()
