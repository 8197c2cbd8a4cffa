"""A disk of the importer's turns read-only or fails to sync: files stay, and go on when it is well again."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from faults.scene import trial
from harness import strace
from harness.drop import remaining
from harness.small_disk import remount, small_disk
from harness.wait import wait_until

if TYPE_CHECKING:
    from faults.scene import Scene
    from faults.steps import Step
    from harness.strace import Call

FLOW_TIMEOUT_S = 30
SYNCS = (
    "sync the original",
    "sync the journal",
    "sync the reason",
    "sync the file",
    "sync a folder",
    "sync the inbox",
)


@pytest.mark.parametrize("place", ["files", "files/processed", "files/failed"])
def test_a_disk_turns_read_only_and_is_writable_again(scene: Scene, place: str) -> None:
    one = trial(scene)
    importer = one.importer
    folder = importer.root / place
    with small_disk(folder):
        for name in ("inbox", "processed", "failed", "staging"):
            (importer.files / name).mkdir(exist_ok=True)
        with importer.running() as process:
            process.send_signal(signal.SIGSTOP)
            one.dropped.drop(importer)
            remount(folder, "ro")
            process.send_signal(signal.SIGCONT)
            wait_until(
                lambda: importer.tail().count('"disk"') > 1, FLOW_TIMEOUT_S, "disk", importer.tail
            )
            assert process.poll() is None, importer.tail()
            assert remaining(importer.inbox)
            assert not remaining(folder / "processed" if place == "files" else folder)
            remount(folder, "rw")
        assert one.end() == []


@pytest.mark.parametrize("name", SYNCS)
def test_a_sync_fails_and_what_it_was_for_is_tried_again_while_the_others_go_on(
    scene: Scene, recorded: dict[Step, Call], name: str
) -> None:
    call = next(call for step, call in recorded.items() if step.name == name)
    one = trial(scene)
    # What is journalled or moved together fails together.
    most = 1 if name in ("sync the file", "sync the reason") else one.files
    if name == "sync the original":
        most = one.files - 1  # who is of the same study waits with it
    importer = one.importer
    with (
        importer.running() as process,
        strace.traced(strace.newest_thread(process.pid), one.trace, call, "error=EIO"),
    ):
        one.dropped.drop(importer)
        wait_until(lambda: '"disk"' in importer.tail(), FLOW_TIMEOUT_S, "disk", importer.tail)
        wait_until(
            lambda: len(remaining(importer.inbox)) <= most,
            FLOW_TIMEOUT_S,
            f"{most} are left",
            importer.tail,
        )
        assert process.poll() is None, importer.tail()
    assert one.end() == []
