"""`dicom-importer replace` for a study that came again under another patient ID: all of it, or nothing."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest
from dicom_importer import plan, prepare
from dicom_importer.files import Arrival, Seen
from dicom_importer.records import Decision, Identity, Verdict
from pydicom.uid import generate_uid
from unit.importer.archiving import Stored, stow_answer
from unit.importer.building import dataset, encode, parse
from unit.importer.commanding import command, killed
from unit.importer.test_flow import DAY

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import Dataset
    from unit.importer.conftest import Importer

BY = ("--by", "an-admin")
OLD = 3


def slices(count: int) -> list[Dataset]:
    """Return images of one series."""
    made = [dataset() for _ in range(count)]
    for one in made:
        one.StudyInstanceUID = made[0].StudyInstanceUID
        one.SeriesInstanceUID = made[0].SeriesInstanceUID
    return made


def corrected(importer: Importer, made: list[Dataset], leave_out: int = 0) -> Path:
    """Import a study, let it come again corrected and with one image more, return where that lies."""
    for index, one in enumerate(made[:OLD]):
        importer.drop(f"clinic-a/old/{index}.dcm", encode(one))
    importer.run()
    for index, one in enumerate(made[leave_out:]):
        one.PatientID = "P2"
        importer.drop(f"clinic-a/new/{index}.dcm", encode(one))
    importer.run()
    return importer.root / f"failed/clinic-a/{DAY}/new"


def patients(importer: Importer) -> list[str]:
    """Return whose every image is that the archive holds."""
    return sorted(str(held.tags.PatientID) for held in importer.archive.instances.values())


def contents(importer: Importer) -> dict[str, bytes]:
    """Return every image that the archive holds, by its identifier."""
    return {key: held.content for key, held in importer.archive.instances.items()}


def records(importer: Importer) -> list[dict[str, object]]:
    """Return the audit's records of replacements."""
    lines = importer.config.audit_file.read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["status"] == "replaced"]


def assert_replaced(importer: Importer) -> None:
    """Expect that the study is the other patient's, whatever happened on the way."""
    assert patients(importer) == ["P2"] * (OLD + 1)
    assert importer.tree() == [
        *(f"processed/clinic-a/{DAY}/new/{index}.dcm" for index in range(OLD + 1)),
        *(f"processed/clinic-a/{DAY}/old/{index}.dcm" for index in range(OLD)),
    ]
    assert len(records(importer)) == OLD + 1
    assert not (importer.config.state_dir / "replacement").exists()


def assert_as_before(importer: Importer, before: dict[str, bytes]) -> None:
    """Expect that nothing has changed."""
    assert contents(importer) == before
    assert f"failed/clinic-a/{DAY}/new/0.dcm.error.json" in importer.tree()
    assert records(importer) == []
    assert plan.read(importer.config.state_dir) == ()


