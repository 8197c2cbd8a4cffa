"""Browsers, each new and with a profile of its own that keeps what it fetched and compiled, and windows of theirs."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from harness.browser import ARGUMENTS, CHROMIUM, Watch, trust
from harness.viewer import Viewer
from playwright.sync_api import Error as PageError
from playwright.sync_api import sync_playwright

from bench.__main__ import tell
from bench.reading.network import CUT_OFF, Network
from bench.reading.window import CutOffError, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import BrowserContext
    from stack.settings import Settings

    from bench.reading.doors import Door
    from bench.reading.window import Person

SEEN = Path(__file__).with_name("seen.js")
ATTEMPTS = 5
# Which program draws where there is no graphics card: Chromium's own, or Mesa's, which has textures of 16 bits as
# graphics cards have.
OWN = ARGUMENTS
MESA = (
    *(one for one in ARGUMENTS if one != "--disable-gpu"),
    *("--ignore-gpu-blocklist", "--use-angle=gl-egl", "--use-gl=angle"),
)
RENDERER = """() => {
  const gl = document.createElement('canvas').getContext('webgl2');
  const info = gl?.getExtension('WEBGL_debug_renderer_info');
  return info ? String(gl.getParameter(info.UNMASKED_RENDERER_WEBGL)) : 'none';
}"""
_Found = TypeVar("_Found")


def undisturbed(measure: Callable[[], _Found]) -> _Found:
    """Measure once more what this machine's network cut off; raises CutOffError when it does again and again."""
    for _ in range(ATTEMPTS):
        try:
            return measure()
        except CutOffError as error:
            last = str(error)
        except PageError as error:
            if CUT_OFF not in (last := str(error)):
                raise
        tell(f"once more: {last}")
    raise CutOffError(f"this machine's network changes all the time: {last}")


@contextmanager
def browser(settings: Settings, arguments: tuple[str, ...] = OWN) -> Iterator[BrowserContext]:
    """Run a new browser that trusts the stack, with a profile on the disk as a person's own has."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-reading-") as above,
        sync_playwright() as playwright,
    ):
        home, profile = Path(above, "home"), Path(above, "profile")
        trust(home, settings.data_dir / "tls" / "ca.crt")
        running = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=CHROMIUM,
            args=arguments,
            env={**os.environ, "HOME": str(home)},
            viewport={"width": 1280, "height": 900},
        )
        running.add_init_script(path=SEEN)
        try:
            yield running
        finally:
            running.close()


def described(settings: Settings) -> str:
    """Say what is read with, and what draws: without a graphics card the processor does, which the figures have."""
    with browser(settings) as running:
        started = running.browser
        drawn_by = drawer(running)
    return (
        f"Chromium {started.version if started else ''} on the same machine, drawn by {drawn_by}."
    )


def drawer(running: BrowserContext) -> str:
    """Say what draws."""
    page = running.new_page()
    try:
        return str(page.evaluate(RENDERER))
    finally:
        page.close()


def window(running: BrowserContext, settings: Settings, door: Door, person: Person) -> Window:
    """Open a tab for what a person does."""
    page, network = running.new_page(), Network()
    network.on(page)
    return Window(
        door, Viewer(door.url(settings), page, Watch(), settings.data_dir), network, person
    )
