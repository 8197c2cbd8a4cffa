"""A CT as a volume in three planes: how long it takes, and what memory the browser has for it, once and again."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from bench.__main__ import tell
from bench.reading import proc, sizes
from bench.reading.browsers import browser, undisturbed, window
from bench.reading.doors import WHOLE
from bench.reading.figures import Figure, table

if TYPE_CHECKING:
    from bench.reading.archive import Study
    from bench.reading.scene import Scene
    from bench.reading.window import Window

PLANES = 3
# Nothing is fetched, and nothing painted otherwise, for so long: it is there. Garbage is collected in that time too.
STILL_MS = 3000


@dataclass(frozen=True, slots=True)
class Planes:
    """One browser: seconds to three planes drawn and to the last change of one, and bytes above the empty viewer.

    Each is by opening: `peaks` while it was open, `rests` in the list after it was closed again.
    """

    drawn_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    rests: list[int] = field(default_factory=list)

    @property
    def growth_bytes(self) -> int:
        """What the browser has more after the last opening than after the first."""
        return self.rests[-1] - self.rests[0]


def open_planes(opened: Window, study: Study, found: Planes) -> None:
    """Open a study in three planes and note how long that took.

    Whole is a volume when nothing is waited for from the archive any more and no plane has changed for a while.
    """
    opened.go(f"/viewer?StudyInstanceUIDs={study.uid}&hangingProtocolId=mpr")
    opened.wait(
        "three planes are drawn",
        lambda: opened.seen().panes() >= PLANES,
        lambda: str(opened.seen()),
    )

    def is_still() -> bool:
        pending = [r for r in opened.network.waiting if "/dicom-web/" in r.url]
        now_ms = float(opened.page.evaluate("() => performance.timeOrigin + performance.now()"))
        last_ms = max([opened.seen().changed_ms, *(f.ended_ms for f in opened.network.fetched)])
        return not pending and now_ms - last_ms > STILL_MS

    opened.wait(
        "the volume is whole", is_still, lambda: f"{opened.seen()}, {opened.network.waiting}"
    )
    seen = opened.seen()
    found.drawn_s.append((max(seen.drawn_ms[:PLANES]) - seen.asked_ms) / 1e3)
    found.whole_s.append((seen.changed_ms - seen.asked_ms) / 1e3)


def one_browser(scene: Scene, turn: int) -> Planes:
    """Open the CT over and over in one browser, going back to the list in between as the browser's own arrows do.

    Playwright has Chromium keep answers of up to 200 MB for its inspector: these count as the viewer's.
    """
    settings, study = scene.bench.settings, scene.study
    shelf = f"/?mrn={study.patient}"
    found = Planes()
    with browser(settings) as running:
        opened = window(running, settings, WHOLE, scene.person(turn))
        opened.enter(shelf)
        opened.wait_list()
        opened.viewer.confirm_notice()
        opened.page.wait_for_timeout(STILL_MS)
        empty = proc.browser_bytes()["browser"]
        for number in range(scene.sizes.openings):
            with proc.Sampler(proc.browser_bytes) as sampler:
                open_planes(opened, study, found)
            found.peaks.append(sampler.total - empty)
            opened.go(shelf)
            opened.wait_list()
            opened.page.wait_for_timeout(STILL_MS)
            found.rests.append(proc.browser_bytes()["browser"] - empty)
            tell(
                f"planes {number + 1}/{scene.sizes.openings}: {found.whole_s[-1]:.1f} s,"
                f" peak {found.peaks[-1] / 1e6:.0f} MB, then {found.rests[-1] / 1e6:.0f} MB"
            )
    return found


def measure(scene: Scene, _rounds: int) -> str:
    """Measure and write the table: one browser, since it opens the CT ten times."""
    return report([undisturbed(partial(one_browser, scene, 0))], scene.sizes)


def report(found: list[Planes], size: sizes.Sizes) -> str:
    """Write the table; memory is told in volumes, which `size` says the bytes of."""

    def volumes(values: list[int]) -> tuple[float, ...]:
        return tuple(value / size.volume_bytes for value in values)

    last = f"{size.openings} openings"
    figures = [
        Figure("three planes drawn, first opening", tuple(one.drawn_s[0] for one in found)),
        Figure("three planes drawn, later ones", tuple(median(one.drawn_s[1:]) for one in found)),
        Figure("the volume whole, first opening", tuple(one.whole_s[0] for one in found)),
        Figure("the volume whole, later ones", tuple(median(one.whole_s[1:]) for one in found)),
        Figure(
            f"the browser's peak in {last}, above the empty viewer",
            volumes([max(one.peaks) for one in found]),
            "volumes",
            sizes.PEAK_VOLUMES,
        ),
        Figure(
            "the same in the first opening", volumes([one.peaks[0] for one in found]), "volumes"
        ),
        Figure(
            f"growth from the first to the last of {last}, back in the list",
            volumes([one.growth_bytes for one in found]),
            "volumes",
            sizes.GROWTH_VOLUMES,
        ),
    ]
    title = f"Three planes of 512 x 512 x {size.slices}, {len(found)} rounds"
    return f"{table(title, figures)}A volume is {size.volume_bytes / 1e6:.0f} MB.\n\n"
