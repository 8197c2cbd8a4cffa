"""A killed container comes back by itself, and a stopped stack starts again with every study."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from harness.drop import drop_files
from harness.phantom import ct
from harness.stack import make
from harness.wait import wait_until
from stack import health
from stack.compose import ADDITIONS, ONE_SHOT, SERVICES, WITH_RECEIVER, WITH_SFTP, WITH_SMB
from stack.shell import podman

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.dicomweb import Reader
    from harness.stack import Stack


EVERY = (
    *SERVICES,
    *ADDITIONS["embedded"].services,
    *WITH_RECEIVER.services,
    *WITH_SFTP.services,
    *WITH_SMB.services,
)
LASTING = [service for service in EVERY if service not in ONE_SHOT]


def ailing(stack: Stack) -> list[str]:
    """Return the services that are not healthy."""
    return [s for s in LASTING if health.state(stack.podman_settings, s) != "healthy"]


@pytest.mark.parametrize("service", LASTING)
def test_when_a_container_is_killed_the_stack_heals_without_hands(
    stack: Stack, service: str
) -> None:
    before = stack.main_process(service)
    os.kill(before, signal.SIGKILL)
    wait_until(
        lambda: stack.main_process(service) not in {0, before} and not ailing(stack),
        150,
        f"{service} runs again under a new process and every service is healthy",
        lambda: f"not healthy: {ailing(stack)}\n{stack.logs(service)}",
    )


def test_the_services_come_up_in_any_order(stack: Stack) -> None:
    containers = [stack.container(service) for service in LASTING]
    podman("stop", "-t", "30", *containers)
    assert len(ailing(stack)) == len(LASTING)
    for container in reversed(containers):
        podman("start", container)
    wait_until(
        lambda: not ailing(stack),
        150,
        "every service is healthy after a start from the door to the database",
        lambda: f"not healthy: {ailing(stack)}",
    )


def test_after_the_kills_a_study_still_reaches_its_physician(
    stack: Stack, reader: Callable[[str], Reader]
) -> None:
    study = ct(seed=1, slices=2)
    outcome = drop_files(stack, "clinic-a", study.files, timeout_s=120)
    assert outcome.processed.keys() == study.files.keys(), outcome
    assert study.uid in reader("physician-a").study_uids()


def test_down_and_up_keeps_every_study(stack: Stack, reader: Callable[[str], Reader]) -> None:
    drop_files(stack, "clinic-a", ct(seed=2, slices=1).files)
    before = reader("physician-a").study_uids()
    make("down", stack.podman_settings.env_file)
    make("up", stack.podman_settings.env_file)
    assert before
    assert reader("physician-a").study_uids() == before
