"""Intake pauses before a disk is full, says so, and goes on by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from dicom_importer import config, room
from dicom_importer.config import ConfigError
from unit.importer.building import instance
from unit.importer.commanding import command
from unit.importer.test_service import SHIPPED

if TYPE_CHECKING:
    from pathlib import Path

    from unit.importer.conftest import Importer

LOW, HIGH = 1 << 30, 2 << 30


@pytest.fixture
def free(importer: Importer, monkeypatch: pytest.MonkeyPatch) -> dict[str, int | None]:
    """Provide what is free by folder, of an importer with marks."""
    found: dict[str, int | None] = dict.fromkeys(("archive", "processed", "failed", "state"), HIGH)

    def free_bytes(path: Path) -> int | None:
        return found[path.name]

    monkeypatch.setattr(room, "_free_bytes", free_bytes)
    importer.config = replace(importer.config, min_free_bytes=LOW, resume_free_bytes=HIGH)
    importer.restart()
    return found


def paused(importer: Importer) -> bool:
    """Return what monitoring is told."""
    value = importer.service.metrics.registry.get_sample_value("dicom_importer_intake_paused")
    assert value == importer.service.health().paused
    return bool(value)


@pytest.mark.parametrize("place", ["archive", "processed", "failed", "state"])
def test_intake_pauses_at_the_low_mark_and_goes_on_at_the_high_one(
    importer: Importer, free: dict[str, int | None], place: str
) -> None:
    free[place] = LOW - 1
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    assert paused(importer)
    assert importer.tree() == ["inbox/clinic-a/one.dcm"]
    assert importer.service.worker.archive_up
    free[place] = HIGH - 1
    importer.run()
    assert paused(importer)
    assert importer.archive.stores == 0
    free[place] = HIGH
    importer.run()
    assert not paused(importer)
    assert importer.counted("clinic-a") == {"success": 1}


def test_between_the_marks_intake_that_was_not_paused_goes_on(
    importer: Importer, free: dict[str, int | None]
) -> None:
    free["archive"] = HIGH - 1
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1}


def test_a_file_that_would_use_up_the_room_waits_alone(
    importer: Importer, free: dict[str, int | None]
) -> None:
    free["archive"] = LOW + 10_000
    importer.drop("clinic-a/large.dcm", instance(PixelData=bytes(20_000)))
    importer.drop("clinic-a/small.dcm", instance())
    importer.run()
    assert not paused(importer)
    assert importer.tree() == [
        "inbox/clinic-a/large.dcm",
        "processed/clinic-a/2026-11-24/small.dcm",
    ]


def test_a_place_that_cannot_be_seen_pauses_nothing(
    importer: Importer, free: dict[str, int | None]
) -> None:
    free["archive"] = None
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1}


def test_status_and_explain_say_which_disk_is_short(
    importer: Importer, free: dict[str, int | None], capsys: pytest.CaptureFixture[str]
) -> None:
    file = importer.drop("clinic-a/one.dcm", instance())
    assert command(importer, capsys, "status")[0] == 0
    free["processed"] = LOW // 2
    words = "The disk of processed has 0.50 GiB left: intake pauses below 1.00 GiB and goes on from"
    status, said = command(importer, capsys, "status")
    assert status == 1
    assert words in said
    assert words in command(importer, capsys, "explain", file)[1]
    importer.settle()
    importer.work()
    said = command(importer, capsys, "explain", file)[1]
    assert "The disk of processed is nearly full." in said
    assert words in said


def test_marks_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ConfigError, match="RESUME_FREE_BYTES must not be below"):
        config.load(SHIPPED, {"RESUME_FREE_BYTES": "1"})


def test_what_the_file_system_says_is_read(importer: Importer) -> None:
    found = room.free_bytes(importer.config)
    assert found.keys() == {"processed", "failed", "state"}
    assert all(free > 0 for free in found.values())
