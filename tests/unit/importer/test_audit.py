"""One audit record for each study of a submission and each outcome, however often the importer is interrupted."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from dicom_importer.journal import Journal
from unit.importer.building import instance

if TYPE_CHECKING:
    import pytest
    from unit.importer.conftest import Importer

STUDY = "1.2.3"


def records(importer: Importer) -> list[dict[str, object]]:
    """Return what the audit tells."""
    return [json.loads(line) for line in importer.config.audit_file.read_text().splitlines()]


def test_a_study_interrupted_half_way_is_one_record(importer: Importer) -> None:
    for name in "ab":
        importer.drop(f"clinic-a/export/{name}", instance(StudyInstanceUID=STUDY))
    importer.settle()
    job = importer.service.queue.take(0)
    assert job
    importer.service.worker.handle(job)
    importer.restart()
    importer.service.sweep()
    importer.service.tend()
    assert not importer.config.audit_file.exists()
    importer.run()
    assert [record["instances"] for record in records(importer)] == [2]


def test_the_file_of_records_is_on_the_disk_with_its_name(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk = set()
    sync = os.fsync

    def noted(descriptor: int) -> None:
        sync(descriptor)
        on_disk.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", noted)
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    path = importer.config.audit_file
    assert {path.stat().st_ino, path.parent.stat().st_ino} <= on_disk


def test_what_was_stored_in_steady_traffic_is_audited_without_an_end(importer: Importer) -> None:
    for number in range(12):
        importer.drop(f"clinic-a/export/{number}", instance(StudyInstanceUID=STUDY))
        importer.service.sweep()
        importer.work()
        importer.service.tend()
        importer.clock.now_s += 59
        importer.service.sweep()
    assert records(importer)


def test_many_records_written_before_a_kill_are_not_written_again(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        importer.drop(f"clinic-a/{number:03}", b"no image")

    def killed(*_: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "audited", killed)
        importer.run()
    assert len(records(importer)) == 300
    importer.restart()
    importer.service.tend()
    assert len(records(importer)) == 300


def test_a_record_torn_by_a_kill_is_written_whole(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    importer.drop("clinic-a/letter", b"no image")

    def killed(*_: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "audited", killed)
        importer.run()
    written = importer.config.audit_file.read_bytes()
    importer.config.audit_file.write_bytes(written[:-30])
    importer.restart()
    importer.service.tend()
    torn, whole = importer.config.audit_file.read_bytes().splitlines()
    assert json.loads(whole)["instances"] == 1
    assert torn == written[:-30]


def test_what_came_over_dicom_tells_who_sent_it_and_its_folder_goes(importer: Importer) -> None:
    name = "20261126-160000-0123abcd-CT 01@192.0.2.10.dimse"
    for number in range(2):
        uid = f"1.2.3.4.{number}"
        content = instance(StudyInstanceUID=STUDY, SOPInstanceUID=uid)
        importer.drop(f"clinic-a/{name}/00000{number}.dcm", content)
    importer.drop("clinic-a/export/one.dcm", instance(StudyInstanceUID="1.2.4"))
    importer.run()
    found = {(r["status"], r.get("submission")): r for r in records(importer)}
    assert found.keys() == {("delivered", name), ("success", name), ("success", None)}
    delivered = found["delivered", name]
    assert delivered["who"] == {
        "service": "dicom-importer",
        "source": "c-store",
        "user": "CT 01",
        "address": "192.0.2.10",
    }
    assert (delivered["clinic_id"], delivered["instances"]) == ("clinic-a", 2)
    assert found["success", name]["instances"] == 2
    assert [path.name for path in (importer.root / "inbox" / "clinic-a").iterdir()] == ["export"]
