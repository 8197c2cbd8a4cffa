"""`dicom-importer verify` names each image and each file that is not as it was imported."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import TYPE_CHECKING

import pytest
from dicom_importer import plan, repair, verify
from pydicom.uid import generate_uid
from unit.importer.archiving import stow_answer
from unit.importer.building import dataset, encode, instance, other
from unit.importer.commanding import command
from unit.importer.test_audit import records
from unit.importer.test_flow import DAY
from unit.importer.test_replace import BY, another_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from unit.importer.archiving import Reply, Stored
    from unit.importer.conftest import Importer

READ_BACK = "cannot be read back"


def only(importer: Importer) -> Stored:
    """Return the one instance that the archive holds."""
    (held,) = importer.archive.instances.values()
    return held


def test_what_is_as_it_was_imported_is_counted_and_all_is_well(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    content = instance()
    importer.drop("clinic-a/one.dcm", content)
    importer.drop("clinic-a/cut.dcm", content[:-3])
    importer.drop("clinic-b/two.dcm", instance())
    importer.run()
    importer.drop("clinic-a/again.dcm", content)
    importer.run()
    status, said = command(importer, capsys, "verify")
    assert status == 0
    assert said == (
        "2 studies: 2 images compared with their originals, 0 only read back;"
        " 3 files in processed/; 0 differences.\n"
    )


def test_what_is_kept_beside_images_is_no_study(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/cd/one.dcm", instance())
    importer.drop("clinic-a/cd/README.txt", b"Hello, you")
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1, "kept": 1}
    status, said = command(importer, capsys, "verify")
    assert (status, said.partition(":")[0]) == (0, "1 studies")


def test_an_image_that_the_archive_lacks_is_named_and_its_patient_is_not(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = dataset(PatientName="Doe^John")
    importer.drop("clinic-a/Doe^John/one.dcm", encode(made))
    made.SOPInstanceUID = generate_uid()
    importer.drop("clinic-a/Doe^John/two.dcm", encode(made))
    importer.run()
    held = importer.archive.instances
    del held[next(key for key in held if held[key].uids[2] == made.SOPInstanceUID)]
    status, said = command(importer, capsys, "verify")
    assert status == 1
    assert (
        f"clinic-a: study {made.StudyInstanceUID}, image {made.SOPInstanceUID}"
        " is not in the archive\n"
    ) in said
    assert "Doe" not in said
    held.clear()
    status, said = command(importer, capsys, "verify")
    assert f"study {made.StudyInstanceUID} is not in the archive (2 images)" in said


def test_changed_bytes_in_the_archive_are_named(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    held = only(importer)
    held.content = held.content[:-1] + b"\xff"
    status, said = command(importer, capsys, "verify")
    assert status == 1
    assert f"image {held.uids[2]} differs: The archive holds another version" in said


def test_a_study_that_became_another_clinics_is_named(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    only(importer).tags.InstitutionName = "clinic-b"
    assert "is not this clinic's in the archive" in command(importer, capsys, "verify")[1]


def test_without_its_original_an_image_is_still_read_back(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    (importer.root / f"processed/clinic-a/{DAY}/one.dcm").unlink()
    status, said = command(importer, capsys, "verify")
    assert (status, "1 only read back" in said) == (0, True)
    importer.archive.instances.clear()
    assert command(importer, capsys, "verify")[0] == 1


def test_a_file_in_processed_that_the_journal_does_not_know_is_named_without_its_name(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    stray = importer.root / f"processed/clinic-a/{DAY}/Doe^John.dcm"
    stray.write_bytes(instance())
    status, said = command(importer, capsys, "verify", "--clinic", "clinic-a")
    assert status == 1
    assert f"is not in the journal (find {importer.root}/processed/clinic-a -inum" in said
    assert str(stray.stat().st_ino) in said
    assert "Doe" not in said
    assert command(importer, capsys, "verify", "--clinic", "clinic-b")[0] == 0


def test_what_was_replaced_is_compared_with_what_replaced_it(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    command(importer, capsys, "replace", another_version(importer), *BY)
    status, said = command(importer, capsys, "verify")
    assert (status, "1 images compared" in said) == (0, True)


def test_without_an_archive_there_is_no_verdict(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    importer.archive.away = True
    status, said = command(importer, capsys, "verify")
    assert (status, said.startswith("Stopped: the archive does not answer")) == (2, True)
    assert command(importer, capsys, "verify", "--clinic", "clinic-x")[0] == 2


@pytest.mark.parametrize(
    "damage", [other, lambda content: content[:-1], lambda _: None], ids=["turned", "cut", "gone"]
)
def test_an_image_whose_bytes_are_damaged_is_named_with_its_original_and_what_to_do(
    importer: Importer,
    capsys: pytest.CaptureFixture[str],
    waits: list[float],
    damage: Callable[[bytes], bytes | None],
) -> None:
    made = dataset(PatientName="Doe^John")
    importer.drop("clinic-a/Doe^John/one.dcm", encode(made))
    importer.drop("clinic-a/two.dcm", instance())
    importer.run()
    (held,) = (x for x in importer.archive.instances.values() if x.uids[0] == made.StudyInstanceUID)
    held.on_disk = damage(held.content)
    status, said = command(importer, capsys, "verify")
    original = importer.root / f"processed/clinic-a/{DAY}/Doe^John/one.dcm"
    assert status == 1
    assert said == (
        f"clinic-a: study {held.uids[0]}, image {held.uids[2]} {READ_BACK}; its original:"
        f" find {original.parents[1]} -inum {original.stat().st_ino}\n"
        "What cannot be read back is damaged or gone on the archive's disk. If that disk is in its"
        " place, verify --repair (make verify REPAIR=1) stores anew what has an original; only a"
        " backup of the archive brings back the rest.\n"
        "2 studies: 2 images compared with their originals, 0 only read back;"
        " 2 files in processed/; 1 differences.\n"
    )
    assert waits == [*repair.ASK_AGAIN_AFTER_S]


@pytest.mark.usefixtures("waits")
def test_damage_is_found_without_an_original_too(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    (importer.root / f"processed/clinic-a/{DAY}/one.dcm").unlink()
    only(importer).on_disk = None
    status, said = command(importer, capsys, "verify")
    assert status == 1
    assert f"image {only(importer).uids[2]} {READ_BACK}; no original of it is kept\n" in said


@pytest.mark.usefixtures("waits")
def test_a_duplicate_that_another_file_brought_is_read_back_before_it_is_compared(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    held = only(importer)
    held.content = other(held.content)
    held.on_disk = None
    status, said = command(importer, capsys, "verify")
    assert (status, READ_BACK in said) == (1, True)


@pytest.mark.parametrize("hiccups", [1, 2])
def test_what_is_read_when_the_archive_is_asked_again_was_no_damage(
    importer: Importer, capsys: pytest.CaptureFixture[str], waits: list[float], hiccups: int
) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    answers = iter([(500, b"")] * hiccups)
    importer.archive.verifying = lambda _: next(answers, None)
    status, said = command(importer, capsys, "verify")
    assert (status, " 0 differences." in said, len(waits)) == (0, True, hiccups)


@pytest.mark.parametrize("status", [401, 403, 502, 503, 504])
def test_an_archive_that_cannot_be_asked_is_no_damage(
    importer: Importer, capsys: pytest.CaptureFixture[str], waits: list[float], status: int
) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    importer.archive.verifying = lambda _: (status, b"")
    found, said = command(importer, capsys, "verify")
    assert (found, READ_BACK in said, waits) == (verify.STOPPED, False, [])
    assert said.startswith(f"Stopped: the archive does not answer (status {status}). Until then: ")


@pytest.mark.parametrize("asked", [1, 5, 6])
def test_an_archive_that_goes_away_in_the_middle_leaves_no_false_report(
    importer: Importer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    asked: int,
) -> None:
    for n in range(5):
        importer.drop(f"clinic-a/{n}.dcm", instance())
    importer.run()
    first = next(iter(importer.archive.instances.values()))
    first.on_disk = None
    times = iter(range(1, 100))

    def answer(_: str) -> Reply | None:
        importer.archive.away |= next(times) >= asked
        return None

    importer.archive.verifying = answer
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(verify, "_AT_ONCE", 10)
    status, said = command(importer, capsys, "verify")
    assert status == verify.STOPPED
    assert said.startswith("Stopped: the archive does not answer (status 503). Until then: ")
    assert READ_BACK not in said


def test_what_was_found_before_the_archive_went_away_is_said(
    importer: Importer,
    capsys: pytest.CaptureFixture[str],
    waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for n in range(2):
        importer.drop(f"clinic-a/{n}.dcm", instance())
    importer.run()
    monkeypatch.setattr(verify, "_AT_ONCE", 1)
    lost: list[str] = []

    def answer(identifier: str) -> Reply:
        lost.append(identifier)
        return (404 if identifier == lost[0] else 503), b""

    importer.archive.verifying = answer
    status, said = command(importer, capsys, "verify")
    assert (status, len(waits)) == (verify.STOPPED, 2)
    named, advice, stopped = said.splitlines()
    assert importer.archive.instances[lost[0]].uids[2] in named
    assert advice.startswith("What cannot be read back")
    assert "1 differences" in stopped


def test_several_are_read_at_once_and_named_in_the_order_of_the_journal(
    importer: Importer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = dataset()
    for n in range(12):
        made.SOPInstanceUID = generate_uid()
        importer.drop(f"clinic-a/cd/{n:02}.dcm", encode(made))
    importer.run()
    uids = []
    for held in importer.archive.instances.values():
        held.on_disk = None
        uids.append(held.uids[2])
    together = threading.Barrier(importer.config.connections)

    def answer(_: str) -> None:
        together.wait(timeout=10)

    importer.archive.verifying = answer
    monkeypatch.setattr(verify, "_AT_ONCE", 4)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    status, said = command(importer, capsys, "verify")
    assert (status, importer.config.connections) == (1, 2)
    named = [line.split("image ")[1].split()[0] for line in said.splitlines()[:12]]
    assert named == uids
    assert "12 images compared with their originals" in said
    assert command(importer, capsys, "verify")[1] == said


REPAIR = ("verify", "--repair", *BY)


@pytest.mark.usefixtures("waits")
def test_told_to_repair_it_stores_anew_what_is_damaged_or_lacking_and_has_an_original(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    made, uids = dataset(), [str(generate_uid()) for _ in range(5)]
    for n in range(4):
        made.SOPInstanceUID = uids[n]
        importer.drop(f"clinic-a/cd/{n}.dcm", encode(made))
    importer.drop("clinic-b/one.dcm", instance(SOPInstanceUID=uids[4]))
    importer.run()
    held, tree = importer.archive.instances, importer.tree()
    before = {key: one.content for key, one in held.items()}
    damaged, lacking, without, _, whole_study = sorted(
        held, key=lambda x: uids.index(held[x].uids[2])
    )
    held[damaged].on_disk = held[without].on_disk = None
    (importer.root / f"processed/clinic-a/{DAY}/cd/2.dcm").rename(importer.root / "aside")
    del held[lacking], held[whole_study]
    status, said = command(importer, capsys, *REPAIR)
    assert status == 1
    assert f"image {uids[0]} cannot be read back; repaired\n" in said
    assert f"image {uids[1]} is not in the archive; repaired\n" in said
    assert f"image {uids[2]} cannot be read back; no original of it is kept\n" in said
    assert f"image {uids[4]} is not in the archive; repaired\n" in said
    assert said.endswith(" 3 repaired; 1 differences.\n")
    told = [r for r in records(importer) if r["status"] == "repaired"]
    assert [(r["clinic_id"], r["instances"]) for r in told] == [("clinic-a", 2), ("clinic-b", 1)]
    (importer.root / "aside").rename(importer.root / f"processed/clinic-a/{DAY}/cd/2.dcm")
    assert command(importer, capsys, *REPAIR)[0] == 0
    assert command(importer, capsys, "verify")[1].endswith("; 0 differences.\n")
    assert {key: one.content for key, one in held.items()} == before
    assert not any(one.on_disk for one in held.values())
    assert importer.tree() == tree


@pytest.mark.usefixtures("waits")
def test_what_is_not_this_clinics_or_another_version_is_reported_and_not_repaired(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(2):
        importer.drop(f"clinic-a/{n}.dcm", instance())
    importer.run()
    elsewhere, version = importer.archive.instances.values()
    elsewhere.tags.InstitutionName = "clinic-b"
    version.content = other(version.content)
    elsewhere.on_disk = version.on_disk = None
    stores = importer.archive.stores
    status, said = command(importer, capsys, *REPAIR)
    assert (status, "2 differences" in said, importer.archive.stores) == (1, True, stores)
    assert list(importer.archive.instances.values()) == [elsewhere, version]


@pytest.mark.usefixtures("waits")
def test_what_the_archive_refuses_to_take_anew_is_reported(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    only(importer).on_disk = None
    uid = only(importer).uids[2]
    importer.archive.script.append(lambda _: (409, stow_answer(failed=uid, reason=0xC000)))
    status, said = command(importer, capsys, *REPAIR)
    assert (status, "; not repaired: The archive cannot read this file." in said) == (1, True)
    assert command(importer, capsys, *REPAIR)[0] == 0
    assert command(importer, capsys, "verify")[0] == 0


def test_who_repairs_has_to_be_said_and_nobody_replaces_meanwhile(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    importer.archive.instances.clear()
    assert command(importer, capsys, "verify", "--repair")[0] == 2
    with plan.held(importer.config.state_dir):
        status, said = command(importer, capsys, *REPAIR)
    assert (status, said.startswith("A replacement or replay is under way")) == (2, True)
    assert command(importer, capsys, "verify", *BY)[0] == 1
    assert not importer.archive.instances
    assert command(importer, capsys, *REPAIR)[0] == 0


def test_an_archive_that_goes_away_meanwhile_leaves_what_was_repaired_in_the_audit(
    importer: Importer, capsys: pytest.CaptureFixture[str], waits: list[float]
) -> None:
    for n in range(2):
        importer.drop(f"clinic-a/{n}.dcm", instance())
    importer.run()
    importer.archive.instances.clear()
    importer.config = dataclasses.replace(importer.config, connections=1)

    def goes_away(_: bytes) -> Reply:
        importer.archive.away = True
        return 503, b""

    importer.archive.script += [lambda _: None, goes_away]
    status, said = command(importer, capsys, *REPAIR)
    assert (status, len(importer.archive.instances)) == (verify.STOPPED, 1)
    assert said.startswith("Stopped: the archive does not answer (status 503)")
    assert len(waits) == repair.TRIES - 1
    (record,) = [r for r in records(importer) if r["status"] == "repaired"]
    assert (record["instances"], record["who"]) == (
        1,
        {"service": "dicom-importer", "source": "processed/clinic-a", "operator": "an-admin"},
    )
    importer.archive.away = False
    assert command(importer, capsys, *REPAIR)[0] == 0
