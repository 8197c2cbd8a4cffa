"""The operator's commands on the running stack: what failed, was lost or is outdated is put right."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
import requests
from harness.dicomweb import Reader
from harness.drop import drop_files
from harness.own_importer import backend_url
from harness.people import service_token
from harness.phantom import ct
from harness.wait import wait_until
from stack import health
from stack.shell import podman
from unit.importer.commanding import KILLED

if TYPE_CHECKING:
    from pathlib import Path

    from harness.people import People
    from harness.phantom import Study
    from harness.stack import Stack

CLINIC = "clinic-ops"
PHYSICIAN = "physician-ops"
# Runs inside the importer: loses images of the archive as a restore of an older state does.
LOSE = """
import contextlib, sys
from dicom_importer import config, session
with session.archive(config.load()) as archive:
    for uid in sys.argv[1:]:
        for one in archive.instances(uid):
            archive.remove(one)
"""

# Fills the archive's cache of metadata, which it does by itself when a series has been stable for a minute.
CACHE = """
import sys
from dicom_importer import config, session
with session.archive(config.load()) as archive:
    archive.refresh(archive.study(sys.argv[1]).id)
"""


@pytest.fixture(scope="module")
def physician(stack: Stack, people: People) -> Reader:
    """Provide a clinic of these tests' own, and who reads in it."""
    people.clinic(CLINIC, "Clinic of the commands")
    people.person(PHYSICIAN, "physician", CLINIC)
    return Reader(stack, people.token(PHYSICIAN, fresh=True))


def lose(stack: Stack, *sop_uids: str) -> None:
    """Remove images from the archive behind the importer's back."""
    done = stack.exec("importer", "python3", "-c", LOSE, *sop_uids)
    assert done.returncode == 0, done.stderr


def sop_uid(content: bytes) -> str:
    """Return what a file calls itself."""
    return str(pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID)


def brighter(content: bytes) -> bytes:
    """Return another version of an image: the same identifiers, other pixels."""
    made = pydicom.dcmread(io.BytesIO(content))
    made.BodyPartExamined = "HEAD"
    made.PixelData = (np.frombuffer(made.PixelData, "<i2") + 1).astype("<i2").tobytes()
    buffer = io.BytesIO()
    made.save_as(buffer)
    return buffer.getvalue()


def stored_files(stack: Stack, *, dicom: bool) -> list[Path]:
    """Return the images on the archive's disk, or what else lies there: its caches of metadata."""
    files = (stack.data_dir / "dicom").rglob("*")
    return [p for p in files if p.is_file() and (p.read_bytes()[128:132] == b"DICM") is dicom]


def stored_file(stack: Stack, uid: str) -> Path:
    """Return where the archive's disk holds an image."""
    files = [path for path in (stack.data_dir / "dicom").rglob("*") if path.is_file()]
    wanted = uid.encode()
    (found,) = [
        path
        for path in files
        if (content := path.read_bytes())[128:132] == b"DICM" and wanted in content[:1024]
    ]
    return found


def forget_cache(stack: Stack) -> None:
    """Start the archive anew: it answers from its memory what its disk no longer holds."""
    podman("restart", "-t", "10", stack.container("orthanc"))
    wait_until(
        lambda: health.state(stack.podman_settings, "orthanc") == "healthy",
        120,
        "Orthanc is there again",
        lambda: stack.logs("orthanc"),
    )


def audited(stack: Stack) -> list[dict[str, Any]]:
    """Return what the audit tells of imports."""
    lines = (stack.data_dir / "audit/importer/import.jsonl").read_text()
    return [json.loads(line) for line in lines.splitlines()]


def pixels(physician: Reader, study: Study, number: int = 0) -> bytes:
    """Return the pixels of one of a study's images as the physician gets them."""
    uids = (study.uid, study.identity.uid("series"), study.identity.uid("instance", number))
    return bytes(physician.instance(*map(str, uids)).PixelData)


def body_parts(physician: Reader, study: Study) -> list[str]:
    """Return what the series' metadata, which the viewer reads, says of its images; empty while it is changed."""
    path = f"/dicom-web/studies/{study.uid}/series/{study.identity.uid('series')}/metadata"
    answer = physician.get(path)
    images = answer.json() if answer.status_code == 200 else []
    return sorted(item["00180015"]["Value"][0] for item in images)


def another_version(stack: Stack, study: Study) -> tuple[Path, bytes]:
    """Let another version of a study's first image fail; returns where it lies and its pixels."""
    name = "CT0001.dcm"
    changed = brighter(study.files[name])
    outcome = drop_files(stack, CLINIC, {name: changed})
    assert outcome.reasons[name]["reason"] == "other_version"
    return outcome.failed[name], bytes(pydicom.dcmread(io.BytesIO(changed)).PixelData)


@pytest.fixture
def study(stack: Stack, physician: Reader) -> Study:
    """Provide a study that was imported."""
    made = ct(seed=3, slices=2, size=63)
    outcome = drop_files(stack, CLINIC, made.files)
    assert not outcome.failed, outcome.reasons
    assert made.uid in physician.study_uids()
    done = stack.exec("importer", "python3", "-c", CACHE, made.uid)
    assert done.returncode == 0, done.stderr
    return made


