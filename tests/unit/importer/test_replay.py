"""`dicom-importer replay` brings a restored archive up to what was imported, and files nothing twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from dicom_importer import replay
from unit.importer.building import dataset, encode, instance
from unit.importer.commanding import command, journalled, killed
from unit.importer.test_flow import DAY
from unit.importer.test_replace import BY, NEW, another_version, pixels

if TYPE_CHECKING:
    from unit.importer.conftest import Importer

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
    assert (status, said) == (0, "clinic-a: 2 stored, 1 there, 0 failed.\n")
    assert {key: held.content for key, held in importer.archive.instances.items()} == before
    assert (importer.tree(), journalled(importer)) == (tree, rows)
    assert command(importer, capsys, *SINCE)[1] == "clinic-a: 0 stored, 3 there, 0 failed.\n"
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
        "clinic-a: 1 stored, 0 there, 0 failed.\nclinic-b: 0 stored, 0 there, 0 failed.\n"
    )
    assert command(importer, capsys, *SINCE, "--clinic", "clinic-b")[1] == (
        "clinic-b: 1 stored, 0 there, 0 failed.\n"
    )
    assert command(importer, capsys, *SINCE, "--clinic", "clinic-x")[0] == 1


def test_what_was_replaced_is_not_brought_back(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    command(importer, capsys, "replace", another_version(importer), *BY)
    importer.archive.instances.clear()
    assert command(importer, capsys, *SINCE)[1] == "clinic-a: 1 stored, 0 there, 0 failed.\n"
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
    assert command(importer, capsys, *SINCE)[1] == "clinic-a: 1 stored, 1 there, 0 failed.\n"
    assert sorted(journalled(importer)) == [
        ("duplicate", "done", f"clinic-a/{DAY}/export/0.dcm"),
        ("success", "done", f"clinic-a/{DAY}/export/1.dcm"),
    ]
    assert command(importer, capsys, "verify")[0] == 0


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
    assert command(importer, capsys, *SINCE)[0] == 0
    assert {key: held.content for key, held in importer.archive.instances.items()} == before
    importer.restart()
    importer.run()
    assert (importer.tree(), journalled(importer)) == (tree, rows)


def test_an_archive_that_stays_away_ends_it_with_a_word(
    importer: Importer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MAX_DELAY_S", 0.0)
    import_images(importer, 1)
    importer.archive.away = True
    status, said = command(importer, capsys, *SINCE)
    assert status == 1
    assert "Stopped: the archive does not answer" in said
