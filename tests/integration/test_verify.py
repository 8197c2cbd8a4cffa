"""`make verify` finds what happened to the archive's disk, its index and the originals, and mends what can be."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from harness.dicomweb import Reader
from harness.drop import drop_files
from harness.phantom import ct
from harness.stack import TOP
from integration.test_commands import forget_cache, pixels, sop_uid, stored_file
from stack.shell import environment
from unit.importer.commanding import KILLED

if TYPE_CHECKING:
    from pathlib import Path

    from harness.people import People
    from harness.phantom import Study
    from harness.stack import Stack

CLINIC = "clinic-verify"
PHYSICIAN = "physician-verify"
OLD_S = 1_700_000_000
SLICES = 6
# As the superuser, past the triggers that only Orthanc's own connection can run.
FORGET = "SET session_replication_role = replica; DELETE FROM attachedfiles WHERE uuid = '{}'"

LOSE = """
SET session_replication_role = replica;
WITH lost AS (DELETE FROM attachedfiles WHERE uuid = '{}' RETURNING id),
  tags AS (DELETE FROM dicomidentifiers USING lost WHERE dicomidentifiers.id = lost.id),
  more AS (DELETE FROM maindicomtags USING lost WHERE maindicomtags.id = lost.id),
  meta AS (DELETE FROM metadata USING lost WHERE metadata.id = lost.id)
DELETE FROM resources USING lost WHERE internalid = lost.id
"""


@pytest.fixture(scope="module")
def physician(stack: Stack, people: People) -> Reader:
    """Provide a clinic of these tests' own, and who reads in it."""
    people.clinic(CLINIC, "Clinic of the verification")
    people.person(PHYSICIAN, "physician", CLINIC)
    return Reader(stack, people.token(PHYSICIAN, fresh=True))


@pytest.fixture
def study(stack: Stack, physician: Reader) -> Study:
    """Provide a study that was imported."""
    made = ct(seed=8, slices=SLICES, size=48)
    outcome = drop_files(stack, CLINIC, made.files)
    assert not outcome.failed, outcome.reasons
    assert made.uid in physician.study_uids()
    return made


def found(stack: Stack, **variables: str) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    """Run verify for programs; returns its status, what it found and its summary."""
    done = stack.attempt("verify", JSON="1", WHO="an-operator", **variables)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines, done.stderr
    return done.returncode, lines[:-1], lines[-1]["summary"]


def uids(study: Study) -> list[str]:
    """Return the identifiers of a study's images."""
    return [sop_uid(content) for content in study.files.values()]


def original(stack: Stack, study: Study, uid: str) -> Path:
    """Return where the original of an image lies."""
    folder = stack.files / "processed" / CLINIC
    wanted = next(content for content in study.files.values() if sop_uid(content) == uid)
    (path,) = [p for p in folder.rglob("*.dcm") if p.read_bytes() == wanted]
    return path


def inside(stack: Stack, path: Path) -> str:
    """Return what the importer calls a file of the archive's disk."""
    return f"/dicom/{path.relative_to(stack.data_dir / 'dicom')}"


def test_an_archive_that_is_as_it_should_be_is_said_to_be(stack: Stack, study: Study) -> None:
    assert study.files
    done = stack.attempt("verify", CLINIC=CLINIC)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith(" 0 differences.\n")
    assert (
        f" {len(list((stack.files / 'processed' / CLINIC).rglob('*.dcm')))} files in" in done.stdout
    )


def test_interrupted_at_the_keyboard_it_ends_and_goes_on_when_given_again(
    stack: Stack, study: Study
) -> None:
    assert study.files
    keyboard, screen = os.openpty()
    words = ("/usr/bin/make", "-s", "-C", str(TOP), "verify", f"CLINIC={CLINIC}")
    slow = (f"ENV={stack.podman_settings.env_file}", "AGAIN=1", "MB_PER_S=0.01")
    argv = [*words, *slow]
    with subprocess.Popen(
        argv, env=environment(), stdin=screen, stdout=screen, stderr=screen
    ) as running:
        os.close(screen)
        shown = b""
        while b"files of the archive" not in shown:
            shown += os.read(keyboard, 4096)
        os.write(keyboard, b"\x03")
        assert running.wait(30) != 0
    os.set_blocking(keyboard, False)
    assert "give the command again to go on" in (shown + os.read(keyboard, 1 << 16)).decode()
    os.close(keyboard)
    done = stack.attempt("verify", CLINIC=CLINIC)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Another verification" not in done.stderr


