"""From inbox to archive and processed/, or to failed/ with a reason: the importer's whole flow."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    generate_uid,
)
from unit.importer.archiving import stow_answer
from unit.importer.building import dataset, encode, instance, parse, shipped

if TYPE_CHECKING:
    from pathlib import Path

    from unit.importer.conftest import Importer

DAY = "2026-11-24"


def reason(importer: Importer, path: str) -> dict[str, object]:
    """Read what stands beside a failed file."""
    content = (importer.root / f"failed/{path}.error.json").read_text()
    found: dict[str, object] = json.loads(content)
    return found


def test_a_study_ends_in_the_archive_and_in_processed(importer: Importer) -> None:
    made = dataset()
    importer.drop("clinic-a/export/one.dcm", encode(made))
    made.SOPInstanceUID = generate_uid()
    importer.drop("clinic-a/export/two.dcm", encode(made))
    importer.run()
    assert importer.tree() == [
        f"processed/clinic-a/{DAY}/export/one.dcm",
        f"processed/clinic-a/{DAY}/export/two.dcm",
    ]
    stored = [held.tags for held in importer.archive.instances.values()]
    assert {tags.InstitutionName for tags in stored} == {"clinic-a"}
    assert {tags.PixelData for tags in stored} == {made.PixelData}
    assert importer.counted("clinic-a") == {"success": 2}


def test_the_original_bytes_are_filed_not_the_coerced_ones(importer: Importer) -> None:
    content = instance()
    importer.drop("clinic-a/one.dcm", content)
    importer.run()
    assert (importer.root / f"processed/clinic-a/{DAY}/one.dcm").read_bytes() == content


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "JPEG2000.dcm", "ExplVR_BigEnd.dcm", "rtplan.dcm"]
)
def test_a_real_file_is_stored_with_its_pixels(importer: Importer, name: str) -> None:
    original = shipped(name)
    importer.drop(f"clinic-a/{name}", original.read_bytes())
    importer.run()
    (held,) = importer.archive.instances.values()
    assert held.tags.get("PixelData") == parse(original.read_bytes()).get("PixelData")


def test_a_deflated_file_is_stored(importer: Importer) -> None:
    importer.drop("clinic-a/one.dcm", instance(DeflatedExplicitVRLittleEndian))
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_the_original_is_on_the_disk_before_the_archive_has_it(
    importer: Importer, monkeypatch: pytest.MonkeyPatch, syntax: str
) -> None:
    synced: list[tuple[int, int]] = []
    sync = os.fsync

    def noted(descriptor: int) -> None:
        sync(descriptor)
        synced.append((os.fstat(descriptor).st_ino, len(importer.archive.instances)))

    importer.drop("clinic-a/one.dcm", instance(syntax))
    inode = (importer.root / "inbox/clinic-a/one.dcm").stat().st_ino
    monkeypatch.setattr(os, "fsync", noted)
    importer.run()
    assert (inode, 0) in synced


def test_a_program_in_the_preamble_is_not_stored_and_kept_in_processed(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    content = b"MZ\x90" + instance()[3:]
    importer.drop("clinic-a/one.dcm", content)
    importer.run()
    (held,) = importer.archive.instances.values()
    assert held.content[:132] == bytes(128) + b"DICM"
    assert (importer.root / f"processed/clinic-a/{DAY}/one.dcm").read_bytes() == content
    assert '"event": "preamble_zeroed"' in capsys.readouterr().out
    importer.drop("clinic-a/again.dcm", content)
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1, "duplicate": 1}


def test_a_bad_file_fails_alone_and_says_why(importer: Importer) -> None:
    importer.drop("clinic-a/export/good.dcm", instance())
    importer.drop("clinic-a/export/readme.txt", b"hello " * 50)
    importer.drop("clinic-a/export/cut.dcm", instance()[:-3])
    importer.run()
    assert importer.tree() == [
        f"failed/clinic-a/{DAY}/export/cut.dcm",
        f"failed/clinic-a/{DAY}/export/cut.dcm.error.json",
        f"processed/clinic-a/{DAY}/export/good.dcm",
        f"processed/clinic-a/{DAY}/export/readme.txt",
    ]
    cut = reason(importer, f"clinic-a/{DAY}/export/cut.dcm")
    assert (cut["version"], cut["status"], cut["reason"]) == (1, "rejected", "truncated")
    assert cut["file"] == "export/cut.dcm"
    assert importer.counted("clinic-a") == {"success": 1, "kept": 1, "rejected": 1}


def test_the_same_study_again_is_a_duplicate_even_with_a_fresh_coercion(importer: Importer) -> None:
    content = instance()
    importer.drop("clinic-a/one.dcm", content)
    importer.run()
    importer.drop("clinic-a/again.dcm", content)
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1, "duplicate": 1}
    assert len(importer.archive.instances) == 1
    assert f"processed/clinic-a/{DAY}/again.dcm" in importer.tree()


def test_what_the_archive_exports_comes_back_as_a_duplicate(importer: Importer) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    (held,) = importer.archive.instances.values()
    importer.drop("clinic-a/export.dcm", held.content)
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1, "duplicate": 1}


def test_the_same_image_with_other_content_is_failed(importer: Importer) -> None:
    made = dataset()
    importer.drop("clinic-a/a.dcm", encode(made))
    made.PixelData = bytes(16)
    importer.drop("clinic-a/b.dcm", encode(made))
    importer.run()
    assert reason(importer, f"clinic-a/{DAY}/b.dcm")["reason"] == "other_version"
    (held,) = importer.archive.instances.values()
    assert held.tags.PixelData == bytes(range(16))


@pytest.mark.parametrize("shared", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_uid_of_another_clinic_is_refused_without_naming_it(
    importer: Importer, shared: str
) -> None:
    first, second = dataset(), dataset()
    second[shared] = first[shared]
    importer.drop("clinic-a/one.dcm", encode(first))
    importer.run()
    importer.drop("clinic-b/two.dcm", encode(second))
    importer.run()
    told = reason(importer, f"clinic-b/{DAY}/two.dcm")
    assert told["reason"] == "other_clinic"
    assert "clinic-a" not in json.dumps(told)
    assert len(importer.archive.instances) == 1


def test_of_two_clinics_at_once_only_one_stores(importer: Importer) -> None:
    content = instance()
    importer.drop("clinic-a/one.dcm", content)
    importer.drop("clinic-b/one.dcm", content)
    importer.settle()
    first, second = importer.service.queue.take(0), importer.service.queue.take(0)
    assert first
    assert second
    # The second worker asks while the first is on its way: it must wait, not store.
    importer.archive.script.append(lambda _: importer.service.worker.handle(second))
    importer.service.worker.handle(first)
    assert importer.archive.stores == 1
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1}
    assert importer.counted("clinic-b") == {"rejected": 1}


def test_a_study_under_another_patient_is_refused(importer: Importer) -> None:
    made = dataset()
    importer.drop("clinic-a/one.dcm", encode(made))
    importer.run()
    made.PatientID, made.SOPInstanceUID = "P2", generate_uid()
    importer.drop("clinic-a/two.dcm", encode(made))
    importer.run()
    assert reason(importer, f"clinic-a/{DAY}/two.dcm")["reason"] == "other_patient"


def test_a_series_of_another_study_is_refused(importer: Importer) -> None:
    made = dataset()
    importer.drop("clinic-a/one.dcm", encode(made))
    importer.run()
    made.StudyInstanceUID, made.SOPInstanceUID = generate_uid(), generate_uid()
    importer.drop("clinic-a/two.dcm", encode(made))
    importer.run()
    assert reason(importer, f"clinic-a/{DAY}/two.dcm")["reason"] == "other_study"


def test_an_archive_that_is_away_fails_nothing_and_is_asked_ever_less(importer: Importer) -> None:
    importer.archive.away = True
    importer.drop("clinic-a/one.dcm", instance())
    importer.settle()
    handled = 0
    for _ in range(600):
        handled += importer.work()
        importer.clock.now_s += 1
    assert importer.tree() == ["inbox/clinic-a/one.dcm"]
    assert 10 < handled < 40
    assert not importer.service.health().archive
    importer.archive.away = False
    importer.run()
    assert importer.tree() == [f"processed/clinic-a/{DAY}/one.dcm"]
    assert importer.service.health().archive


def test_one_refusal_while_others_pass_fails_that_file_alone(importer: Importer) -> None:
    made = dataset()
    bad = made.SOPInstanceUID

    def refuse(content: bytes) -> tuple[int, bytes] | None:
        importer.archive.script.append(refuse)
        if parse(content).SOPInstanceUID != bad:
            return None
        return 400, stow_answer(failed=bad, reason=0x0110)

    importer.archive.script.append(refuse)
    importer.drop("clinic-a/export/bad.dcm", encode(made))
    for number in range(3):
        importer.drop(f"clinic-a/export/good{number}.dcm", instance())
    importer.run()
    assert importer.counted("clinic-a") == {"success": 3, "rejected": 1}
    assert reason(importer, f"clinic-a/{DAY}/export/bad.dcm")["reason"] == "refused"


def test_refusals_of_everything_for_a_while_fail_nothing(importer: Importer) -> None:
    made = dataset()
    answer = 400, stow_answer(failed=made.SOPInstanceUID, reason=0x0110)
    importer.archive.script += [lambda _: answer] * 5
    importer.drop("clinic-a/one.dcm", encode(made))
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1}


def test_what_the_archive_cannot_parse_fails_after_a_second_try(importer: Importer) -> None:
    importer.archive.script += [lambda _: (400, stow_answer())] * 2
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    assert reason(importer, f"clinic-a/{DAY}/one.dcm")["reason"] == "refused_unreadable"
    assert importer.archive.stores == 2


def test_an_older_object_kept_with_a_200_is_found_by_verification(importer: Importer) -> None:
    made = dataset()
    other = encode(made)
    made.PixelData = bytes(16)

    def meanwhile(_: bytes) -> None:
        importer.archive.store(
            b"--x\r\nContent-Type: application/dicom\r\n\r\n" + other + b"\r\n--x--\r\n",
            "multipart/related; boundary=x",
        )

    importer.archive.script.append(meanwhile)
    importer.drop("clinic-a/one.dcm", encode(made))
    importer.run()
    assert importer.counted("clinic-a") == {"rejected": 1}
    assert reason(importer, f"clinic-a/{DAY}/one.dcm")["reason"] == "other_version"


def test_a_success_that_stored_nothing_is_not_believed(importer: Importer) -> None:
    made = dataset()
    importer.archive.script.append(lambda _: (200, stow_answer(stored=made.SOPInstanceUID)))
    importer.drop("clinic-a/one.dcm", encode(made))
    importer.run()
    assert importer.archive.stores == 2
    assert importer.counted("clinic-a") == {"success": 1}
    assert len(importer.archive.instances) == 1


def test_a_crash_after_the_archive_stored_sends_the_same_bytes_and_counts_a_success(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = importer.drop("clinic-a/one.dcm", instance())
    importer.settle()
    job = importer.service.queue.take(0)
    assert job
    with monkeypatch.context() as patched:
        patched.setattr("dicom_importer.files.move_all", _crash)
        with pytest.raises(KeyboardInterrupt):
            importer.service.worker.handle(job)
    assert file.exists()
    (held,) = importer.archive.instances.values()
    importer.clock.now_s += 3600
    importer.restart()
    assert importer.tree() == [f"processed/clinic-a/{DAY}/one.dcm"]
    importer.run()
    assert [one.content for one in importer.archive.instances.values()] == [held.content]
    assert importer.archive.stores == 1


def _crash(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_crash_while_sending_keeps_the_time_of_coercion(importer: Importer) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.settle()
    importer.archive.script.append(lambda _: (500, b""))
    importer.work()
    importer.clock.now_s += 7200
    importer.restart()
    importer.run()
    (held,) = importer.archive.instances.values()
    assert held.tags.OriginalAttributesSequence[0].AttributeModificationDateTime.startswith(
        "20261124080100"
    )


def test_a_file_that_changes_while_it_is_sent_stays_and_is_taken_anew(importer: Importer) -> None:
    file = importer.drop("clinic-a/one.dcm", instance())
    new = instance()
    importer.archive.script.append(lambda _: (file.write_bytes(new), None)[1])
    importer.settle()
    importer.work()
    assert importer.tree() == ["inbox/clinic-a/one.dcm"]
    importer.run()
    assert (importer.root / f"processed/clinic-a/{DAY}/one.dcm").read_bytes() == new


def test_a_file_swapped_for_a_symlink_is_not_followed(importer: Importer) -> None:
    file = importer.drop("clinic-a/one.dcm", instance())
    importer.settle()
    file.unlink()
    file.symlink_to(importer.root / "secret")
    importer.work()
    importer.service.sweep()
    assert importer.archive.stores == 0
    assert importer.service.queue.idle
    assert importer.service.health().pending == 0


def test_a_file_that_shrinks_while_it_is_sent_is_taken_anew(importer: Importer) -> None:
    file = importer.drop("clinic-a/one.dcm", instance(PixelData=bytes(1 << 20)))
    alive = importer.service._alive  # noqa: SLF001 - called between two chunks
    calls = iter([lambda: os.truncate(file, 1 << 19)])

    def shrink() -> None:
        next(calls, alive)()

    object.__setattr__(importer.service.worker._context, "alive", shrink)  # noqa: SLF001
    importer.settle()
    importer.work()
    assert importer.tree() == ["inbox/clinic-a/one.dcm"]
    importer.run()
    assert reason(importer, f"clinic-a/{DAY}/one.dcm")["reason"] == "truncated"


def test_a_patient_id_that_the_archive_decodes_otherwise_is_no_other_patient(
    importer: Importer,
) -> None:
    made = dataset(SpecificCharacterSet="ISO_IR 100", PatientID="Ä7")
    importer.drop("clinic-a/one.dcm", encode(made))
    importer.run()
    (held,) = importer.archive.instances.values()
    held.tags.PatientID = "?7"
    importer.clock.now_s += 3600
    made.SOPInstanceUID = generate_uid()
    importer.drop("clinic-a/two.dcm", encode(made))
    importer.run()
    assert importer.counted("clinic-a") == {"success": 2}


def test_a_file_too_large_for_the_archive_fails_beforehand(importer: Importer) -> None:
    limit = importer.config.max_instance_bytes
    importer.drop("clinic-a/big.dcm", instance(PixelData=bytes(limit)))
    importer.run()
    assert reason(importer, f"clinic-a/{DAY}/big.dcm")["reason"] == "too_large"
    assert importer.archive.stores == 0


def test_a_name_that_is_not_utf_8_is_imported_and_told(importer: Importer) -> None:
    name = os.fsdecode(b"clinic-a/Z\xfcrich.txt")
    importer.drop(name, b"no image " * 40)
    importer.run()
    (path,) = (importer.root / f"failed/clinic-a/{DAY}").glob("*.json")
    assert json.loads(path.read_bytes())["file"] == "Z\\xfcrich.txt"


def test_one_audit_record_is_written_for_each_study_and_outcome(importer: Importer) -> None:
    made = dataset(PatientName="Doe^Jane")
    importer.drop("clinic-a/export/Doe1.dcm", encode(made))
    made.SOPInstanceUID = generate_uid()
    importer.drop("clinic-a/export/Doe2.dcm", encode(made))
    importer.drop("clinic-a/export/Doe3.dcm", instance()[:-3])
    importer.run()
    text = importer.config.audit_file.read_text()
    records = [json.loads(line) for line in text.splitlines()]
    assert {(r["study_instance_uid"], r["status"], r["instances"]) for r in records} == {
        (made.StudyInstanceUID, "success", 2),
        ("", "rejected", 1),
    }
    assert {r["event"]["code"] for r in records} == {"110107"}
    assert "Doe" not in text
    importer.restart()
    importer.service.tend()
    assert importer.config.audit_file.read_text() == text


def test_logs_name_no_file_and_no_patient(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/Doe^Jane/Doe.dcm", instance(PatientName="Doe^Jane", PatientID="D77"))
    importer.drop("clinic-a/Doe^Jane/Doe.txt", b"Doe")
    importer.archive.script.append(lambda _: (500, b""))
    importer.run()
    lines = capsys.readouterr().out
    assert '"success"' in lines
    assert "Doe" not in lines
    assert "D77" not in lines


def test_the_secret_is_read_anew_and_a_token_serves_many_requests(
    importer: Importer, tmp_path: Path
) -> None:
    (tmp_path / "secret").unlink()
    importer.drop("clinic-a/one.dcm", instance())
    importer.settle()
    importer.work()
    assert importer.tree() == ["inbox/clinic-a/one.dcm"]
    (tmp_path / "secret").write_text("new")
    importer.clock.now_s += 5
    importer.work()
    assert importer.counted("clinic-a") == {"success": 1}
    assert importer.archive.tokens == 1
