"""A CT as a volume in three planes: how long it takes, and what memory the browser has for it, once and again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stack.shell import CommandError

from bench.__main__ import tell
from bench.reading import proc, sizes
from bench.reading.browsers import MESA, OWN, SEEN, drawer, undisturbed, window
from bench.reading.doors import WHOLE
from bench.reading.figures import Figure, table
from bench.reading.unheard import alone, listening, titles

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from bench.reading.archive import Study
    from bench.reading.scene import Scene

PLANES = Path(__file__).with_name("planes.js")
# Nothing is fetched, and nothing painted otherwise, for so long: it is there.
STILL_MS = 3000
TIMEOUT_S = 180


@dataclass(frozen=True, slots=True)
class Planes:
    """One browser: what draws in it; seconds of each opening to three planes drawn and to the last change of one.

    Bytes of the browser: `peaks` of the first opening and of all others; `rests` in the list before the first opening,
    after it and after the last, each once the page's garbage was collected.
    """

    drawer: str
    drawn_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    rests: list[int] = field(default_factory=list)


def open_planes(address: str, scene: Scene, openings: int, found: Planes) -> None:
    """Open the CT in three planes and leave it so many times, with nobody listening; raises CommandError."""
    study = scene.study
    asked = f"/viewer?StudyInstanceUIDs={study.uid}&hangingProtocolId=mpr"
    given = [asked, shelf(study), study.slices, openings, STILL_MS]
    with listening(address) as running:
        (page,) = running.pages
        page.evaluate(PLANES.read_text())
        page.evaluate("given => void window.benchPlanes(...given)", given)
    deadline_s = time.monotonic() + openings * TIMEOUT_S
    with proc.Sampler(proc.browser_bytes) as sampler:
        while f"bench {openings}" not in titles(address):
            if time.monotonic() > deadline_s:
                message = (
                    f"{openings} openings in three planes: not within {openings * TIMEOUT_S} s"
                )
                raise CommandError(message)
            time.sleep(1)
    with listening(address) as running:
        (page,) = running.pages
        seen = page.evaluate("() => window.benchFound")
        collect_garbage(page)
        page.wait_for_timeout(STILL_MS)
    found.drawn_s.extend(seen["drawn"])
    found.whole_s.extend(seen["whole"])
    found.peaks.append(sampler.total)
    found.rests.append(proc.browser_bytes()["browser"])


def one_browser(scene: Scene, arguments: tuple[str, ...]) -> Planes:
    """Open the CT once, and then over and over, in one browser, going back to the list in between."""
    settings = scene.bench.settings
    with alone(settings, arguments) as address:
        with listening(address) as running:
            found = Planes(drawer(running))
            running.add_init_script(path=SEEN)
            (blank,) = running.pages
            opened = window(running, settings, WHOLE, scene.person(0))
            blank.close()
            opened.enter(shelf(scene.study))
            opened.wait_list()
            opened.viewer.confirm_notice()
            collect_garbage(opened.page)
            opened.page.wait_for_timeout(STILL_MS)
        found.rests.append(proc.browser_bytes()["browser"])
        for openings in (1, scene.sizes.openings - 1):
            open_planes(address, scene, openings, found)
            tell(f"planes, {openings} times: {found}")
    return found


def collect_garbage(page: Page) -> None:
    """Have the browser forget what its page does not use any more, which it does in its own time otherwise."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.detach()


def shelf(study: Study) -> str:
    """Return the address of the list that has one study."""
    return f"/?mrn={study.patient}"


def measure(scene: Scene, _rounds: int) -> str:
    """Measure and write the table: one browser for each program that draws, since it opens the CT ten times."""
    found = [undisturbed(partial(one_browser, scene, arguments)) for arguments in (OWN, MESA)]
    return "".join(report(one, scene.sizes) for one in found)


def report(found: Planes, size: sizes.Sizes) -> str:
    """Write the table; memory is told in volumes, which `size` says the bytes of."""
    empty, first, last = found.rests

    def volumes(more: int) -> tuple[float, ...]:
        return (more / size.volume_bytes,)

    figures = [
        Figure("three planes drawn, first opening", (found.drawn_s[0],)),
        Figure("three planes drawn, later ones", tuple(found.drawn_s[1:])),
        Figure("the volume whole, first opening", (found.whole_s[0],)),
        Figure("the volume whole, later ones", tuple(found.whole_s[1:])),
        Figure(
            f"the browser's peak in {size.openings} openings, above the empty viewer",
            volumes(max(found.peaks) - empty),
            "volumes",
            sizes.PEAK_VOLUMES,
        ),
        Figure("the same in the first opening", volumes(found.peaks[0] - empty), "volumes"),
        Figure(
            "growth from the first to the last of them, back in the list",
            volumes(last - first),
            "volumes",
            sizes.GROWTH_VOLUMES,
        ),
    ]
    title = f"Three planes of 512 x 512 x {size.slices}"
    volume_mb = size.volume_bytes / 1e6
    return f"{table(title, figures)}Drawn by {found.drawer}. A volume is {volume_mb:.0f} MB.\n\n"
