"""`dicom-importer replace`: another version takes an image's place, or everything stays as it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from dicom_importer import plan, replace
from pydicom.uid import generate_uid
from unit.importer.archiving import stow_answer
from unit.importer.building import dataset, encode
from unit.importer.commanding import command, journalled, killed
from unit.importer.test_flow import DAY

if TYPE_CHECKING:
    from pathlib import Path

    from unit.importer.conftest import Importer

OLD, NEW = bytes(range(16)), bytes(range(16, 32))
BY = ("--by", "an-admin")


def another_version(importer: Importer, path: str = "clinic-a/export/new.dcm") -> Path:
    """Import an image, let another version of it fail, and return where that lies."""
    made = dataset()
    importer.drop(f"{path.partition('/')[0]}/old.dcm", encode(made))
    importer.run()
    made.PixelData = NEW
    importer.drop(path, encode(made))
    importer.run()
    return importer.root / "failed" / path.replace("/", f"/{DAY}/", 1)


def pixels(importer: Importer) -> list[bytes]:
    """Return the pixels of every image that the archive holds."""
    return [bytes(held.tags.PixelData) for held in importer.archive.instances.values()]


def records(importer: Importer) -> list[dict[str, object]]:
    """Return the audit's records of replacements."""
    lines = importer.config.audit_file.read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [record for record in found if record["status"] == "replaced"]


def assert_replaced(importer: Importer) -> None:
    """Expect what a replacement leaves, whatever happened on the way."""
    assert pixels(importer) == [NEW]
    assert importer.tree() == [
        f"processed/clinic-a/{DAY}/export/new.dcm",
        f"processed/clinic-a/{DAY}/old.dcm",
    ]
    assert [(status, state) for status, state, _ in journalled(importer)] == [
        ("success", "done"),
        ("rejected", "done"),
        ("success", "done"),
    ]
    (record,) = records(importer)
    assert record["who"] == {
        "service": "dicom-importer",
        "source": "failed/clinic-a",
        "operator": "an-admin",
    }
    assert record["old_md5"] != record["new_md5"]
    assert not (importer.config.state_dir / "replacement").exists()


def assert_as_before(importer: Importer) -> None:
    """Expect that nothing was changed: the archive holds the old version, and the new one lies in failed/."""
    assert pixels(importer) == [OLD]
    assert f"failed/clinic-a/{DAY}/export/new.dcm" in importer.tree()
    assert f"failed/clinic-a/{DAY}/export/new.dcm.error.json" in importer.tree()
    assert records(importer) == []
    assert plan.read(importer.config.state_dir) == ()


