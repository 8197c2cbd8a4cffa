"""How long a CT takes: its metadata, its first image, and all of its frames, by every door."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from bench.__main__ import tell
from bench.reading import sizes
from bench.reading.archive import Study, chill, remove, store_ct
from bench.reading.browsers import browser, undisturbed, window
from bench.reading.doors import BARE, DOORS, STATIC, WHOLE, Door
from bench.reading.figures import Figure, ratios, table
from bench.reading.listing import COLD, WARM
from bench.reading.moments import Opening, entered_ms, opening

if TYPE_CHECKING:
    from bench.reading.scene import Scene
    from bench.reading.window import Window

Found = dict[tuple[Door, str], list[Opening]]


def finished(opened: Window, study: Study, asked_ms: float) -> Opening:
    """Wait until a study is whole, every frame of it fetched and one drawn; returns what that took."""
    opened.wait(
        f"{study.slices} frames are there and one is drawn",
        lambda: opened.count(study) == study.slices and opened.seen().panes() > 0,
        lambda: f"{opened.count(study)} frames, {opened.seen()}",
    )
    fetched = opened.network.fetched
    return opening(asked_ms, opened.seen(), opened.frames(study), fetched, study)


def both(scene: Scene, door: Door, turn: int) -> dict[str, Opening]:
    """Open a study twice.

    Cold: by a link, in a new browser, a study that came just now, after Orthanc was started anew and the kernel forgot
    its disk, so that nobody has asked for its metadata before; of static files there is the one study, which the kernel
    forgot. Warm: the same study in the same browser by a double click on its row. Frames are fetched both times: the
    archive's answers stay in no cache, and the static server says so too.
    """
    settings = scene.bench.settings
    study = store_ct(scene.bench, scene.sizes.slices) if door.asks_archive else scene.study
    chill(scene.bench)
    try:
        with browser(settings) as running:
            opened = window(running, settings, door, scene.person(turn))
            opened.enter(f"/viewer?StudyInstanceUIDs={study.uid}")
            opened.wait("a page of the viewer", lambda: opened.seen().panes())
            cold = finished(opened, study, entered_ms(opened.network.fetched))
            opened.viewer.open(f"/?mrn={study.patient}")
            warm = finished(opened, study, opened.open_row())
    finally:
        if door.asks_archive:
            remove(scene.bench, study)
    return {COLD: cold, WARM: warm}


def measure(scene: Scene, rounds: int) -> str:
    """Measure and write the tables."""
    found: Found = defaultdict(list)
    for turn in range(rounds):
        for door in DOORS if turn % 2 else DOORS[::-1]:
            for state, one in undisturbed(partial(both, scene, door, turn)).items():
                found[door, state].append(one)
                tell(f"CT {turn + 1}/{rounds}, {door.title}, {state}: {one}")
    return report(found, scene.sizes.slices, rounds)


def report(found: Found, slices: int, rounds: int) -> str:
    """Write the tables: first image, all frames with what they are of the static ceiling, metadata."""
    what = f"of a CT of {slices} slices, {rounds} rounds"

    def values(door: Door, state: str, name: str) -> tuple[float, ...]:
        return tuple(float(getattr(one, name)) for one in found[door, state])

    def figures(name: str, bounds: dict[str, float], doors: tuple[Door, ...]) -> list[Figure]:
        return [
            Figure(
                f"{door.title}, {state}",
                values(door, state, name),
                bound=bounds.get(state) if door is WHOLE else None,
            )
            for state in (WARM, COLD)
            for door in doors
        ]

    shares = [
        Figure(
            f"{door.title}, {state}, of the static files",
            ratios(values(door, state, "frames_s"), values(STATIC, state, "frames_s")),
            "",
            sizes.STATIC_RATIO if door is WHOLE and state == WARM else None,
        )
        for state in (WARM, COLD)
        for door in (WHOLE, BARE)
    ]
    metadata = {WARM: sizes.METADATA_WARM_S, COLD: sizes.METADATA_COLD_S}
    return "\n".join(
        [
            table(
                f"First image {what}", figures("first_image_s", {WARM: sizes.FIRST_IMAGE_S}, DOORS)
            ),
            table(f"All frames {what}", [*figures("frames_s", {}, DOORS), *shares]),
            table(f"Metadata {what}", figures("metadata_s", metadata, DOORS)),
        ]
    )
