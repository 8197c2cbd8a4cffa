"""A zip file in an inbox: what it holds is imported as if it had come so, or it fails and says why."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import struct
import tracemalloc
import zipfile
from typing import TYPE_CHECKING

import pytest
from dicom_importer import files, filing, rename, scan, unpack, upkeep, worker, zipped
from dicom_importer.reasons import NotDicom
from unit.importer.building import instance
from unit.importer.commanding import command

if TYPE_CHECKING:
    from collections.abc import Callable

    from unit.importer.conftest import Importer

DAY = "2026-11-24"
FILED = f"processed/clinic-a/{DAY}"


class Killed(BaseException):
    """Ends everything at once, as a kill does: nobody catches it."""


def packed(
    *entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """Pack entries into a zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def reason(importer: Importer, path: str) -> dict[str, object]:
    """Read the reason that stands beside a failed file."""
    content = (importer.root / f"failed/clinic-a/{DAY}/{path}.error.json").read_text()
    found: dict[str, object] = json.loads(content)
    return found


def hidden(importer: Importer) -> list[str]:
    """Return what lies where zip files are unpacked."""
    return [str(path) for path in importer.config.inbox_dir.glob(f"*/{scan.UNPACKING}")]


def unpacked(content: bytes) -> dict[str, bytes]:
    """Unpack a zip file in memory."""
    file = io.BytesIO(content)
    where = zipped.directory(file, len(content))
    return {
        entry.path: b"".join(zipped.content(file, entry, where))
        for entry in list(zipped.entries(file, where))
    }


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_what_a_zip_holds_is_imported_and_the_zip_is_kept(importer: Importer, method: int) -> None:
    one = instance()
    below = {"A.txt": b"Hello, you", "CT/b/two": instance(), "CT/one": one}
    content = packed(("CT/", b""), *below.items(), method=method)
    importer.drop("clinic-a/study.ZIP", content)
    importer.run()
    importer.run()
    shown = [f"{FILED}/study.unpacked/{name}" for name in below]
    assert importer.tree() == [f"{FILED}/study.ZIP", *shown]
    assert (importer.root / f"{FILED}/study.ZIP").read_bytes() == content
    assert (importer.root / f"{FILED}/study.unpacked/CT/one").read_bytes() == one
    assert importer.counted("clinic-a") == {"success": 2, "kept": 2}
    assert hidden(importer) == []
    records = [json.loads(line) for line in importer.config.audit_file.read_text().splitlines()]
    assert sorted((r["status"], r["instances"]) for r in records) == [
        *(("kept", 1), ("kept", 1), ("success", 1), ("success", 1)),
    ]


def test_it_is_unpacked_beside_itself(importer: Importer) -> None:
    importer.drop("clinic-a/export/old/study.zip", packed(("one", instance())))
    importer.drop("clinic-a/export/old/study.unpacked/two", instance())
    importer.run()
    importer.run()
    names = ("study (2).unpacked/one", "study.unpacked/two", "study.zip")
    assert importer.tree() == [f"{FILED}/export/old/{name}" for name in names]


def test_the_same_zip_again_brings_duplicates(importer: Importer) -> None:
    content = packed(("one", instance()))
    for _ in range(2):
        importer.drop("clinic-a/study.zip", content)
        importer.run()
        importer.run()
    assert importer.counted("clinic-a") == {"success": 1, "duplicate": 1, "kept": 2}


