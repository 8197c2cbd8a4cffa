"""The archive's connection to its database is cut at COMMIT again and again: what counts as stored is stored.

CUTS scales it, SEED repeats it: `make soak` is five hundred cuts.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
from typing import TYPE_CHECKING

from faults.end_state import faults
from faults.scene import trial
from faults.submission import submission
from faults.test_parts_away import await_health
from harness.commit_cutter import AFTER, BEFORE, VANISHED, Cutter, cut_at_commit
from harness.drop import remaining
from harness.own_importer import own_importer
from harness.wait import wait_until
from stack.shell import podman

if TYPE_CHECKING:
    import pytest
    from faults.scene import Scene
    from faults.submission import Submission

CUTS = int(os.environ.get("CUTS", "30"))
SEED = os.environ.get("SEED") or secrets.token_hex(4)
PROBABILITY = 0.25
WAITING_FILES = 20
CUT_TIMEOUT_S = 20


def test_the_archives_connection_is_cut_at_commit(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(SEED)  # noqa: S311 - to be repeated, not to be secret
    cutter = Cutter(CUTS, PROBABILITY, rng)
    name = f"cut-{secrets.token_hex(4)}"
    importer = own_importer(scene.root / name, scene.stack)
    dropped: list[Submission] = []

    def is_cut() -> bool:
        if len(remaining(importer.inbox)) < WAITING_FILES:
            folder = f"export {len(dropped)}"
            one = submission(name, folder, scene.foreign, slices=rng.randint(1, 8), studies=3)
            one.drop(importer)
            dropped.append(one)
        return cutter.finished

    with importer.running() as process:
        with cut_at_commit(scene.stack, cutter):
            wait_until(is_cut, CUT_TIMEOUT_S * CUTS, f"{CUTS} cuts", importer.tail)
        files = sum(len(one.files) for one in dropped)
        with capsys.disabled():
            sys.stdout.write(
                f" SEED={SEED} {dict(cutter.done)}, {cutter.passed} passed, {files} files "
            )
        importer.come_to_an_end(process, files)
    assert cutter.done[BEFORE] > 0
    assert cutter.done[AFTER] > 0
    # Its cache would go on showing what its disk no longer holds.
    podman("restart", "-t", "10", scene.stack.container("orthanc"))
    await_health(scene, "orthanc")
    assert faults(importer, dropped, scene.archive) == [], f"SEED={SEED}"


def test_a_database_that_vanishes_at_commit_without_a_word_is_noticed(scene: Scene) -> None:
    one = trial(scene)
    cutter = Cutter(1, 1.0, random.Random(0), (VANISHED,))  # noqa: S311 - nothing is left to chance
    with cut_at_commit(scene.stack, cutter), one.importer.running() as process:
        one.dropped.drop(one.importer)
        one.importer.come_to_an_end(process, one.files)
        assert cutter.done == {VANISHED: 1}
        assert one.faults() == []
