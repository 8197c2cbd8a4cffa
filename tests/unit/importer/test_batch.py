"""Files in step: what is asked and noted together, and that each still stands for itself."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from dicom_importer.files import Arrival, Seen
from dicom_importer.jobs import BATCH_BYTES, BATCH_FILES, Job, Queue
from unit.importer.building import dataset, encode, instance

if TYPE_CHECKING:
    import pytest
    from unit.importer.archiving import Reply
    from unit.importer.conftest import Importer

MANY = 40


def study(importer: Importer, count: int) -> None:
    """Drop a study of so many slices."""
    made = dataset()
    top = str(made.SOPInstanceUID)[:40].rstrip(".")
    for number in range(count):
        made.SOPInstanceUID = f"{top}.{number}"
        importer.drop(f"clinic-a/study/{number:03}.dcm", encode(made))


def offered(queue: Queue, *sizes: int) -> Job:
    """Offer files of these sizes and take the first."""
    for number, size_bytes in enumerate(sizes):
        queue.offer(Job(Arrival("clinic-a", f"{number:03}", Seen(size_bytes, 0, number)), 0))
    job = queue.take(0)
    assert job
    return job


def test_a_study_is_asked_for_batch_by_batch_not_file_by_file(importer: Importer) -> None:
    study(importer, MANY)
    importer.run()
    assert importer.counted("clinic-a") == {"success": MANY}
    batches = importer.archive.finds / 2
    assert MANY / BATCH_FILES <= batches <= MANY / 4


def test_an_archive_that_goes_away_within_a_batch_is_left_alone_at_once(importer: Importer) -> None:
    def go_away(_: bytes) -> Reply | None:
        # The first was stored already.
        return (503, b"") if importer.archive.stores > 1 else None

    study(importer, 8)
    importer.archive.script += [go_away] * 3
    importer.settle()
    importer.work()
    assert importer.archive.stores == 2
    assert importer.counted("clinic-a") == {"success": 1}
    importer.archive.script.clear()
    importer.run()
    assert importer.counted("clinic-a") == {"success": 8}
    assert len(importer.archive.instances) == 8
    # Once for what was there already.
    assert importer.archive.stores == 9


def test_a_batch_pauses_for_one_absence_not_for_one_a_file(importer: Importer) -> None:
    study(importer, 8)
    importer.archive.away = True
    importer.settle()
    importer.work()
    importer.archive.away = False
    # The first pause is of one second at the most.
    importer.clock.now_s += 1
    assert importer.work() > 0
    assert importer.counted("clinic-a")["success"] > 0


def test_what_cannot_be_journalled_is_not_sent(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError

    study(importer, 4)
    importer.settle()
    with monkeypatch.context() as patched:
        patched.setattr(importer.service.journal, "begin_all", fail)
        importer.work()
    assert importer.archive.stores == 0
    importer.run()
    assert importer.counted("clinic-a") == {"success": 4}


def test_a_batch_with_one_instance_twice_stores_it_once(importer: Importer) -> None:
    content = instance()
    for name in ("one", "two", "three"):
        importer.drop(f"clinic-a/study/{name}.dcm", content)
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1, "duplicate": 2}
    assert importer.archive.stores == 1


def test_what_is_no_image_holds_back_nothing_of_its_batch(importer: Importer) -> None:
    study(importer, 4)
    importer.drop("clinic-a/study/000-notes.dcm", b"no DICOM" * 100)
    importer.drop("clinic-a/study/002-empty.dcm", b"")
    importer.run()
    assert importer.counted("clinic-a") == {"success": 4, "not_dicom": 2}


def test_a_file_that_changes_within_a_batch_is_not_filed_as_it_was(importer: Importer) -> None:
    study(importer, 3)
    other = instance()

    def change(_: bytes) -> None:
        importer.drop("clinic-a/study/002.dcm", other)

    importer.archive.script.append(change)
    importer.run()
    importer.run()
    assert (importer.root / "processed/clinic-a/2026-11-24/study/002.dcm").read_bytes() == other
    assert importer.counted("clinic-a") == {"success": 3}


def test_takers_share_what_waits() -> None:
    queue = Queue(lambda: 0, takers=2)
    job = offered(queue, *[1] * 10)
    assert len(queue.more(job)) == 4
    queue = Queue(lambda: 0, takers=2)
    job = offered(queue, *[1] * 100)
    assert len(queue.more(job)) == BATCH_FILES - 1


def test_a_large_file_goes_alone() -> None:
    queue = Queue(lambda: 0)
    job = offered(queue, BATCH_BYTES, 1, 1)
    assert queue.more(job) == []
    second = queue.take(0)
    assert second
    assert len(queue.more(second)) == 1
