"""`dicom-importer verify` names each image and each file that is not as it was imported."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
from typing import TYPE_CHECKING

import pytest
from clinic_access.returning import MARKER
from clinic_access.storage import QUARANTINE
from dicom_importer import plan, repair, verify
from pydicom.uid import generate_uid
from unit.importer.archiving import stow_answer
from unit.importer.building import dataset, encode, instance, other
from unit.importer.commanding import command, killed
from unit.importer.test_audit import records
from unit.importer.test_flow import DAY
from unit.importer.test_replace import BY, another_version

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from unit.importer.archiving import Reply, Stored
    from unit.importer.conftest import Importer

REPAIR = ("verify", "--repair", *BY)
ADVICE = "verify --repair (make verify REPAIR=1)"
NONE_KEPT = "no original of it is kept: restore the file from a backup of the archive"
OLD_S = 1_700_000_000


def only(importer: Importer) -> Stored:
    """Return the one instance that the archive holds."""
    (held,) = importer.archive.instances.values()
    return held


def stored(importer: Importer, held: Stored) -> Path:
    """Return where an instance's file lies in the archive's storage."""
    return importer.archive.storage / held.uuid[:2] / held.uuid[2:4] / held.uuid


def import_images(importer: Importer, number: int) -> list[Stored]:
    """Import images of as many studies; returns them as the archive holds them."""
    for n in range(number):
        importer.drop(f"clinic-a/{n}.dcm", instance())
    importer.run()
    return list(importer.archive.instances.values())


def lie_about(
    importer: Importer, name: str, age_s: float = OLD_S, content: bytes = b"somebody's"
) -> Path:
    """Put a file into the archive's storage that nothing lists."""
    path = importer.archive.storage / name[:2] / name[2:4] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (age_s, age_s))
    return path


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
    assert said.startswith(
        "2 files of the archive read (0.0 GB); 2 images compared with their originals, 0 by the"
        " index alone; 3 files in processed/; "
    )
    assert (status, said.endswith("; 0 differences.\n")) == (0, True)
    assert [p.name for p in importer.config.state_dir.glob("verify.*")] == ["verify.lock"]


def test_what_is_kept_beside_images_is_no_image(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/cd/one.dcm", instance())
    importer.drop("clinic-a/cd/README.txt", b"Hello, you")
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1, "kept": 1}
    status, said = command(importer, capsys, "verify")
    assert (status, " 1 images compared with their originals" in said) == (0, True)


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
    original = importer.root / f"processed/clinic-a/{DAY}/Doe^John/two.dcm"
    assert status == 1
    assert (
        f"clinic-a: study {made.StudyInstanceUID}, image {made.SOPInstanceUID}"
        f" is not in the archive; its original: find {original.parents[1]} -inum"
        f" {original.stat().st_ino}; {ADVICE} stores it anew\n"
    ) in said
    assert " 1 differences." in said
    assert "Doe" not in said
    held.clear()
    assert " 2 differences." in command(importer, capsys, "verify")[1]