def test_verify_finds_what_the_archive_lost_and_replay_brings_it_back(
    stack: Stack, physician: Reader, study: Study
) -> None:
    assert stack.attempt("verify", CLINIC=CLINIC).returncode == 0
    before = pixels(physician, study)
    lost = sop_uid(study.files["CT0001.dcm"])
    lose(stack, lost)
    found = stack.attempt("verify", CLINIC=CLINIC)
    assert found.returncode != 0
    assert f"study {study.uid}, image {lost} is not in the archive" in found.stdout
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    said = stack.operate("replay", SINCE=today, CLINIC=CLINIC)
    assert f"{CLINIC}: 1 stored, " in said
    assert ", 0 failed." in said
    assert pixels(physician, study) == before
    assert " 0 differences." in stack.operate("verify", CLINIC=CLINIC)


@pytest.mark.parametrize("command", ["replay", "verify"])
def test_what_the_archives_disk_lost_is_stored_anew(
    stack: Stack, physician: Reader, study: Study, command: str
) -> None:
    before_count = sum(r["status"] == "repaired" for r in audited(stack))
    uids = [sop_uid(study.files[name]) for name in ("CT0001.dcm", "CT0002.dcm")]
    before = [pixels(physician, study, number) for number in range(2)]
    wholes = [stored_file(stack, uid).read_bytes() for uid in uids]
    assert body_parts(physician, study) == ["CHEST", "CHEST"]
    stored_file(stack, uids[0]).unlink()
    caches = stored_files(stack, dicom=False)
    assert caches
    for path in caches:
        path.unlink()
    stored_file(stack, uids[1]).write_bytes(wholes[1][:-1] + bytes([wholes[1][-1] ^ 1]))
    forget_cache(stack)
    found = stack.attempt("verify", CLINIC=CLINIC)
    assert found.returncode != 0
    for uid, kind in zip(uids, ("is gone from", "has other bytes on"), strict=True):
        (line,) = [x for x in found.stdout.splitlines() if f"study {study.uid}, image {uid}," in x]
        assert f" {kind} the archive's disk" in line
        assert "; its original: find /processed/" in line
    with pytest.raises((AssertionError, requests.RequestException)):
        pixels(physician, study)
    if command == "replay":
        today = f"{datetime.now(UTC):%Y-%m-%d}"
        said = stack.operate("replay", SINCE=today, CLINIC=CLINIC)
        assert f"{CLINIC}: 0 stored, 2 repaired, " in said
        assert ", 0 failed." in said
    else:
        said = stack.operate("verify", CLINIC=CLINIC, REPAIR="1", WHO="an-operator")
        assert " repaired; 0 differences." in said
    forget_cache(stack)
    assert body_parts(physician, study) == ["CHEST", "CHEST"]
    assert [pixels(physician, study, number) for number in range(2)] == before
    assert [stored_file(stack, uid).read_bytes() for uid in uids] == wholes
    # Caches of other studies went as well, which only verify looks after.
    stack.operate("verify", CLINIC=CLINIC, REPAIR="1")
    assert " 0 differences." in stack.operate("verify", CLINIC=CLINIC)
    repaired = [r["instances"] for r in audited(stack) if r["status"] == "repaired"]
    assert sum(repaired[before_count:]) == 2


def test_replace_lets_the_physician_read_the_other_version(
    stack: Stack, physician: Reader, study: Study
) -> None:
    failed, wanted = another_version(stack, study)
    assert pixels(physician, study) != wanted
    assert body_parts(physician, study) == ["CHEST", "CHEST"]
    explained = stack.operate("explain", F=str(failed))
    assert "The archive holds another version of this image" in explained
    stack.operate("replace", F=str(failed), WHO="an-operator")
    assert pixels(physician, study) == wanted
    assert body_parts(physician, study) == ["CHEST", "HEAD"]
    assert not failed.exists()
    (record,) = [
        r
        for r in audited(stack)
        if r["status"] == "replaced" and r["study_instance_uid"] == study.uid
    ]
    assert record["who"]["operator"] == "an-operator"
    assert " 0 differences." in stack.operate("verify", CLINIC=CLINIC)


def corrected(stack: Stack, study: Study) -> Path:
    """Let a study come again under another patient ID; returns the folder where it lies."""
    files = {}
    for name, content in study.files.items():
        made = pydicom.dcmread(io.BytesIO(content))
        made.PatientID = "CORRECTED-1"
        buffer = io.BytesIO()
        made.save_as(buffer)
        files[name] = buffer.getvalue()
    outcome = drop_files(stack, CLINIC, files)
    assert {one["reason"] for one in outcome.reasons.values()} == {"other_patient"}
    return outcome.failed["CT0001.dcm"].parent


