"""A run of the backup with the real restic and PostgreSQL: what is saved comes back, and nothing is saved twice."""

from __future__ import annotations

import dataclasses
import json
import re
import sqlite3
from typing import TYPE_CHECKING

import pytest
from dicom_backup import backed_up, config, farm, record, retention, state, status
from dicom_backup.cli import main
from dicom_backup.metrics import registry
from dicom_backup.service import Schedule
from dicom_backup.upkeep import upkeep
from prometheus_client import generate_latest
from unit.backup.site import DAY_S, NOON_S, ROWS, Database, Site

if TYPE_CHECKING:
    from pathlib import Path

TODAY, YESTERDAY = "2026-11-25", "2026-11-24"


def test_what_was_saved_comes_back_by_restic_and_the_key_alone(site: Site, tmp_path: Path) -> None:
    known = site.back_up()
    assert (known.error, known.dump_error) == ("", "")
    (run,) = site.complete()
    assert run.unread == ()
    assert run.images.keys() == {TODAY, YESTERDAY}
    assert site.restored(run, tmp_path / "images") == site.written
    back = tmp_path / "back"
    for part in (run.service, run.originals):
        site.tools.repository.run("restore", part.snapshot, f"--target={back}")
    files = {str(path.relative_to(back)) for path in back.rglob("*") if path.is_file()}
    assert files == {
        *("backup/dumps/dump.json", "backup/dumps/keycloak.dump", "backup/dumps/orthanc.dump"),
        *("backup/journal/journal.sqlite", "backup/realm/dicom-people.json"),
        "secrets/values.json",
        "processed/clinic-a/2026-11-25/image.dcm",
    }
    with sqlite3.connect(back / "backup/journal/journal.sqlite") as journal:
        assert journal.execute("SELECT path FROM arrival").fetchall() == [("clinic-a/image.dcm",)]
    journal.close()
    assert json.loads((back / "backup/dumps/dump.json").read_text())["orthanc_schema"] == "6"


def test_what_a_run_holds_is_told_beside_the_links(site: Site) -> None:
    old, today = site.store(age_days=30), site.store()
    storage, target = site.config.storage_dir, site.config.target
    assert backed_up.doubt(backed_up.read(storage), target, site.now_s) == "there is no backup yet"
    site.back_up()
    known = backed_up.read(storage)
    assert known
    assert backed_up.doubt(known, target, site.now_s) == ""
    assert known.dumped_s == site.now_s
    assert backed_up.lacking(storage, known, [old]) == 0
    # It may have been half written.
    assert backed_up.lacking(storage, known, [old, today]) == 1
    later = site.store(age_days=30)
    assert backed_up.lacking(storage, known, [old, later]) == 1
    farm.scan(storage, site.now_s)
    assert backed_up.lacking(storage, known, [old, later]) == 2
    site.now_s += DAY_S
    assert "the last backup is too old" in backed_up.doubt(known, target, site.now_s)
    site.back_up()
    known = backed_up.read(storage)
    assert known
    assert backed_up.lacking(storage, known, [old, later, today]) == 0
    site.target.rename(site.target.with_name("away"))
    site.back_up()
    assert "the last backup is not good" in backed_up.doubt(
        backed_up.read(storage), target, site.now_s
    )


def test_the_key_and_what_opens_the_target_are_in_no_snapshot(site: Site) -> None:
    key = site.config.key_file.read_text()
    for name in ("backup_ca", "backup_credentials", "backup_ssh_key"):
        (site.config.data_dir / "secrets" / name).write_text(key)
    site.back_up()
    repository = site.tools.repository
    listed = [repository.run("ls", snapshot.id).stdout for snapshot in repository.snapshots()]
    assert len(listed) == 5
    assert sum("/secrets/values.json" in names for names in listed) == 1
    assert not [names for names in listed if "backup_" in names or "spool" in names]


