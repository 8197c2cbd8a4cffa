"""`dicom-importer explain` answers for a file in any state where it is and why."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from dicom_importer.delays import DELAYS
from unit.importer.building import dataset, encode, instance
from unit.importer.commanding import command
from unit.importer.test_flow import DAY
from unit.importer.test_replace import BY, another_version
from unit.importer.test_retry import refuse

if TYPE_CHECKING:
    from pathlib import Path

    from unit.importer.conftest import Importer

Capsys = pytest.CaptureFixture[str]


def explained(importer: Importer, capsys: Capsys, path: Path | str) -> str:
    """Return what `explain` says of a path below the root."""
    status, said = command(importer, capsys, "explain", importer.root / path)
    assert status == 0
    return said


def test_in_the_inbox_it_waits_for_its_folder_to_rest(importer: Importer, capsys: Capsys) -> None:
    one = importer.drop("clinic-a/export/one.dcm", instance())
    said = explained(importer, capsys, one)
    assert "It waits until nothing in its folder has changed for the cool-down of 60 s" in said
    assert "1 files wait" in explained(importer, capsys, one.parent)


def test_put_off_is_said_with_why_and_how_often(importer: Importer, capsys: Capsys) -> None:
    one = importer.drop("clinic-a/one.dcm", instance())
    importer.settle()
    importer.archive.away = True
    for _ in range(2):
        importer.work()
        importer.clock.now_s += 60
    said = explained(importer, capsys, one)
    assert "It was put off 2 times, last at 2026-11-24T08:" in said
    assert "The archive does not answer (status 503)." in said
    importer.archive.away = False
    importer.run()
    assert "put off" not in explained(importer, capsys, one)


def test_refused_so_far_is_said_with_the_reason(importer: Importer, capsys: Capsys) -> None:
    one = importer.drop("clinic-a/one.dcm", instance())
    importer.archive.script.append(lambda _: (400, b'{"00081199": {"vr": "SQ"}}'))
    importer.settle()
    importer.work()
    said = explained(importer, capsys, one)
    assert "It is being sent to the archive since" in said
    assert "It was refused 1 times so far." in said
    assert "The archive cannot read this file." in said


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("no token: HTTPError", "The identity provider gives no token"),
        ("sending: ConnectionError", "The connection broke while it was sent"),
        ("the archive is full", "The archive is full."),
        ("OSError", "The importer could not go on with it (OSError); its log says more."),
    ],
)
def test_each_cause_of_a_delay_has_its_words(
    importer: Importer, capsys: Capsys, cause: str, words: str
) -> None:
    one = importer.drop("clinic-a/one.dcm", instance())
    importer.settle()
    job = importer.service.queue.take(0)
    assert job
    importer.service.delays.note(job.arrival, cause, 5.0, importer.clock.utc())
    assert words in explained(importer, capsys, one)


def test_a_delay_is_told_after_a_power_cut_left_the_notes_unreadable(
    importer: Importer, capsys: Capsys
) -> None:
    one = importer.drop("clinic-a/one.dcm", instance())
    (importer.config.state_dir / DELAYS).write_bytes(b"no database" * 1000)
    importer.restart()
    importer.settle()
    job = importer.service.queue.take(0)
    assert job
    importer.service.delays.note(job.arrival, "the archive is full", 5.0, importer.clock.utc())
    assert "The archive is full." in explained(importer, capsys, one)


def test_processed_and_failed_are_found_from_where_it_was_and_from_where_it_is(
    importer: Importer, capsys: Capsys
) -> None:
    content = instance()
    importer.drop("clinic-a/one.dcm", content)
    importer.drop("clinic-a/cut.dcm", content[:-3])
    importer.run()
    for path in ("inbox/clinic-a/one.dcm", f"processed/clinic-a/{DAY}/one.dcm"):
        assert f"success; filed as {importer.root}/processed/" in explained(importer, capsys, path)
    failed = f"failed/clinic-a/{DAY}/cut.dcm"
    for path in ("inbox/clinic-a/cut.dcm", failed, f"{failed}.error.json"):
        said = explained(importer, capsys, path)
        assert f"rejected; filed as {importer.root}/failed/" in said
        assert "cut off. 3 bytes" in said
    assert "1 files" in explained(importer, capsys, f"failed/clinic-a/{DAY}")


def test_a_file_put_back_is_followed_into_the_inbox_and_out_again(
    importer: Importer, capsys: Capsys
) -> None:
    refuse(importer, "clinic-a/one.dcm")
    failed = importer.root / f"failed/clinic-a/{DAY}/one.dcm"
    command(importer, capsys, "retry", failed)
    said = explained(importer, capsys, failed)
    assert "It was put back into the inbox" in said
    assert "It waits until" in said
    assert "put off" not in said
    importer.run()
    said = explained(importer, capsys, failed)
    assert "success; filed as" in said
    assert "It waits" not in said


def test_what_took_an_images_place_is_named(importer: Importer, capsys: Capsys) -> None:
    failed = another_version(importer)
    command(importer, capsys, "replace", failed, *BY)
    old = explained(importer, capsys, f"processed/clinic-a/{DAY}/old.dcm")
    assert f"Another file took its place in the archive: clinic-a/{DAY}/export/new.dcm" in old
    assert "success; filed as" in explained(importer, capsys, "inbox/clinic-a/export/new.dcm")


def test_gone_is_said_of_what_was_taken_away(importer: Importer, capsys: Capsys) -> None:
    one = importer.drop("clinic-a/one.dcm", instance())
    importer.archive.script.append(lambda _: (500, b""))
    importer.settle()
    importer.work()
    one.unlink()
    importer.run()
    assert "it went or changed before it was imported" in explained(importer, capsys, one)
    two = importer.drop("clinic-a/two.dcm", encode(dataset())[:-1])
    importer.run()
    (importer.root / f"failed/clinic-a/{DAY}/two.dcm").unlink()
    assert "somebody moved or deleted it" in explained(importer, capsys, two)
    three = importer.drop("clinic-a/three.dcm", instance())
    importer.run()
    (importer.root / f"processed/clinic-a/{DAY}/three.dcm").unlink()
    assert "its time was over" in explained(importer, capsys, three)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("inbox/clinic-a/nothing.dcm", "none of this name was imported"),
        ("inbox/clinic-x/one.dcm", "There is no clinic clinic-x"),
        ("inbox/clinic-a/link.dcm", "links, pipes and devices are never taken"),
        ("inbox/clinic-a/pipe.dcm", "links, pipes and devices are never taken"),
        ("inbox/clinic-a/one.part", "a copy in progress"),
        (f"processed/clinic-a/{DAY}/nothing.dcm", "the importer has put none there"),
        (f"processed/clinic-a/{DAY}/stray.dcm", "There is no record of it"),
        ("secret", "in none of inbox, processed and failed"),
        ("inbox/../secret", "in none of inbox, processed and failed"),
        ("inbox", "in none of inbox, processed and failed"),
    ],
)
def test_what_the_importer_does_not_know_is_said_to_be_unknown(
    importer: Importer, capsys: Capsys, path: str, words: str
) -> None:
    inbox = importer.root / "inbox/clinic-a"
    (inbox / "link.dcm").symlink_to(importer.root / "secret")
    os.mkfifo(inbox / "pipe.dcm")
    (inbox / "one.part").write_bytes(b"1")
    stray = importer.root / f"processed/clinic-a/{DAY}/stray.dcm"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"1")
    assert words in explained(importer, capsys, path)


def test_without_a_record_the_reason_beside_a_failed_file_is_read(
    importer: Importer, capsys: Capsys
) -> None:
    importer.drop("clinic-a/note.txt", b"hello")
    importer.run()
    importer.service.close()
    for file in importer.config.state_dir.glob("journal.sqlite*"):
        file.unlink()
    importer.restart()
    said = explained(importer, capsys, f"failed/clinic-a/{DAY}/note.txt")
    assert "There is no record of it" in said
    assert "This is not a DICOM file." in said


def test_a_name_that_is_no_text_is_shown_as_an_escape(importer: Importer, capsys: Capsys) -> None:
    path = os.fsdecode(b"clinic-a/\xff.txt")
    importer.drop(path, b"hello")
    importer.run()
    assert "\\udcff.txt" in explained(importer, capsys, f"inbox/{path}")
