"""The viewer as a person uses it: logging in, finding a study, looking at it, logging out."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from playwright.sync_api import TimeoutError as PageTimeoutError

from harness.browser import Watch
from harness.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from playwright.sync_api import Browser, Locator, Page

    Picture = NDArray[np.float64]

LOADING_TIMEOUT_S = 60
TIMEOUT_MS = LOADING_TIMEOUT_S * 1000


@dataclass(frozen=True, slots=True)
class Viewer:
    """One person's browser window on the stack at `url`."""

    url: str
    page: Page
    watch: Watch
    pictures: Path

    def open(self, path: str = "/") -> None:
        """Go to an address below the stack's own."""
        self.page.goto(self.url + path)

    def await_element(self, element: Locator) -> None:
        """Wait for an element; once, reload a page that Chromium left half loaded.

        It drops its connections when any network of the host changes: when a container starts.
        """
        try:
            element.wait_for(timeout=TIMEOUT_MS / 2)
        except PageTimeoutError:
            if not self.watch.lost_network():
                raise
            self.page.reload()
            element.wait_for(timeout=TIMEOUT_MS)

    def fill_in_login(self, username: str, password: str) -> None:
        """Send the identity provider's form, which the window must show now or soon."""
        form = self.page.locator("#username")
        self.await_element(form)
        assert self.page.url.startswith(f"{self.url}/auth/realms/dicom/"), self.page.url
        form.fill(username)
        self.page.locator("#password").fill(password)
        self.page.locator("#kc-login").click()

    def log_in(self, username: str, password: str) -> None:
        """Log in and wait to be back at the viewer.

        Keycloak's page loads itself anew in its first second when its session's cookie is another
        one by then, which takes back a form that was sent as fast as nobody types: a person sees
        an empty form, and fills it in.
        """
        self.fill_in_login(username, password)
        try:
            self.page.wait_for_url(lambda url: "/auth/" not in url, timeout=TIMEOUT_MS / 2)
        except PageTimeoutError:
            if self.page.locator("#password").input_value():
                raise
            self.fill_in_login(username, password)
            self.page.wait_for_url(lambda url: "/auth/" not in url, timeout=TIMEOUT_MS)

    def log_out(self) -> None:
        """Use the viewer's own menu, from an open study."""
        self.page.locator("button.w-full[aria-haspopup=menu]").click()
        self.page.get_by_role("menuitem", name="Logout").click()

    def search(self, family_name: str) -> Locator:
        """Search the study list for a patient; returns the rows that show the name."""
        name_filter = self.page.locator("tr input").first
        self.await_element(name_filter)
        self.confirm_notice()
        with self.page.expect_response(lambda r: family_name in r.url, timeout=TIMEOUT_MS):
            name_filter.fill(family_name)
        return self.page.locator("tr", has_text=family_name)

    def confirm_notice(self) -> None:
        """Confirm that the viewer is not for diagnosis, if it asks: the notice covers what lies below."""
        notice = self.page.get_by_role("button", name="Confirm and hide")
        if notice.is_visible():
            notice.click()

    def open_study(self, family_name: str, study_uid: str) -> None:
        """Open a study from the list."""
        self.search(family_name).dblclick(timeout=TIMEOUT_MS)
        self.page.wait_for_url(f"**/viewer?StudyInstanceUIDs={study_uid}*", timeout=TIMEOUT_MS)

    def drawn(self) -> Picture:
        """Photograph the first viewport: grey values, 0 to 255."""
        pane = self.page.locator("[data-cy=viewport-pane]").first
        self.await_element(pane)
        self.confirm_notice()
        grey = Image.open(io.BytesIO(pane.screenshot(timeout=TIMEOUT_MS))).convert("L")
        return np.asarray(grey, dtype=np.float64)

    def see(self, pictures: Picture, at_least: float = 0.95) -> list[float]:
        """Wait until the viewport shows one of the pictures; returns its likeness to each."""
        last: list[float] = []

        def likenesses() -> list[float] | None:
            drawn = self.drawn()
            last[:] = [likeness(drawn, picture) for picture in pictures]
            return last if max(last) >= at_least else None

        found = wait_until(
            likenesses, LOADING_TIMEOUT_S, "the picture is drawn", lambda: f"likeness {last}"
        )
        assert found
        return found

    def access_token(self) -> str:
        """Return the token that the viewer holds."""
        stored = self.page.evaluate(
            "() => Object.values(sessionStorage).find(v => v.includes('access_token'))"
        )
        return str(json.loads(stored)["access_token"])

    def keep_picture(self, name: str) -> None:
        """Keep a photograph of the whole window for people."""
        self.page.screenshot(path=self.pictures / f"{name}.png")


def likeness(drawn: Picture, expected: Picture) -> float:
    """Correlate what a viewport shows with a picture that it should show, as large as fits and centred."""
    scale = min(d / e for d, e in zip(drawn.shape, expected.shape, strict=True))
    height, width = (int(n * scale) for n in expected.shape)
    top, left = (drawn.shape[0] - height) // 2, (drawn.shape[1] - width) // 2
    shown = drawn[top : top + height, left : left + width]
    source = Image.fromarray(expected.astype(np.float32))
    wanted = np.asarray(source.resize((width, height), Image.Resampling.BILINEAR))
    if shown.std() == 0:
        return 0.0
    return float(np.corrcoef(shown.ravel(), wanted.ravel())[0, 1])


def window(browser: Browser, url: str, pictures: Path) -> Viewer:
    """Open a window without cookies of any other."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    watch = Watch()
    watch.on(page)
    pictures.mkdir(parents=True, exist_ok=True)
    return Viewer(url, page, watch, pictures)
