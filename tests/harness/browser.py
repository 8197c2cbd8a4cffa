"""A headless Chromium that trusts the stack's own authority, and what its console says while a page is used."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, ConsoleMessage, Page, Response

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
# Root needs --no-sandbox; without the others Chromium talks to its maker's servers.
ARGUMENTS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",
)


def trust(home: Path, authority: Path | None) -> None:
    """Make the certificate store that Chromium reads below its home directory."""
    store = home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    certutil = [shutil.which("certutil") or "/usr/bin/certutil", "-d", f"sql:{store}"]
    subprocess.run([*certutil, "-N", "--empty-password"], check=True)
    if authority:
        add = [*certutil, "-A", "-t", "C,,", "-n", "stack", "-i", str(authority)]
        subprocess.run(add, check=True)


@contextmanager
def chromium(home: Path, authority: Path | None) -> Iterator[Browser]:
    """Run a browser of its own home directory."""
    trust(home, authority)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS, env={**os.environ, "HOME": str(home)}
        )
        yield browser
        browser.close()


@dataclass(frozen=True, slots=True)
class Watch:
    """What a page's console, its scripts and its requests complained of."""

    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)

    def on(self, page: Page) -> None:
        """Begin to listen to a page; by lambdas, since Playwright marks the objects of methods."""
        page.on("console", lambda message: self._console(message))  # noqa: PLW0108 - see above
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("websocket", lambda socket: self.requests.append(socket.url))
        page.on("response", lambda response: self.responses.append(response))  # noqa: PLW0108 - see above

    def policy_violations(self) -> list[str]:
        """Return what the content security policy or the isolation of origins blocked."""
        words = ("Content Security Policy", "Cross-Origin", "ERR_BLOCKED_BY")
        return [text for text in self.complaints if any(word in text for word in words)]

    def lost_network(self) -> bool:
        """Whether a request failed because a network of this machine came or went."""
        return any("ERR_NETWORK_CHANGED" in text for text in self.complaints)

    def elsewhere(self, url: str) -> list[str]:
        """Return the requests that went to another origin than `url`."""
        # Chromium shows documents by pages of its own.
        own = (f"{url}/", "data:", "blob:", "chrome:", "chrome-extension:", "chrome-untrusted:")
        return [request for request in self.requests if not request.startswith(own)]

    def answers(self, part: str) -> list[Response]:
        """Return the answers from addresses that contain a part."""
        return [response for response in self.responses if part in response.url]

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")
