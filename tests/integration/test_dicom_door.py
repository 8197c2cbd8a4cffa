"""What modalities store over DICOM arrives in their clinic, once and whole, whatever is cut off or killed."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from harness import phantom
from harness.drop import remaining
from harness.modality import (
    NOT_CALLED,
    NOT_KNOWN,
    Modality,
    cut,
    send,
    send_half,
    send_until_cut,
    sop_uid,
    tidy,
)
from harness.wait import wait_until
from stack import health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.dicomweb import Reader
    from harness.people import People
    from harness.stack import Stack

SLICES = 500
SENDERS = {"CT01": "clinic-a", "CT02": "clinic-b"}


# pynetdicom's threads end so when a test cuts their connection off.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::pytest.PytestUnhandledThreadExceptionWarning",
)


@pytest.fixture(autouse=True)
def _tidied() -> Iterator[None]:
    yield
    tidy()


@pytest.fixture(scope="module")
def port(stack: Stack, people: People) -> int:
    """Provide where the door is published, with a device of each clinic registered by the operator's command."""
    assert people.passwords
    number = int(stack.value("DICOM_PORT"))
    for title, clinic in SENDERS.items():
        stack.operate("sender", CLINIC=clinic, AET=title, ADDRESS="127.0.0.1")
    said = stack.operate("sender", CLINIC="clinic-a", AET="MR01", ADDRESS="192.0.2.10")
    assert "MR01 from 192.0.2.10/32 stores into clinic clinic-a" in said
    return number


def folders(stack: Stack, clinic: str) -> list[Path]:
    """Return what the door made in an inbox."""
    return list(stack.inbox(clinic).glob("*.dimse"))


def filed(stack: Stack, clinic: str, where: str = "processed") -> list[str]:
    """Return the SOP Instance UIDs of what the door brought and the importer filed, each as often as it is there."""
    found = (stack.files / where / clinic).glob("*/*.dimse/*.dcm")
    return sorted(sop_uid(path.read_bytes()) for path in found)


def awaited(stack: Stack, clinic: str = "clinic-a") -> None:
    """Wait until the importer has filed all that the door brought, and removed its folders."""
    wait_until(
        lambda: not any(remaining(one) for one in folders(stack, clinic)),
        90,
        f"what came over DICOM into {clinic} is filed",
        stack.logs,
    )


def instances(reader: Callable[[str], Reader], who: str, study: str) -> set[str]:
    """Return the SOP Instance UIDs that somebody finds of a study."""
    found = reader(who).search(f"/dicom-web/studies/{study}/instances?limit=2000")
    return {str(item["00080018"]["Value"][0]) for item in found}


def test_five_hundred_slices_are_searchable_in_their_clinic_and_in_no_other(
    stack: Stack, reader: Callable[[str], Reader], port: int, tmp_path: Path
) -> None:
    study = phantom.ct(seed=301, slices=SLICES, size=63)
    for number, content in enumerate(study.files.values()):
        (tmp_path / f"{number:04}.dcm").write_bytes(content)
    done = Modality("CT01", port).run("dcmsend", "+sd", tmp_path)
    assert done.returncode == 0, done.stderr
    awaited(stack)
    sent = {sop_uid(content) for content in study.files.values()}
    assert len(sent) == SLICES
    assert instances(reader, "physician-a", study.uid) == sent
    assert study.uid not in reader("physician-b").study_uids()
    assert [uid for uid in filed(stack, "clinic-a") if uid in sent] == sorted(sent)
    wait_until(lambda: not folders(stack, "clinic-a"), 30, "the emptied folder is removed")
    records = [
        json.loads(line)
        for line in (stack.data_dir / "audit/importer/import.jsonl").read_text().splitlines()
    ]
    (imported,) = {
        record["submission"] for record in records if record.get("study_instance_uid") == study.uid
    }
    delivered = [r for r in records if r.get("submission") == imported and "user" in r["who"]]
    assert sum(record["instances"] for record in delivered) == SLICES
    for record in delivered:
        assert (record["status"], record["clinic_id"]) == ("delivered", "clinic-a")
        assert record["who"]["source"] == "c-store"
        assert (record["who"]["user"], record["who"]["address"]) == ("CT01", "127.0.0.1")


def test_pynetdicom_stores_compressed_images_as_they_are(
    stack: Stack, reader: Callable[[str], Reader], port: int
) -> None:
    study = phantom.packed_panoramic(seed=302)
    assert set(Modality("CT02", port).store(study.files).values()) == {0}
    awaited(stack, "clinic-b")
    assert study.uid in reader("physician-b").study_uids()
    assert study.uid not in reader("physician-a").study_uids()


