"""A restore from a real repository: what comes back and in which order, and what is said when it cannot."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest
from clinic_access.returning import MARKER
from dicom_backup import (
    backed_up,
    farm,
    restore_databases,
    restore_images,
    restore_state,
    run,
    state,
)
from dicom_backup.restic import NoRepositoryError, WrongKeyError
from dicom_backup.restore_known import Known
from dicom_backup.restore_run import DiskFullError, RestoreError
from dicom_backup.restore_target import refuse
from harness.small_disk import small_disk
from stack.settings import TOP
from unit.backup.losing import Site, back_up, made, now_text
from unit.backup.site import ROWS

if TYPE_CHECKING:
    from pathlib import Path

    from unit.backup.site import Database
    from unit.backup.site import Site as BackedUp

MIB = 1 << 20
pytestmark = pytest.mark.usefixtures("programs")


def test_everything_comes_back_and_images_newest_day_first(tmp_path: Path) -> None:
    site = made(tmp_path)
    site.begun()
    assert (site.data / "secrets/postgresql.orthanc_db_password").read_text() == "o"
    assert (site.data / "importer/journal.sqlite").read_text() == "journal"
    marker = site.data / "dicom" / MARKER
    assert marker.exists()
    assert site.run("images") == 0
    told = [line.split(":")[0] for line in site.said if line.startswith("images of ")]
    assert told == [f"images of {day}" for day in sorted(site.images, reverse=True)]
    assert site.back() == {n: c for day in site.images.values() for n, c in day.items()}
    assert not marker.exists()
    # A file of the archive is one with that of its day: the next backup saves nothing anew.
    for path in (site.data / "dicom/.by-day").glob("*/*"):
        assert path.stat().st_nlink == 2
    assert site.run("originals") == 0
    assert (
        site.data / "files/processed/clinic-b/2026-11-22/export/one.dcm"
    ).read_text() == "clinic-b"
    assert (site.data / "files/inbox/clinic-a/empty").is_dir()
    assert not (site.data / "files/.returning").exists()
    assert site.run("done") == 0
    assert set(site.state().steps) == {"files", "images", "originals", "replay"}


def test_settings_can_be_had_before_anything_comes_back(tmp_path: Path) -> None:
    site = made(tmp_path)
    assert site.run("settings") == 0
    assert site.said == ["TZ=Europe/Vienna"]


def test_a_wrong_key_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    site = made(tmp_path)
    (tmp_path / "given/backup_key").write_text("another key")
    with pytest.raises(WrongKeyError, match="does not open the repository"):
        site.run("files")
    assert {p.name for p in site.data.iterdir()} == {"backup", "files"}


def test_a_repository_that_is_not_there_is_named(tmp_path: Path) -> None:
    site = made(tmp_path)
    with pytest.raises(NoRepositoryError, match="is the disk mounted"):
        site.run("files", BACKUP_TARGET=str(tmp_path / "elsewhere"))


def test_a_backup_that_did_not_end_is_not_used(tmp_path: Path) -> None:
    site = Site(tmp_path)
    (tmp_path / "given").mkdir()
    (tmp_path / "given/backup_key").write_text("a key")
    (site.data / "backup").mkdir(parents=True)
    site.repository().create()
    with pytest.raises(RestoreError, match="holds none of this stack"):
        site.run("files")
    back_up(site, is_complete=False)
    with pytest.raises(RestoreError, match="1 were begun and none ended"):
        site.run("files")
    assert {p.name for p in site.data.iterdir()} == {"backup"}


def test_an_earlier_backup_comes_back_when_it_is_asked_for(tmp_path: Path) -> None:
    site = made(tmp_path, days=1)
    before = now_text()
    early = dict(site.images)
    site.images["2026-11-24"] = {str(uuid.uuid4()): b"later"}
    back_up(site)
    with pytest.raises(RestoreError, match="had ended by 2020-01-01: the first ended at"):
        site.run("files", at="2020-01-01")
    with pytest.raises(RestoreError, match="write a time as"):
        site.run("files", at="yesterday")
    assert site.run("files", at=before) == 0
    site.images = early
    site.begun()
    assert site.run("images") == 0
    assert site.back().keys() == early["2026-11-20"].keys()


@pytest.mark.parametrize(
    "name", ["dicom/aa/bb/x", "postgresql/17/main/base", "secrets/values.json"]
)
def test_a_target_that_holds_data_is_refused(tmp_path: Path, name: str) -> None:
    site = made(tmp_path)
    (site.data / name).parent.mkdir(parents=True)
    (site.data / name).write_text("precious")
    with pytest.raises(RestoreError, match=r"holds data .* a restore overwrites nothing"):
        site.run("files")
    assert (site.data / name).read_text() == "precious"
    assert {p.name for p in site.data.iterdir()} == {"backup", "files", name.partition("/")[0]}


def test_what_a_run_of_the_backup_told_of_itself_is_no_data(tmp_path: Path) -> None:
    told = tmp_path / "dicom" / farm.FOLDER / backed_up.NAME
    told.parent.mkdir(parents=True)
    told.write_text("{}")
    refuse(tmp_path, None, fresh_stack=True)
    (told.parent / "image").write_text("precious")
    with pytest.raises(RestoreError, match="holds data"):
        refuse(tmp_path, None, fresh_stack=True)


def test_what_was_restored_is_not_restored_again(tmp_path: Path) -> None:
    site = made(tmp_path)
    site.begun()
    for part in ("images", "originals", "done"):
        assert site.run(part) == 0
    done = site.state()
    done.steps.append("databases")
    restore_state.save(site.config().backup_dir, done)
    with pytest.raises(RestoreError, match="was restored already"):
        site.run("files")


def test_what_the_index_does_not_list_is_not_left_behind(tmp_path: Path) -> None:
    site = made(tmp_path, days=1, images=3)
    listed = sorted(site.images["2026-11-20"])[:2]
    site.begun(listed=listed)
    assert site.run("images") == 0
    assert sorted(site.back()) == listed
    assert sorted(p.name for p in (site.data / "dicom/.by-day/2026-11-20").iterdir()) == listed


def test_a_full_disk_is_told_leaves_nothing_half_and_goes_on_after_room_was_made(
    tmp_path: Path,
) -> None:
    site = made(tmp_path, days=3, images=2, size_bytes=MIB)
    site.begun()
    storage = site.data / "dicom"
    (storage / MARKER).unlink()
    with small_disk(storage, 5 * MIB):
        restore_images.announce(storage)
        with pytest.raises(
            DiskFullError, match=r"is full .* at the images of 2026-11-20.* goes on"
        ):
            site.run("images")
        assert any(line.startswith("! 0.0 GB of images come back") for line in site.said)
        whole = site.images["2026-11-22"] | site.images["2026-11-21"]
        assert site.back() == whole
        assert (storage / MARKER).exists()
        resize = ["/usr/bin/mount", "-o", f"remount,size={20 * MIB}", str(storage)]
        subprocess.run(resize, check=True)
        assert site.run("images") == 0
        assert site.back() == {n: c for day in site.images.values() for n, c in day.items()}
        assert not (storage / MARKER).exists()


def test_a_killed_restore_goes_on_where_it_was(tmp_path: Path) -> None:
    site = made(tmp_path, days=12, images=2)
    site.begun()
    program = "import sys; from dicom_backup.cli import main; sys.exit(main())"
    config = site.config()
    env = os.environ | {
        "BACKUP_TARGET": config.target,
        "BACKUP_DATA_DIR": str(config.data_dir),
        "SECRETS_DIR": str(config.secrets_dir),
        "PYTHONPATH": str(TOP / "importer/src"),
    }
    with subprocess.Popen(
        [sys.executable, "-c", program, "restore", "images"],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(3)]
        os.killpg(process.pid, signal.SIGKILL)
    assert lines[2].startswith("images of 2026-11-29"), lines
    done = site.state().days
    assert 3 <= len(done) < 12
    whole = {n: c for day in done for n, c in site.images[day].items()}
    found = site.back()
    assert whole.items() <= found.items()
    assert all(found[n] in day.values() for day in site.images.values() for n in day if n in found)
    assert site.run("images") == 0
    assert not {f"images of {day}" for day in done} & {line.split(":")[0] for line in site.said}
    assert site.back() == {n: c for day in site.images.values() for n, c in day.items()}


def test_a_day_that_cannot_be_read_is_named_and_the_others_come_back(tmp_path: Path) -> None:
    site = made(tmp_path, days=3, images=2, size_bytes=MIB)
    site.begun()
    away = {path: path.read_bytes() for path in site.packs["2026-11-21"]}
    for path in away:
        path.unlink()
    assert site.run("images") == 1
    assert any("images of 2026-11-21 are NOT back" in line for line in site.said)
    assert site.state().lost
    there = site.back()
    assert there == site.images["2026-11-22"] | site.images["2026-11-20"]
    # While it is missing its studies are refused, and no backup is made of what there is.
    assert (site.data / "dicom" / MARKER).exists()
    assert "2 of the archive's 6 files did not come back" in "".join(site.said)
    for path, content in away.items():
        path.write_bytes(content)
    assert site.run("images") == 0
    assert len(site.back()) == 6
    assert site.state().lost == []


def test_a_dump_that_is_not_as_it_was_made_is_not_brought_back(tmp_path: Path) -> None:
    site = made(tmp_path, days=1)
    back_up(site, orthanc_dump=b"ro")
    assert site.run("files") == 0
    with pytest.raises(RestoreError, match=r"not trusted\. Nothing of it was brought back.*AT="):
        site.run("databases")
    # The one before it may be asked for, since nothing was used of this.
    assert site.run("files", at=now_text()) == 0
    assert "databases" not in site.state().steps


def test_originals_take_nobodys_place(tmp_path: Path) -> None:
    site = made(tmp_path, days=1)
    site.begun()
    meanwhile = site.data / "files/processed/clinic-a/2026-11-22/export/one.dcm"
    meanwhile.parent.mkdir(parents=True)
    meanwhile.write_text("came in while images were restored")
    assert site.run("originals") == 0
    assert meanwhile.read_text() == "came in while images were restored"
    assert meanwhile.with_name("one.dcm.from-backup").read_text() == "clinic-a"


def test_no_backup_is_made_of_an_archive_that_is_not_whole(tmp_path: Path) -> None:
    site = made(tmp_path, days=1)
    site.begun()
    before = len(site.repository().snapshots())
    known = run.run(run.Tools(site.config(), site.repository()))
    assert known.error == "a restore is under way: backups go on when it has ended"
    assert len(site.repository().snapshots()) == before
    assert state.load(site.config().state_file).error == known.error


def test_names_are_looked_up_in_a_sorted_file(tmp_path: Path) -> None:
    names = sorted(str(uuid.uuid4()) for _ in range(501))
    path = tmp_path / "names"
    path.write_text("".join(f"{name}\n" for name in names[::2]))
    known = Known(path)
    assert len(known) == 251
    assert [name in known for name in names] == [index % 2 == 0 for index in range(501)]
    path.write_text("")
    assert names[0] not in Known(path)
    path.write_text("half a na")
    with pytest.raises(ValueError, match="not a list of names"):
        Known(path)


def vouch_for(dump: Path) -> None:
    """Write down of a dump that this is how it was made."""
    document = dump.with_name("dump.json")
    content, told = dump.read_bytes(), json.loads(document.read_text())
    told["files"][dump.name] = {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    document.write_text(json.dumps(told))


def test_databases_come_back_whole_or_stay_as_they_were(site: BackedUp, database: Database) -> None:
    assert site.back_up(dump=True).error == ""
    config = site.config
    listed = database.ask("orthanc", 'SELECT uuid FROM attachedfiles ORDER BY uuid COLLATE "C"')
    passwords = config.data_dir / "secrets"
    for name in ("orthanc", "keycloak"):
        (passwords / f"postgresql.{name}_db_password").write_text("any")
    database.ask("orthanc", "DELETE FROM attachedfiles WHERE n > 3")
    dump = config.dumps_dir / "orthanc.dump"
    whole = dump.read_bytes()
    dump.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RestoreError, match="is not trusted"):
        restore_databases.bring(config, print)
    # A dump that was saved so: its hash is right.
    vouch_for(dump)
    with pytest.raises(RestoreError, match=r"orthanc did not come back, and is as it was.*AT="):
        restore_databases.bring(config, print)
    assert database.ask("orthanc", "SELECT count(*) FROM attachedfiles").strip() == "3"
    dump.write_bytes(whole)
    vouch_for(dump)
    for _ in range(2):
        restore_databases.bring(config, print)
        assert database.ask("orthanc", "SELECT count(*) FROM attachedfiles").strip() == str(ROWS)
    assert (config.backup_dir / restore_images.KNOWN).read_text() == listed
