"""The backup's bad days, with the real restic and PostgreSQL: each is noticed, said, and loses nothing."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from dicom_backup import backed_up, checking, dumps
from dicom_backup.dumps import DumpError, Programs
from dicom_backup.restic import WrongKeyError
from dicom_backup.run import run
from dicom_backup.upkeep import repair, upkeep
from harness.small_disk import small_disk
from harness.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from unit.backup.site import Database, Site

INODES = 5000


def whole(site: Site) -> bool:
    """Whether a reading of all of the repository's data finds it whole."""
    return checking.check(site.tools.repository, 1, 1).errors == ()


def test_a_wrong_key_is_said_and_the_repository_stays(site: Site, tmp_path: Path) -> None:
    site.back_up()
    other = site.with_key("another")
    known = run(other)
    assert "does not open the repository" in known.error
    assert "make backup-key printed it" in known.error
    # The last success is as old as it was: it is not taken for a new one.
    assert site.state().succeeded_s == site.now_s
    with pytest.raises(WrongKeyError):
        other.repository.snapshots()
    assert site.back_up().error == ""
    assert site.restored(site.complete()[-1], tmp_path / "back") == site.written


def test_a_repository_that_is_away_is_not_made_anew(site: Site) -> None:
    site.back_up()
    away = site.target.rename(site.target.with_name("unmounted"))
    site.target.mkdir()
    known = site.back_up()
    assert "there is no repository at" in known.error
    assert "is the disk mounted" in known.error
    assert list(site.target.iterdir()) == []
    site.target.rmdir()
    away.rename(site.target)
    assert site.back_up().error == ""
    assert len(site.complete()) == 2


