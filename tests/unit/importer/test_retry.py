"""`dicom-importer retry` brings failed files back into the inbox, each once and over nothing."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from dicom_importer import rename
from dicom_importer.files import Place
from unit.importer.building import instance
from unit.importer.commanding import command, killed
from unit.importer.test_flow import DAY, reason

if TYPE_CHECKING:
    from pathlib import Path

    from unit.importer.conftest import Importer

FAILED = f"failed/clinic-a/{DAY}"


def refuse(importer: Importer, path: str, content: bytes | None = None) -> None:
    """Let a file fail though its content is sound: the archive refuses it as unreadable, twice."""
    importer.drop(path, content or instance())
    importer.archive.script += [lambda _: (400, b'{"00081199": {"vr": "SQ"}}')] * 2
    importer.run()
    assert reason(importer, path.replace("/", f"/{DAY}/", 1))["reason"] == "refused_unreadable"


def test_a_file_that_failed_is_taken_again_by_the_running_service(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(importer, "clinic-a/export/one.dcm")
    status, said = command(importer, capsys, "retry", "--clinic", "clinic-a")
    assert status == 0
    assert f"one.dcm: back as {importer.root}/inbox/clinic-a/export/one.dcm" in said
    assert said.endswith("1 put back, 0 left.\n")
    assert importer.tree() == ["inbox/clinic-a/export/one.dcm"]
    importer.run()
    assert importer.tree() == [f"processed/clinic-a/{DAY}/export/one.dcm"]
    assert command(importer, capsys, "retry", "--clinic", "clinic-a") == (
        0,
        "0 put back, 0 left.\n",
    )


def test_what_lies_in_the_inbox_under_that_name_is_not_overwritten(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(importer, "clinic-a/one.dcm")
    there = importer.drop("clinic-a/one.dcm", b"another export")
    status, _ = command(importer, capsys, "retry", importer.root / FAILED / "one.dcm")
    assert status == 0
    assert there.read_bytes() == b"another export"
    assert importer.tree() == ["inbox/clinic-a/one (2).dcm", "inbox/clinic-a/one.dcm"]


def test_what_can_only_fail_again_is_named_and_goes_only_when_asked_for(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/export/note.dcm", b"hello")
    refuse(importer, "clinic-a/export/one.dcm")
    status, said = command(importer, capsys, "retry", importer.root / FAILED / "export")
    assert status == 1
    assert "note.dcm: not_dicom, which trying again does not change; left." in said
    assert "inbox/clinic-a/export/one.dcm" in importer.tree()
    note = importer.root / FAILED / "export/note.dcm"
    assert command(importer, capsys, "retry", f"{note}.error.json")[0] == 0
    assert f"{FAILED}/export/note.dcm" not in importer.tree()
    assert "inbox/clinic-a/export/note.dcm" in importer.tree()


def test_only_files_of_the_reason_that_is_named_go(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/note.txt", b"hello")
    refuse(importer, "clinic-a/one.dcm")
    refuse(importer, "clinic-b/two.dcm")
    asked = ("retry", "--clinic", "clinic-a", "--reason", "not_dicom")
    assert command(importer, capsys, *asked)[0] == 0
    assert "inbox/clinic-a/note.txt" in importer.tree()
    assert f"{FAILED}/one.dcm" in importer.tree()
    assert f"failed/clinic-b/{DAY}/two.dcm" in importer.tree()


def test_a_file_named_as_a_reason_is_a_file(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/x.error.json", b"{}")
    importer.run()
    status, _ = command(importer, capsys, "retry", importer.root / FAILED / "x.error.json")
    assert (status, importer.tree()) == (0, ["inbox/clinic-a/x.error.json"])


def test_without_its_record_a_file_goes_back_by_its_path(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(importer, "clinic-a/export/one.dcm")
    importer.service.close()
    for file in (importer.root / "state").glob("journal.sqlite*"):
        file.unlink()
    importer.restart()
    assert command(importer, capsys, "retry", "--clinic", "clinic-a")[0] == 0
    assert importer.tree() == ["inbox/clinic-a/export/one.dcm"]


@pytest.mark.parametrize("path", ["failed/nothing.dcm", "failed/../secret", "inbox/clinic-a/x"])
def test_what_does_not_lie_in_failed_is_refused(
    importer: Importer, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    status, said = command(importer, capsys, "retry", importer.root / path)
    assert status == 1
    assert "there is no such file in" in said
    assert (importer.root / "secret").exists()


def test_a_clinic_that_does_not_exist_is_named(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = command(importer, capsys, "retry", "--clinic", "clinic-x")
    assert (status, said) == (
        1,
        "Clinic clinic-x has no inbox: it is closed, or there is no such clinic.\n",
    )


def test_a_slip_of_the_keyboard_is_told_apart_from_nothing_to_do(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("retry", "--clinic", "clinic-a", "--reason", "refusd")
    status, said = command(importer, capsys, *asked)
    assert (status, said.startswith("There is no reason refusd; ")) == (1, True)
    with pytest.raises(SystemExit) as ended:
        command(importer, capsys, "retry", "--clinic", "")
    assert ended.value.code == 2


def test_a_file_that_the_service_is_just_moving_there_is_left(
    importer: Importer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(importer.service.journal, "finish_all", lambda *_, **__: None)
        refuse(importer, "clinic-a/one.dcm")
    failed = importer.root / FAILED / "one.dcm"
    status, said = command(importer, capsys, "retry", failed)
    assert status == 1
    assert "being moved there right now; left." in said
    importer.restart()
    assert command(importer, capsys, "retry", failed)[0] == 0


@pytest.mark.parametrize(
    ("step", "when", "where"),
    [
        ("rename:rename", "before", FAILED),
        ("rename:rename", "after", "inbox/clinic-a"),
        ("places:forget_reason", "before", "inbox/clinic-a"),
        ("places:forget_reason", "after", "inbox/clinic-a"),
    ],
)
def test_killed_at_any_step_a_file_is_in_one_place_and_a_second_retry_completes_it(
    importer: Importer, capsys: pytest.CaptureFixture[str], step: str, when: str, where: str
) -> None:
    refuse(importer, "clinic-a/one.dcm")
    killed(importer, step, when, "retry", "--clinic", "clinic-a")
    images = [name for name in importer.tree() if name.endswith(".dcm")]
    assert images == [f"{where}/one.dcm"]
    assert command(importer, capsys, "retry", "--clinic", "clinic-a")[0] == 0
    importer.run()
    assert importer.tree() == [f"processed/clinic-a/{DAY}/one.dcm"]
    assert len(importer.archive.instances) == 1


def test_a_name_that_is_taken_at_the_last_moment_is_not_overwritten(tmp_path: Path) -> None:
    source, target = Place(tmp_path, "from/one.dcm"), Place(tmp_path, "to/one.dcm")
    for place, content in ((source, b"ours"), (target, b"theirs")):
        (tmp_path / place.path).parent.mkdir()
        (tmp_path / place.path).write_bytes(content)
    with pytest.raises(FileExistsError):
        rename.rename(source, target)
    assert rename.to_free_name(source, target).path == "to/one (2).dcm"
    assert (tmp_path / "to/one.dcm").read_bytes() == b"theirs"
    assert (tmp_path / "to/one (2).dcm").read_bytes() == b"ours"


def test_folders_made_on_the_way_are_as_open_as_the_inbox(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox").chmod(0o2775)
    (tmp_path / "one.dcm").write_bytes(b"1")
    rename.rename(Place(tmp_path, "one.dcm"), Place(tmp_path, "inbox/export/a/one.dcm"))
    assert stat.S_IMODE((tmp_path / "inbox/export/a").stat().st_mode) == 0o2775
