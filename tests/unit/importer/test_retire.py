"""`dicom-importer retention`: says what would go, deletes it when told to, and nothing that no backup holds."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from clinic_access.storage import path as place
from dicom_backup import backed_up, farm
from pydicom.uid import generate_uid
from unit.importer.building import dataset, encode, instance
from unit.importer.commanding import command, killed
from unit.importer.test_corrections import records

if TYPE_CHECKING:
    from pathlib import Path

    from unit.importer.conftest import Importer

pytestmark = pytest.mark.usefixtures("waits")
REPORT = ("retention", "--by", "x")
DELETE = (*REPORT, "--yes", "--reason", "its time is over")
# After what was imported at the clock's beginning has had its time as well.
LATER_S = 11 * 366 * 86400.0
OLD = datetime(2015, 1, 2, tzinfo=UTC).timestamp()


@pytest.fixture(autouse=True)
def later(importer: Importer) -> None:
    """Let studies have ten years, and the journal forget what was imported, as it does in them."""
    importer.config = dataclasses.replace(importer.config, study_retention_years="10")


def imported(importer: Importer, **attributes: object) -> str:
    """Import a study of one image, long ago; returns its UID."""
    given = {"StudyDate": "20100301", "PatientBirthDate": "19500506", **attributes}
    made = dataset(**given)
    importer.drop(f"clinic-a/{made.StudyInstanceUID}/1.dcm", encode(made))
    importer.run()
    importer.service.journal.prune("2030")
    return str(made.StudyInstanceUID)


def rows(said: str) -> list[tuple[str, str]]:
    """Return state and UID of each row of the report."""
    found = re.findall(r"^(goes|held back|deleted) .* ([0-9.]{20,})  ", said, re.MULTILINE)
    return sorted(found)


def uids(importer: Importer) -> set[str]:
    """Return the studies that the archive holds."""
    return {one.uids[0] for one in importer.archive.instances.values()}


def test_what_would_go_is_told_and_nothing_is_deleted(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    old = imported(importer)
    imported(importer, StudyDate="20261123")
    undated = imported(importer, StudyDate="")
    child = imported(importer, PatientBirthDate="20050101")
    status, said = command(importer, capsys, *REPORT)
    assert (status, rows(said)) == (
        0,
        sorted([("goes", old), ("held back", undated), ("held back", child)]),
    )
    assert f"  2010-03-01      0.0 MB  {old}  10 years were over on 2025-01-01\n" in said
    assert f"{undated}  it has no date\n" in said
    assert "1 (0.0 MB) studies would go, 2 (0.0 MB) are held back.\n" in said
    assert "Nothing was deleted: this is what would go." in said
    assert len(uids(importer)) == 4


def test_what_has_had_its_time_is_deleted_and_audited_and_does_not_come_back(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = dataset(StudyDate="20100301", PatientBirthDate="19500506")
    uid = str(made.StudyInstanceUID)
    importer.drop("clinic-a/old/1.dcm", encode(made))
    importer.run()
    importer.service.journal.prune("2030")
    young = imported(importer, StudyDate="20261123")
    status, said = command(importer, capsys, *DELETE)
    assert (status, rows(said)) == (0, [("deleted", uid)])
    assert "1 (0.0 MB) studies were deleted, 0 (0.0 MB) are held back.\n" in said
    assert uids(importer) == {young}
    (record,) = records(importer, "deleted")
    assert record["study_instance_uid"] == uid
    assert record["who"] == {"service": "dicom-importer", "operator": "x"}
    assert record["reason"] == "retention: its time is over"
    assert command(importer, capsys, *DELETE)[1].startswith("0 (0.0 MB) studies were deleted")
    importer.drop("clinic-a/again/1.dcm", encode(made))
    importer.run()
    assert uids(importer) == {young}
    (reason,) = (importer.root / "failed").rglob("*.error.json")
    assert json.loads(reason.read_text())["reason"] == "deleted"


def test_what_came_lately_stays_whatever_became_of_it(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    archived = importer.archive
    uid = imported(importer)
    assert rows(command(importer, capsys, *REPORT)[1]) == [("goes", uid)]
    archived.updated = "20200101T120000"
    assert "the last of it came on 2020-01-01" in command(importer, capsys, *REPORT)[1]
    archived.updated = ""
    assert "does not know when it came" in command(importer, capsys, *REPORT)[1]
    archived.updated = "20150101T120000"
    # A late file that failed waits for somebody.
    importer.drop("clinic-a/late.dcm", instance(StudyInstanceUID=uid, PatientID="another"))
    importer.run()
    assert len(list((importer.root / "failed").rglob("*.dcm"))) == 1
    status, said = command(importer, capsys, *DELETE)
    assert (status, rows(said)) == (0, [("held back", uid)])
    assert "the last of it came on 20" in said
    assert uids(importer) == {uid}


def test_a_study_of_two_patients_is_held_back_and_the_others_go(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = imported(importer)
    other = encode(
        dataset(
            StudyInstanceUID=uid,
            PatientID="another",
            StudyDate="20100301",
            PatientBirthDate="19500506",
            InstitutionName="clinic-a",
        )
    )
    importer.archive.keep(other)
    good = imported(importer)
    said = command(importer, capsys, *DELETE)[1]
    assert rows(said) == sorted([("held back", uid), ("held back", uid), ("deleted", good)])
    assert "under two patient IDs" in said
    assert uids(importer) == {uid}


def test_the_report_is_a_table_for_a_spreadsheet(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = imported(importer)
    _, said = command(importer, capsys, *REPORT, "--csv")
    (row,) = csv.DictReader(io.StringIO(said))
    size_bytes = len(next(iter(importer.archive.instances.values())).content)
    assert row == {
        "state": "goes",
        "clinic": "clinic-a",
        "study_date": "2010-03-01",
        "size_bytes": str(size_bytes),
        "study_instance_uid": uid,
        "why": "10 years were over on 2025-01-01",
    }


def test_a_clinic_that_takes_nothing_in_any_more_is_as_the_others(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = imported(importer)
    for folder in sorted((importer.root / "inbox/clinic-a").rglob("*"), reverse=True):
        folder.rmdir()
    (importer.root / "inbox/clinic-a").rmdir()
    importer.config = dataclasses.replace(importer.config, study_retention_clinics="clinic-a=never")
    assert rows(command(importer, capsys, *DELETE)[1]) == []
    importer.config = dataclasses.replace(importer.config, study_retention_clinics="clinic-a=11")
    said = command(importer, capsys, *DELETE)[1]
    assert rows(said) == [("deleted", uid)]
    assert "11 years were over on 2026-01-01" in said


def test_years_of_a_clinic_that_is_none_let_nothing_go(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = imported(importer)
    importer.config = dataclasses.replace(importer.config, study_retention_clinics="clinic-z=never")
    status, said = command(importer, capsys, *DELETE)
    assert (status, said) == (
        1,
        "Nothing was changed: STUDY_RETENTION_CLINICS names clinic-z: there is no such clinic.\n",
    )
    assert uids(importer) == {uid}


def test_nothing_goes_without_years_or_without_a_reason(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = imported(importer)
    assert command(importer, capsys, *REPORT, "--yes")[0] == 2
    importer.config = dataclasses.replace(importer.config, study_retention_years="")
    status, said = command(importer, capsys, *DELETE)
    assert (status, said) == (0, "Every study stays for ever: STUDY_RETENTION_YEARS is not set.\n")
    importer.config = dataclasses.replace(importer.config, study_retention_years="9")
    assert command(importer, capsys, *DELETE)[0] == 2
    assert uids(importer) == {uid}


@pytest.mark.parametrize("step", ["archive:Archive.remove", "errand:end"])
def test_whoever_is_killed_goes_on_by_the_same_command(
    importer: Importer, capsys: pytest.CaptureFixture[str], step: str
) -> None:
    wanted = {imported(importer) for _ in range(3)}
    killed(importer, step, "before", *DELETE)
    status, said = command(importer, capsys, *DELETE)
    assert status == 0
    assert "What an interrupted command had begun is done now." in said
    assert uids(importer) == set()
    assert {one["study_instance_uid"] for one in records(importer, "deleted")} == wanted
    assert len(records(importer, "deleted")) == 3


def test_an_archive_that_is_away_ends_it_and_says_where(
    importer: Importer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = imported(importer)
    real = importer.archive.answer

    def answer(method: str, *rest: str) -> object:
        return (503, b"") if method == "DELETE" else real(method, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(type(importer.archive), "answer", lambda _, *given: answer(*given))
    status, said = command(importer, capsys, *DELETE)
    assert status == 1
    assert f"It ends at study {uid} of clinic-a. Give the command again to go on.\n" in said


@dataclasses.dataclass(slots=True)
class Backup:
    """What a backup tells of an archive's storage, as its own run would."""

    importer: Importer
    storage: Path

    def link(self) -> None:
        """Link every file by day, written long ago."""
        self.importer.archive.write()
        for held in self.importer.archive.instances.values():
            os.utime(place(self.storage, held.uuid), (OLD, OLD))
        (self.storage / farm.FOLDER).mkdir(exist_ok=True)
        farm.scan(self.storage, OLD + 1e6, every=True)

    def told(self, **changes: object) -> None:
        """Tell that a run just ended, in which all that is linked was saved."""
        now_s = self.importer.clock.utc().timestamp()
        root = self.storage / farm.FOLDER
        days = {day: ((root / day).stat().st_mtime_ns, now_s) for day in farm.days(self.storage)}
        made = backed_up.BackedUp("/mnt/backup", "", now_s, 86400, now_s, days)
        told = dataclasses.asdict(dataclasses.replace(made, **changes))  # type: ignore[arg-type]
        (root / backed_up.NAME).write_text(json.dumps(told))


