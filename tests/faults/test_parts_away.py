"""What the importer needs goes away and comes back: nothing is lost, and nothing fails that can still succeed."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faults.scene import trial
from harness import strace
from harness.drop import remaining
from harness.wait import wait_until
from stack import health
from stack.shell import podman

if TYPE_CHECKING:
    from faults.scene import Scene, Trial
    from faults.steps import Step
    from harness.strace import Call

HEAL_TIMEOUT_S = 120
FLOW_TIMEOUT_S = 30


def await_health(scene: Scene, service: str) -> None:
    """Wait until a service is well again."""
    wait_until(
        lambda: health.state(scene.stack.podman_settings, service) == "healthy",
        HEAL_TIMEOUT_S,
        f"{service} is healthy",
        lambda: scene.stack.logs(service),
    )


def is_stopped(pid: int) -> bool:
    """Tell whether a process's first thread, which nobody traces, is stopped."""
    return "State:\tT" in Path(f"/proc/{pid}/status").read_text()


def filed(one: Trial) -> list[Path]:
    """Return what has left the inbox."""
    return remaining(one.importer.files / "processed") + remaining(one.importer.files / "failed")


def await_log(one: Trial, word: str) -> None:
    """Wait until the importer says something."""
    wait_until(lambda: word in one.importer.tail(), FLOW_TIMEOUT_S, word, one.importer.tail)


@pytest.mark.parametrize("name", ["send the image", "hear of the image", "ask the archive"])
def test_the_archive_is_killed_when_the_importer_is_about_to(
    scene: Scene, recorded: dict[Step, Call], name: str
) -> None:
    one = trial(scene)
    # From the first image on: what is asked afterwards is whether they are held.
    sending = itertools.dropwhile(lambda step: step.name != "send the image", recorded)
    call = next(recorded[step] for step in sending if step.name == name)
    with (
        one.importer.running() as process,
        strace.traced(strace.newest_thread(process.pid), one.trace, call, "signal=STOP"),
    ):
        one.dropped.drop(one.importer)
        wait_until(lambda: is_stopped(process.pid), FLOW_TIMEOUT_S, "it is stopped in a request")
        os.kill(scene.stack.main_process("orthanc"), signal.SIGKILL)
        process.send_signal(signal.SIGCONT)
        await_health(scene, "orthanc")
        one.importer.come_to_an_end(process, one.files)
    assert one.faults() == []


def test_the_database_restarts_while_files_are_stored(scene: Scene) -> None:
    one = trial(scene, slices=120, studies=3, CONNECTIONS="2")
    with one.importer.running() as process:
        one.dropped.drop(one.importer)
        wait_until(lambda: filed(one), FLOW_TIMEOUT_S, "files are stored", one.importer.tail)
        podman("restart", "-t", "10", scene.stack.container("postgresql"))
        assert remaining(one.importer.inbox)
        await_health(scene, "orthanc")
        one.importer.come_to_an_end(process, one.files)
    # Until then it would answer with bytes that it remembers and may not have on its disk.
    podman("restart", "-t", "10", scene.stack.container("orthanc"))
    await_health(scene, "orthanc")
    assert one.faults() == []


def test_the_identity_provider_is_killed_and_comes_back(scene: Scene) -> None:
    one = trial(scene)
    with one.importer.running() as process:
        os.kill(scene.stack.main_process("keycloak"), signal.SIGKILL)
        one.dropped.drop(one.importer)
        await_log(one, "no token")
        left = {path.name for path in remaining(one.importer.inbox)}
        await_health(scene, "keycloak")
        one.importer.come_to_an_end(process, one.files)
    assert left >= {name for name, file in one.dropped.files.items() if file.status == "success"}
    assert one.faults() == []