def test_another_version_takes_the_place_of_what_the_archive_holds(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = another_version(importer)
    status, said = command(importer, capsys, "replace", failed, *BY)
    assert status == 0
    assert "it is in the archive now" in said
    assert_replaced(importer)
    (held,) = importer.archive.instances.values()
    assert held.tags.InstitutionName == "clinic-a"
    assert importer.archive.refreshed == [held.id(1)]


def test_a_folder_stands_for_its_files(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = another_version(importer)
    importer.drop("clinic-a/export/note.dcm", b"hello")
    importer.run()
    status, said = command(importer, capsys, "replace", failed.parent, *BY)
    assert status == 1
    assert "note.dcm: it failed for another reason (not_dicom); use retry." in said
    assert pixels(importer) == [NEW]


def test_what_replaced_another_is_a_duplicate_when_it_comes_again(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = another_version(importer)
    content = failed.read_bytes()
    command(importer, capsys, "replace", failed, *BY)
    importer.drop("clinic-a/again.dcm", content)
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1, "duplicate": 1, "rejected": 1}


def test_a_version_that_the_archive_refuses_brings_the_old_one_back(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = another_version(importer)
    (before,) = importer.archive.instances.values()
    importer.archive.script.append(lambda _: (400, b'{"00081199": {"vr": "SQ"}}'))
    status, said = command(importer, capsys, "replace", failed, *BY)
    assert status == 1
    assert "The archive cannot read this file. The archive holds what it held." in said
    assert_as_before(importer)
    (after,) = importer.archive.instances.values()
    assert after.content == before.content


def test_an_answer_of_success_without_the_image_brings_the_old_one_back(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = another_version(importer)
    (before,) = importer.archive.instances.values()
    uid = before.tags.SOPInstanceUID
    importer.archive.script.append(lambda _: (200, stow_answer(stored=uid)))
    assert command(importer, capsys, "replace", failed, *BY)[0] == 1
    assert_as_before(importer)


def test_an_archive_that_goes_away_meanwhile_is_waited_for_and_then_left_to_the_service(
    importer: Importer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replace, "FIRST_DELAY_S", 0.0)
    failed = another_version(importer)

    def goes_away(_: bytes) -> tuple[int, bytes]:
        importer.archive.away = True
        return 503, b""

    importer.archive.script.append(goes_away)
    status, said = command(importer, capsys, "replace", failed, *BY)
    assert status == 1
    assert "What was begun, the importer goes on with." in said
    assert pixels(importer) == []
    importer.service.tend()
    assert pixels(importer) == []
    importer.archive.away = False
    importer.service.tend()
    assert_replaced(importer)


STEPS = (
    "plan:commit",
    "archive:Archive.remove",
    "archive:Archive.store",
    "audit:append",
    "rename:rename",
    "places:forget_reason",
    "journal:Journal.begin",
    "journal:Journal.decide",
    "journal:Journal.finish",
    "plan:end",
)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_replacement_is_finished_by_the_service(
    importer: Importer, capsys: pytest.CaptureFixture[str], step: str, when: str
) -> None:
    failed = another_version(importer)
    killed(importer, step, when, "replace", failed, *BY)
    importer.service.tend()
    if (step, when) == ("plan:commit", "before"):
        assert_as_before(importer)
        assert command(importer, capsys, "replace", failed, *BY)[0] == 0
    assert_replaced(importer)
    if step != "plan:end":
        assert importer.archive.refreshed
    importer.restart()
    importer.run()
    assert_replaced(importer)


@pytest.mark.parametrize("step", ["archive:Archive.remove", "audit:append", "rename:rename"])
def test_a_killed_replacement_is_finished_by_the_next_command(
    importer: Importer, capsys: pytest.CaptureFixture[str], step: str
) -> None:
    failed = another_version(importer)
    killed(importer, step, "after", "replace", failed, *BY)
    command(importer, capsys, "replace", failed, *BY)
    assert_replaced(importer)


def test_while_one_replaces_the_importer_stands_back_from_that_study(
    importer: Importer,
) -> None:
    failed = another_version(importer)
    killed(importer, "archive:Archive.remove", "after", "replace", failed, *BY)
    (study,) = {
        row.identity.study_uid
        for row in importer.service.journal.past.filed_as(f"clinic-a/{DAY}/old.dcm")
    }
    importer.drop("clinic-b/theirs.dcm", encode(dataset(StudyInstanceUID=study)))
    importer.settle()
    importer.work()
    assert pixels(importer) == []
    importer.service.tend()
    importer.run()
    assert pixels(importer) == [NEW]
    assert f"failed/clinic-b/{DAY}/theirs.dcm" in importer.tree()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"StudyInstanceUID": generate_uid()}, "(other_study)"),
        ({"SeriesInstanceUID": generate_uid()}, "in another series of this study"),
        ({"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}, "elsewhere"),
    ],
)
def test_an_identifier_that_the_archive_holds_elsewhere_is_left_there(
    importer: Importer,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    words: str,
) -> None:
    made = dataset()
    importer.drop("clinic-a/old.dcm", encode(made))
    importer.run()
    made.PixelData = NEW
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    importer.drop("clinic-a/export/new.dcm", encode(made))
    importer.run()
    failed = importer.root / f"failed/clinic-a/{DAY}/export/new.dcm"
    status, said = command(importer, capsys, "replace", failed, *BY)
    assert status == 1
    assert words in said
    assert_as_before(importer)


def test_two_replacements_do_not_run_at_once(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = another_version(importer)
    with plan.held(importer.config.state_dir) as mine:
        assert mine
        status, said = command(importer, capsys, "replace", failed, *BY)
    assert (status, said.startswith("Another replacement is under way")) == (1, True)
    assert_as_before(importer)
