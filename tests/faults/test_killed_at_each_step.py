"""Killed at any step of its flow and started again, the importer ends where it would have without."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import pytest
from faults.scene import packed_trial, record, trial, trial_apart
from faults.steps import COPY_NAMES, NAMES, UNPACKING, Step, middle
from harness import strace
from harness.strace import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from faults.scene import Scene, Trial

# One file of each kind: the first of its study, no DICOM, another clinic's, a duplicate.
FILES = ("00-CT0001.dcm", "letter.dcm", "other.dcm", "same.dcm")
# What the main thread does with the file of audit records, which no worker touches.
AUDIT_CALLS = ("openat", "read", "write", "fsync", "close")
# A connection that is opened anew, or an answer in two pieces, makes the calls count otherwise.
TRIES = 12
FLOW_TIMEOUT_S = 60


class Interrupted(Protocol):
    """What is interrupted, in which steps, and what is wrong after it came to its end."""

    def interrupt(self, call: Call) -> bool:
        """Begin with a kill at a call; says whether it came to that."""

    def end(self) -> list[str]:
        """Go on to the end and return what is wrong."""

    def steps(self) -> dict[Step, list[Call]]:
        """Return what was done before."""


def killed_at(make: Callable[[], Interrupted], step: Step, call: Call) -> list[str]:
    """Kill an importer in a step and return what is wrong in the end."""
    for _ in range(TRIES):
        one = make()
        is_killed = one.interrupt(call)
        if found := one.end():
            return found
        found_steps = one.steps()
        if is_killed and list(found_steps)[-1] == step:
            return []
        # Too late, or too early.
        calls = found_steps.get(step)
        call = middle(calls) if calls else replace(call, number=call.number + 1)
    return ["it was never killed there"]


def killed_at_each(
    make: Callable[[], Interrupted], wanted: Mapping[Step, Call]
) -> dict[Step, list[str]]:
    """Return what is wrong after a kill at each of these steps."""
    # Each of them waits more than it computes.
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        found = pool.map(lambda item: killed_at(make, *item), wanted.items())
        return dict(zip(wanted, found, strict=True))


@pytest.fixture(scope="module")
def ends(scene: Scene, recorded: dict[Step, Call]) -> dict[Step, list[str]]:
    """Provide what is wrong after a kill at each step."""
    wanted = {step: call for step, call in recorded.items() if step.file in FILES}
    return killed_at_each(partial(trial, scene), wanted)


@pytest.fixture(scope="module")
def unpacking_ends(scene: Scene, recorded_unpacking: dict[Step, Call]) -> dict[Step, list[str]]:
    """Provide what is wrong after a kill at each step of unpacking a zip file."""
    wanted = {step: call for step, call in recorded_unpacking.items() if step.file == "study.zip"}
    return killed_at_each(partial(packed_trial, scene), wanted)


@pytest.fixture(scope="module")
def ends_apart(scene: Scene) -> Iterator[dict[Step, list[str]]]:
    """Provide the same of the steps that another file system for processed/ brings."""
    with ExitStack() as disks:

        def make() -> Trial:
            return disks.enter_context(trial_apart(scene))

        found = record(make())
        yield killed_at_each(make, {s: call for s, call in found.items() if s.name in COPY_NAMES})


@pytest.mark.parametrize("name", NAMES)
def test_killed_when_about_to(ends: dict[Step, list[str]], name: str) -> None:
    assert_well(ends, name)


@pytest.mark.parametrize("name", COPY_NAMES)
def test_killed_on_the_way_to_another_file_system_when_about_to(
    ends_apart: dict[Step, list[str]], name: str
) -> None:
    assert_well(ends_apart, name)


def assert_well(ends: dict[Step, list[str]], name: str) -> None:
    """Fail unless there were kills in steps of this name and each of them ended well."""
    killed = {str(step): found for step, found in ends.items() if step.name == name}
    assert killed, f"no step is named so: {sorted({step.name for step in ends})}"
    assert {step: found for step, found in killed.items() if found} == {}


def test_killed_at_any_step_while_a_zip_is_unpacked(
    unpacking_ends: dict[Step, list[str]],
) -> None:
    assert {step.name for step in unpacking_ends} >= {*UNPACKING, "write the journal"}
    assert {step: found for step, found in unpacking_ends.items() if found} == {}


@pytest.mark.parametrize("call", AUDIT_CALLS)
def test_killed_while_the_audit_is_written_at(scene: Scene, call: str) -> None:
    one = trial(scene)
    with (
        one.importer.running() as process,
        strace.traced(process.pid, one.trace, Call(call, 1, ""), path=one.importer.audit),
    ):
        one.dropped.drop(one.importer)
        assert process.wait(FLOW_TIMEOUT_S) == -signal.SIGKILL, one.importer.tail()
    assert strace.calls(one.trace)[-1].name == call
    assert one.end() == []