@pytest.fixture
def backup(importer: Importer) -> Backup:
    """Provide a backup that is configured, and was not made yet."""
    importer.config = dataclasses.replace(importer.config, backup_target="/mnt/backup")
    return Backup(importer, importer.archive.storage)


def test_only_what_a_backup_holds_goes_where_there_is_one(
    importer: Importer, capsys: pytest.CaptureFixture[str], backup: Backup
) -> None:
    uid = imported(importer)
    assert "there is no backup yet" in command(importer, capsys, *DELETE)[1]
    backup.link()
    backup.told()
    later_one = imported(importer)
    status, said = command(importer, capsys, *DELETE)
    assert (status, rows(said)) == (0, sorted([("deleted", uid), ("held back", later_one)]))
    assert "1 of its 1 files are not in the last backup" in said
    assert uids(importer) == {later_one}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"problem": "the disk is full"}, "the last backup is not good: the disk is full"),
        ({"target": "/mnt/other"}, "there is no backup at /mnt/backup yet"),
        ({"succeeded_s": 0.0}, "there is no backup yet"),
        ({"succeeded_s": OLD}, "the last backup is too old: 2015-01-02 00:00"),
        # From a clock that was wrong.
        ({"succeeded_s": 4e9}, "the last backup is too old"),
        ({"dumped_s": OLD - 86400}, "it changed after the last dump of the databases"),
        ({"days": {}}, "1 of its 1 files"),
        ({"days": {"2015-01-02": [1, OLD + 1e6]}}, "1 of its 1 files"),
        ({"stale_after_s": "x"}, ""),
    ],
)
def test_a_backup_that_may_not_hold_a_study_holds_it_back(
    importer: Importer,
    capsys: pytest.CaptureFixture[str],
    backup: Backup,
    changes: dict[str, object],
    why: str,
) -> None:
    uid = imported(importer)
    backup.link()
    backup.told()
    assert rows(command(importer, capsys, *REPORT)[1]) == [("goes", uid)]
    if why:
        backup.told(**changes)
    else:
        (backup.storage / farm.FOLDER / backed_up.NAME).write_text("{")
    said = command(importer, capsys, *DELETE)[1]
    assert rows(said) == [("held back", uid)]
    assert (why or "there is no backup yet") in said
    assert uids(importer) == {uid}