def test_no_more_is_done_with_a_zip_than_asked(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/study.zip", packed(("one", instance())))
    importer.run()
    importer.run()
    path = importer.root / "inbox/clinic-a/study.zip"
    assert "1 files were unpacked from it" in command(importer, capsys, "explain", path)[1]
    assert command(importer, capsys, "verify")[0] == 0
    said = command(importer, capsys, "replay", "--since", DAY, "--by", "me")[1]
    assert "0 stored, 0 repaired, 1 there, 0 failed" in said


def test_the_folder_goes_when_it_is_empty_for_a_day(importer: Importer) -> None:
    importer.drop("clinic-a/study.zip", packed(("one", instance())))
    importer.drop("clinic-a/export/two", instance())
    importer.run()
    importer.run()
    inbox = importer.config.inbox_dir
    assert sorted(path.name for path in (inbox / "clinic-a").iterdir()) == [
        "export",
        "study.unpacked",
    ]
    later_s = (inbox / "clinic-a/study.unpacked").stat().st_mtime + 100
    assert upkeep.remove_empty_folders(inbox, "clinic-a", later_s, 99) == 1
    assert sorted(path.name for path in (inbox / "clinic-a").iterdir()) == ["export"]


def test_a_zip_in_a_zip_fails_and_what_lies_beside_it_does_not(importer: Importer) -> None:
    inner = packed(("one", instance()))
    importer.drop("clinic-a/study.zip", packed(("two", instance()), ("b/inner.zip", inner)))
    importer.run()
    importer.run()
    assert reason(importer, "study.unpacked/b/inner.zip")["reason"] == "packed"
    assert importer.counted("clinic-a") == {"success": 1, "kept": 1, "not_dicom": 1}


def link(name: str, target: bytes) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info, target


def named(name: bytes, content: bytes = b"abc", *, utf8: bool = False) -> bytes:
    """Pack an entry whose name is these bytes."""
    made = packed(("N" * len(name), content)).replace(b"N" * len(name), name)
    return flagged(made, 1 << 11) if utf8 else made


def flagged(content: bytes, flags: int) -> bytes:
    """Set an only entry's flags."""
    made = bytearray(content)
    at = made.index(b"PK\1\2")
    made[at + 8 : at + 10] = struct.pack("<H", flags)
    return bytes(made)


def overlapping() -> bytes:
    """Return a zip whose hundred entries share their content."""
    made = packed(("a", random.Random(7).randbytes(1000)))  # noqa: S311 - the same each time
    start = made.index(b"PK\1\2")
    record = made[start : made.index(b"PK\5\6")]
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 100, 100, 100 * len(record), start, 0)
    return made[:start] + record * 100 + end


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (named(b"../up"), "packed_unsafe"),
        (named(b"a/../../up"), "packed_unsafe"),
        (named(b"..\\up"), "packed_unsafe"),
        (named(b"/etc/up"), "packed_unsafe"),
        (named(b"\\\\host\\up"), "packed_unsafe"),
        (named(b"C:\\up"), "packed_unsafe"),
        (named(b"a\0b"), "packed_unsafe"),
        (named(b"M\xfcller", utf8=True), "packed_unsafe"),
        (named(b"n" * 256), "packed_unsafe"),
        (named(b"d/" * 65 + b"n"), "packed_unsafe"),
        (packed(link("up", b"../../clinic-b")), "packed_unsafe"),
        (overlapping(), "packed_unsafe"),
        (flagged(packed(("one", b"abc")), 1), "packed_encrypted"),
        (packed(("one", b"abc"), method=zipfile.ZIP_LZMA), "packed"),
        (packed(), "empty"),
        (packed(("folder/", b"")), "empty"),
    ],
)
def test_what_no_zip_should_hold_fails_and_nothing_of_it_is_taken(
    importer: Importer, content: bytes, code: str
) -> None:
    importer.drop("clinic-a/bad.zip", content)
    importer.run()
    importer.run()
    assert reason(importer, "bad.zip")["reason"] == code
    failed = f"failed/clinic-a/{DAY}/bad.zip"
    assert importer.tree() == [failed, f"{failed}.error.json"]
    assert (importer.root / failed).read_bytes() == content
    assert list((importer.config.inbox_dir / "clinic-a").iterdir()) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("first", "second"), [("a/b", "a/b"), ("a", "a/b"), ("a/b", "a")])
def test_a_name_used_twice_fails(importer: Importer, first: str, second: str) -> None:
    importer.drop("clinic-a/bad.zip", packed((first, b"one"), (second, b"two")))
    importer.run()
    assert reason(importer, "bad.zip")["reason"] == "packed_unsafe"
    assert hidden(importer) == []


def test_a_name_that_does_not_say_what_it_is_is_read_as_the_standard_says() -> None:
    assert unpacked(named(b"M\x81ller")) == {"Müller": b"abc"}
    assert unpacked(named("Müller".encode())) == {"Müller": b"abc"}
    assert unpacked(named(b"./IMG\\001")) == {"IMG/001": b"abc"}


