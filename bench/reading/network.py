"""What a page fetched but frames, when by Chromium's own clock, what it still waits for, and what was refused to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench.reading.moments import Fetched

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request, Response

CUT_OFF = "ERR_NETWORK_CHANGED"
# Without these there is nothing to measure.
_NEEDED = re.compile(r"^/dicom-web/(studies|.*/metadata|.*/frames/\d+)$")


@dataclass(frozen=True, slots=True)
class Network:
    """What a page fetched, what it still waits for, what was refused to it, and what the machine cut off.

    Chromium drops its requests when any network of the machine changes: when a container starts.
    """

    fetched: list[Fetched] = field(default_factory=list)
    waiting: set[Request] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    cut_off: list[str] = field(default_factory=list)

    def on(self, page: Page) -> None:
        """Begin to listen to a page; by lambdas, since Playwright marks the objects of methods."""
        page.on("request", lambda request: self.waiting.add(request))  # noqa: PLW0108 - see above
        page.on("requestfinished", lambda request: self._finished(request))  # noqa: PLW0108
        page.on("requestfailed", lambda request: self._failed(request))  # noqa: PLW0108
        page.on("response", lambda response: self._answered(response))  # noqa: PLW0108

    def _finished(self, request: Request) -> None:
        self.waiting.discard(request)
        timing, is_page = request.timing, request.resource_type == "document"
        began_ms = timing["startTime"]
        ended_ms = began_ms + max(0.0, timing["responseEnd"])
        self.fetched.append(Fetched(request.url, began_ms, ended_ms, is_page))

    def _failed(self, request: Request) -> None:
        self.waiting.discard(request)
        if CUT_OFF in (request.failure or ""):
            self.cut_off.append(urlsplit(request.url).path)

    def _answered(self, response: Response) -> None:
        path = urlsplit(response.url).path
        if _NEEDED.search(path) and not response.ok:
            self.refused.append(f"{response.status} {path}")