def test_the_next_run_saves_what_changed_and_names_the_rest(site: Site) -> None:
    for age_days in (1, 2):
        site.store(age_days)
    site.back_up()
    # What had just been written is saved once more, since it may have been half written.
    site.now_s += 900
    site.back_up()
    site.now_s += 900
    site.store(age_days=2)
    site.back_up()
    first, second, third = site.complete()
    changed = {
        day for day in second.images if second.images[day].snapshot != third.images[day].snapshot
    }
    assert changed == {"2026-11-23"}
    assert set(first.images) == set(third.images) == {TODAY, YESTERDAY, "2026-11-23"}
    assert third.images["2026-11-23"].files == 2
    assert second.images[TODAY].snapshot != first.images[TODAY].snapshot
    # Seconds apart by the clock, the same dump: it is made once an hour.
    assert first.dump == second.dump == third.dump


def test_a_file_that_was_saved_half_written_is_saved_whole_by_the_next_run(
    site: Site, tmp_path: Path
) -> None:
    name = site.store()
    path = farm.place(site.config.storage_dir, name)
    path.write_bytes(site.written[name][:1000])
    site.back_up()
    # Orthanc goes on writing, which no folder shows.
    with path.open("ab") as file:
        file.write(site.written[name][1000:])
    site.back_up()
    first, second = site.complete()
    assert site.restored(first, tmp_path / "back")[name] == site.written[name][:1000]
    assert site.restored(second, tmp_path / "back") == site.written


def test_dumps_are_made_once_an_hour_and_on_demand(site: Site) -> None:
    site.back_up()
    for minutes, wanted, is_new in (
        (15, False, False),
        (30, True, True),
        (85, False, False),
        (91, False, True),
    ):
        site.now_s = NOON_S + 60 * minutes
        site.back_up(dump=wanted)
        *_, before, last = site.complete()
        assert (before.dump != last.dump) is is_new, minutes


def test_what_orthanc_deletes_comes_back_with_a_dump_that_names_it(
    site: Site, tmp_path: Path
) -> None:
    gone = site.store()
    site.back_up()
    site.delete(gone)
    site.now_s += 900
    site.back_up()
    assert site.restored(site.complete()[-1], tmp_path / "back") == site.written
    site.now_s += 3600
    site.back_up()
    newest = site.complete()[-1]
    assert site.written.keys() - site.restored(newest, tmp_path / "back").keys() == {gone}
    # The older run has it still.
    assert gone in site.restored(site.complete()[0], tmp_path / "back")


def test_a_dump_holds_every_row(site: Site, database: Database) -> None:
    site.back_up()
    path = site.config.dumps_dir / "orthanc.dump"
    database.ask("postgres", "DROP DATABASE IF EXISTS again")
    database.ask("postgres", "CREATE DATABASE again OWNER orthanc")
    login = (f"--host={database.sockets}", "--username=orthanc", "--dbname=again")
    # The program that dumps_read calls, given a database to write to.
    from stack.shell import attempt  # noqa: PLC0415

    done = attempt(["pg_restore", "--exit-on-error", *login, str(path)])
    assert done.returncode == 0, done.stderr
    assert database.ask("again", "SELECT count(*) FROM attachedfiles").strip() == str(ROWS)


def test_nothing_goes_that_a_run_which_stays_still_names(site: Site, tmp_path: Path) -> None:
    for _ in range(4):
        site.store()
        site.back_up()
        site.now_s += 900
    repository = site.tools.repository
    runs = record.complete(repository)
    # As after months: only the first and the last run are kept.
    repository.run("forget", runs[1].id, runs[2].id)
    assert retention.forget(site.config, repository) > 0
    upkeep(site.tools, everything=True)
    first, last = site.complete()
    assert len(site.restored(first, tmp_path / "back")) == len(site.written) - 3
    assert site.restored(last, tmp_path / "back") == site.written
    left = {snapshot.id for snapshot in repository.snapshots()} - {runs[0].id, runs[3].id}
    assert left == first.snapshots | last.snapshots


