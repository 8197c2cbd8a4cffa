"""Reading what nginx writes: no record twice and none lost, wherever a kill comes; disks that fill; files that end."""

from __future__ import annotations

import json
import os
import stat

import pytest
from access_audit import follow, state
from hypothesis import given
from hypothesis import strategies as st
from unit.audit.building import ANNA, START_S, Desk, frame, line


def ids(desk: Desk) -> list[str]:
    return [str(record["id"]) for record in desk.records()]


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    torn=st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=8, max_size=8),
)
def test_a_kill_while_records_are_written_loses_none_and_doubles_none(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], torn: list[float | None]
) -> None:
    desk = Desk(tmp_path_factory.mktemp("desk"))
    undisturbed = Desk(tmp_path_factory.mktemp("undisturbed"))
    number = 0
    for size, at in zip(sizes, torn, strict=False):
        # Every third goes on with a view, so that what is open matters too.
        lines = [
            frame(n, START_S + n, study=f"1.2.{n if n % 3 else 0}")
            for n in range(number, number + size)
        ]
        number += size
        desk.write(*lines)
        undisturbed.write(*lines)
        undisturbed.read()
        if at is None:
            desk.read()
            continue
        # The kill: records are on the disk in part, or whole, and the state is that of before.
        written = desk.top / "access" / "2025-11.jsonl"
        remembered = desk.top / "state" / "state.json"
        before = written.stat().st_size if written.exists() else 0
        kept = remembered.read_bytes() if remembered.exists() else None
        desk.read()
        after = written.stat().st_size
        with written.open("rb+") as file:
            file.truncate(before + round((after - before) * at))
        remembered.unlink() if kept is None else remembered.write_bytes(kept)
    desk.read()
    assert ids(desk) == ids(undisturbed)
    assert len(set(ids(desk))) == len(ids(desk))


def test_a_line_is_read_when_it_is_whole(desk: Desk) -> None:
    text = frame(1)
    desk.write(text[:40])
    desk.read()
    assert desk.records() == []
    desk.write(text[40:], frame(2, study="1.9"))
    desk.read()
    assert len(desk.records()) == 2


def test_what_is_no_line_is_counted_and_the_next_one_read(desk: Desk) -> None:
    desk.write(b"\xff\xfe{\n", b"{}\n", b"[]\n", b"7\n", b'{"time":\n', frame(1))
    auditor = desk.auditor()
    auditor.requests()
    assert auditor.metrics.unreadable._value.get() == 5  # noqa: SLF001 - as prometheus_client has it
    assert len(desk.records()) == 1


@given(at=st.floats(0, 1))
def test_the_line_after_what_a_power_cut_left_of_one_is_read(
    tmp_path_factory: pytest.TempPathFactory, at: float
) -> None:
    desk = Desk(tmp_path_factory.mktemp("desk"))
    torn, whole = frame(1, study="1.1"), frame(2, study="1.2")
    desk.write(torn[: round((len(torn) - 1) * at)], whole)
    desk.read()
    assert [record["study_instance_uid"] for record in desk.records()] == ["1.2"]


def test_what_is_noted_as_read_is_on_the_disk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    on_disk: dict[int, int] = {}
    sync = os.fsync

    def noted(descriptor: int) -> None:
        sync(descriptor)
        there = os.fstat(descriptor)
        on_disk[there.st_ino] = there.st_size

    monkeypatch.setattr(os, "fsync", noted)
    for number in range(3):
        desk.write(frame(number, study=f"1.{number}"))
        desk.read()
        offsets = json.loads((desk.top / "state" / "state.json").read_text())["offsets"]
        assert offsets
        for name, offset in offsets.items():
            assert on_disk[(desk.top / "spool" / name).stat().st_ino] >= offset


def test_a_file_without_any_end_of_line_does_not_stop_the_reading(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "MAX_BATCH_BYTES", 2000)
    desk.write(b"x" * 9000, b"\n", frame(1))
    desk.read()
    assert len(desk.records()) == 1


def test_much_is_read_in_parts(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "MAX_BATCH_BYTES", 2000)
    for at in (0, 1000, 2000):
        desk.write(*(frame(n, study=f"1.{at}.{n}") for n in range(30)), at_s=START_S + at)
    desk.read()
    assert len(ids(desk)) == 90


def test_a_file_goes_when_it_is_read_and_its_time_is_over(desk: Desk) -> None:
    first = desk.write(frame(1))
    auditor = desk.auditor()
    desk.now_s += 2000
    auditor.upkeep()
    assert first.exists(), "it was not read yet"
    second = desk.write(frame(2, study="1.9"))
    auditor.requests()
    auditor.upkeep()
    assert not first.exists()
    assert second.exists(), "it is still written"
    auditor.requests()
    assert json.loads((desk.top / "state" / "state.json").read_text())["offsets"].keys() == {
        second.name
    }
    assert len(desk.records()) == 2


def test_other_files_are_left_alone(desk: Desk) -> None:
    other = desk.top / "spool" / "access.log"
    other.write_bytes(frame(1))
    auditor = desk.auditor()
    auditor.requests()
    desk.now_s += 1e6
    auditor.upkeep()
    assert other.exists()
    assert desk.records() == []


@pytest.mark.parametrize("what", ["access_audit.files.append", "access_audit.service.save"])
def test_a_disk_that_is_full_loses_nothing(
    desk: Desk, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    auditor = desk.auditor()
    desk.write(frame(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(what, full)
        with pytest.raises(OSError, match="No space"):
            auditor.requests()
    assert auditor.requests() is False
    assert len(desk.records()) == 1
    auditor.requests()
    assert len(desk.records()) == 1


def test_records_are_for_the_auditor_alone(desk: Desk) -> None:
    desk.write(frame(1))
    desk.read()
    (path,) = (desk.top / "access").glob("????-??.jsonl")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_open_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MAX_OPEN", 10)
    monkeypatch.setattr("access_audit.judge.MAX_NAMES", 10)
    for n in range(50):
        who = {**ANNA, "sub": f"s{n}"}
        desk.write(
            frame(n, claims=who, study=f"1.2.{n}"),
            line("/dicom-web/series", status="404", claims=who),
        )
    desk.read()
    kept = json.loads((desk.top / "state" / "state.json").read_text())
    assert [len(kept[key]) for key in ("views", "recent", "names")] == [10, 10, 10]


def test_how_far_behind_it_is_shows(desk: Desk) -> None:
    auditor = desk.auditor()

    def lag() -> float | None:
        return auditor.metrics.registry.get_sample_value(
            "dicom_audit_lag_seconds", {"service": "nginx"}
        )

    desk.now_s += 400
    assert lag() == 400
    desk.write(line("/healthz", desk.now_s - 5))
    auditor.requests()
    assert lag() == 5
    assert desk.records() == []


def test_a_state_that_is_none_says_what_to_do(desk: Desk) -> None:
    (desk.top / "state" / "state.json").write_text('{"offsets": {}}')
    with pytest.raises(ValueError, match="move it away"):
        desk.auditor()
