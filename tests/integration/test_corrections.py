"""Corrections on the running stack: what is moved, corrected, merged, deleted or exported is so for everybody."""

from __future__ import annotations

import io
import json
import secrets
import stat
import threading
import time
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pydicom
import pytest
from harness.dicomweb import Reader
from harness.drop import drop_files, settled
from harness.phantom import Identity, ct
from harness.wait import wait_until
from pydicom.fileset import FileSet
from stack.shell import attempt
from unit.importer.commanding import KILLED

if TYPE_CHECKING:
    from pathlib import Path

    from harness.people import People
    from harness.phantom import Study
    from harness.stack import Stack

OLD, NEW = "clinic-moved-from", "clinic-moved-to"
REASON = "it was dropped in the wrong clinic"
SLICES = 3


@dataclass(frozen=True, slots=True)
class Readers:
    """Who reads in the clinic that has a study at first, and in the other one."""

    old: Reader
    new: Reader


@pytest.fixture(scope="module")
def readers(stack: Stack, people: People) -> Readers:
    """Provide two clinics of these tests' own, and who reads in each."""
    made = []
    for clinic in (OLD, NEW):
        people.clinic(clinic, f"Clinic of the corrections ({clinic})")
        people.person(f"physician-{clinic}", "physician", clinic)
        made.append(Reader(stack, people.token(f"physician-{clinic}", fresh=True)))
    return Readers(*made)


@pytest.fixture
def study(stack: Stack, readers: Readers) -> Study:
    """Provide a study that was imported."""
    made = ct(seed=9, slices=SLICES, size=48)
    outcome = drop_files(stack, OLD, made.files)
    assert not outcome.failed, outcome.reasons
    assert made.uid in readers.old.study_uids()
    return made


