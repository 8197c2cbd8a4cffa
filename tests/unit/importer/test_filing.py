"""Files leave the inbox whole and to a free name, however often the move is interrupted."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dicom_importer import files, filing, upkeep
from dicom_importer.files import Arrival, Place
from dicom_importer.filing import Folders
from dicom_importer.journal import Journal
from dicom_importer.reasons import REASONS
from dicom_importer.records import Decision, Identity, Row, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 11, 24, 23, 59, 59, tzinfo=UTC)
REJECTED = Verdict("rejected", "truncated", "3 bytes are missing")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal.sqlite")
    yield made
    made.close()


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    for name in ("inbox/clinic-a", "processed", "failed"):
        (tmp_path / name).mkdir(parents=True)
    return Folders(tmp_path / "inbox", tmp_path / "processed", tmp_path / "failed")


def decide(journal: Journal, folders: Folders, path: str, verdict: Verdict) -> Row:
    """Write a file into the inbox and decide on it."""
    file = folders.inbox / "clinic-a" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(path)
    arrival = Arrival("clinic-a", path, files.seen(file.stat()))
    decision = filing.decision(arrival, verdict, folders, NOW)
    return journal.decide(arrival, Identity(study_uid="1.2", sop_uid="1.2.3"), decision)


def test_a_file_is_moved_below_its_clinic_and_day(journal: Journal, folders: Folders) -> None:
    row = decide(journal, folders, "export/a/one.dcm", Verdict("success"))
    filing.file_away(journal, folders, row)
    filed = folders.processed / "clinic-a/2026-11-24/export/a/one.dcm"
    assert filed.read_text() == "export/a/one.dcm"
    assert filed.stat().st_nlink == 1
    assert not (folders.inbox / "clinic-a/export/a/one.dcm").exists()
    assert journal.active() == []


def test_a_failed_file_has_its_reason_beside_it(journal: Journal, folders: Folders) -> None:
    filing.file_away(journal, folders, decide(journal, folders, "one.dcm", REJECTED))
    content = (folders.failed / "clinic-a/2026-11-24/one.dcm.error.json").read_text()
    assert json.loads(content) == {
        "version": 1,
        "status": "rejected",
        "reason": "truncated",
        "message": REASONS["truncated"].found,
        "detail": "3 bytes are missing",
        "action": REASONS["truncated"].advice,
        "clinic": "clinic-a",
        "file": "one.dcm",
        "size_bytes": 7,
        "study_instance_uid": "1.2",
        "sop_instance_uid": "1.2.3",
        "time": "2026-11-24T23:59:59Z",
    }


@pytest.mark.parametrize("verdict", [Verdict("success"), REJECTED])
def test_a_name_is_never_overwritten(journal: Journal, folders: Folders, verdict: Verdict) -> None:
    for _ in range(3):
        filing.file_away(journal, folders, decide(journal, folders, "x/one.dcm", verdict))
    root = folders.failed if verdict.reason else folders.processed
    found = sorted(p.name for p in (root / "clinic-a/2026-11-24/x").iterdir())
    names = ["one (2).dcm", "one (3).dcm", "one.dcm"]
    reasons = [f"{name}.error.json" for name in names] if verdict.reason else []
    assert found == sorted(names + reasons)


def test_a_name_taken_between_decision_and_move_gets_another(
    journal: Journal, folders: Folders
) -> None:
    row = decide(journal, folders, "one.dcm", Verdict("success"))
    taken = folders.processed / "clinic-a/2026-11-24/one.dcm"
    taken.parent.mkdir(parents=True)
    taken.write_text("taken")
    filing.file_away(journal, folders, row)
    assert taken.read_text() == "taken"
    assert taken.with_name("one (2).dcm").read_text() == "one.dcm"


@pytest.mark.parametrize("step", ["nothing", "linked", "moved"])
@pytest.mark.parametrize("verdict", [Verdict("success"), REJECTED])
def test_a_move_goes_on_where_it_was_interrupted(
    journal: Journal, folders: Folders, step: str, verdict: Verdict
) -> None:
    row = decide(journal, folders, "x/one.dcm", verdict)
    source, target = folders.source(row.arrival), folders.target(row)
    if step != "nothing":
        with files.parent(target, create=True):
            os.link(source.root / source.path, target.root / target.path)
    if step == "moved":
        (source.root / source.path).unlink()
    filing.file_away(journal, folders, row)
    filed = [p.name for p in target.root.rglob("*") if p.is_file() and p.suffix != ".json"]
    assert filed == ["one.dcm"]
    assert not (source.root / source.path).exists()
    (again,) = journal.past.history("clinic-a", "x/one.dcm")
    assert again.state == "done"


def test_a_file_replaced_after_the_decision_stays_in_the_inbox(
    journal: Journal, folders: Folders
) -> None:
    row = decide(journal, folders, "one.dcm", Verdict("success"))
    (folders.inbox / "clinic-a/one.dcm").write_text("something else")
    filing.file_away(journal, folders, row)
    assert (folders.inbox / "clinic-a/one.dcm").read_text() == "something else"
    assert [r.state for r in journal.past.history("clinic-a", "one.dcm")] == ["gone"]
    assert not list(folders.processed.rglob("*.dcm"))


@pytest.mark.parametrize("name", ["x" * 255, "x" * 240 + ".dcm", "é" * 127, "." + "y" * 254])
def test_the_longest_names_are_filed(journal: Journal, folders: Folders, name: str) -> None:
    for _ in range(2):
        filing.file_away(journal, folders, decide(journal, folders, name, REJECTED))
    found = list((folders.failed / "clinic-a/2026-11-24").iterdir())
    assert len(found) == 4


def test_a_link_out_of_the_target_folder_is_not_followed(
    journal: Journal, folders: Folders, tmp_path: Path
) -> None:
    row = decide(journal, folders, "x/one.dcm", Verdict("success"))
    (folders.processed / "clinic-a/2026-11-24").mkdir(parents=True)
    (folders.processed / "clinic-a/2026-11-24/x").symlink_to(tmp_path)
    with pytest.raises(OSError, match="Not a directory"):
        filing.file_away(journal, folders, row)
    assert (folders.inbox / "clinic-a/x/one.dcm").exists()


def test_the_journal_remembers_over_a_restart(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    arrival = Arrival("clinic-a", os.fsdecode(b"Z\xfcrich"), files.Seen(1, 2, 2**64 - 1))
    begun = journal.begin(arrival, "20261124", Identity("p", "1", "2", "3"))
    journal.refused(begun.id, 5.0)
    journal.refused(begun.id, 6.0)
    journal.close()
    again = Journal(tmp_path / "j")
    row = again.find(arrival)
    assert row
    assert (row.arrival, row.coerced_at, row.refusals, row.refused_at) == (
        arrival,
        "20261124",
        2,
        5.0,
    )
    again.decide(arrival, row.identity, Decision(Verdict("success"), "t", "x"))
    again.finish(row.id)
    assert again.find(arrival) is None
    assert [r.decision.verdict.status for r in again.past.filed_as("x")] == ["success"]
    again.close()


def test_only_days_past_their_time_are_removed(tmp_path: Path) -> None:
    kept = ["clinic-a/2026-10-25", "clinic-a/2026-11-24", "clinic-a/old", "clinic-a/2026-13-45"]
    for name in [*kept, "clinic-a/2026-10-24", "clinic-b/2020-01-01"]:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "one.dcm").write_text("1")
    (tmp_path / "clinic-a/2020-01-01").symlink_to(tmp_path / "clinic-a/old")
    assert upkeep.remove_old_days(tmp_path, date(2026, 11, 24), 30) == 2
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.glob("*/*")}
    assert left == {*kept, "clinic-a/2020-01-01"}


def test_emptied_folders_go_after_a_day_but_never_the_export_path(tmp_path: Path) -> None:
    for name in ("export/old/deep", "export/new", "export/full", "empty"):
        (tmp_path / "clinic-a" / name).mkdir(parents=True)
    (tmp_path / "clinic-a/export/full/one.dcm").write_text("1")
    for path in (tmp_path / "clinic-a").rglob("*"):
        os.utime(path, (0, 0))
    os.utime(tmp_path / "clinic-a/export/new", (86_000, 86_000))
    for _ in range(2):
        upkeep.remove_empty_folders(tmp_path, "clinic-a", 86_400.0, 86_400.0)
        os.utime(tmp_path / "clinic-a/export/old", (0, 0), follow_symlinks=False) if (
            tmp_path / "clinic-a/export/old"
        ).exists() else None
    left = {str(p.relative_to(tmp_path / "clinic-a")) for p in (tmp_path / "clinic-a").rglob("*")}
    assert left == {"export", "export/new", "export/full", "export/full/one.dcm", "empty"}


def test_the_part_file_of_a_reason_is_replaced_not_left(tmp_path: Path) -> None:
    for content in (b"1", b"2"):
        files.write(Place(tmp_path, "a/b.json"), content)
    assert [p.read_bytes() for p in (tmp_path / "a").iterdir()] == [b"2"]


@pytest.fixture
def elsewhere(folders: Folders) -> Iterator[Folders]:
    """Provide the folders with processed/ on another file system."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        assert Path(folder).stat().st_dev != folders.inbox.stat().st_dev
        yield replace(folders, processed=Path(folder))


