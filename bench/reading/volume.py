"""A CT as a volume in three planes: how long it takes, and what memory the browser has for it, once and again."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from bench.__main__ import tell
from bench.reading import proc, sizes
from bench.reading.browsers import MESA, OWN, browser, drawer, undisturbed, window
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

    `drawer` is the program that draws. Each is by opening: `peaks` while it was open, `rests` in the list
    after the first and the last, once its garbage was collected.
    """

    drawer: str
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


def one_browser(scene: Scene, arguments: tuple[str, ...]) -> Planes:
    """Open the CT over and over in one browser, going back to the list in between as the browser's own arrows do.

    Playwright has Chromium keep answers of up to 200 MB for its inspector: these count as the viewer's.
    """
    settings, study = scene.bench.settings, scene.study
    shelf = f"/?mrn={study.patient}"
    with browser(settings, arguments) as running:
        found = Planes(drawer(running))
        opened = window(running, settings, WHOLE, scene.person(0))
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
            if number in (0, scene.sizes.openings - 1):
                opened.collect_garbage()
                opened.page.wait_for_timeout(STILL_MS)
                found.rests.append(proc.browser_bytes()["browser"] - empty)
            tell(
                f"planes {number + 1}/{scene.sizes.openings}: {found.whole_s[-1]:.1f} s,"
                f" peak {found.peaks[-1] / 1e6:.0f} MB, at rest {found.rests[-1] / 1e6:.0f} MB"
            )
    return found


def measure(scene: Scene, _rounds: int) -> str:
    """Measure and write the table: one browser for each program that draws, since it opens the CT ten times."""
    found = [undisturbed(partial(one_browser, scene, arguments)) for arguments in (OWN, MESA)]
    return "".join(report(one, scene.sizes) for one in found)


def report(found: Planes, size: sizes.Sizes) -> str:
    """Write the table; memory is told in volumes, which `size` says the bytes of."""

    def volumes(value: int) -> tuple[float, ...]:
        return (value / size.volume_bytes,)

    last = f"{size.openings} openings"
    figures = [
        Figure("three planes drawn, first opening", (found.drawn_s[0],)),
        Figure("three planes drawn, later ones", tuple(found.drawn_s[1:])),
        Figure("the volume whole, first opening", (found.whole_s[0],)),
        Figure("the volume whole, later ones", tuple(found.whole_s[1:])),
        Figure(
            f"the browser's peak in {last}, above the empty viewer",
            volumes(max(found.peaks)),
            "volumes",
            sizes.PEAK_VOLUMES,
        ),
        Figure("the same in the first opening", volumes(found.peaks[0]), "volumes"),
        Figure(
            f"growth from the first to the last of {last}, back in the list",
            volumes(found.growth_bytes),
            "volumes",
            sizes.GROWTH_VOLUMES,
        ),
    ]
    title = f"Three planes of 512 x 512 x {size.slices}"
    volume_mb = size.volume_bytes / 1e6
    return f"{table(title, figures)}Drawn by {found.drawer}. A volume is {volume_mb:.0f} MB.\n\n"