def damage(path: Path) -> None:
    """Turn one bit of a file over, in its middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)


@pytest.mark.parametrize("harm", ["a flipped bit", "a missing pack"])
def test_a_damaged_repository_is_noticed_named_and_healed_from_what_is_here(
    site: Site, tmp_path: Path, harm: str
) -> None:
    for _ in range(5):
        site.store(size_bytes=200_000)
    site.back_up()
    assert whole(site)
    pack = site.packs()[0]
    if harm == "a missing pack":
        pack.unlink()
    else:
        damage(pack)
    known = upkeep(site.tools, everything=True)
    assert "the backup is NOT whole" in known.check_error
    assert pack.name[:8] in known.check_error
    assert "make backup-repair" in known.check_error
    # Nothing is thrown away meanwhile.
    assert known.forgot_s == 0
    assert "NOT whole" in backed_up.doubt(
        backed_up.read(site.config.storage_dir), site.config.target, site.now_s
    )
    # A run as usual does not bring back what the repository believes to have.
    repair(site.tools)
    site.now_s += 900
    assert site.back_up().error == ""
    assert upkeep(site.tools, everything=True).check_error == ""
    # The run of before is whole again too, with what it named.
    for one in site.complete():
        assert site.restored(one, tmp_path / "back") == site.written


def test_what_is_gone_here_and_there_is_said_and_the_rest_is_healed(
    site: Site, tmp_path: Path
) -> None:
    lost = site.store(size_bytes=300_000)
    site.back_up()
    (largest, *_) = site.packs()
    site.delete(lost)
    site.now_s += 3700
    site.back_up()
    largest.unlink()
    assert "NOT whole" in upkeep(site.tools, everything=True).check_error
    repair(site.tools)
    site.now_s += 900
    assert site.back_up().error == ""
    # The older run cannot be whole again, and that goes on being said; the newest is.
    assert "NOT whole" in upkeep(site.tools, everything=True).check_error
    newest = site.complete()[-1]
    restored = site.restored(newest, tmp_path / "back")
    assert restored == {name: site.written[name] for name in site.written if name != lost}


@pytest.mark.parametrize("harm", ["truncated", "changed"])
def test_a_dump_that_is_not_as_it_was_made_is_not_trusted_and_made_again(
    site: Site, harm: str
) -> None:
    site.back_up()
    path = site.config.dumps_dir / "orthanc.dump"
    if harm == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    else:
        damage(path)
    with pytest.raises(DumpError, match=r"orthanc\.dump .* it is not trusted"):
        dumps.load(site.config.dumps_dir)
    # Long before the next one is due.
    site.now_s += 60
    assert site.back_up().error == ""
    first, second = site.complete()
    assert second.dump != first.dump
    assert dumps.load(site.config.dumps_dir) == second.dump


def test_a_dump_that_breaks_off_is_found_by_reading_it_to_its_end(site: Site) -> None:
    site.back_up()
    path = site.config.dumps_dir / "orthanc.dump"
    dumps.read_to_end(path)
    # What stands at its front is whole: that alone would be believed.
    os.truncate(path, path.stat().st_size - 1000)
    with pytest.raises(DumpError, match=r"the dump orthanc\.dump: pg_restore failed"):
        dumps.read_to_end(path)


def test_a_full_target_is_said_and_what_is_there_stays_whole(site: Site, tmp_path: Path) -> None:
    with small_disk(site.target, 6 << 20, INODES):
        site.back_up()
        before = dict(site.written)
        name = site.store(size_bytes=8 << 20)
        site.now_s += 900
        known = site.back_up()
        assert f"the target {site.target} is full: make room there" in known.error
        assert len(site.complete()) == 1
        assert site.restored(site.complete()[0], tmp_path / "back") == before
        # The disk is enlarged, and the next run goes on.
        os.system(f"/usr/bin/mount -o remount,size=64m {site.target}")  # noqa: S605 - a path of pytest's
        assert site.back_up().error == ""
        assert name in site.restored(site.complete()[-1], tmp_path / "back")
        assert whole(site)


def test_no_room_for_a_dump_is_said_and_the_dump_before_goes_on_being_saved(site: Site) -> None:
    site.back_up()
    fresh = site.config.dumps_dir.with_name("dumps.new")
    before = dumps.load(site.config.dumps_dir)
    name = site.store()
    # Where it is made there is room for half of it.
    usual = site.tools
    site.tools = replace(usual, programs=Programs(pg_dump="pg_dump-anew"))
    with small_disk(fresh, 500_000):
        site.now_s += 3700
        known = site.back_up()
    assert "No space left on device" in known.dump_error
    assert "orthanc" in known.dump_error
    # Images go on being saved, beside the dump that is there.
    assert known.error == ""
    newest = site.complete()[-1]
    assert newest.dump == before
    assert newest.images["2026-11-25"].files == 3
    assert dumps.load(site.config.dumps_dir) == before
    # Sooner than in an hour.
    site.tools = usual
    site.now_s += 900
    assert site.back_up().dump_error == ""
    assert site.complete()[-1].dump != before
    assert name in site.written


def test_postgresql_killed_during_the_dump_is_said_and_the_dump_before_stays(
    site: Site, database: Database
) -> None:
    site.back_up()
    before = dumps.load(site.config.dumps_dir)
    gone = site.written.copy()
    deleted = next(iter(gone))
    site.delete(deleted)
    holder = database.hold("attachedfiles")
    try:
        working = site.start("run", "--dump")
        wait_until(database.waiting, 60, "the dump waits in its middle")
        database.kill()
        # It tries again a few times, for as long as PostgreSQL takes to come back at most.
        said, _ = working.communicate(timeout=180)
    finally:
        holder.kill()
        database.start()
    assert working.returncode != 0
    assert "the database orthanc: pg_dump failed" in said
    assert dumps.load(site.config.dumps_dir) == before
    assert not site.config.dumps_dir.with_name("dumps.new").exists()
    # The dump that stays names what was deleted, and so it is held.
    newest = site.complete()[-1]
    assert newest.dump == before
    assert newest.images["2026-11-25"].files + newest.images["2026-11-24"].files == 3
    known = site.back_up(dump=True)
    assert (known.error, known.dump_error) == ("", "")
    assert site.complete()[-1].dump != before


def test_a_run_killed_in_its_middle_leaves_no_half_state_and_no_lock_in_the_way(
    site: Site, tmp_path: Path
) -> None:
    site.back_up()
    before = dict(site.written)
    for _ in range(30):
        site.store(size_bytes=8 << 20)
    size = len(site.packs())
    working = site.start("run")
    # It has begun to write what is new, and is far from its end.
    wait_until(lambda: len(site.packs()) > size + 2, 60, "restic writes")
    os.killpg(working.pid, signal.SIGKILL)
    working.communicate()
    assert list((site.target / "locks").iterdir())
    assert len(site.complete()) == 1
    assert site.restored(site.complete()[0], tmp_path / "back") == before
    known = site.back_up()
    assert known.error == ""
    assert list((site.target / "locks").iterdir()) == []
    assert site.restored(site.complete()[-1], tmp_path / "back") == site.written
    # An exclusive lock is what a killed prune leaves: it would hold up every run.
    assert upkeep(site.tools, everything=True).check_error == ""


@pytest.mark.parametrize("moment", ["before", "between"])
def test_an_exchange_of_dumps_that_was_cut_off_leaves_the_old_or_the_new(
    site: Site, moment: str
) -> None:
    site.back_up()
    folder = site.config.dumps_dir
    before = dumps.load(folder)
    half = folder.with_name("dumps.new")
    half.mkdir()
    (half / "orthanc.dump").write_bytes(b"PGDMP")
    if moment == "between":
        folder.rename(folder.with_name("dumps.old"))
    assert site.back_up().error == ""
    assert site.complete()[-1].dump == before
    assert dumps.load(folder) == before
