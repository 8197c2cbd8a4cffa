"""What no workstation should drop and some day does: nothing breaks, and nothing else is held up."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import struct
import tempfile
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dicom_importer import cli, files, header, scan, upkeep, watch
from dicom_importer.files import Place
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)
from unit.importer.building import dataset, encode, instance, parse, shipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unit.importer.conftest import Importer

DAY = "2026-11-24"
NOBODY = 65534


def reason(importer: Importer, path: str) -> object:
    """Read the reason that stands beside a failed file."""
    content = (importer.root / f"failed/clinic-a/{DAY}/{path}.error.json").read_text()
    return json.loads(content)["reason"]


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be a user whom the rights of files hold for, as the importer is."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def inbox() -> Iterator[Path]:
    """Provide an inbox that anybody may enter."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        (Path(made) / "clinic-a/shut").mkdir(parents=True)
        yield Path(made)


def test_a_folder_that_cannot_be_read_holds_back_nothing_but_itself(inbox: Path) -> None:
    (inbox / "clinic-a/shut/one.dcm").write_text("1")
    (inbox / "clinic-a/two.dcm").write_text("2")
    (inbox / "clinic-a/shut").chmod(0)
    with unprivileged():
        found = scan.walk(inbox, "clinic-a")
    assert (list(found.files), found.unreadable) == (["two.dcm"], 1)
    (inbox / "clinic-a/shut").chmod(0o755)
    with unprivileged():
        assert len(scan.scan(inbox, "clinic-a")) == 2


def test_a_folder_that_cannot_be_read_is_told(
    importer: Importer,
    conf: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    importer.drop("clinic-a/shut/one.dcm", instance())
    importer.drop("clinic-a/two.dcm", instance())
    whole = files.folder

    def shut(root: Path, path: str, **how: bool) -> object:
        if path.endswith("/shut"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return whole(root, path, **how)

    monkeypatch.setattr(files, "folder", shut)
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1}
    labels = {"clinic_id": "clinic-a", "why": "unreadable"}
    assert importer.service.metrics.registry.get_sample_value("dicom_inbox_left_alone", labels) == 1
    capsys.readouterr()
    assert cli.main([*conf, "status"]) == 1
    assert "1 folders cannot be read" in capsys.readouterr().out


def test_a_file_that_cannot_be_read_stays_and_explain_says_so(
    importer: Importer,
    conf: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = importer.drop("clinic-a/export/shut.dcm", instance())
    importer.drop("clinic-a/export/two.dcm", instance())
    whole = files.open_file

    def shut(place: Place) -> object:
        if place.name == "shut.dcm":
            raise PermissionError(errno.EACCES, "Permission denied")
        return whole(place)

    with monkeypatch.context() as patched:
        patched.setattr(files, "open_file", shut)
        importer.run()
        assert importer.counted("clinic-a") == {"success": 1}
        capsys.readouterr()
        assert cli.main([*conf, "explain", str(file)]) == 0
        assert "cannot be read: Permission denied" in capsys.readouterr().out
    importer.run()
    assert importer.counted("clinic-a") == {"success": 2}


def test_an_unreadable_file_is_an_error_and_not_gone(inbox: Path) -> None:
    (inbox / "clinic-a/one.dcm").write_text("1")
    (inbox / "clinic-a/one.dcm").chmod(0)
    with unprivileged():
        assert files.look(Place(inbox, "clinic-a/one.dcm"))
        with pytest.raises(PermissionError):
            files.open_file(Place(inbox, "clinic-a/one.dcm"))


def test_a_device_is_not_seen(tmp_path: Path) -> None:
    (tmp_path / "clinic-a").mkdir()
    os.mknod(tmp_path / "clinic-a/null", 0o020600, os.makedev(1, 3))
    assert scan.scan(tmp_path, "clinic-a") == {}


def test_a_file_swapped_for_a_pipe_is_not_waited_for(importer: Importer) -> None:
    file = importer.drop("clinic-a/one.dcm", instance())
    importer.settle()
    file.unlink()
    os.mkfifo(file)
    assert importer.work() == 1
    assert importer.service.queue.idle
    assert importer.archive.stores == 0


def test_a_folder_named_as_an_image_is_a_folder(importer: Importer) -> None:
    importer.drop("clinic-a/x.dcm/y.dcm/one.dcm", instance())
    importer.run()
    assert importer.tree() == [f"processed/clinic-a/{DAY}/x.dcm/y.dcm/one.dcm"]


@pytest.mark.parametrize("name", [b"clinic-a/Z\xfcrich/M\xfcller.dcm", b"clinic-a/a\nb/c\td.dcm"])
def test_a_name_of_any_bytes_is_filed_as_it_is(importer: Importer, name: bytes) -> None:
    importer.drop(os.fsdecode(name), instance())
    importer.run()
    below = os.fsdecode(name).partition("/")[2]
    assert importer.tree() == [f"processed/clinic-a/{DAY}/{below}"]


def test_the_longest_paths_are_filed_and_their_time_ends(importer: Importer) -> None:
    path = "/".join(["d" * 200] * 40)
    with files.folder(importer.config.inbox_dir, f"clinic-a/{path}", create=True) as folder:
        descriptor = os.open("one.dcm", os.O_CREAT | os.O_WRONLY, dir_fd=folder)
        os.write(descriptor, instance())
        os.close(descriptor)
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1}
    assert files.look(Place(importer.root / "processed", f"clinic-a/{DAY}/{path}/one.dcm"))
    later = date.fromisoformat(DAY) + timedelta(days=31)
    assert upkeep.remove_old_days(importer.root / "processed", later, 30) == 1
    assert list((importer.root / "processed/clinic-a").iterdir()) == []


def test_the_deepest_folder_goes_when_its_time_is_over(tmp_path: Path) -> None:
    (tmp_path / "clinic-a/2020-01-01").mkdir(parents=True)
    descriptor = os.open(tmp_path / "clinic-a/2020-01-01", os.O_RDONLY)
    for _ in range(1100):  # more than Python's functions may nest
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    assert upkeep.remove_old_days(tmp_path, date(2026, 11, 24), 30) == 1
    assert list((tmp_path / "clinic-a").iterdir()) == []


def test_a_day_that_cannot_be_removed_does_not_keep_the_others(tmp_path: Path) -> None:
    for name in ("clinic-a/2020-01-01", "clinic-b/2020-01-01"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "one.dcm").write_text("1")
    tmp_path.chmod(0o755)
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        root.chmod(0o755)
        for name in ("clinic-a", "clinic-b"):
            (tmp_path / name).rename(root / name)
            for path in (root / name, root / name / "2020-01-01"):
                path.chmod(0o777)
        (root / "clinic-a/2020-01-01").chmod(0o555)
        with unprivileged():
            assert upkeep.remove_old_days(root, date(2026, 11, 24), 30) == 1
        assert not (root / "clinic-b/2020-01-01").exists()
        assert (root / "clinic-a/2020-01-01").exists()


def test_explain_leads_nowhere_else(
    importer: Importer, conf: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*conf, "explain", f"{importer.root}/inbox/clinic-a/../../secret"]) == 0
    assert "in none of" in capsys.readouterr().out