def patients(physician: Reader, study: Study) -> list[str]:
    """Return the patient ID of every image, as the viewer's metadata tells it."""
    path = f"/dicom-web/studies/{study.uid}/series/{study.identity.uid('series')}/metadata"
    return [item["00100020"]["Value"][0] for item in physician.get(path).json()]


def test_a_study_under_a_corrected_patient_id_takes_the_place_of_the_old_one(
    stack: Stack, physician: Reader, study: Study
) -> None:
    failed = corrected(stack, study)
    (failed / "CT0001.dcm").rename(failed.parent / "aside.dcm")
    assert stack.attempt("replace", F=str(failed), WHO="x").returncode != 0
    assert patients(physician, study) == ["PHANTOM-1"] * 2
    (failed.parent / "aside.dcm").rename(failed / "CT0001.dcm")
    before = pixels(physician, study)
    stack.operate("replace", F=str(failed), WHO="an-operator")
    assert patients(physician, study) == ["CORRECTED-1"] * 2
    assert pixels(physician, study) == before
    assert study.uid in physician.study_uids()
    assert not list(failed.glob("*"))
    assert " 0 differences." in stack.operate("verify", CLINIC=CLINIC)


@pytest.mark.parametrize("step", ["archive:Archive.remove", "archive:Archive.store"])
def test_a_study_that_was_to_change_hands_and_was_killed_does_so(
    stack: Stack, physician: Reader, study: Study, step: str
) -> None:
    failed = corrected(stack, study)
    inside = f"/failed/{failed.relative_to(stack.files / 'failed')}"
    words = [f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S+00:00}", step, "after"]
    done = stack.exec("importer", "python3", "-c", KILLED, *words, "replace", "--by", "x", inside)
    assert done.returncode == 137, done.stderr
    (stack.inbox(CLINIC) / "wake.part").touch()
    (stack.inbox(CLINIC) / "wake.part").unlink()
    wait_until(lambda: not list(failed.glob("*")), 60, "the importer finishes it", stack.logs)
    assert patients(physician, study) == ["CORRECTED-1"] * 2
    assert " 0 differences." in stack.operate("verify", CLINIC=CLINIC)


@pytest.mark.parametrize("step", ["archive:Archive.remove", "archive:Archive.store"])
def test_a_replacement_that_is_killed_is_finished_by_the_importer(
    stack: Stack, physician: Reader, study: Study, step: str
) -> None:
    failed, wanted = another_version(stack, study)
    inside = f"/failed/{failed.relative_to(stack.files / 'failed')}"
    words = [f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S+00:00}", step, "after"]
    done = stack.exec("importer", "python3", "-c", KILLED, *words, "replace", "--by", "x", inside)
    assert done.returncode == 137, done.stderr
    # An event in the inbox: the importer looks around within a minute anyway.
    (stack.inbox(CLINIC) / "wake.part").touch()
    (stack.inbox(CLINIC) / "wake.part").unlink()
    wait_until(
        lambda: body_parts(physician, study) == ["CHEST", "HEAD"],
        30,  # less than the archive's cache needs by itself
        "the importer finishes it and the viewer's metadata is the new one",
        stack.logs,
    )
    assert pixels(physician, study) == wanted
    assert not failed.exists()
    assert " 0 differences." in stack.operate("verify", CLINIC=CLINIC)


def test_retry_imports_what_failed_once_its_cause_is_gone(
    stack: Stack, physician: Reader, study: Study
) -> None:
    failed, wanted = another_version(stack, study)
    lose(stack, sop_uid(failed.read_bytes()))
    folder = stack.inbox(CLINIC) / failed.parent.name
    said = stack.operate("retry", F=str(failed))
    assert "1 put back, 0 left." in said
    wait_until(lambda: not list(folder.glob("*.dcm")), 60, "it is filed away", stack.logs)
    assert not failed.exists()
    assert pixels(physician, study) == wanted
    explained = stack.operate("explain", F=str(failed))
    assert "success; filed as /processed/" in explained


def test_retry_by_clinic_leaves_what_can_only_fail_again(stack: Stack, physician: Reader) -> None:
    assert physician.token
    outcome = drop_files(stack, CLINIC, {"note 'x'.txt": b"hello"})
    (failed,) = outcome.failed.values()
    found = stack.attempt("retry", CLINIC=CLINIC)
    assert found.returncode != 0
    assert f"{failed.name}: not_dicom, which trying again does not change; left." in found.stdout
    assert failed.exists()


def test_nothing_is_removed_through_the_public_address(
    stack: Stack, physician: Reader, study: Study
) -> None:
    importer = {"Authorization": f"Bearer {service_token(stack, 'orthanc-api')}"}
    with stack.session() as session:
        inside = f"{backend_url(stack, 'orthanc')}/tools/lookup"
        found = session.post(inside, data=study.uid, headers=importer).json()
        (identifier,) = (one["ID"] for one in found if one["Type"] == "Study")
        path = f"{stack.url}/orthanc/studies/{identifier}?_method=DELETE"
        assert session.get(path, headers=importer).status_code in (403, 404)
    assert study.uid in physician.study_uids()