def test_to_another_file_system_a_file_is_copied_whole(
    journal: Journal, elsewhere: Folders
) -> None:
    row = decide(journal, elsewhere, "export/one.dcm", Verdict("success"))
    filing.file_away(journal, elsewhere, row)
    (filed,) = (path for path in elsewhere.processed.rglob("*") if path.is_file())
    assert filed == elsewhere.processed / "clinic-a/2026-11-24/export/one.dcm"
    assert filed.read_text() == "export/one.dcm"
    assert filed.stat().st_mtime_ns == row.arrival.seen.mtime_ns
    assert not (elsewhere.inbox / "clinic-a/export/one.dcm").exists()
    assert journal.past.history("clinic-a", "export/one.dcm")[0].state == "done"


def test_a_copy_whose_source_is_gone_already_counts_as_filed(
    journal: Journal, elsewhere: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = decide(journal, elsewhere, "one.dcm", Verdict("success"))
    with monkeypatch.context() as patch:
        patch.setattr(journal, "finish", lambda *_, **__: None)
        filing.file_away(journal, elsewhere, row)
    filing.file_away(journal, elsewhere, row)
    assert [row.state for row in journal.past.history("clinic-a", "one.dcm")] == ["done"]


def test_another_file_under_the_name_of_a_copy_is_left_as_it_is(
    journal: Journal, elsewhere: Folders
) -> None:
    row = decide(journal, elsewhere, "one.dcm", Verdict("success"))
    taken = elsewhere.processed / row.decision.target
    taken.parent.mkdir(parents=True)
    taken.write_text("another")
    filing.file_away(journal, elsewhere, row)
    assert taken.read_text() == "another"
    assert taken.with_name("one (2).dcm").read_text() == "one.dcm"
    assert sorted(path.name for path in taken.parent.iterdir()) == ["one (2).dcm", "one.dcm"]


def test_a_copy_that_differs_is_removed_and_the_source_stays(
    journal: Journal, elsewhere: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = decide(journal, elsewhere, "one.dcm", Verdict("success"))
    monkeypatch.setattr("os.write", lambda _, data: len(data))
    with pytest.raises(OSError, match="the copy differs"):
        filing.file_away(journal, elsewhere, row)
    assert not [path for path in elsewhere.processed.rglob("*") if path.is_file()]
    assert (elsewhere.inbox / "clinic-a/one.dcm").read_text() == "one.dcm"