def test_a_late_file_joins_its_study(importer: Importer) -> None:
    made = dataset()
    importer.drop("clinic-a/export/one.dcm", encode(made))
    importer.run()
    made.SOPInstanceUID = generate_uid()
    importer.drop("clinic-a/export/two.dcm", encode(made))
    importer.clock.now_s += 86400
    importer.run()
    assert importer.counted("clinic-a") == {"success": 2}
    assert {held.uids[0] for held in importer.archive.instances.values()} == {made.StudyInstanceUID}


def test_a_file_replaced_while_it_is_sent_is_taken_as_a_new_one(importer: Importer) -> None:
    file = importer.drop("clinic-a/one.dcm", instance())
    new = importer.root / "new.dcm"
    new.write_bytes(instance())
    importer.archive.script.append(lambda _: (new.replace(file), None)[1])
    importer.settle()
    importer.work()
    assert importer.tree() == ["inbox/clinic-a/one.dcm"]
    importer.run()
    assert len(importer.archive.instances) == 2
    assert importer.tree() == [f"processed/clinic-a/{DAY}/one.dcm"]


@pytest.mark.parametrize("time_s", [0, 1, 2**31 - 1, 4_000_000_000])
def test_what_time_a_file_bears_is_of_no_account(importer: Importer, time_s: int) -> None:
    file = importer.drop("clinic-a/one.dcm", instance())
    os.utime(file, (time_s, time_s))
    importer.service.sweep()
    importer.clock.now_s += importer.config.cooldown_s - 1
    importer.service.sweep()
    assert importer.work() == 0
    importer.clock.now_s += 1
    importer.service.sweep()
    assert importer.work() == 1


def test_a_copy_is_taken_under_its_final_name(importer: Importer) -> None:
    part = importer.drop("clinic-a/export/one.dcm.part", instance())
    importer.run()
    part.rename(part.with_suffix(""))
    importer.run()
    assert importer.tree() == [f"processed/clinic-a/{DAY}/export/one.dcm"]


@pytest.mark.parametrize("charset", ["ISO_IR 999", "nonsense\\ISO 2022 IR 87", "", None])
def test_a_patient_id_in_no_known_character_set_is_stored(
    importer: Importer, charset: str | None
) -> None:
    made = dataset(PatientID="P1", SpecificCharacterSet="ISO_IR 100")
    content = encode(made).replace(b"P1", b"\xc4\xff")
    old = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100"
    assert content.count(old) == 1
    value = (charset or "").encode()
    value += b" " * (len(value) % 2)
    new = b"\x08\x00\x05\x00CS" + struct.pack("<H", len(value)) + value
    content = content.replace(old, b"" if charset is None else new)
    importer.drop("clinic-a/one.dcm", content)
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1}


