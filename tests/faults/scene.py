"""What fault tests begin with: an archive, another clinic's study in it, and an importer with a submission."""

from __future__ import annotations

import secrets
import signal
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from faults.end_state import faults
from faults.steps import Step, middle, steps
from faults.submission import packed, submission
from harness import strace
from harness.own_importer import own_importer
from harness.small_disk import small_disk
from harness.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from faults.end_state import Archive
    from faults.submission import Submission
    from harness.own_importer import OwnImporter
    from harness.phantom import Identity
    from harness.stack import Stack
    from harness.strace import Call

FLOW_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Scene:
    """Where importers are made, what they store into, and whose study they must not touch."""

    stack: Stack
    root: Path
    archive: Archive
    foreign: Identity


@dataclass(frozen=True, slots=True)
class Trial:
    """An importer, and what is dropped into the inbox of a clinic of its own."""

    scene: Scene
    importer: OwnImporter
    dropped: Submission

    @property
    def files(self) -> int:
        """How many files are dropped, or come out of a zip that is."""
        return len(self.dropped.expected)

    @property
    def trace(self) -> Path:
        """The calls of the thread that was followed."""
        return self.importer.root / "trace"

    def steps(self) -> dict[Step, list[Call]]:
        """Return the steps of the thread that was followed."""
        return steps(strace.calls(self.trace))

    def interrupt(self, call: Call) -> bool:
        """Let it work with a kill at a call of its worker; says whether it came to that."""
        with (
            self.importer.running() as process,
            strace.traced(strace.newest_thread(process.pid), self.trace, call),
        ):
            self.dropped.drop(self.importer)
            wait_until(
                lambda: process.poll() is not None or self.importer.audited() == self.files,
                FLOW_TIMEOUT_S,
                "it is killed or done",
                self.importer.tail,
            )
            return process.poll() == -signal.SIGKILL

    def faults(self) -> list[str]:
        """Return what is wrong after the end."""
        return faults(self.importer, [self.dropped], self.scene.archive)

    def end(self) -> list[str]:
        """Start the importer, let it come to an end, and return what is wrong."""
        self.importer.finish(self.files)
        return self.faults()


def trial(scene: Scene, *, slices: int = 1, studies: int = 2, **settings: str) -> Trial:
    """Make an importer; with one worker, its flow is the same each time."""
    name = f"kill-{secrets.token_hex(4)}"
    importer = own_importer(scene.root / name, scene.stack, **{"CONNECTIONS": "1", **settings})
    dropped = submission(name, "export", scene.foreign, slices=slices, studies=studies)
    return Trial(scene, importer, dropped)


def packed_trial(scene: Scene) -> Trial:
    """Make an importer that gets a zip file."""
    plain = trial(scene)
    return replace(plain, dropped=packed(plain.dropped.clinic, "export"))


@contextmanager
def trial_apart(scene: Scene) -> Iterator[Trial]:
    """Make one whose processed/ lies on another file system."""
    one = trial(scene)
    with small_disk(one.importer.files / "processed"):
        yield one


def record(one: Trial) -> dict[Step, Call]:
    """Return the steps of a worker that nothing disturbs, each with the call in its middle."""
    with (
        one.importer.running() as process,
        strace.traced(strace.newest_thread(process.pid), one.trace),
    ):
        one.dropped.drop(one.importer)
        one.importer.come_to_an_end(process, one.files)
    assert one.faults() == []
    return {step: middle(calls) for step, calls in one.steps().items()}
