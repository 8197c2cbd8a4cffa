"""Known traps of the parts: each stands here once found, so that no update brings it back."""

from __future__ import annotations

import io
import secrets
from typing import TYPE_CHECKING

import pydicom
from harness.drop import drop_files
from harness.phantom import Identity, ct
from stack import health

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.dicomweb import Reader
    from harness.people import People
    from harness.stack import Stack

UNDEFINED = b"\xff\xff\xff\xff"
OPENING = b"\x09\x00\x10\x10SQ\0\0" + UNDEFINED + b"\xfe\xff\x00\xe0" + UNDEFINED
CLOSING = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"


def deeply_nested(depth: int) -> bytes:
    """Return a CT slice with a private sequence nested so deep (CVE-2026-10528)."""
    (whole,) = ct(seed=7, slices=1).files.values()
    place = whole.index(b"\x10\x00\x10\x00PN")
    private = b"\x09\x00\x10\x00LO\x04\x00DEEP" + OPENING * depth + CLOSING * depth
    return whole[:place] + private + whole[place:]


def listening_ports(stack: Stack, service: str) -> set[int]:
    """Return the TCP ports on which a container listens for others."""
    table = stack.exec(service, "cat", "/proc/net/tcp", "/proc/net/tcp6").stdout
    bound = [line.split()[1].split(":") for line in table.splitlines() if " 0A " in line]
    return {int(port, 16) for address, port in bound if not address.endswith("0100007F")}


def test_a_sequence_nested_very_deep_fails_alone_and_harms_nothing(
    stack: Stack, reader: Callable[[str], Reader]
) -> None:
    good = ct(seed=8, slices=1)
    outcome = drop_files(stack, "clinic-a", good.files | {"deep.dcm": deeply_nested(100_000)})
    assert outcome.reasons.keys() == {"deep.dcm"}
    assert outcome.reasons["deep.dcm"]["reason"] == "too_deep"
    assert good.uid in reader("physician-a").study_uids()
    assert health.state(stack.podman_settings, "orthanc") == "healthy"
    assert health.state(stack.podman_settings, "importer") == "healthy"


def test_a_sequence_nested_as_devices_do_is_stored(stack: Stack, people: People) -> None:
    assert people.passwords
    outcome = drop_files(stack, "clinic-a", {"nested.dcm": deeply_nested(12)})
    assert outcome.reasons == {}
    assert outcome.processed.keys() == {"nested.dcm"}


def test_orthanc_opens_no_port_beside_its_own(stack: Stack) -> None:
    assert listening_ports(stack, "orthanc") == {8042}


def test_keycloak_opens_no_cluster_port(stack: Stack) -> None:
    assert listening_ports(stack, "keycloak") == {8080, 9000}


def test_every_slice_of_a_larger_series_is_stored(
    stack: Stack, reader: Callable[[str], Reader]
) -> None:
    study = ct(seed=9, slices=200, size=63)
    outcome = drop_files(stack, "clinic-a", study.files, timeout_s=120)
    assert outcome.reasons == {}
    found = reader("physician-a").search(f"/dicom-web/studies/{study.uid}/instances?limit=1000")
    dropped = {pydicom.dcmread(io.BytesIO(f)).SOPInstanceUID for f in study.files.values()}
    assert {item["00080018"]["Value"][0] for item in found} == dropped


def test_the_same_study_under_another_patient_is_refused_and_stays_readable(
    stack: Stack, reader: Callable[[str], Reader]
) -> None:
    key = secrets.token_hex(8)
    right, wrong = (ct(10, Identity(p, key=key), slices=2) for p in ("RIGHT", "WRONG"))
    assert right.uid == wrong.uid
    first, second = sorted(right.files)
    drop_files(stack, "clinic-a", {first: right.files[first]})
    outcome = drop_files(stack, "clinic-a", {second: wrong.files[second]})
    assert [r["reason"] for r in outcome.reasons.values()] == ["other_patient"]
    original = pydicom.dcmread(io.BytesIO(right.files[first]))
    uids = (original.StudyInstanceUID, original.SeriesInstanceUID, original.SOPInstanceUID)
    assert reader("physician-a").instance(*uids).PixelData == original.PixelData
