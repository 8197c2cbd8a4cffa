"""What is seen in the inboxes, when it is whole, and who is next."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from dicom_importer import files, scan
from dicom_importer.claims import Claims
from dicom_importer.files import Arrival, Place, Seen
from dicom_importer.jobs import Job, Queue
from dicom_importer.reasons import Busy
from dicom_importer.records import Identity
from dicom_importer.settle import Settler

if TYPE_CHECKING:
    from pathlib import Path


def one(size_bytes: int = 1, mtime_ns: int = 1, inode: int = 1) -> Seen:
    return Seen(size_bytes, mtime_ns, inode)


@pytest.mark.parametrize("name", ["a", "clinic-a", "a1-b2", "9", "x" * 32])
def test_a_folder_named_as_a_clinic_id_is_a_clinic(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert scan.clinics(tmp_path) == [name]


@pytest.mark.parametrize("name", ["Clinic", "a_b", "-a", "a-", "a--b", "x" * 33, ".a", "a\n", "é"])
def test_any_other_folder_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    assert scan.clinics(tmp_path) == []


def test_symlinks_pipes_and_sockets_are_not_seen(tmp_path: Path) -> None:
    inbox = tmp_path / "clinic-a"
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("key")
    (inbox / "export").mkdir(parents=True)
    (inbox / "export/one.dcm").write_text("1")
    (inbox / "file-link").symlink_to(tmp_path / "secret/key")
    (inbox / "folder-link").symlink_to(tmp_path / "secret")
    os.mkfifo(inbox / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(inbox / "socket"))
        assert list(scan.scan(tmp_path, "clinic-a")) == ["export/one.dcm"]
    (tmp_path / "clinic-b").symlink_to(tmp_path / "secret")
    assert "clinic-b" not in scan.clinics(tmp_path)


def test_a_folder_swapped_for_a_symlink_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("key")
    (tmp_path / "clinic-a").mkdir()
    (tmp_path / "clinic-a/export").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="Not a directory"):
        files.open_file(Place(tmp_path, "clinic-a/export/key"))


@pytest.mark.parametrize(
    "name", ["a.part", "a.TMP", "a.crdownload", "a.dcm.filepart", "~$a.dcm", "b.dcm.Part"]
)
def test_a_file_is_left_alone_while_it_bears_a_passing_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "clinic-a").mkdir()
    file = tmp_path / "clinic-a" / name
    file.write_text("1")
    assert scan.scan(tmp_path, "clinic-a") == {}
    file.rename(tmp_path / "clinic-a/one.dcm")
    assert list(scan.scan(tmp_path, "clinic-a")) == ["one.dcm"]


def test_a_clinic_without_an_inbox_is_an_error_and_not_empty(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        scan.scan(tmp_path, "clinic-a")


def test_very_deep_and_long_paths_are_seen(tmp_path: Path) -> None:
    path = "/".join(["d" * 200] * 40)
    with files.folder(tmp_path, f"clinic-a/{path}", create=True) as folder:
        os.close(os.open("one.dcm", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    assert list(scan.scan(tmp_path, "clinic-a")) == [f"{path}/one.dcm"]


def test_a_submission_settles_when_nothing_in_it_changed_for_the_cool_down() -> None:
    settler = Settler(cooldown_s=60, steady_traffic_s=600)
    assert settler.update({"export/a": one()}, 0) == []
    assert settler.update({"export/a": one(), "export/b": one()}, 50) == []
    assert settler.update({"export/a": one(), "export/b": one()}, 109) == []
    assert settler.due_in_s(109) == 1
    ready = settler.update({"export/a": one(), "export/b": one()}, 110)
    assert [path for path, _ in ready] == ["export/a", "export/b"]


@pytest.mark.parametrize("other", [one(size_bytes=2), one(mtime_ns=0), one(inode=2)])
def test_any_change_of_a_file_starts_the_cool_down_again(other: Seen) -> None:
    settler = Settler(cooldown_s=60, steady_traffic_s=600)
    settler.update({"a": one()}, 0)
    settler.update({"a": other}, 59)
    assert settler.update({"a": other}, 118) == []
    assert settler.update({"a": other}, 119) == [("a", other)]


def test_submissions_settle_by_themselves() -> None:
    settler = Settler(cooldown_s=60, steady_traffic_s=600)
    settler.update({"x/a": one()}, 0)
    ready = settler.update({"x/a": one(), "y/b": one(), "c": one()}, 60)
    assert [path for path, _ in ready] == ["x/a"]


def test_a_file_that_goes_does_not_unsettle_the_rest() -> None:
    settler = Settler(cooldown_s=60, steady_traffic_s=600)
    settler.update({"x/a": one(), "x/b": one()}, 0)
    settler.update({"x/a": one(), "x/b": one()}, 60)
    settler.forget("x/a")
    assert settler.update({"x/b": one()}, 61) == [("x/b", one())]
    assert settler.pending == 1
    assert settler.oldest_s(61) == 61


def test_under_steady_traffic_stable_files_go_after_ten_minutes() -> None:
    settler = Settler(cooldown_s=60, steady_traffic_s=600)
    found: dict[str, Seen] = {}
    for second in range(0, 600, 30):
        found[f"x/{second:03}"] = one()
        assert settler.update(found, second) == []
    found["x/600"] = one()
    ready = [path for path, _ in settler.update(found, 600)]
    assert ready == [f"x/{second:03}" for second in range(0, 541, 30)]


def job(clinic: str, path: str, size_bytes: int = 1) -> Job:
    return Job(Arrival(clinic, path, one(size_bytes)), 0)


def paths(queue: Queue) -> list[str]:
    found = []
    while taken := queue.take(0):
        found.append(taken.arrival.path)
    return found


def test_a_clinic_with_much_does_not_hold_back_one_with_little() -> None:
    queue = Queue(lambda: 0)
    for number in range(5):
        queue.offer(job("clinic-a", f"a{number}", 1000))
    queue.offer(job("clinic-b", "b0", 10))
    queue.offer(job("clinic-b", "b1", 10))
    assert paths(queue)[:3] == ["a0", "b0", "b1"]


def test_who_was_idle_has_saved_up_nothing() -> None:
    queue = Queue(lambda: 0)
    for number in range(3):
        queue.offer(job("clinic-a", f"a{number}", 1000))
    assert queue.take(0)
    assert queue.take(0)
    for number in range(3):
        queue.offer(job("clinic-b", f"b{number}", 1000))
    assert paths(queue) == ["a2", "b0", "b1", "b2"]


def test_a_job_is_handed_out_once_until_it_is_done() -> None:
    queue = Queue(lambda: 0)
    one_job = job("clinic-a", "a")
    assert queue.offer(one_job)
    assert not queue.offer(one_job)
    assert queue.submissions() == {("clinic-a", "a")}
    assert queue.take(0) == one_job
    assert not queue.offer(one_job)
    queue.done(one_job)
    assert queue.idle
    assert queue.offer(one_job)


def test_a_deferred_job_and_a_pause_wait_for_their_time() -> None:
    now = [0.0]
    queue = Queue(lambda: now[0])
    queue.offer(job("clinic-a", "a"))
    taken = queue.take(0)
    assert taken
    queue.defer(taken, 5)
    now[0] = 4.9
    assert queue.take(0) is None
    queue.pause(10)
    now[0] = 5.0
    assert queue.take(0) is None
    now[0] = 14.9
    assert queue.take(0) == taken


def test_a_closed_queue_hands_out_nothing() -> None:
    queue = Queue(lambda: 0)
    queue.offer(job("clinic-a", "a"))
    queue.close()
    assert queue.take(0) is None
    assert queue.closed


A, B = Arrival("clinic-a", "a", one()), Arrival("clinic-b", "b", one())


@pytest.mark.parametrize(
    "other",
    [
        Identity("p", "study", "series", "sop"),
        Identity("p", "study", "series2", "sop2"),
        Identity("p", "study2", "series", "sop2"),
        Identity("p", "study2", "series2", "sop"),
    ],
)
def test_no_two_clinics_claim_the_same_uid(other: Identity) -> None:
    claims = Claims()
    claims.claim(A, Identity("p", "study", "series", "sop"))
    with pytest.raises(Busy):
        claims.claim(B, other)
    claims.release(A)
    claims.claim(B, other)


def test_a_study_of_two_patients_is_claimed_by_one() -> None:
    claims = Claims()
    claims.claim(A, Identity("p", "study", "series", "sop"))
    with pytest.raises(Busy):
        claims.claim(Arrival("clinic-a", "c", one()), Identity("q", "study", "series2", "sop2"))


def test_images_of_one_study_are_claimed_together_and_again() -> None:
    claims = Claims()
    claims.claim(A, Identity("p", "study", "series", "sop"))
    claims.claim(A, Identity("p", "study", "series", "sop"))
    claims.claim(Arrival("clinic-a", "c", one()), Identity("p", "study", "series", "sop2"))


def test_who_was_announced_first_claims_first() -> None:
    claims = Claims()
    claims.announce(A)
    claims.announce(B)
    claims.withdraw(A)
    claims.claim(B, Identity("p", "study", "series", "sop"))