def test_a_connection_cut_in_the_middle_loses_and_doubles_nothing(
    stack: Stack, reader: Callable[[str], Reader], port: int
) -> None:
    study = phantom.ct(seed=303, slices=30, size=63)
    device = Modality("CT01", port)
    names = list(study.files)
    association = device.for_files(study.files.values())
    assert {send(association, study.files[name]) for name in names[:15]} == {0}
    send_half(association, study.files[names[15]])
    cut(association)
    taken = {sop_uid(study.files[name]) for name in names[:15]}
    awaited(stack)
    assert instances(reader, "physician-a", study.uid) == taken
    # The device sends all of it again.
    assert set(device.store(study.files).values()) == {0}
    awaited(stack)
    everything = {sop_uid(content) for content in study.files.values()}
    assert instances(reader, "physician-a", study.uid) == everything
    assert filed(stack, "clinic-a", "failed") == []


def test_a_receiver_killed_in_the_middle_loses_and_doubles_nothing(
    stack: Stack, reader: Callable[[str], Reader], port: int
) -> None:
    study = phantom.ct(seed=304, slices=30, size=63)
    device = Modality("CT01", port)
    before = stack.main_process("receiver")

    def kill(number: int) -> None:
        if number == 15:
            threading.Timer(0.01, os.kill, [before, signal.SIGKILL]).start()

    names = send_until_cut(device.for_files(study.files.values()), study.files, kill)
    taken = {sop_uid(study.files[name]) for name in names}
    assert 15 <= len(taken) < 30
    # What was acknowledged is imported whether it runs again or not.
    awaited(stack)
    assert taken <= instances(reader, "physician-a", study.uid)
    wait_until(
        lambda: health.state(stack.podman_settings, "receiver") == "healthy",
        60,
        "the receiver runs again",
        lambda: stack.logs("receiver"),
    )
    rest = {name: content for name, content in study.files.items() if name not in names}
    assert set(device.store(rest).values()) == {0}
    awaited(stack)
    everything = sorted({sop_uid(content) for content in study.files.values()})
    assert sorted(instances(reader, "physician-a", study.uid)) == everything
    # The last one may have come in whole before the device heard of it: then it is filed twice and archived once.
    there = [uid for uid in filed(stack, "clinic-a") if uid in everything]
    assert len(there) - len(everything) in (0, 1)


def test_an_echo_is_answered_to_who_is_registered_and_to_nobody_else(
    stack: Stack, port: int
) -> None:
    assert Modality("CT01", port).run("echoscu").returncode == 0
    # MR01 is registered at an address that this machine has not.
    for title in ("MR01", "CT09", "ct01", "../clinic-b", "clinic-b", "/inbox/clinic-b"):
        assert Modality(title, port).rejected() == NOT_KNOWN, title
    assert Modality("CT01", port, called="../clinic-b").rejected() == NOT_CALLED
    assert Modality("CT01", port).rejected() is None
    said = stack.logs("receiver", 10_000)
    assert '"reason": "unknown_sender"' in said
    assert "MR01" not in said


def test_what_an_object_says_of_itself_leads_to_no_other_clinic(
    stack: Stack, reader: Callable[[str], Reader], port: int
) -> None:
    identity = phantom.Identity(institution="clinic-b", patient_id="../clinic-b")
    study = phantom.ct(305, identity, slices=1, size=63)
    before = len(filed(stack, "clinic-b"))
    assert set(Modality("CT01", port).store(study.files).values()) == {0}
    awaited(stack)
    assert study.uid in reader("physician-a").study_uids()
    assert study.uid not in reader("physician-b").study_uids()
    assert len(filed(stack, "clinic-b")) == before
    # And the other clinic's device, which knows the identifiers, gets nothing of it.
    assert set(Modality("CT02", port).store(study.files).values()) == {0}
    awaited(stack, "clinic-b")
    assert study.uid not in reader("physician-b").study_uids()
    ours = {sop_uid(content) for content in study.files.values()}
    assert ours <= set(filed(stack, "clinic-b", "failed"))


def test_the_operator_sees_who_may_store_and_what_came(stack: Stack, port: int) -> None:
    assert port
    gone = stack.operate("remove-sender", AET="MR01")
    assert "MR01 from 192.0.2.10/32 no longer stores into clinic clinic-a" in gone
    listed = [line.split() for line in stack.operate("senders").splitlines()]
    assert listed == [
        ["clinic-a", "CT01", "127.0.0.1/32"],
        ["clinic-b", "CT02", "127.0.0.1/32"],
    ]
    told = stack.attempt("status").stdout
    assert re.search(
        r"^  DICOM receiver STACK: 2 senders; since its start \d+ objects", told, re.MULTILINE
    )
    refused = stack.attempt("sender", CLINIC="clinic-b", AET="CT01", ADDRESS="127.0.0.1")
    assert refused.returncode
    assert "stores into clinic clinic-a already" in refused.stderr
    if not stack.settings:
        return
    assert stack.exec("receiver", "cat", "/var/lib/dicom-receiver/senders.json").returncode == 0
    denied = stack.exec("receiver", "touch", "/var/lib/dicom-receiver/senders.json")
    assert "Read-only file system" in denied.stderr