def test_a_file_that_was_written_while_its_day_was_saved_holds_its_study_back(
    importer: Importer, capsys: pytest.CaptureFixture[str], backup: Backup
) -> None:
    uid = imported(importer)
    backup.link()
    day = farm.days(backup.storage)[0]
    mtime_ns = (backup.storage / farm.FOLDER / day).stat().st_mtime_ns
    for saved_s, state in ((OLD + farm.YOUNG_S - 1, "held back"), (OLD + farm.YOUNG_S, "goes")):
        backup.told(days={day: [mtime_ns, saved_s]})
        assert rows(command(importer, capsys, *REPORT)[1]) == [(state, uid)]


def test_another_file_under_the_name_of_a_saved_one_holds_its_study_back(
    importer: Importer, capsys: pytest.CaptureFixture[str], backup: Backup
) -> None:
    uid = imported(importer)
    backup.link()
    backup.told()
    (held,) = importer.archive.instances.values()
    file = place(backup.storage, held.uuid)
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)
    os.utime(file, (OLD, OLD))
    assert rows(command(importer, capsys, *REPORT)[1]) == [("held back", uid)]


def test_no_patient_is_told_of(importer: Importer, capsys: pytest.CaptureFixture[str]) -> None:
    who = {"PatientName": "Noether^Emmy", "PatientID": "4711"}
    imported(importer, **who)
    imported(importer, **who, PatientBirthDate="20000203", StudyInstanceUID=generate_uid())
    _, said = command(importer, capsys, *REPORT)
    assert {state for state, _ in rows(said)} == {"goes", "held back"}
    assert not re.search("Noether|4711|2000|02-03", said.replace("20100301", ""))