def test_more_than_is_set_fails_before_anything_is_written(importer: Importer) -> None:
    zeros = bytes(1 << 20)
    importer.drop("clinic-a/large.zip", packed(*((str(n), zeros) for n in range(257))))
    importer.run()
    assert reason(importer, "large.zip")["reason"] == "packed_too_large"


@pytest.mark.parametrize(("limit", "value"), [("MAX_ENTRIES", 2), ("FREE_OF_RATIO_BYTES", 1 << 20)])
def test_too_many_entries_and_a_bomb_fail(
    importer: Importer, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(unpack, limit, value)
    importer.drop("clinic-a/bomb.zip", packed(*((str(n), bytes(1 << 20)) for n in range(3))))
    importer.run()
    assert reason(importer, "bomb.zip")["reason"] == "packed_too_large"


def test_an_entry_that_holds_more_than_it_says_is_not_unpacked_further() -> None:
    content = packed(("bomb", bytes(0x01234567)))
    small = content.replace(struct.pack("<L", 0x01234567), struct.pack("<L", 1 << 10))
    file = io.BytesIO(small)
    where = zipped.directory(file, len(small))
    (entry,) = zipped.entries(file, where)
    with pytest.raises(NotDicom, match="packed_broken"):
        next(zipped.content(file, entry, where))


@pytest.mark.parametrize("size_bytes", [1 << 18, (1 << 18) - 1, (1 << 20) + 3, 1, 0])
def test_content_that_ends_with_a_chunk_is_whole(size_bytes: int) -> None:
    assert unpacked(packed(("zeros", bytes(size_bytes)))) == {"zeros": bytes(size_bytes)}


def test_a_directory_of_many_entries_takes_no_memory() -> None:
    content = packed(*((f"{number:06}", b"") for number in range(20_000)))
    file = io.BytesIO(content)
    tracemalloc.start()
    try:
        where = zipped.directory(file, len(content))
        assert sum(1 for _ in zipped.entries(file, where)) == 20_000
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1 << 18


def test_sizes_of_64_bits_are_read() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("one", "w", force_zip64=True) as one:
        one.write(b"abc")
    assert unpacked(buffer.getvalue()) == {"one": b"abc"}
    many = packed(*((str(number), b"") for number in range(70_000)), method=zipfile.ZIP_STORED)
    assert len(unpacked(many)) == 70_000


def test_a_zip_cut_anywhere_is_broken_or_waits_for_more(importer: Importer) -> None:
    content = packed(("one", b"a" * 100), ("two", b"b" * 100))
    for end in range(4, len(content)):
        with pytest.raises(NotDicom) as failure:
            unpacked(content[:end])
        assert failure.value.code == "packed_broken"
    file = importer.drop("clinic-a/study.zip", content[:-9])
    importer.settle()
    importer.work()
    assert file.exists()
    importer.run()
    assert reason(importer, "study.zip")["reason"] == "packed_broken"


def test_damage_of_any_byte_never_brings_other_content() -> None:
    good = {"one": b"a" * 100, "two": random.Random(7).randbytes(100)}  # noqa: S311
    content = packed(*good.items())
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 0xFF
        try:
            found = unpacked(bytes(damaged))
        except NotDicom:
            continue
        assert sorted(found.values()) == sorted(good.values())


def test_without_room_it_waits(
    importer: Importer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = os.statvfs
    file = importer.drop("clinic-a/study.zip", packed(("one", instance())))
    with monkeypatch.context() as patched:
        none = os.statvfs_result((*real("/")[:4], 0, *real("/")[5:]))
        patched.setattr(os, "statvfs", lambda _: none)
        importer.run()
        assert file.exists()
        assert "The disk of inbox is nearly full" in command(importer, capsys, "explain", file)[1]
    importer.run()
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1, "kept": 1}


def test_a_disk_that_runs_full_meanwhile_leaves_nothing(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = importer.drop("clinic-a/study.zip", packed(("one", instance())))

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(unpack, "_sync", full)
        importer.settle()
        importer.work()
    assert file.exists()
    assert hidden(importer) == []


def test_a_zip_that_changes_while_it_is_unpacked_is_taken_as_it_is_then(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = importer.drop("clinic-a/study.zip", packed(("old", instance())))
    new = packed(("new", instance()))
    sync = unpack._sync  # noqa: SLF001
    with monkeypatch.context() as patched:
        patched.setattr(unpack, "_sync", lambda top: (sync(top), file.write_bytes(new)))
        importer.settle()
        importer.work()
    assert hidden(importer) == []
    importer.run()
    importer.run()
    assert importer.tree() == [f"{FILED}/study.unpacked/new", f"{FILED}/study.zip"]


def test_others_need_not_wait_for_it(importer: Importer, monkeypatch: pytest.MonkeyPatch) -> None:
    importer.drop("clinic-a/study.zip", packed(("one", instance())))
    importer.drop("clinic-b/two.dcm", instance())
    importer.settle()
    jobs = [importer.service.queue.take(0), importer.service.queue.take(0)]
    claims = importer.service.worker._context.claims  # noqa: SLF001
    for job in jobs:
        assert job
        claims.announce(job.arrival)
    first, second = sorted((job for job in jobs if job), key=lambda job: job.arrival)
    monkeypatch.setattr(unpack, "_sync", lambda _: importer.service.worker.handle(second))
    importer.service.worker.handle(first)
    assert importer.counted("clinic-b") == {"success": 1}


def test_one_is_unpacked_at_a_time(importer: Importer, monkeypatch: pytest.MonkeyPatch) -> None:
    importer.drop("clinic-a/study.zip", packed(("one", instance())))
    importer.drop("clinic-b/study.zip", packed(("two", instance())))
    importer.settle()
    first, second = importer.service.queue.take(0), importer.service.queue.take(0)
    assert first
    assert second
    with monkeypatch.context() as patched:
        patched.setattr(unpack, "_sync", lambda _: importer.service.worker.handle(second))
        importer.service.worker.handle(first)
    assert importer.counted(first.arrival.clinic) == {"kept": 1}
    assert importer.counted(second.arrival.clinic) == {}
    importer.run()
    importer.run()
    assert importer.counted(second.arrival.clinic) == {"success": 1, "kept": 1}


STEPS: list[tuple[object, str]] = [
    (unpack, "forget"),
    (unpack, "_write"),
    (unpack, "_sync"),
    (worker.Worker, "_file"),
    (unpack, "show"),
    (rename, "rename"),
    (unpack, "forget_empty"),
    (filing, "move_all"),
    (files, "move_all"),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[name for _, name in STEPS])
def test_killed_at_any_step_it_ends_the_same(
    importer: Importer, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, when: str
) -> None:
    real: Callable[..., object] = getattr(owner, name)

    def die(*args: object, **kwargs: object) -> None:
        if when == "after":
            real(*args, **kwargs)
        raise Killed

    importer.drop("clinic-a/study.zip", packed(("a/one", instance()), ("two", instance())))
    importer.settle()
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, die)
        # What a killed process does not do either.
        if name != "forget":
            patched.setattr(unpack, "forget", lambda *_: None)
        with pytest.raises(Killed):
            importer.work()
    importer.restart()
    importer.run()
    importer.run()
    names = ("study.unpacked/a/one", "study.unpacked/two", "study.zip")
    assert importer.tree() == [f"{FILED}/{name}" for name in names]
    assert hidden(importer) == []
    assert len(importer.archive.instances) == importer.archive.stores == 2
    records = [json.loads(line) for line in importer.config.audit_file.read_text().splitlines()]
    assert sorted((r["status"], r["instances"]) for r in records) == [
        *(("kept", 1), ("success", 1), ("success", 1)),
    ]


def test_what_a_kill_left_of_a_zip_that_went_goes_too(importer: Importer) -> None:
    file = importer.drop("clinic-a/study.zip", packed(("one", instance())))
    left = importer.config.inbox_dir / "clinic-a" / scan.UNPACKING / ("0" * 32)
    left.mkdir(parents=True)
    (left / "one").write_bytes(b"half")
    file.unlink()
    importer.service.sweep()
    assert importer.service.health().pending == 0
    importer.restart()
    assert hidden(importer) == []
