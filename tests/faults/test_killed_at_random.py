"""Killed again and again at any time, the importer loses nothing and does nothing twice.

KILLS and FILES scale it, SEED repeats it: `make soak` is a thousand kills and a day's load.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from faults.end_state import faults
from faults.submission import submission
from harness.drop import remaining
from harness.own_importer import own_importer
from harness.wait import wait_until

if TYPE_CHECKING:
    import pytest
    from faults.scene import Scene
    from faults.submission import Submission
    from harness.own_importer import OwnImporter, Process

KILLS = int(os.environ.get("KILLS", "100"))
FILES = int(os.environ.get("FILES", "200"))
SEED = os.environ.get("SEED") or secrets.token_hex(4)
# Importers that are killed beside each other, each with folders and clinics of its own.
LANES = 2 * (os.cpu_count() or 1)
# From when it has opened its journal: long enough to recover, to settle and to store some files.
LONGEST_LIFE_S = 1.5
WAITING_FILES = 30
START_TIMEOUT_S = 60
# What a busy machine needs for a file at the most.
FILE_TIMEOUT_S = 2


def until_journal_is_open(process: Process) -> None:
    """Wait while a process loads its program."""
    maps = Path(f"/proc/{process.pid}/maps")
    wait_until(
        lambda: "journal.sqlite-shm" in maps.read_text(),
        START_TIMEOUT_S,
        "the importer opens its journal",
    )


def live_shortly(importer: OwnImporter, life_s: float) -> None:
    """Start an importer and kill it."""
    process = importer.start()
    try:
        until_journal_is_open(process)
        time.sleep(life_s)  # the fault itself: no condition ends a life at random
        assert process.poll() is None, importer.tail()
    finally:
        process.kill()
        process.wait()


def lane(scene: Scene, number: int) -> list[str]:
    """Kill one importer again and again while submissions come; return what is wrong in the end."""
    rng = random.Random(f"{SEED} {number}")  # noqa: S311 - to be repeated, not to be secret
    importer = own_importer(scene.root / f"lane-{number}-{secrets.token_hex(4)}", scene.stack)
    clinics = [f"lane-{number}-{clinic}-{secrets.token_hex(4)}" for clinic in range(2)]
    dropped: list[Submission] = []
    files = 0

    def drop() -> None:
        nonlocal files
        clinic = clinics[len(dropped) % 2]
        one = submission(
            clinic, f"export {len(dropped)}", scene.foreign, slices=rng.randint(1, 8), studies=3
        )
        one.drop(importer)
        dropped.append(one)
        files += len(one.files)

    for kill in range(number, KILLS, LANES):
        load = FILES / LANES * kill / KILLS
        while files < load or len(remaining(importer.inbox)) < WAITING_FILES:
            drop()
        live_shortly(importer, rng.uniform(0, LONGEST_LIFE_S))
    while files < FILES / LANES:
        drop()
    importer.finish(files, FILE_TIMEOUT_S * files)
    return faults(importer, dropped, scene.archive)


def test_killed_at_random_times(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        sys.stdout.write(f" SEED={SEED} KILLS={KILLS} FILES={FILES} ")
    with ThreadPoolExecutor(LANES) as pool:
        wrong = [fault for found in pool.map(partial(lane, scene), range(LANES)) for fault in found]
    assert wrong == [], f"SEED={SEED}"