def test_what_happened_to_files_and_rows_is_found_and_mended(
    stack: Stack, physician: Reader, study: Study
) -> None:
    gone, flipped, cut, unlisted, *_ = names = uids(study)
    files = {name: stored_file(stack, name) for name in names}
    wholes = {name: path.read_bytes() for name, path in files.items()}
    before = [pixels(physician, study, number) for number in range(SLICES)]
    files[gone].unlink()
    files[flipped].write_bytes(wholes[flipped][:-1] + bytes([wholes[flipped][-1] ^ 1]))
    files[cut].write_bytes(wholes[cut][:-1])
    forgotten = files[unlisted]
    psql = ("psql", "-qX", "-U", "postgres", "-d", "orthanc", "-c")
    done = stack.exec("postgresql", *psql, FORGET.format(forgotten.name))
    assert done.returncode == 0, done.stderr
    forget_cache(stack)
    status, told, summary = found(stack, CLINIC=CLINIC)
    assert status != 0
    mine = {one["sop_uid"]: one for one in told if one["sop_uid"] in names}
    assert {name: one["kind"] for name, one in mine.items()} == {
        gone: "gone",
        flipped: "changed",
        cut: "resized",
        unlisted: "unlisted",
    }
    assert mine[gone]["file"] == inside(stack, files[gone])
    assert all(one["clinic"] == CLINIC and one["study_uid"] == study.uid for one in told)
    assert all("stores it anew" in one["advice"] for one in mine.values())
    assert summary["differences"] == len(told)
    status, told, summary = found(stack, CLINIC=CLINIC, REPAIR="1")
    assert (status, summary["differences"]) == (0, 0), told
    assert {one["sop_uid"] for one in told if one["repaired"]} >= {*mine}
    assert stack.attempt("verify", CLINIC=CLINIC).returncode == 0
    assert [pixels(physician, study, number) for number in range(SLICES)] == before
    # What the row was lost of has a second file now, which nothing lists.
    os.utime(forgotten, (OLD_S, OLD_S))
    _, told, _ = found(stack)
    assert inside(stack, forgotten) in {one["file"] for one in told if one["kind"] == "leftover"}
    found(stack, REPAIR="1")
    aside = stack.data_dir / "dicom" / ".quarantine" / forgotten.name
    assert (forgotten.exists(), aside.read_bytes()) == (False, wholes[unlisted])


def test_a_file_that_nothing_lists_is_left_alone_while_new_and_then_moved_aside(
    stack: Stack, study: Study
) -> None:
    assert study.files
    storage = stack.data_dir / "dicom"
    name = str(uuid.uuid4())
    orphan = storage / name[:2] / name[2:4] / name
    orphan.parent.mkdir(parents=True, exist_ok=True)
    # Orthanc's own, and shut to everybody else, as its files are.
    for path in (orphan.parent, orphan.parent.parent):
        os.chown(path, 7104, 7104)
        path.chmod(0o700)
    orphan.write_bytes(b"left over")
    os.chown(orphan, 7104, 7104)
    orphan.chmod(0o600)
    kept = storage / ".by-day" / "2026-11-24" / name
    kept.parent.mkdir(parents=True, exist_ok=True)
    os.link(orphan, kept)

    def named() -> list[bool]:
        told = found(stack, REPAIR="1")[1]
        assert not [one for one in told if ".by-day" in one["file"]]
        return [one["repaired"] for one in told if one["file"] == inside(stack, orphan)]

    assert named() == []
    os.utime(orphan, (OLD_S, OLD_S))
    assert named() == [True]
    assert named() == []
    assert (storage / ".quarantine" / name).read_bytes() == b"left over"
    kept.unlink()


def test_what_has_no_original_is_left_to_a_backup(stack: Stack, study: Study) -> None:
    uid = uids(study)[0]
    file, source = stored_file(stack, uid), original(stack, study, uid)
    content, kept = file.read_bytes(), source.rename(stack.files / "aside.dcm")
    file.unlink()
    forget_cache(stack)
    status, told, _ = found(stack, CLINIC=CLINIC, REPAIR="1")
    advice = {one["kind"]: one["advice"] for one in told if one["sop_uid"] == uid}
    assert status != 0
    assert advice["gone"].endswith("restore the file from a backup of the archive")
    assert "no_original" in advice
    assert not file.exists()
    file.write_bytes(content)
    os.chown(file, 7104, 7104)
    kept.rename(source)
    assert stack.attempt("verify", CLINIC=CLINIC).returncode == 0


def test_an_image_that_the_index_lost_whole_is_brought_back(
    stack: Stack, physician: Reader, study: Study
) -> None:
    uid = uids(study)[0]
    before = pixels(physician, study)
    psql = ("psql", "-qX", "-U", "postgres", "-d", "orthanc", "-c")
    file = stored_file(stack, uid)
    done = stack.exec("postgresql", *psql, LOSE.format(file.name))
    assert done.returncode == 0, done.stderr
    forget_cache(stack)
    _, told, _ = found(stack, CLINIC=CLINIC)
    assert {one["kind"] for one in told if one["sop_uid"] == uid} == {"lacking"}
    status, told, _ = found(stack, CLINIC=CLINIC, REPAIR="1")
    assert (status, [one["repaired"] for one in told if one["sop_uid"] == uid]) == (0, [True])
    assert pixels(physician, study) == before
    file.unlink()


@pytest.mark.parametrize("step", ["listing:_page", "verify.disk:_compare", "verify.images:_look"])
def test_killed_in_the_middle_it_goes_on(stack: Stack, study: Study, step: str) -> None:
    uid = uids(study)[0]
    file = stored_file(stack, uid)
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    words = [f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S+00:00}", step, "after"]
    argv = ["python3", "-c", KILLED, *words, "verify", "--clinic", CLINIC]
    done = stack.exec("importer", *argv)
    assert done.returncode == 137, done.stderr
    again = stack.attempt("verify", CLINIC=CLINIC)
    assert again.returncode != 0
    assert again.stdout.startswith("It goes on with what was begun at ")
    assert again.stdout.count(f"image {uid}, ") == 1
    file.write_bytes(content)
    assert " 0 differences." in stack.attempt("verify", CLINIC=CLINIC).stdout