@pytest.mark.parametrize("start", [b"\x08\x00\x16\x00", b"\x02\x00\x00\x00"])
@pytest.mark.parametrize("implicit", [False, True])
def test_without_preamble_or_meta_header_it_is_stored_with_both(
    importer: Importer, start: bytes, *, implicit: bool
) -> None:
    made = dataset()
    content = encode(made, ImplicitVRLittleEndian) if implicit else encode(made)
    importer.drop("clinic-a/one.dcm", content[content.index(start) :])
    importer.run()
    (held,) = importer.archive.instances.values()
    assert held.content[:132] == bytes(128) + b"DICM"
    assert parse(held.content).PixelData == made.PixelData
    assert parse(held.content).file_meta.TransferSyntaxUID


@pytest.mark.parametrize(
    "name", ["emri_small_jpeg_2k_lossless.dcm", "SC_rgb_rle_2frame.dcm", "JPEG-LL.dcm"]
)
def test_fragmented_pixels_arrive_bit_for_bit(importer: Importer, name: str) -> None:
    content = shipped(name).read_bytes()
    importer.drop("clinic-a/one.dcm", content)
    importer.run()
    (held,) = importer.archive.instances.values()
    assert held.tags.PixelData == parse(content).PixelData


def test_a_deflated_bomb_fails_alone(importer: Importer) -> None:
    bomb = dataset(PixelData=bytes(1 << 25))
    importer.drop("clinic-a/export/bomb.dcm", encode(bomb, DeflatedExplicitVRLittleEndian))
    importer.drop("clinic-a/export/one.dcm", instance())
    importer.run()
    assert reason(importer, "export/bomb.dcm") == "too_large"
    assert importer.counted("clinic-a") == {"success": 1, "rejected": 1}
    assert list((importer.config.state_dir / "spool").iterdir()) == []


def nested(levels: int, *, implicit: bool) -> bytes:
    """Return sequences in sequences, each of a defined length."""
    value = b""
    for _ in range(levels):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value
        head = struct.pack("<HH", 0x0040, 0xA730)
        kind = b"" if implicit else b"SQ\0\0"
        value = head + kind + struct.pack("<L", len(item)) + item
    return value


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
def test_deep_nesting_of_defined_length_is_refused_too(
    importer: Importer, syntax: str | None
) -> None:
    made = dataset(PixelData=None)
    start = encode(made, syntax) if syntax else encode(made)
    importer.drop("clinic-a/deep.dcm", start + nested(10_000, implicit=bool(syntax)))
    importer.drop("clinic-a/flat.dcm", start + nested(8, implicit=bool(syntax)))
    importer.run()
    assert reason(importer, "deep.dcm") == "too_deep"
    assert importer.counted("clinic-a") == {"success": 1, "rejected": 1}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_what_lies_in_a_sequence_is_not_taken_for_depth(syntax: str) -> None:
    chance = random.Random(7)  # noqa: S311 - the same noise each time
    no_items = b""
    for _ in range(100):
        no_items = struct.pack("<HHL", 0x0040, 0xA730, len(no_items)) + no_items + bytes(640)
    for pixels in (no_items, *(chance.randbytes(4096) for _ in range(30))):
        icon = dataset(PixelData=pixels)
        made = dataset(IconImageSequence=[icon] * 3, DerivationDescription="x" * 2000)
        content = encode(made, syntax)
        file = io.BytesIO(content)
        assert (
            header.read(file, len(content), header.read_meta(file)).sop_uid == made.SOPInstanceUID
        )


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EMFILE, errno.ENOSYS])
def test_without_events_the_importer_sweeps(
    importer: Importer,
    monkeypatch: pytest.MonkeyPatch,
    error: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("watchdog.observers.api.BaseObserver.start", refuse)
    assert watch.watch(importer.config.inbox_dir, importer.service.wake.set) is None
    assert os.strerror(error) in capsys.readouterr().out
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1}


def test_an_event_wakes_and_what_no_event_tells_is_swept(importer: Importer) -> None:
    observer = watch.watch(importer.config.inbox_dir, importer.service.wake.set)
    assert observer
    try:
        importer.drop("clinic-a/one.dcm", instance())
        assert importer.service.wake.wait(10)
    finally:
        observer.stop()
        observer.join()
    # As after an overflow of the kernel's queue: nothing tells of this one.
    importer.drop("clinic-a/two.dcm", instance())
    importer.run()
    assert importer.counted("clinic-a") == {"success": 2}


@pytest.mark.parametrize("restart", [True, False])
def test_a_mount_that_is_gone_is_not_everything_deleted(
    importer: Importer, *, restart: bool
) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.archive.script.append(lambda _: (500, b""))
    importer.settle()
    importer.work()
    inbox = importer.config.inbox_dir
    inbox.rename(inbox.with_name("away"))
    inbox.mkdir()  # as the folder that was mounted over
    if restart:
        importer.restart()
    importer.clock.now_s += 60
    assert importer.work() == (0 if restart else 1)
    importer.service.sweep()
    assert importer.service.health().inbox == restart
    assert [row.state for row in importer.service.journal.active()] == ["sending"]
    inbox.rmdir()
    inbox.with_name("away").rename(inbox)
    importer.run()
    assert importer.service.health().inbox
    assert importer.counted("clinic-a") == {"success": 1}
