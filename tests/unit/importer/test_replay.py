"""`dicom-importer replay` brings a restored archive up to what was imported, and files nothing twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from dicom_importer import repair
from unit.importer.archiving import stow_answer
from unit.importer.building import dataset, encode, instance, other, parse
from unit.importer.commanding import command, journalled, killed
from unit.importer.test_audit import records
from unit.importer.test_flow import DAY
from unit.importer.test_replace import BY, NEW, another_version, pixels
from unit.importer.test_verify import only

if TYPE_CHECKING:
    from collections.abc import Callable

    from unit.importer.conftest import Importer

REPAIRED = "clinic-a: 0 stored, 1 repaired, 0 there, 0 failed.\n"
SINCE = ("replay", "--since", DAY, *BY)


def import_images(importer: Importer, number: int, clinic: str = "clinic-a") -> None:
    """Import images of as many studies."""
    for n in range(number):
        importer.drop(f"{clinic}/export/{n}.dcm", instance())
    importer.run()


def test_what_a_restored_archive_lacks_is_stored_as_it_was_sent_the_first_time(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    import_images(importer, 3)
    before = {key: held.content for key, held in importer.archive.instances.items()}
    tree, rows = importer.tree(), journalled(importer)
    for key in list(before)[:2]:
        del importer.archive.instances[key]
    importer.clock.now_s += 86400
    status, said = command(importer, capsys, *SINCE)
    assert (status, said) == (0, "clinic-a: 2 stored, 0 repaired, 1 there, 0 failed.\n")
    assert {key: held.content for key, held in importer.archive.instances.items()} == before
    assert (importer.tree(), journalled(importer)) == (tree, rows)
    assert (
        command(importer, capsys, *SINCE)[1]
        == "clinic-a: 0 stored, 0 repaired, 3 there, 0 failed.\n"
    )
    importer.run()
    assert (importer.tree(), journalled(importer)) == (tree, rows)
    lines = importer.config.audit_file.read_text().splitlines()
    (record,) = [r for r in map(json.loads, lines) if r["status"] == "replayed"]
    assert (record["instances"], record["since"], record["who"]["operator"]) == (
        2,
        DAY,
        "an-admin",
    )


def test_only_the_days_since_and_the_clinic_that_is_named_are_offered(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    import_images(importer, 1)
    import_images(importer, 1, "clinic-b")
    importer.clock.now_s += 86400
    importer.drop("clinic-a/late.dcm", instance())
    importer.run()
    importer.archive.instances.clear()
    tomorrow = ("replay", "--since", "2026-11-25", *BY)
    assert command(importer, capsys, *tomorrow)[1] == (
        "clinic-a: 1 stored, 0 repaired, 0 there, 0 failed.\n"
        "clinic-b: 0 stored, 0 repaired, 0 there, 0 failed.\n"
    )
    assert command(importer, capsys, *SINCE, "--clinic", "clinic-b")[1] == (
        "clinic-b: 1 stored, 0 repaired, 0 there, 0 failed.\n"
    )
    assert command(importer, capsys, *SINCE, "--clinic", "clinic-x")[0] == 1


def test_what_was_replaced_is_not_brought_back(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    command(importer, capsys, "replace", another_version(importer), *BY)
    importer.archive.instances.clear()
    assert (
        command(importer, capsys, *SINCE)[1]
        == "clinic-a: 1 stored, 0 repaired, 0 there, 0 failed.\n"
    )
    assert pixels(importer) == [NEW]


def test_an_archive_that_holds_other_content_keeps_it_and_is_named(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = dataset()
    importer.drop("clinic-a/one.dcm", encode(made))
    importer.run()
    importer.archive.instances.clear()
    made.PixelData, made.InstitutionName = NEW, "clinic-a"
    importer.archive.store(
        b"--b\r\n\r\n" + encode(made) + b"\r\n--b--", "multipart/related; boundary=b"
    )
    status, said = command(importer, capsys, *SINCE)
    assert status == 1
    assert "one.dcm: The archive holds another version of this image" in said
    assert pixels(importer) == [NEW]


def test_files_that_a_lost_journal_forgot_are_offered_and_journalled(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    import_images(importer, 2)
    importer.archive.instances.popitem()
    importer.service.close()
    for file in (importer.root / "state").glob("journal.sqlite*"):
        file.unlink()
    importer.restart()
    assert (
        command(importer, capsys, *SINCE)[1]
        == "clinic-a: 1 stored, 0 repaired, 1 there, 0 failed.\n"
    )
    assert sorted(journalled(importer)) == [
        ("duplicate", "done", f"clinic-a/{DAY}/export/0.dcm"),
        ("success", "done", f"clinic-a/{DAY}/export/1.dcm"),
    ]
    assert command(importer, capsys, "verify")[0] == 0


@pytest.mark.usefixtures("waits")
def test_what_was_stored_for_a_lost_journal_can_be_repaired_later(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    import_images(importer, 1)
    importer.archive.instances.clear()
    importer.service.close()
    for file in (importer.root / "state").glob("journal.sqlite*"):
        file.unlink()
    importer.restart()
    assert command(importer, capsys, *SINCE)[1].startswith("clinic-a: 1 stored, 0 repaired, ")
    only(importer).on_disk = None
    importer.clock.now_s += 86400
    assert command(importer, capsys, *SINCE) == (0, REPAIRED)


def test_a_killed_replacement_that_is_refused_is_taken_back_and_does_not_end_it(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = another_version(importer)
    killed(importer, "archive:Archive.remove", "after", "replace", failed, *BY)
    old = next(iter((importer.root / "processed").rglob("*.dcm")))
    uid = str(parse(old.read_bytes()).SOPInstanceUID)
    importer.archive.script.append(lambda _: (409, stow_answer(failed=uid, reason=0xC000)))
    assert command(importer, capsys, *SINCE)[1].endswith("1 there, 0 failed.\n")
    assert pixels(importer) != [NEW]


@pytest.mark.parametrize(
    ("step", "when"),
    [
        ("archive:Archive.store", "before"),
        ("archive:Archive.store", "after"),
        ("audit:append", "before"),
    ],
)
def test_killed_it_goes_on_with_what_is_missing(
    importer: Importer, capsys: pytest.CaptureFixture[str], step: str, when: str
) -> None:
    import_images(importer, 3)
    before = {key: held.content for key, held in importer.archive.instances.items()}
    tree, rows = importer.tree(), journalled(importer)
    importer.archive.instances.clear()
    killed(importer, step, when, *SINCE)
    status, said = command(importer, capsys, *SINCE)
    assert status == 0, said
    assert {key: held.content for key, held in importer.archive.instances.items()} == before
    importer.restart()
    importer.run()
    assert (importer.tree(), journalled(importer)) == (tree, rows)


def test_an_archive_that_stays_away_ends_it_with_a_word(
    importer: Importer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "MAX_DELAY_S", 0.0)
    import_images(importer, 1)
    importer.archive.away = True
    status, said = command(importer, capsys, *SINCE)
    assert status == 1
    assert "Stopped: the archive does not answer" in said


@pytest.mark.parametrize(
    "damage", [other, lambda content: content[:-1], lambda _: None], ids=["turned", "cut", "gone"]
)
def test_what_the_archive_lists_and_cannot_read_is_stored_anew_as_it_was(
    importer: Importer,
    capsys: pytest.CaptureFixture[str],
    waits: list[float],
    damage: Callable[[bytes], bytes | None],
) -> None:
    import_images(importer, 2)
    before = {key: held.content for key, held in importer.archive.instances.items()}
    tree, rows = importer.tree(), journalled(importer)
    held = next(iter(importer.archive.instances.values()))
    held.on_disk = damage(held.content)
    importer.clock.now_s += 86400
    status, said = command(importer, capsys, *SINCE)
    assert (status, said) == (0, "clinic-a: 0 stored, 1 repaired, 1 there, 0 failed.\n")
    assert waits == [*repair.ASK_AGAIN_AFTER_S]
    assert {key: held.content for key, held in importer.archive.instances.items()} == before
    assert [held.on_disk for held in importer.archive.instances.values()] == [b"", b""]
    assert (importer.tree(), journalled(importer)) == (tree, rows)
    assert command(importer, capsys, "verify")[0] == 0
    (record,) = [r for r in records(importer) if r["status"] == "repaired"]
    assert (record["instances"], record["action"]) == (1, "U")


@pytest.mark.parametrize("hiccups", [1, 2, 3])
def test_what_is_read_when_the_archive_is_asked_again_stays_in_it(
    importer: Importer, capsys: pytest.CaptureFixture[str], waits: list[float], hiccups: int
) -> None:
    import_images(importer, 1)
    held, answers = only(importer), iter([(500, b"")] * hiccups)
    importer.archive.verifying = lambda _: next(answers, None)
    said = command(importer, capsys, *SINCE)[1]
    assert said == "clinic-a: 0 stored, 0 repaired, 1 there, 0 failed.\n"
    assert (only(importer) is held, len(waits)) == (True, min(hiccups, 2))


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("whose", ["archive", "original"])
def test_what_cannot_be_read_stays_where_it_may_be_another_version_than_the_original(
    importer: Importer, capsys: pytest.CaptureFixture[str], whose: str
) -> None:
    import_images(importer, 1)
    held = only(importer)
    held.on_disk = None
    if whose == "archive":
        held.content = other(held.content)
    else:
        (path,) = (importer.root / "processed").rglob("*.dcm")
        path.write_bytes(other(path.read_bytes()))
    status, said = command(importer, capsys, *SINCE)
    assert status == 1
    assert "0.dcm: The archive cannot read what it holds of this image" in said
    assert said.endswith("0 stored, 0 repaired, 0 there, 1 failed.\n")
    assert only(importer) is held


@pytest.mark.usefixtures("waits")
def test_what_is_another_clinics_by_now_is_not_removed(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    import_images(importer, 1)
    held = only(importer)
    held.on_disk, held.tags.InstitutionName = None, "clinic-b"
    status, said = command(importer, capsys, *SINCE)
    assert (status, "does not belong to this clinic" in said) == (1, True)
    assert only(importer) is held


@pytest.mark.usefixtures("waits")
def test_a_duplicate_repairs_what_its_first_file_is_gone_of(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    content = instance()
    for name in ("first", "again"):
        importer.drop(f"clinic-a/{name}.dcm", content)
        importer.run()
    (importer.root / f"processed/clinic-a/{DAY}/first.dcm").unlink()
    before = only(importer).content
    only(importer).on_disk = None
    assert command(importer, capsys, *SINCE) == (0, REPAIRED)
    assert only(importer).content == before


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize(
    ("step", "when", "then"),
    [
        ("archive:Archive.remove", "before", "0 stored, 1 repaired"),
        ("archive:Archive.remove", "after", "1 stored, 0 repaired"),
        ("archive:Archive.store", "after", "0 stored, 0 repaired"),
    ],
)
def test_killed_while_it_repairs_it_goes_on_with_what_is_missing(
    importer: Importer, capsys: pytest.CaptureFixture[str], step: str, when: str, then: str
) -> None:
    import_images(importer, 1)
    before = only(importer).content
    only(importer).on_disk = None
    killed(importer, step, when, *SINCE)
    assert command(importer, capsys, *SINCE)[1].startswith(f"clinic-a: {then}, ")
    assert (only(importer).content, only(importer).on_disk) == (before, b"")
    assert command(importer, capsys, "verify")[0] == 0


@pytest.mark.usefixtures("waits")
def test_a_connection_that_breaks_while_it_is_stored_anew_is_tried_again(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    import_images(importer, 1)
    only(importer).on_disk = None
    importer.archive.script.append(lambda _: (500, b""))
    assert command(importer, capsys, *SINCE) == (0, REPAIRED)
    assert only(importer).on_disk == b""
