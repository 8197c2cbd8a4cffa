"""Each of the importer's disks runs full: files stay where they are, and go on when there is room."""

from __future__ import annotations

import errno
import itertools
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from faults.scene import trial
from harness.drop import remaining
from harness.own_importer import FOLDERS
from harness.small_disk import SIZE_BYTES, small_disk
from harness.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from faults.scene import Scene

FLOW_TIMEOUT_S = 30


@contextmanager
def full(folder: Path, *of: str) -> Iterator[None]:
    """Leave neither a block nor an inode, or none of what is named."""
    fillers = folder / "fillers"
    fillers.mkdir()
    try:
        if not of or "blocks" in of:
            with (fillers / "blocks").open("wb", 0) as file:
                until_full(lambda _: file.write(bytes(4096)))
        if not of or "inodes" in of:
            until_full(lambda number: (fillers / str(number)).touch())
        yield
    finally:
        shutil.rmtree(fillers)


def until_full(write: Callable[[int], object]) -> None:
    """Write again and again until there is no room."""
    for number in itertools.count():
        try:
            write(number)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                return
            raise


def test_intake_pauses_before_a_disk_is_full_and_goes_on_by_itself(scene: Scene) -> None:
    low, high = SIZE_BYTES // 4, SIZE_BYTES // 2
    one = trial(scene, MIN_FREE_BYTES=str(low), RESUME_FREE_BYTES=str(high))
    importer = one.importer
    disk = importer.files / "processed"
    with small_disk(disk):
        filler = disk / "filler"
        filler.write_bytes(bytes(SIZE_BYTES - low + 1))
        with importer.running() as process:
            one.dropped.drop(importer)
            paused = '"disk of processed is nearly full"'
            wait_until(lambda: "intake_paused" in importer.tail(), FLOW_TIMEOUT_S, paused)
            wait_until(lambda: "nearly full" in importer.tail(), FLOW_TIMEOUT_S, paused)
            assert len(remaining(importer.inbox)) == one.files
            filler.unlink()
            importer.come_to_an_end(process, one.files)
        assert "intake_resumed" in importer.log.read_text()
        assert one.faults() == []


# What the importer says when it meets it, by what lies on the disk.
@pytest.mark.parametrize(
    ("place", "event"), [("files", '"disk"'), ("state", '"disk"'), ("audit", '"journal_fails"')]
)
def test_a_disk_runs_full_and_is_given_room(scene: Scene, place: str, event: str) -> None:
    one = trial(scene)
    importer = one.importer
    folder = importer.root / place
    with small_disk(folder):
        for name in FOLDERS:
            (importer.root / name).mkdir(parents=True, exist_ok=True)
        with importer.running() as process:
            staged = one.dropped.stage(importer)
            with full(folder):
                one.dropped.drop(importer, staged)
                wait_until(lambda: event in importer.tail(), FLOW_TIMEOUT_S, event, importer.tail)
                assert process.poll() is None, importer.tail()
                if place != "audit":
                    assert len(remaining(importer.inbox)) == one.files
        assert one.end() == []