def test_a_whole_study_changes_hands(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = slices(OLD + 1)
    failed = corrected(importer, made)
    assert patients(importer) == ["P1"] * OLD
    ownership = importer.service.worker._context.ownership  # noqa: SLF001 - what it remembers
    before = ownership.study(made[0].StudyInstanceUID)
    assert before
    assert before.patient_id == "P1"
    status, said = command(importer, capsys, "replace", failed, *BY)
    assert (status, said.endswith("and the older version is not.\n")) == (0, True)
    assert_replaced(importer)
    after = ownership.study(made[0].StudyInstanceUID)
    assert after
    assert after.patient_id == "P2"
    assert command(importer, capsys, "verify")[0] == 0
    said = command(importer, capsys, "replay", "--since", DAY, *BY)[1]
    assert f"0 stored, 0 repaired, {OLD + 1} there, 0 failed" in said


def test_what_still_comes_under_the_old_patient_fails(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = slices(OLD + 1)
    command(importer, capsys, "replace", corrected(importer, made), *BY)
    late = slices(1)[0]
    late.StudyInstanceUID = made[0].StudyInstanceUID
    importer.drop("clinic-a/late.dcm", encode(late))
    importer.run()
    assert f"failed/clinic-a/{DAY}/late.dcm" in importer.tree()
    assert set(patients(importer)) == {"P2"}


def test_a_study_that_is_not_all_there_stays(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = corrected(importer, slices(OLD + 1), leave_out=1)
    before = contents(importer)
    status, said = command(importer, capsys, "replace", failed, *BY)
    assert status == 1
    assert f"holds 1 images of it that are not among these {OLD} files" in said
    assert_as_before(importer, before)
    status, said = command(importer, capsys, "replace", failed / "0.dcm", *BY)
    assert f"holds {OLD - 1} images" in said
    assert_as_before(importer, before)


def test_the_same_image_twice_is_not_chosen_from(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = slices(OLD + 1)
    corrected(importer, made)
    importer.drop("clinic-a/new/again.dcm", encode(made[0]))
    importer.run()
    before = contents(importer)
    status, said = command(
        importer, capsys, "replace", importer.root / f"failed/clinic-a/{DAY}", *BY
    )
    assert (status, "two of the files are the same image" in said) == (1, True)
    assert_as_before(importer, before)


def test_files_of_two_patients_are_not_mixed(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = slices(OLD + 1)
    failed = corrected(importer, made[:OLD])
    made[OLD].PatientID = "P3"
    importer.drop("clinic-a/new/more.dcm", encode(made[OLD]))
    importer.run()
    before = contents(importer)
    status, said = command(importer, capsys, "replace", failed, *BY)
    assert (status, "are of several patients" in said) == (1, True)
    assert_as_before(importer, before)


def test_an_image_that_the_archive_holds_elsewhere_is_left_there(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = slices(OLD + 1)
    other = dataset(SOPInstanceUID=made[OLD].SOPInstanceUID)
    importer.drop("clinic-a/other.dcm", encode(other))
    failed = corrected(importer, made)
    before = contents(importer)
    status, said = command(importer, capsys, "replace", failed, *BY)
    assert (status, "elsewhere" in said) == (1, True)
    assert_as_before(importer, before)


@pytest.mark.parametrize("stored", [0, 2])
def test_an_image_that_the_archive_refuses_brings_the_old_study_back(
    importer: Importer, capsys: pytest.CaptureFixture[str], stored: int
) -> None:
    made = slices(OLD + 1)
    failed = corrected(importer, made)
    before = contents(importer)
    importer.archive.script += [lambda _: None] * stored
    importer.archive.script.append(lambda _: (400, b'{"00081199": {"vr": "SQ"}}'))
    status, said = command(importer, capsys, "replace", failed, *BY)
    assert (status, "The archive holds what it held." in said) == (1, True)
    assert_as_before(importer, before)


def test_an_answer_of_success_without_the_image_brings_the_old_study_back(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = slices(OLD + 1)
    failed = corrected(importer, made)
    before = contents(importer)
    uid = made[0].SOPInstanceUID
    importer.archive.script.append(lambda _: (200, stow_answer(stored=uid)))
    assert command(importer, capsys, "replace", failed, *BY)[0] == 1
    assert_as_before(importer, before)


def test_an_image_that_comes_at_the_very_end_brings_the_old_study_back(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = corrected(importer, slices(OLD + 1))
    before = contents(importer)
    late = parse(next(iter(before.values())))
    late.SOPInstanceUID = generate_uid()
    held = Stored(encode(late), late)

    def come(_: bytes) -> None:
        importer.archive.instances[held.id(3)] = held

    importer.archive.script += [lambda _: None] * OLD + [come]
    assert command(importer, capsys, "replace", failed, *BY)[0] == 1
    assert_as_before(importer, before | {held.id(3): held.content})


@pytest.mark.parametrize("noticed", [True, False])
def test_an_image_that_comes_into_the_study_meanwhile_stops_it(
    importer: Importer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    noticed: bool,
) -> None:
    made = slices(OLD + 1)
    failed = corrected(importer, made)
    late = parse(next(iter(contents(importer).values())))
    late.SOPInstanceUID = generate_uid()
    held = Stored(encode(late), late)

    def come(_: float) -> None:
        importer.archive.instances[held.id(3)] = held

    monkeypatch.setattr(time, "sleep", come)
    if not noticed:
        monkeypatch.setattr(prepare, "check_still", lambda *_: None)
    before = contents(importer) | {held.id(3): held.content}
    assert command(importer, capsys, "replace", failed, *BY)[0] == 1
    assert_as_before(importer, before)


def test_a_study_of_which_something_is_on_its_way_waits(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = slices(OLD + 1)
    failed = corrected(importer, made)
    before = contents(importer)
    identity = Identity("x", str(made[0].StudyInstanceUID), "1.2", "1.3")
    arrival = Arrival("clinic-a", "late.dcm", Seen(1, 2, 3))
    row = importer.service.journal.begin(arrival, "", identity)
    status, said = command(importer, capsys, "replace", failed, *BY)
    assert (status, "on their way" in said) == (1, True)
    assert_as_before(importer, before)
    importer.service.journal.finish(row.id, gone=True)
    assert command(importer, capsys, "replace", failed, *BY)[0] == 0
    assert_replaced(importer)


def test_without_room_for_the_old_study_nothing_is_begun(
    importer: Importer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = corrected(importer, slices(OLD + 1))
    before = contents(importer)
    real = os.statvfs("/")
    none = os.statvfs_result((*real[:4], 0, *real[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _: none)
    status, said = command(importer, capsys, "replace", failed, *BY)
    assert (status, "no room" in said) == (1, True)
    assert_as_before(importer, before)


STEPS = (
    "plan:commit",
    "prepare:check_still",
    "archive:Archive.remove",
    "archive:Archive.store",
    "audit:append",
    "rename:rename",
    "places:forget_reason",
    "journal:Journal.decide",
    "journal:Journal.finish",
    "plan:end",
)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_replacement_is_finished_by_the_service(
    importer: Importer, capsys: pytest.CaptureFixture[str], step: str, when: str
) -> None:
    failed = corrected(importer, slices(OLD + 1))
    before = contents(importer)
    killed(importer, step, when, "replace", failed, *BY)
    importer.service.tend()
    if (step, when) == ("plan:commit", "before"):
        assert_as_before(importer, before)
        assert command(importer, capsys, "replace", failed, *BY)[0] == 0
    assert_replaced(importer)
    importer.restart()
    importer.run()
    assert_replaced(importer)


@pytest.mark.parametrize("step", ["replacement:_take_back", "replacement:_store_old"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_one_killed_while_the_old_study_comes_back_is_taken_back_by_the_service(
    importer: Importer, step: str, when: str
) -> None:
    failed = corrected(importer, slices(OLD + 1))
    before = contents(importer)

    def refuse(_: bytes) -> tuple[int, bytes]:
        return 400, b'{"00081199": {"vr": "SQ"}}'

    # The first is stored, so that it has to go again; another is refused, each time.
    importer.archive.script += [lambda _: None, refuse]
    killed(importer, step, when, "replace", failed, *BY)
    importer.archive.script[:] = [refuse]
    importer.service.tend()
    assert_as_before(importer, before)


def test_the_journal_tells_of_the_last_patient_of_a_study(importer: Importer) -> None:
    journal = importer.service.journal
    for index, patient in enumerate(("first", "second")):
        identity = Identity(patient, "1.2", "1.2.3", "1.2.3.4")
        arrival = Arrival("clinic-a", f"{index}.dcm", Seen(1, 2, index))
        decision = Decision(Verdict("success"), "2026-11-24T08:00:00Z", f"x/{index}.dcm")
        journal.finish(journal.decide(arrival, identity, decision).id)
    assert not journal.past.stored("clinic-a", Identity("first", "1.2"))
    assert journal.past.stored("clinic-a", Identity("second", "1.2"))
    assert not journal.past.stored("clinic-b", Identity("second", "1.2"))
