"""`dicom-importer move`, `correct`, `merge` and `delete`: what is archived changes whole or not at all."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from typing import TYPE_CHECKING

import pytest
from clinic_access.gate import OWNER_LIFETIME_S
from dicom_importer import corrections, errand
from pydicom.uid import generate_uid
from unit.importer.archiving import Stored, stow_answer
from unit.importer.building import dataset, encode, parse
from unit.importer.commanding import command, killed
from unit.importer.test_flow import DAY
from unit.importer.test_unpack import packed

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import Dataset
    from unit.importer.conftest import Importer

pytestmark = pytest.mark.usefixtures("waits")
BY = ("--by", "an-admin", "--reason", "dropped in the wrong place")
COUNT = 3
PATIENT = "PATIENT_ID=P2\nNAME=Noether^Emmy\nBIRTH_DATE=1882-03-23\nSEX=F\n"
STEPS = (
    ("errand:commit", "after"),
    ("archive:Archive.remove", "after"),
    ("archive:Archive.store", "before"),
    ("archive:Archive.store", "after"),
    ("errand:note_exchanged", "before"),
    ("journal:Journal.correct", "before"),
    ("journal:Journal.correct", "after"),
    ("audit:corrected", "before"),
    ("errand:end", "before"),
)


def study(**attributes: object) -> list[Dataset]:
    """Return images of one series."""
    made = [dataset(PatientName="Nother^Emy", **attributes) for _ in range(COUNT)]
    for one in made:
        one.StudyInstanceUID = made[0].StudyInstanceUID
        one.SeriesInstanceUID = made[0].SeriesInstanceUID
    return made


def imported(importer: Importer, made: list[Dataset], clinic: str = "clinic-a") -> str:
    """Import a study; returns its UID."""
    for index, one in enumerate(made):
        importer.drop(f"{clinic}/old/{index}.dcm", encode(one))
    importer.run()
    return str(made[0].StudyInstanceUID)


def tell(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let the next command find this on its standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def held(importer: Importer) -> list[Stored]:
    """Return what the archive holds."""
    return list(importer.archive.instances.values())


def clinics(importer: Importer) -> list[str]:
    """Return whose every image is that the archive holds."""
    return [str(one.tags.InstitutionName) for one in held(importer)]


def records(importer: Importer, status: str) -> list[dict[str, object]]:
    """Return the audit's records with a status."""
    lines = importer.config.audit_file.read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["status"] == status]


def assert_well(importer: Importer, capsys: pytest.CaptureFixture[str], count: int = COUNT) -> None:
    """Expect that nothing is left half done, and that journal, originals and archive agree."""
    assert not (importer.config.state_dir / "errand").exists()
    status, said = command(importer, capsys, "verify")
    assert status == 0, said
    status, said = command(importer, capsys, "replay", "--since", DAY, "--by", "x")
    assert status == 0, said
    assert f"0 stored, 0 repaired, {count} there, 0 failed" in said