def told(stack: Stack, command: str, lines: dict[str, str], **variables: str) -> str:
    """Run a command that is told of a patient on its input; returns what it said."""
    if stack.settings:
        return stack.operate(command, **variables, **lines)
    words = [word for key, value in variables.items() for word in (f"--{key.lower()}", value)]
    text = "".join(f"{key}={value}\n" for key, value in lines.items())
    done = attempt([*stack.control, command, *words], stdin=text, timeout_s=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def series(study: Study) -> str:
    """Return the path of a study's series."""
    return f"/dicom-web/studies/{study.uid}/series/{study.identity.uid('series')}"


def metadata(reader: Reader, study: Study) -> list[dict[str, Any]]:
    """Return what the viewer is told of a series, empty where it is nobody's or another clinic's.

    The archive answers 400 where an image of the series goes away while it is read, and 503 where the study was
    nobody's when it was asked for and is there by the time that the refusal is made.
    """
    answer = reader.get(f"{series(study)}/metadata")
    assert answer.status_code in (200, 400, 404, 503), answer.status_code
    return list(answer.json()) if answer.status_code == 200 else []


def sees(reader: Reader, study: Study) -> bool:
    """Say whether somebody finds or reads anything of a study."""
    return study.uid in reader.study_uids() or bool(metadata(reader, study))


def records(stack: Stack, study: Study, status: str) -> list[dict[str, Any]]:
    """Return the audit's records of a study with a status (Podman form only)."""
    if not stack.settings:
        return []
    lines = (stack.data_dir / "audit/importer/import.jsonl").read_text().splitlines()
    found = [one for one in map(json.loads, lines) if one.get("study_instance_uid") == study.uid]
    return [one for one in found if one["status"] == status]


def assert_well(stack: Stack) -> None:
    """Expect that journal, originals and archive agree, in both clinics."""
    for clinic in (OLD, NEW):
        assert " 0 differences." in stack.operate("verify", CLINIC=clinic)


@dataclass(slots=True)
class Watch:
    """Looks from both clinics at once; notes when each saw the study."""

    readers: Readers
    study: Study
    saw: dict[str, list[float]] = field(default_factory=lambda: {"old": [], "new": []})
    stop: threading.Event = field(default_factory=threading.Event)
    problems: list[BaseException] = field(default_factory=list)

    def look(self, name: str) -> None:
        """Look until told to stop."""
        reader: Reader = getattr(self.readers, name)
        try:
            while not self.stop.is_set():
                # An answer was made after it was asked for.
                asked_s = time.monotonic()
                if sees(reader, self.study):
                    self.saw[name].append(asked_s if name == "old" else time.monotonic())
                self.stop.wait(0.1)
        except BaseException as error:  # noqa: BLE001 - the test shall see it
            self.problems.append(error)


def test_a_moved_study_is_at_no_moment_both_clinics(
    stack: Stack, readers: Readers, study: Study
) -> None:
    before = metadata(readers.old, study)
    assert len(before) == SLICES
    assert metadata(readers.new, study) == []
    watch = Watch(readers, study)
    threads = [threading.Thread(target=watch.look, args=(name,)) for name in watch.saw]
    for thread in threads:
        thread.start()
    try:
        said = stack.operate("move", STUDY=study.uid, TO=NEW, REASON=REASON, WHO="an-operator")
        wait_until(lambda: watch.saw["new"], 20, "the new clinic sees it", stack.logs)
    finally:
        watch.stop.set()
        for thread in threads:
            thread.join(60)
    assert f"{SLICES} images belong to {NEW} now, and to {OLD} no more." in said
    assert not watch.problems
    assert max(watch.saw["old"]) < min(watch.saw["new"])
    assert not sees(readers.old, study)
    after = metadata(readers.new, study)
    uids = "00080018"
    assert sorted(str(one[uids]) for one in after) == sorted(str(one[uids]) for one in before)
    assert {one["00080080"]["Value"][0] for one in after} == {NEW}
    assert not list((stack.files / "processed" / OLD).rglob("export-*/*"))
    (record,) = records(stack, study, "moved") or [{"who": {"operator": "an-operator"}}]
    assert record["who"]["operator"] == "an-operator"
    late = drop_files(stack, OLD, {"late.dcm": next(iter(study.files.values()))})
    assert late.reasons["late.dcm"]["reason"] == "other_clinic"
    assert_well(stack)


def kill_after(stack: Stack, step: str, *words: str, lines: str = "") -> None:
    """Give a command that is killed once it has made a step; then wake the importer up."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S+00:00}"
    argv = ["podman", "exec", "-i", stack.container("importer"), "python3", "-c", KILLED]
    done = attempt([*argv, now, step, "after", *words], stdin=lines, timeout_s=120)
    assert done.returncode == 137, done.stderr
    (stack.inbox(OLD) / "wake.part").touch()
    (stack.inbox(OLD) / "wake.part").unlink()


STEPS = ("archive:Archive.remove", "archive:Archive.store")


@pytest.mark.parametrize("step", STEPS)
def test_a_move_that_is_killed_is_finished_by_the_importer(
    stack: Stack, readers: Readers, study: Study, step: str
) -> None:
    words = ("--by", "x", "--study", study.uid, "--to", NEW, "--reason", REASON)
    kill_after(stack, step, "move", *words)
    assert not (sees(readers.old, study) and sees(readers.new, study))
    wait_until(
        lambda: len(metadata(readers.new, study)) == SLICES,
        60,
        "the importer finishes it",
        stack.logs,
    )
    assert not sees(readers.old, study)
    wait_until(lambda: records(stack, study, "moved"), 20, "it is in the audit", stack.logs)
    assert_well(stack)


@pytest.mark.parametrize("step", STEPS)
def test_a_correction_that_is_killed_is_finished_by_the_importer(
    stack: Stack, readers: Readers, study: Study, step: str
) -> None:
    words = ("--by", "x", "--study", study.uid, "--reason", "mixed up at the desk")
    kill_after(stack, step, "correct", *words, lines="NAME=Germain^Sophie\n")

    def is_done() -> bool:
        names = [one["00100010"]["Value"][0] for one in metadata(readers.old, study)]
        return names == [{"Alphabetic": "Germain^Sophie"}] * SLICES

    wait_until(is_done, 60, "the importer finishes it", stack.logs)
    wait_until(lambda: records(stack, study, "corrected"), 20, "it is in the audit", stack.logs)
    assert_well(stack)


def test_a_corrected_patient_is_so_for_the_viewer_and_for_what_comes_late(
    stack: Stack, readers: Readers
) -> None:
    made = ct(seed=10, slices=SLICES, size=48)
    name, late = made.files.popitem()
    assert not drop_files(stack, OLD, made.files).failed
    patient_id = f"CORRECT-{secrets.token_hex(4)}"
    lines = {"PATIENT_ID": patient_id, "NAME": "Noether^Emmy", "SEX": "F"}
    told(stack, "correct", lines, STUDY=made.uid, REASON="mixed up at the desk")
    outcome = drop_files(stack, OLD, {name: late})
    assert not outcome.failed, outcome.reasons
    found = metadata(readers.old, made)
    assert len(found) == SLICES
    values = {
        (one["00100020"]["Value"][0], one["00100010"]["Value"][0]["Alphabetic"]) for one in found
    }
    assert values == {(patient_id, "Noether^Emmy")}
    (hit,) = readers.old.search(f"/dicom-web/studies?PatientID={patient_id}")
    assert hit["0020000D"]["Value"] == [made.uid]
    if stack.settings:
        assert len(records(stack, made, "corrected")) == 1
        assert "Noether" not in (stack.data_dir / "audit/importer/import.jsonl").read_text()
        assert "Noether" not in stack.logs(lines=500)
    (original,) = outcome.processed.values()
    assert "mixed up at the desk" in stack.operate("explain", F=str(original))
    assert pydicom.dcmread(original).PatientID == "PHANTOM-1"
    assert_well(stack)


def test_merged_patients_are_one(stack: Stack, readers: Readers) -> None:
    own = secrets.token_hex(4)
    first, second, third = (f"M{own}^{name}" for name in ("First", "Second", "Third"))
    two = Identity(f"{own}-1", first), Identity(f"{own}-2", second)
    studies = [ct(11, identity, slices=1, size=48) for identity in two]
    for one in studies:
        assert not drop_files(stack, OLD, one.files).failed
    ids = {"FROM": f"{own}-1", "TO": f"{own}-2"}
    told(stack, "merge", ids, CLINIC=OLD, REASON="two records of one person")
    for one in studies:
        (found,) = metadata(readers.old, one)
        assert found["00100020"]["Value"] == [f"{own}-2"]
        assert found["00100010"]["Value"] == [{"Alphabetic": second}]
    # Of two studies of one patient ID each is found by its own name.
    told(stack, "correct", {"NAME": third}, STUDY=studies[0].uid, REASON="it is another")
    for one, name in zip(studies, (third, second), strict=True):
        (hit,) = readers.old.search(f"/dicom-web/studies?PatientName={name.replace('^', '%5E')}")
        assert hit["0020000D"]["Value"] == [one.uid]
        assert hit["00100010"]["Value"] == [{"Alphabetic": name}]
    assert_well(stack)


def test_a_deleted_study_is_gone_and_is_not_taken_in_again_by_itself(
    stack: Stack, readers: Readers, study: Study
) -> None:
    said = stack.operate("delete", STUDY=study.uid, REASON="the patient asked")
    assert f"{SLICES} images of the archive" in said
    assert "Nothing was deleted" in said
    assert "backup" in said
    assert sees(readers.old, study)
    stack.operate("delete", STUDY=study.uid, REASON="the patient asked", YES="1")
    assert not sees(readers.old, study)
    assert_well(stack)
    again = drop_files(stack, OLD, study.files)
    assert {one["reason"] for one in again.reasons.values()} == {"deleted"}
    folder = next(iter(again.failed.values())).parent
    assert "was deleted by" in stack.operate("explain", F=str(folder / min(study.files)))
    stack.operate("readmit", STUDY=study.uid, REASON="it was the wrong one")
    stack.operate("retry", F=str(folder))
    settled(stack, OLD, folder.name)
    assert len(metadata(readers.old, study)) == SLICES
    assert_well(stack)


def test_an_exported_study_opens_as_a_cd_does(
    stack: Stack, readers: Readers, study: Study, tmp_path: Path
) -> None:
    assert readers.old.token
    target = tmp_path / "for a patient.zip"
    stack.operate("export", STUDY=study.uid, TO=str(target), REASON="the patient asked")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    with zipfile.ZipFile(target) as found:
        found.extractall(tmp_path / "cd")
    index = FileSet(tmp_path / "cd/DICOMDIR")
    try:
        loaded = [one.load() for one in index]
    finally:
        index._stage["t"].cleanup()  # noqa: SLF001 - pydicom leaves it to the interpreter's end
    wanted = {pydicom.dcmread(io.BytesIO(one)).SOPInstanceUID for one in study.files.values()}
    assert {one.SOPInstanceUID for one in loaded} == wanted
    assert {one.InstitutionName for one in loaded} == {OLD}
    if stack.settings:
        (record,) = records(stack, study, "exported")
        assert record["event"]["code"] == "110106"
    again = stack.attempt("export", STUDY=study.uid, TO=str(target), REASON="again")
    assert again.returncode != 0
    assert "is there already" in again.stderr
    absent = stack.attempt("export", STUDY="1.2.3", TO=str(tmp_path / "no.zip"), REASON="x")
    assert absent.returncode != 0
    assert not list(tmp_path.glob("no.zip*"))
