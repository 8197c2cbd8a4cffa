"""How long the study list takes: from the viewer's page being asked for, after a login, to the first rows."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from bench.__main__ import tell
from bench.reading.archive import chill
from bench.reading.browsers import browser, undisturbed, window
from bench.reading.doors import BARE, WHOLE
from bench.reading.figures import Figure, table
from bench.reading.moments import entered_ms
from bench.reading.sizes import LIST_S

if TYPE_CHECKING:
    from bench.reading.doors import Door
    from bench.reading.scene import Scene
    from bench.reading.window import Window

COLD, WARM = "cold", "warm"


def list_s(opened: Window) -> float:
    """Ask for the list and return how many seconds it took."""
    opened.enter("/")
    return (opened.wait_list().list_ms - entered_ms(opened.network.fetched)) / 1e3


def both(scene: Scene, door: Door, turn: int) -> dict[str, float]:
    """Ask for the list twice.

    Cold: a new browser, after Orthanc was started anew and the kernel forgot its disk. Warm: the same browser once
    more, in another tab, after it forgot who is logged in.
    """
    settings, person = scene.bench.settings, scene.person(turn)
    chill(scene.bench)
    with browser(settings) as running:
        first = window(running, settings, door, person)
        cold_s = list_s(first)
        first.page.close()
        running.clear_cookies()
        warm_s = list_s(window(running, settings, door, person))
    return {COLD: cold_s, WARM: warm_s}


def measure(scene: Scene, rounds: int) -> str:
    """Measure and write the table."""
    found: dict[tuple[Door, str], list[float]] = defaultdict(list)
    doors = (WHOLE, BARE)
    for turn in range(rounds):
        for door in doors if turn % 2 else doors[::-1]:
            for state, seconds in undisturbed(partial(both, scene, door, turn)).items():
                found[door, state].append(seconds)
                tell(f"list {turn + 1}/{rounds}, {door.title}, {state}: {seconds:.2f} s")
    bounds = {(WHOLE, WARM): LIST_S}
    figures = [
        Figure(f"{door.title}, {state}", tuple(found[door, state]), bound=bounds.get((door, state)))
        for state in (WARM, COLD)
        for door in doors
    ]
    return table(f"The list of {scene.sizes.studies} studies, {rounds} rounds", figures)