def test_a_moved_study_belongs_to_the_other_clinic_alone(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = study()
    uid = imported(importer, made)
    before = {one.uids for one in held(importer)}
    status, said = command(importer, capsys, "move", "--study", uid, "--to", "clinic-b", *BY)
    assert (status, said) == (
        0,
        f"{uid}: 3 images belong to clinic-b now, and to clinic-a no more.\n",
    )
    assert clinics(importer) == ["clinic-b"] * COUNT
    assert {one.uids for one in held(importer)} == before
    items = held(importer)[0].tags.OriginalAttributesSequence
    old = [item.ModifiedAttributesSequence[0].InstitutionName for item in items]
    assert old == ["St. Elsewhere", "clinic-a"]
    assert [item.ReasonForTheAttributeModification for item in items] == ["COERCE", "CORRECT"]
    assert importer.tree() == [f"processed/clinic-b/{DAY}/old/{n}.dcm" for n in range(COUNT)]
    (record,) = records(importer, "moved")
    assert (record["clinic_id"], record["to_clinic_id"]) == ("clinic-a", "clinic-b")
    assert record["who"] == {"service": "dicom-importer", "operator": "an-admin"}
    assert record["reason"] == "dropped in the wrong place"
    assert_well(importer, capsys)


def test_a_moved_study_is_nobodys_for_longer_than_the_gate_remembers_whose_it_was(
    importer: Importer, waits: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    uid = imported(importer, study())
    seen: list[int] = []
    importer.archive.script = [lambda _: seen.append(len(held(importer)))] * 1
    assert command(importer, capsys, "move", "--study", uid, "--to", "clinic-b", *BY)[0] == 0
    assert seen == [0]
    assert max(waits) > OWNER_LIFETIME_S


def test_what_comes_late_of_a_moved_study_is_refused_in_the_old_clinic_and_taken_in_the_new(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = study()
    uid = imported(importer, made)
    assert command(importer, capsys, "move", "--study", uid, "--to", "clinic-b", *BY)[0] == 0
    late = dataset(StudyInstanceUID=uid, SeriesInstanceUID=made[0].SeriesInstanceUID)
    importer.drop("clinic-a/late.dcm", encode(late))
    importer.drop("clinic-b/old/0.dcm", encode(made[0]))
    importer.run()
    reason = json.loads((importer.root / f"failed/clinic-a/{DAY}/late.dcm.error.json").read_text())
    assert reason["reason"] == "other_clinic"
    assert importer.counted("clinic-b") == {"duplicate": 1}
    importer.drop("clinic-b/late.dcm", encode(late))
    importer.run()
    assert clinics(importer) == ["clinic-b"] * (COUNT + 1)
    assert_well(importer, capsys, COUNT + 2)


def test_a_study_that_is_moved_there_and_back_is_as_its_originals_say(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = imported(importer, study())
    for clinic in ("clinic-b", "clinic-a"):
        assert command(importer, capsys, "move", "--study", uid, "--to", clinic, *BY)[0] == 0
    assert clinics(importer) == ["clinic-a"] * COUNT
    assert_well(importer, capsys)


def test_a_corrected_patient_is_so_in_every_image_and_its_original_stays(
    importer: Importer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = imported(importer, study())
    originals = {path: (importer.root / path).read_bytes() for path in importer.tree()}
    before = {one.uids for one in held(importer)}
    tell(monkeypatch, PATIENT)
    status, said = command(importer, capsys, "correct", "--study", uid, *BY)
    assert (status, said) == (0, f"{uid}: 3 images are corrected.\n")
    assert {one.uids for one in held(importer)} == before
    for one in held(importer):
        tags = one.tags
        found = tags.PatientID, tags.PatientName, tags.PatientBirthDate, tags.PatientSex
        assert found == ("P2", "Noether^Emmy", "18820323", "F")
        item = tags.OriginalAttributesSequence[-1]
        assert item.ReasonForTheAttributeModification == "CORRECT"
        old = item.ModifiedAttributesSequence[0]
        assert (old.PatientID, old.PatientName, old.PatientSex) == ("P1", "Nother^Emy", "")
    assert originals == {path: (importer.root / path).read_bytes() for path in importer.tree()}
    (record,) = records(importer, "corrected")
    assert record["study_instance_uid"] == uid
    assert "Noether" not in importer.config.audit_file.read_text()
    assert_well(importer, capsys)


def test_what_comes_late_of_a_corrected_study_is_corrected_too(
    importer: Importer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = study()
    uid = imported(importer, made)
    tell(monkeypatch, PATIENT)
    assert command(importer, capsys, "correct", "--study", uid, *BY)[0] == 0
    late = dataset(StudyInstanceUID=uid, SeriesInstanceUID=made[0].SeriesInstanceUID)
    right = dataset(StudyInstanceUID=uid, SeriesInstanceUID=generate_uid(), PatientID="P2")
    importer.drop("clinic-a/late/late.dcm", encode(late))
    importer.drop("clinic-a/late/right.dcm", encode(right))
    importer.drop("clinic-a/late/again.dcm", encode(made[0]))
    importer.run()
    assert importer.counted("clinic-a") == {"success": COUNT + 2, "duplicate": 1}
    assert {str(one.tags.PatientID) for one in held(importer)} == {"P2"}
    assert {str(one.tags.PatientName) for one in held(importer)} == {"Noether^Emmy"}
    assert_well(importer, capsys, COUNT + 3)


def test_what_the_archive_lost_of_a_corrected_study_comes_back_corrected(
    importer: Importer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = imported(importer, study())
    tell(monkeypatch, PATIENT)
    assert command(importer, capsys, "correct", "--study", uid, *BY)[0] == 0
    before = {key: one.content for key, one in importer.archive.instances.items()}
    importer.archive.instances.clear()
    said = command(importer, capsys, "replay", "--since", DAY, "--by", "x")[1]
    assert f"{COUNT} stored" in said
    assert {key: one.content for key, one in importer.archive.instances.items()} == before


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("SEX=female", "SEX is M, F or O"),
        ("BIRTH_DATE=yesterday", "BIRTH_DATE is no day"),
        ("PATIENT_ID=a\\b", "PATIENT_ID has a backslash"),
        ("NAME=" + "x" * 65, "NAME is longer"),
        ("WEIGHT=80", "there is no WEIGHT"),
    ],
)
def test_what_is_no_value_is_refused_without_telling_it(
    importer: Importer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    told: str,
) -> None:
    uid = imported(importer, study())
    tell(monkeypatch, text)
    before = [one.content for one in held(importer)]
    assert command(importer, capsys, "correct", "--study", uid, *BY)[0] == 2
    assert before == [one.content for one in held(importer)]
    with pytest.raises(corrections.BadValueError, match=told) as refusal:
        corrections.values([text])
    assert text.partition("=")[2] not in str(refusal.value)


def test_letters_that_a_study_has_no_character_set_for_are_refused(
    importer: Importer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = imported(importer, study())
    latin = study(SpecificCharacterSet="ISO_IR 100")
    for index, one in enumerate(latin):
        importer.drop(f"clinic-a/latin/{index}.dcm", encode(one))
    importer.run()
    before = [one.content for one in held(importer)]
    tell(monkeypatch, "NAME=Nöther^Emmy")
    status, said = command(importer, capsys, "correct", "--study", plain, *BY)
    assert (status, "letters that this file's character set lacks" in said) == (1, True)
    assert before == [one.content for one in held(importer)]
    assert not (importer.config.state_dir / "errand").exists()
    tell(monkeypatch, "NAME=Nöther^Emmy")
    uid = str(latin[0].StudyInstanceUID)
    assert command(importer, capsys, "correct", "--study", uid, *BY)[0] == 0
    names = {str(one.tags.PatientName) for one in held(importer) if one.uids[0] == uid}
    assert names == {"Nöther^Emmy"}


def test_merged_patients_are_one_in_that_clinic_and_two_elsewhere(
    importer: Importer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = [dataset(PatientID="P2", PatientName="Noether^Emmy", PatientSex="F")]
    imported(importer, right)
    for name in ("one", "two"):
        for index, one in enumerate(study()):
            importer.drop(f"clinic-a/{name}/{index}.dcm", encode(one))
    importer.run()
    imported(importer, study(), "clinic-b")
    tell(monkeypatch, "FROM=P1\nTO=P2\n")
    status, said = command(importer, capsys, "merge", "--clinic", "clinic-a", *BY)
    assert status == 0, said
    found = {
        (str(one.tags.InstitutionName), str(one.tags.PatientID), str(one.tags.PatientName))
        for one in held(importer)
    }
    assert found == {("clinic-a", "P2", "Noether^Emmy"), ("clinic-b", "P1", "Nother^Emy")}
    assert len(records(importer, "corrected")) == 2
    assert command(importer, capsys, "verify")[0] == 0


def test_without_yes_it_is_only_said_what_would_be_deleted(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = imported(importer, study())
    before = importer.tree(), [one.content for one in held(importer)]
    status, said = command(importer, capsys, "delete", "--study", uid, *BY)
    assert status == 0
    assert f"study {uid} of clinic-a: 3 images of the archive" in said
    assert "3 files of processed/ and failed/" in said
    assert "Nothing was deleted" in said
    assert before == (importer.tree(), [one.content for one in held(importer)])


def test_a_deleted_study_is_gone_and_comes_again_only_when_it_is_readmitted(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = study()
    uid = imported(importer, made)
    importer.drop("clinic-a/bad.dcm", encode(dataset(StudyInstanceUID=uid, PatientID="P9")))
    importer.run()
    where = importer.root / f"processed/clinic-a/{DAY}/old/0.dcm"
    assert command(importer, capsys, "delete", "--study", uid, "--yes", *BY)[0] == 0
    assert held(importer) == []
    assert importer.tree() == []
    (record,) = records(importer, "deleted")
    assert (record["instances"], record["files"]) == (COUNT, COUNT + 1)
    assert record["event"] == {
        "code": "110105",
        "system": "DCM",
        "meaning": "DICOM Study Deleted",
    }
    assert [one["instances"] for one in records(importer, "success")] == [COUNT]
    for path in (where, importer.root / "inbox/clinic-a/old/0.dcm"):
        said = command(importer, capsys, "explain", path)[1]
        assert f"Study {uid} was deleted by an-admin on 2026-11-24T" in said
    assert command(importer, capsys, "verify")[0] == 0

    importer.drop("clinic-a/old/0.dcm", encode(made[0]))
    importer.run()
    failed = importer.root / f"failed/clinic-a/{DAY}/old/0.dcm"
    assert json.loads(failed.with_name("0.dcm.error.json").read_text())["reason"] == "deleted"
    assert command(importer, capsys, "readmit", "--study", uid, *BY)[0] == 0
    assert command(importer, capsys, "retry", failed)[0] == 0
    importer.run()
    assert len(held(importer)) == 1
    assert_well(importer, capsys, 1)


def test_a_deleted_series_leaves_the_rest_of_its_study(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = study()
    made[0].SeriesInstanceUID = series = generate_uid()
    uid = imported(importer, made)
    words = ("delete", "--study", uid, "--series", series, "--yes", *BY)
    assert command(importer, capsys, *words)[0] == 0
    assert {one.uids[1] for one in held(importer)} == {str(made[1].SeriesInstanceUID)}
    assert_well(importer, capsys, COUNT - 1)
    for index in (0, 1):
        importer.drop(f"clinic-a/old/{index}.dcm", encode(made[index]))
    importer.run()
    assert importer.counted("clinic-a") == {"success": COUNT, "duplicate": 1, "rejected": 1}


@pytest.mark.parametrize("words", [("move", "--to", "clinic-b"), ("correct",), ("delete", "--yes")])
def test_while_something_of_it_is_on_its_way_a_study_stays_as_it_is(
    importer: Importer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    made = study()
    uid = imported(importer, made)
    late = dataset(StudyInstanceUID=uid, SeriesInstanceUID=made[0].SeriesInstanceUID)
    importer.drop("clinic-a/late.dcm", encode(late))
    importer.archive.script = [lambda _: (503, b"")]
    importer.settle()
    importer.work()
    before = [one.content for one in held(importer)]
    tell(monkeypatch, PATIENT)
    status, said = command(importer, capsys, words[0], "--study", uid, *words[1:], *BY)
    assert (status, "files of it are on their way" in said) == (1, True)
    assert before == [one.content for one in held(importer)]


def test_what_the_archive_refuses_is_taken_back(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = imported(importer, study())
    before = {key: one.content for key, one in importer.archive.instances.items()}
    tree = importer.tree()
    refusal = stow_answer(failed=held(importer)[1].uids[2], reason=0x0110)
    importer.archive.script = [lambda _: None, lambda _: (409, refusal)]
    status, said = command(importer, capsys, "move", "--study", uid, "--to", "clinic-b", *BY)
    assert status == 1
    assert "Nothing was changed" in said
    assert before == {key: one.content for key, one in importer.archive.instances.items()}
    assert tree == importer.tree()
    assert records(importer, "moved") == []
    assert_well(importer, capsys)


@pytest.mark.parametrize("by", ["the service", "the same command"])
@pytest.mark.parametrize(("step", "when"), STEPS)
def test_a_move_that_is_killed_is_finished(
    importer: Importer,
    capsys: pytest.CaptureFixture[str],
    step: str,
    when: str,
    by: str,
) -> None:
    uid = imported(importer, study())
    words = ("move", "--study", uid, "--to", "clinic-b", *BY)
    killed(importer, step, when, *words)
    assert len({*clinics(importer)}) <= 1
    if by == "the service":
        importer.restart()
        importer.service.tend()
    else:
        status, said = command(importer, capsys, *words)
        assert (status, said.endswith("it belongs to clinic-b already.\n")) == (0, True)
    assert clinics(importer) == ["clinic-b"] * COUNT
    assert importer.tree() == [f"processed/clinic-b/{DAY}/old/{n}.dcm" for n in range(COUNT)]
    assert len(records(importer, "moved")) == 1
    assert errand.read(importer.config.state_dir) is None
    assert_well(importer, capsys)


@pytest.mark.parametrize(
    ("step", "when"),
    [one for one in STEPS if "store" not in one[0]] + [("exchange:_file", "after")],
)
def test_a_deletion_that_is_killed_is_finished_by_the_service(
    importer: Importer, capsys: pytest.CaptureFixture[str], step: str, when: str
) -> None:
    uid = imported(importer, study())
    killed(importer, step, when, "delete", "--study", uid, "--yes", *BY)
    importer.restart()
    importer.service.tend()
    assert held(importer) == []
    assert importer.tree() == []
    assert len(records(importer, "deleted")) == 1
    assert command(importer, capsys, "verify")[0] == 0


def test_a_study_that_is_not_there_is_not_corrected(
    importer: Importer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (("move", "--to", "clinic-b"), ("correct",), ("delete", "--yes")):
        tell(monkeypatch, PATIENT)
        status, said = command(importer, capsys, words[0], "--study", "1.2.3", *words[1:], *BY)
        assert (status, said.startswith("Nothing was changed: ")) == (1, True)
    uid = imported(importer, study())
    said = command(importer, capsys, "move", "--study", uid, "--to", "clinic-x", *BY)[1]
    assert "there is no clinic clinic-x" in said


def test_explain_tells_of_a_correction_and_of_no_patient(
    importer: Importer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = imported(importer, study())
    tell(monkeypatch, PATIENT)
    assert command(importer, capsys, "correct", "--study", uid, *BY)[0] == 0
    said = command(importer, capsys, "explain", _first(importer))[1]
    assert f"Study {uid} was corrected by an-admin" in said
    assert "Noether" not in said
    assert parse(_first(importer).read_bytes()).PatientName == "Nother^Emy"


def _first(importer: Importer) -> Path:
    return importer.root / f"processed/clinic-a/{DAY}/old/0.dcm"


@pytest.mark.parametrize("shared", [False, True])
def test_a_zip_file_goes_with_the_only_study_that_came_in_it(
    importer: Importer, capsys: pytest.CaptureFixture[str], *, shared: bool
) -> None:
    made = study()
    each = [*made, dataset()] if shared else made
    content = packed(*((f"{index}.dcm", encode(one)) for index, one in enumerate(each)))
    importer.drop("clinic-a/export.zip", content)
    importer.run()
    importer.run()
    uid = str(made[0].StudyInstanceUID)
    zipped = f"processed/clinic-a/{DAY}/export.zip"
    assert zipped in importer.tree()
    status, said = command(importer, capsys, "delete", "--study", uid, "--yes", *BY)
    assert status == 0
    assert (zipped in importer.tree()) is shared
    assert ("A zip file that holds other studies too stays" in said) is shared
    assert command(importer, capsys, "verify")[0] == 0


def test_a_file_that_was_made_ready_before_a_correction_is_made_ready_again(
    importer: Importer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = study()
    uid = imported(importer, made)
    tell(monkeypatch, PATIENT)
    assert command(importer, capsys, "correct", "--study", uid, *BY)[0] == 0
    worker = importer.service.worker
    context = worker._context  # noqa: SLF001 - what it asks
    known = context.limits.corrections
    answers = [()]

    def late(study_uid: str) -> tuple[corrections.Correction, ...]:
        return answers.pop() if answers else known(study_uid)

    limits = dataclasses.replace(context.limits, corrections=late)
    monkeypatch.setattr(worker, "_context", dataclasses.replace(context, limits=limits))
    one = dataset(StudyInstanceUID=uid, SeriesInstanceUID=made[0].SeriesInstanceUID)
    importer.drop("clinic-a/late.dcm", encode(one))
    importer.run()
    assert answers == []
    assert importer.counted("clinic-a") == {"success": COUNT + 1}
    assert {str(one.tags.PatientID) for one in held(importer)} == {"P2"}