def test_a_target_that_only_lets_add_is_only_added_to(site: Site) -> None:
    site.tools = dataclasses.replace(
        site.tools, config=dataclasses.replace(site.config, prune=False)
    )
    for _ in range(2):
        site.back_up()
    before = len(site.tools.repository.snapshots())
    known = upkeep(site.tools)
    assert known.check_error == ""
    assert known.forgot_s == known.pruned_s == 0
    assert len(site.tools.repository.snapshots()) == before


def test_how_old_the_backup_is_is_said_to_people_and_to_prometheus(site: Site) -> None:
    def said() -> list[tuple[bool, str]]:
        return [
            (line.well, line.text) for line in status.lines(site.config, site.state(), site.now_s)
        ]

    assert [well for well, _ in said()] == [False]
    site.back_up()
    assert all(well for well, _ in said())
    site.now_s += 1801
    assert next(text for well, text in said() if not well).startswith(
        "backup: the last one is 30 min old"
    )
    told = generate_latest(registry(site.config, lambda: site.now_s)).decode()
    assert "dicom_backup_age_seconds 1801.0\n" in told
    assert "dicom_backup_age_limit_seconds 1800.0\n" in told
    assert "dicom_backup_check_failed 0.0\n" in told


def test_how_long_ago_a_restore_was_practised_is_said(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> tuple[list[tuple[bool, str]], float]:
        lines = status.lines(site.config, site.state(), site.now_s)
        told = generate_latest(registry(site.config, lambda: site.now_s)).decode()
        age = re.findall(r"^dicom_backup_drill_age_seconds (\S+)$", told, re.MULTILINE)
        return [(one.well, one.text) for one in lines if "practised" in one.text], float(age[0])

    site.back_up()
    state.save(site.config.state_file, dataclasses.replace(site.state(), first_s=site.now_s))
    assert said() == ([], 0)
    site.now_s += 101 * DAY_S
    never = (False, "backup: no restore was practised in its 101 days")
    assert said() == ([never], 101 * DAY_S)
    monkeypatch.setattr(config, "load", lambda: site.config)
    main(["drilled"])
    assert "a restore was practised 0 min ago" in capsys.readouterr().out
    at_s = site.config.drill_file.stat().st_mtime
    site.now_s = at_s + 3 * DAY_S
    assert said() == ([(True, "backup: a restore was practised 3 days ago")], 3 * DAY_S)
    site.now_s = at_s + 101 * DAY_S
    assert [well for well, _ in said()[0]] == [False]


def test_the_schedule_runs_when_it_is_time_and_checks_once_a_day(site: Site) -> None:
    schedule = Schedule(site.tools)
    for minutes, runs, checks in ((0, 1, 1), (14, 1, 1), (15, 2, 1), (16, 2, 1), (24 * 60, 3, 2)):
        site.now_s = NOON_S + 60 * minutes
        before = site.state().checked_s
        schedule.tick()
        assert len(site.complete()) == runs, minutes
        assert (site.state().checked_s != before) is (minutes in (0, 24 * 60)), checks


def test_a_clock_that_went_back_does_not_put_the_next_run_off(site: Site) -> None:
    site.now_s += 10 * DAY_S
    site.back_up()
    site.now_s = NOON_S
    Schedule(site.tools).tick()
    assert len(site.complete()) == 2


@pytest.mark.parametrize("line", ["no equals", "=x", "two words=1"])
def test_credentials_that_are_none_are_named_by_file_and_line(site: Site, line: str) -> None:
    from dicom_backup.config import ConfigError, credentials  # noqa: PLC0415

    site.config.credentials_file.write_text(f"# of the target\nAWS_ACCESS_KEY_ID=a=b\n{line}\n")
    with pytest.raises(ConfigError, match=r"backup_credentials:3: expected NAME=VALUE"):
        credentials(site.config.credentials_file)


def test_a_day_of_which_everything_was_deleted_is_in_nobodys_way(site: Site) -> None:
    (site.config.storage_dir / ".by-day" / "2026-11-20").mkdir()
    assert site.back_up().error == ""
    assert "2026-11-20" not in site.complete()[-1].images
