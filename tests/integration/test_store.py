"""Storing over the public address (STOW-RS): who may, into which clinic, and how much at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import phantom
from harness.people import service_token
from stack.shell import podman

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import requests
    from harness.dicomweb import Reader
    from harness.people import People
    from harness.stack import Stack

BOUNDARY = "part-of-the-test"
TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
HEAD = f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
END = f"\r\n--{BOUNDARY}--\r\n".encode()
# What the importer stays below (make bench measures it with every set).
PEAK_BYTES = 150_000_000
LARGE_BYTES, LARGE_PARTS = 700_000_000, 3


def store(
    stack: Stack,
    token: str | None,
    body: bytes | Iterator[bytes],
    path: str = "/dicom-web/studies",
    **headers: str,
) -> requests.Response:
    """Send a store request with a token."""
    bearer = {"Authorization": f"Bearer {token}"} if token else {}
    with stack.session() as session:
        return session.post(
            stack.url + path,
            data=body,
            headers={"Content-Type": TYPE, "Accept": "application/dicom+json"} | bearer | headers,
            allow_redirects=False,
            timeout=600,
        )


def body(study: phantom.Study) -> bytes:
    """Put a study's files into a request's body."""
    return b"".join(HEAD + content for content in study.files.values()) + END


def uids(answer: requests.Response, sequence: str = "00081199") -> set[str]:
    """Return the SOP Instance UIDs of a sequence of the response."""
    items = answer.json().get(sequence, {}).get("Value", [])
    return {item["00081155"]["Value"][0] for item in items}


def made(seed: int, slices: int = 3) -> tuple[phantom.Study, set[str]]:
    """Make a small study and return it with the UIDs of its instances."""
    study = phantom.ct(seed=seed, slices=slices, size=63)
    return study, {str(study.identity.uid("instance", number)) for number in range(slices)}


def test_what_a_technician_stores_is_read_in_that_clinic_and_in_no_other(
    stack: Stack, people: People, reader: Callable[[str], Reader]
) -> None:
    study, instances = made(71)
    answer = store(stack, people.token("technician-a", fresh=True), body(study))
    assert (answer.status_code, uids(answer)) == (200, instances)
    assert answer.headers["Content-Type"].startswith("application/dicom+json")
    where = f"{stack.url}/dicom-web/studies/{study.uid}"
    assert answer.json()["00081190"]["Value"] == [where]
    (first, *_) = answer.json()["00081199"]["Value"]
    address = first["00081190"]["Value"][0].removeprefix(stack.url)
    assert reader("physician-a").get(address).status_code == 200
    assert study.uid in reader("physician-a").study_uids()
    assert study.uid not in reader("physician-b").study_uids()
    assert not list(stack.inbox("clinic-a").glob("*.stow"))


def test_a_body_that_tells_its_length_is_taken_like_one_that_does_not(
    stack: Stack, people: People
) -> None:
    study = phantom.ct(seed=76, slices=1, size=1200)
    whole = body(study)
    assert len(whole) > 2_000_000
    answer = store(stack, people.token("technician-a", fresh=True), whole)
    assert (answer.status_code, uids(answer)) == (200, {str(study.identity.uid("instance", 0))})


def test_another_clinics_study_is_refused_without_a_word_of_whose_it_is(
    stack: Stack, people: People
) -> None:
    study, instances = made(72)
    both = ("technician", "clinic-a,clinic-b")
    people.person("technician-ab", *both)
    token = people.token("technician-ab", fresh=True)
    path = "/dicom-web/studies?clinic=clinic-b"
    assert store(stack, token, body(study), path).status_code == 200
    answer = store(stack, people.token("technician-a", fresh=True), body(study))
    assert (answer.status_code, uids(answer, "00081198")) == (409, instances)
    assert "clinic" not in answer.text


@pytest.mark.parametrize(
    ("caller", "status"),
    [
        ("nobody", 401),
        ("physician-a", 409),
        ("no-clinic", 403),
        ("admin-x", 403),
        ("orthanc-api", 403),
        ("monitoring", 403),
    ],
)
def test_only_technicians_store_images(
    stack: Stack, people: People, caller: str, status: int
) -> None:
    token = None
    if caller in ("orthanc-api", "monitoring"):
        token = service_token(stack, caller)
    elif caller != "nobody":
        token = people.token(caller, fresh=True)
    for path in ("/dicom-web/studies", "/orthanc/dicom-web/studies", "/dicom-web/studies/1.2.3"):
        assert store(stack, token, body(made(73)[0]), path).status_code == status


def test_a_technician_stores_into_own_clinics_only(stack: Stack, people: People) -> None:
    token = people.token("technician-a", fresh=True)
    for clinic in ("clinic-b", "nowhere", "../clinic-b", "clinic-a/../clinic-b"):
        path = f"/dicom-web/studies?clinic={clinic}"
        assert store(stack, token, body(made(74)[0]), path).status_code == 403


def test_two_gigabytes_in_one_body_pass_through_memory_of_neither(
    stack: Stack, people: People, reader: Callable[[str], Reader]
) -> None:
    if stack.settings is None:
        pytest.skip("the importer's memory is looked at in its container")
    study, _ = made(75, LARGE_PARTS)
    lead = {
        name: content.partition(b"\xe0\x7f\x10\x00OW")[0] for name, content in study.files.items()
    }
    zeros = bytes(1 << 20)

    def pieces() -> Iterator[bytes]:
        for content in lead.values():
            yield HEAD + content + b"\xe0\x7f\x10\x00OW\0\0" + LARGE_BYTES.to_bytes(4, "little")
            left = LARGE_BYTES
            while left:
                yield zeros[:left]
                left -= len(zeros[:left])
        yield END

    answer = store(stack, people.token("technician-a", fresh=True), pieces())
    assert (answer.status_code, len(uids(answer))) == (200, LARGE_PARTS), answer.text[:500]
    assert study.uid in reader("physician-a").study_uids()
    container = f"{stack.settings.project}-importer"
    pid = podman("inspect", "--format={{.State.Pid}}", container).strip()
    (below,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{below}/status").read_text())
    assert peak
    assert int(peak[1]) * 1024 < PEAK_BYTES


def test_a_large_body_that_is_refused_is_answered_all_the_same(
    stack: Stack, people: People
) -> None:
    def pieces() -> Iterator[bytes]:
        yield HEAD
        for _ in range(200):
            yield bytes(1 << 20)
        yield END

    token = people.token("no-clinic", fresh=True)
    assert store(stack, token, pieces()).status_code == 403
    assert store(stack, None, pieces()).status_code == 401
