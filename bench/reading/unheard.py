"""A browser that nobody listens to while it is measured: for whoever does, Chromium keeps up to 200 MB of answers."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

from harness.browser import CHROMIUM, trust
from harness.wait import wait_until
from playwright.sync_api import sync_playwright

from bench.reading.browsers import OWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserContext
    from stack.settings import Settings

START_S = 30


@contextmanager
def alone(settings: Settings, arguments: tuple[str, ...] = OWN) -> Iterator[str]:
    """Run a new browser that nobody listens to; yields the address that `listening` comes to it by."""
    with tempfile.TemporaryDirectory(prefix="bench-reading-") as above:
        home, profile = Path(above, "home"), Path(above, "profile")
        trust(home, settings.data_dir / "tls" / "ca.crt")
        with subprocess.Popen(  # noqa: S603 - Chromium with arguments of our own
            [
                *(CHROMIUM, "--headless=new", *arguments, f"--user-data-dir={profile}"),
                *("--remote-debugging-port=0", "--window-size=1280,900", "about:blank"),
            ],
            env={**os.environ, "HOME": str(home)},
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                port = profile / "DevToolsActivePort"
                wait_until(
                    lambda: port.exists() and port.read_text().count("\n"), START_S, "Chromium"
                )
                yield f"http://127.0.0.1:{port.read_text().split()[0]}"
            finally:
                process.terminate()


@contextmanager
def listening(address: str) -> Iterator[BrowserContext]:
    """Listen to such a browser for a while; what its pages do goes on afterwards."""
    with sync_playwright() as playwright:
        running = playwright.chromium.connect_over_cdp(address)
        try:
            yield running.contexts[0]
        finally:
            running.close()


def titles(address: str) -> list[str]:
    """Return the titles of such a browser's pages, without listening to them."""
    with urlopen(f"{address}/json/list", timeout=START_S) as answer:  # noqa: S310 - our own browser
        return [page["title"] for page in json.load(answer)]