def test_another_version_in_the_archive_is_named(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    (held,) = import_images(importer, 1)
    held.content = held.content[:-1] + b"\xff"
    status, said = command(importer, capsys, "verify")
    assert status == 1
    assert f"image {held.uids[2]} is another version in the archive than its original" in said


def test_a_study_that_became_another_clinics_is_named_once(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    (held,) = import_images(importer, 1)
    held.tags.InstitutionName = "clinic-b"
    said = command(importer, capsys, "verify")[1]
    assert f"clinic-a: study {held.uids[0]} is not this clinic's in the archive" in said
    assert " 1 differences." in said


def test_an_original_that_went_before_its_time_is_named_and_later_is_not_missed(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    (held,) = import_images(importer, 1)
    (importer.root / f"processed/clinic-a/{DAY}/0.dcm").unlink()
    status, said = command(importer, capsys, "verify")
    assert (status, " 0 images compared with their originals, 1 by the index" in said) == (1, True)
    assert f"image {held.uids[2]} has lost its original before the time" in said
    importer.clock.now_s += 40 * 86400
    assert command(importer, capsys, "verify")[0] == 0
    importer.archive.instances.clear()
    status, said = command(importer, capsys, "verify")
    assert (status, f"{held.uids[2]} is not in the archive; {NONE_KEPT}\n" in said) == (1, True)


def test_a_file_in_processed_that_the_journal_does_not_know_is_named_without_its_name(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    import_images(importer, 1)
    stray = importer.root / f"processed/clinic-a/{DAY}/Doe^John.dcm"
    stray.write_bytes(instance())
    status, said = command(importer, capsys, "verify", "--clinic", "clinic-a")
    assert status == 1
    assert f"(find {stray.parent} -inum {stray.stat().st_ino}) is not in the journal" in said
    assert "Doe" not in said
    assert command(importer, capsys, "verify", "--clinic", "clinic-b")[0] == 0


def test_an_image_that_the_journal_does_not_know_is_named_by_its_study(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    import_images(importer, 1)
    past = importer.archive.keep(instance(InstitutionName="clinic-b"))
    status, said = command(importer, capsys, "verify")
    assert status == 1
    assert f"clinic-b: study {past.uids[0]} is in the archive and not in the journal" in said
    assert " 1 differences." in said


def test_an_image_older_than_the_journals_memory_is_not_missed_there(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    past = importer.archive.keep(instance(InstitutionName="clinic-b"))
    importer.archive.write()
    os.utime(stored(importer, past), (OLD_S, OLD_S))
    importer.service.sweep()
    assert command(importer, capsys, "verify")[0] == 0


def test_what_was_replaced_is_compared_with_what_replaced_it(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    command(importer, capsys, "replace", another_version(importer), *BY)
    status, said = command(importer, capsys, "verify")
    assert (status, "1 images compared" in said) == (0, True)


def test_without_an_archive_or_its_disk_there_is_no_verdict(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    (held,) = import_images(importer, 1)
    assert command(importer, capsys, "verify", "--clinic", "clinic-x")[0] == verify.STOPPED
    marker = importer.archive.storage / MARKER
    marker.parent.mkdir(exist_ok=True)
    marker.touch()
    status, said = command(importer, capsys, *REPAIR)
    assert (status, "being brought back" in said) == (verify.STOPPED, True)
    marker.unlink()
    held.on_disk = None
    status, said = command(importer, capsys, *REPAIR)
    assert status == verify.STOPPED
    assert said.startswith("Not one of the archive's 1 files lies in ")
    importer.archive.away = True
    status, said = command(importer, capsys, "verify", "--again")
    assert status == verify.STOPPED
    assert "Stopped: the archive does not answer (status 503). Run it again later" in said


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (other, "has other bytes on the archive's disk than when it was stored"),
        (lambda content: content[:-1], "has another size on the archive's disk than"),
        (lambda _: None, "is gone from the archive's disk"),
    ],
    ids=["turned", "cut", "gone"],
)
def test_an_image_whose_bytes_are_damaged_is_named_with_its_file_and_its_original(
    importer: Importer,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[bytes], bytes | None],
    kind: str,
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
    named, end = said.splitlines()
    assert named.startswith(
        f"clinic-a: study {held.uids[0]}, image {held.uids[2]}, file {stored(importer, held)} {kind}"
    )
    assert named.endswith(
        f"; its original: find {original.parents[1]} -inum {original.stat().st_ino};"
        f" {ADVICE} stores it anew"
    )
    assert end.endswith(" 1 differences.")
    original.unlink()
    assert f"; {NONE_KEPT}\n" in command(importer, capsys, "verify")[1]


def test_a_file_that_nothing_lists_is_moved_aside_and_never_removed(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    import_images(importer, 1)
    name = "0123abcd-0000-4000-8000-0123456789ab"
    orphan, odd = lie_about(importer, name), lie_about(importer, "abcd-odd")
    new = lie_about(importer, "ff" + name[2:], importer.clock.utc().timestamp() - 60)
    day = importer.archive.storage / ".by-day/2023-11-14" / name
    day.parent.mkdir(parents=True)
    os.link(orphan, day)
    status, said = command(importer, capsys, "verify")
    assert status == 1
    assert f"of no clinic: file {orphan} lies on the archive's disk and is not in its index" in said
    assert (str(odd) in said, str(new) in said, ".by-day" in said) == (True, False, False)
    assert " 2 differences." in said
    status, said = command(importer, capsys, *REPAIR)
    assert (status, " 1 moved aside; 1 differences." in said) == (1, True)
    assert (importer.archive.storage / QUARANTINE / name).read_bytes() == b"somebody's"
    assert (orphan.exists(), odd.exists(), new.exists(), day.exists()) == (False, True, True, True)


def test_what_a_store_that_was_cut_off_left_is_told_and_is_no_difference(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    held, gone = import_images(importer, 2)
    whole = held.content
    names = [f"{n:02x}23abcd-0000-4000-8000-0123456789ab" for n in range(7)]
    kept_ready = gzip.compress(b"[{}]")[:-1]
    left = [
        lie_about(importer, name, content=content)
        for name, content in zip(names, (b"", whole, whole[:600], kept_ready), strict=False)
    ]
    status, said = command(importer, capsys, "verify")
    assert status == 0
    assert all(f"file {path} was left on the archive's disk by a store" in said for path in left)
    assert said.endswith(" 4 leftovers, which do no harm; 0 differences.\n")
    # Another version, one whose image nothing lists, and what tells of no image may be a loss.
    other = whole[:-1] + bytes([whole[-1] ^ 1])
    lost = gone.content.replace(gone.uids[2].encode(), b"1.2.3", 1)
    doubtful = [
        lie_about(importer, name, content=content)
        for name, content in zip(names[4:], (other, lost, whole[:140]), strict=True)
    ]
    status, said = command(importer, capsys, "verify")
    assert status == 1
    assert all(f"file {path} lies on the archive's disk and is not" in said for path in doubtful)
    assert said.endswith(" 4 leftovers, which do no harm; 3 differences.\n")
    status, said = command(importer, capsys, *REPAIR)
    assert (status, said.endswith(" 7 moved aside; 0 differences.\n")) == (0, True)
    assert not [path for path in (*left, *doubtful) if path.exists()]
    assert command(importer, capsys, "verify")[0] == 0


def test_an_image_that_is_listed_without_a_file_is_stored_anew(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    held, _ = import_images(importer, 2)
    held.has_file = False
    status, said = command(importer, capsys, "verify")
    assert (status, f"{held.uids[2]} is in the archive's index without a file; its" in said) == (
        1,
        True,
    )
    assert " 1 repaired; 0 differences." in command(importer, capsys, *REPAIR)[1]
    assert command(importer, capsys, "verify")[0] == 0
    assert all(one.has_file for one in importer.archive.instances.values())


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
    original = importer.root / f"processed/clinic-a/{DAY}/cd/2.dcm"
    original.rename(importer.root / "aside")
    del held[lacking], held[whole_study]
    status, said = command(importer, capsys, *REPAIR)
    assert status == 1
    assert f"image {uids[1]} is not in the archive; repaired\n" in said
    assert f"image {uids[4]} is not in the archive; repaired\n" in said
    named = {
        line.split("image ")[1].split(",")[0]: line
        for line in said.splitlines()
        if "file /" in line
    }
    assert named[uids[0]].endswith(" is gone from the archive's disk; repaired")
    assert named[uids[2]].endswith(f" is gone from the archive's disk; {NONE_KEPT}")
    # The second is the original that is not there.
    assert said.endswith(" 3 repaired; 2 differences.\n")
    told = [r for r in records(importer) if r["status"] == "repaired"]
    assert sum(int(str(r["instances"])) for r in told) == 3
    assert {r["clinic_id"] for r in told} == {"clinic-a", "clinic-b"}
    (importer.root / "aside").rename(original)
    assert command(importer, capsys, *REPAIR)[0] == 0
    assert command(importer, capsys, "verify")[1].endswith("; 0 differences.\n")
    assert {key: one.content for key, one in held.items()} == before
    assert not any(one.on_disk for one in held.values())
    assert importer.tree() == tree


def test_what_the_archive_answers_from_its_memory_is_repaired_on_its_disk(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    held, _ = import_images(importer, 2)
    held.on_disk = None
    importer.archive.verifying = lambda _: (200, b"{}")
    assert " 1 repaired; 0 differences." in command(importer, capsys, *REPAIR)[1]
    importer.archive.write()
    assert all(stored(importer, x).exists() for x in importer.archive.instances.values())


@pytest.mark.usefixtures("waits")
def test_what_is_not_this_clinics_or_another_version_is_reported_and_not_repaired(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere, version, _ = import_images(importer, 3)
    elsewhere.tags.InstitutionName = "clinic-b"
    version.content = other(version.content)
    elsewhere.on_disk = version.on_disk = None
    stores = importer.archive.stores
    held = list(importer.archive.instances.values())
    status, said = command(importer, capsys, *REPAIR)
    # Of the first one also whose it is.
    assert (status, " 3 differences." in said, importer.archive.stores) == (1, True, stores)
    assert list(importer.archive.instances.values()) == held


@pytest.mark.usefixtures("waits")
def test_what_the_archive_refuses_to_take_anew_is_reported(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    held, _ = import_images(importer, 2)
    held.on_disk = None
    refusal = stow_answer(failed=held.uids[2], reason=0xC000)
    importer.archive.script.append(lambda _: (409, refusal))
    status, said = command(importer, capsys, *REPAIR)
    # It is lacking by now, and brought back from its original.
    assert (status, "; not repaired: The archive cannot read this file." in said) == (1, True)
    assert command(importer, capsys, *REPAIR)[0] == 0
    assert command(importer, capsys, "verify")[0] == 0


def test_who_repairs_has_to_be_said_and_nobody_replaces_or_verifies_meanwhile(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    import_images(importer, 1)
    importer.archive.instances.clear()
    assert command(importer, capsys, "verify", "--repair")[0] == 2
    with plan.held(importer.config.state_dir):
        status, said = command(importer, capsys, *REPAIR)
    assert (status, said.startswith("A replacement or replay is under way")) == (2, True)
    with verify.alone(importer.config.state_dir):
        status, said = command(importer, capsys, "verify")
    assert (status, said) == (2, "Another verification is under way.\n")
    assert command(importer, capsys, "verify", *BY)[0] == 1
    assert not importer.archive.instances
    assert command(importer, capsys, *REPAIR)[0] == 0


@pytest.mark.parametrize(
    "step",
    ["listing:_page", "verify.disk:_compare", "verify.images:_look", "verify.images:_stray"],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_it_goes_on_and_tells_everything_once(
    importer: Importer, capsys: pytest.CaptureFixture[str], step: str, when: str
) -> None:
    gone, lacking, *_ = import_images(importer, 9)
    gone.on_disk = None
    del importer.archive.instances[lacking.id(3)]
    killed(importer, step, when, "verify")
    status, said = command(importer, capsys, "verify")
    assert status == 1
    assert said.startswith("It goes on with what was begun at 2026-11-24T08:")
    assert "8 files of the archive read (0.0 GB); 7 images compared" in said
    assert (said.count(gone.uids[2]), said.count(lacking.uids[2])) == (1, 1)
    assert " 2 differences." in said
    assert "It goes on" not in command(importer, capsys, "verify")[1]


def test_what_was_read_before_a_kill_is_not_read_again_unless_asked_for(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    held, removed, _ = import_images(importer, 3)
    killed(importer, "verify.images:_study", "before", "verify")
    held.on_disk = other(held.content)
    status, said = command(importer, capsys, "verify")
    assert (status, "3 files of the archive read" in said) == (0, True)
    killed(importer, "verify.disk:check", "before", "verify")
    # Listed as they were, and gone rightly meanwhile.
    del importer.archive.instances[removed.id(3)]
    importer.archive.write()
    status, said = command(importer, capsys, "verify", "--again")
    assert "It goes on" not in said
    assert (held.uids[2] in said, f"{removed.uids[2]} is not in" in said) == (True, True)
    assert " 2 differences." in said


def test_what_left_the_archive_after_it_was_listed_is_not_missed_on_its_disk(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    removed, _ = import_images(importer, 2)
    killed(importer, "verify.disk:check", "before", "verify")
    del importer.archive.instances[removed.id(3)]
    importer.archive.write()
    assert "gone from the archive's disk" not in command(importer, capsys, "verify")[1]


@pytest.mark.parametrize("words", [REPAIR, (*REPAIR, "--again"), ("verify", "--again")])
def test_what_was_repaired_before_a_kill_is_audited_and_told_unless_it_begins_anew(
    importer: Importer, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    held, _ = import_images(importer, 2)
    held.on_disk = None
    killed(importer, "verify.desk:Desk.tell", "after", *REPAIR)
    assert not [r for r in records(importer) if r["status"] == "repaired"]
    status, said = command(importer, capsys, *words)
    assert (status, " 1 repaired; 0 differences." in said) == (0, "--again" not in words)
    assert [r["instances"] for r in records(importer) if r["status"] == "repaired"] == [1]


def test_programs_get_a_line_of_json_for_each_difference_and_a_summary(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    held, _ = import_images(importer, 2)
    held.on_disk = None
    status, said = command(importer, capsys, "verify", "--json")
    found, end = map(json.loads, said.splitlines())
    assert status == 1
    named = {key: found[key] for key in ("kind", "clinic", "study_uid", "sop_uid", "repaired")}
    assert list(named.values()) == ["gone", "clinic-a", held.uids[0], held.uids[2], False]
    assert (found["file"], ADVICE in found["advice"]) == (str(stored(importer, held)), True)
    summary = end["summary"]
    assert (summary["read"], summary["compared"], summary["differences"]) == (2, 1, 1)
    assert (summary["kinds"], summary["ended"]) == ({"gone": 1}, True)


def test_an_archive_that_goes_away_meanwhile_leaves_what_was_repaired_in_the_audit(
    importer: Importer, capsys: pytest.CaptureFixture[str], waits: list[float]
) -> None:
    import_images(importer, 2)
    importer.archive.instances.clear()
    importer.config = dataclasses.replace(importer.config, connections=1)

    def goes_away(_: bytes) -> Reply:
        importer.archive.away = True
        return 503, b""

    importer.archive.script += [lambda _: None, goes_away]
    status, said = command(importer, capsys, *REPAIR)
    assert (status, len(importer.archive.instances)) == (verify.STOPPED, 1)
    assert "Stopped: the archive does not answer (status 503)" in said
    assert len(waits) == repair.TRIES - 1
    (record,) = [r for r in records(importer) if r["status"] == "repaired"]
    assert (record["instances"], record["who"]) == (
        1,
        {"service": "dicom-importer", "source": "processed/clinic-a", "operator": "an-admin"},
    )
    importer.archive.away = False
    assert command(importer, capsys, *REPAIR)[0] == 0
