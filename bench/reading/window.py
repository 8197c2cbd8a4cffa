"""A person's browser on one of the doors: what they do, and how it is known that the viewer has done its part.

The list is drawn when a row of it names the bench's patient, a picture when a viewport is no longer of one
grey: seen.js looks before each painting. Frames have come when the page's own timing says so, everything else when the
network does.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from playwright.sync_api import Error as PageError
from stack.shell import CommandError

from bench.reading.moments import Fetched, Seen
from bench.sets import FRAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.viewer import Viewer
    from playwright.sync_api import Page

    from bench.reading.archive import Study
    from bench.reading.doors import Door
    from bench.reading.network import Network

# What is measured is noted in the page: to ask often would only slow it.
POLL_MS = 200
TIMEOUT_S = 180
_Found = TypeVar("_Found")


class CutOffError(CommandError):
    """A network of this machine changed, and Chromium broke off what it waited for: nothing was measured."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who logs in."""

    name: str
    password: str


@dataclass(frozen=True, slots=True)
class Window:
    """A window on a door, of a person who is asked to log in there or of nobody."""

    door: Door
    viewer: Viewer
    network: Network
    person: Person

    @property
    def page(self) -> Page:
        """The page in it."""
        return self.viewer.page

    def enter(self, path: str) -> None:
        """Go to an address as somebody who is not logged in yet."""
        with self._blaming_the_network():
            self.viewer.open(path)
            if self.door.asks_login:
                self.viewer.log_in(self.person.name, self.person.password)

    @contextmanager
    def _blaming_the_network(self) -> Iterator[None]:
        """Raise CutOffError for what a page did not show because this machine's network cut it off."""
        try:
            yield
        except PageError as error:
            if self.network.cut_off:
                raise CutOffError(f"{self.network.cut_off[0]}: {error}") from error
            raise

    def seen(self) -> Seen:
        """Return what can be seen by now."""
        try:
            found = self.page.evaluate("() => window.benchSeen")
        except PageError:
            return Seen()  # The page is just being left for another.
        if not found:
            return Seen()
        drawn = tuple(one or 0.0 for one in found["drawn"])
        return Seen(found["asked"], found["list"], drawn, found["changed"])

    def frames(self, study: Study) -> list[Fetched]:
        """Return the frames of a study that came whole since it was asked for."""
        found = self.page.evaluate("given => window.benchFrames(...given)", _whole(study))
        return [Fetched(f"{self.viewer.url}{path}", *moments) for path, *moments in found]

    def count(self, study: Study) -> int:
        """Count them."""
        asked = "given => window.benchFrames(...given).length"
        return int(self.page.evaluate(asked, _whole(study)))

    def wait(
        self, what: str, condition: Callable[[], _Found], evidence: Callable[[], str] = str
    ) -> _Found:
        """Return the first true value of a condition.

        Raises CommandError with the evidence after a while, at once when something is refused or cut off.
        """
        deadline_s = monotonic() + TIMEOUT_S
        while True:
            found = condition()
            if self.network.cut_off:
                raise CutOffError(f"{self.door.title}, {what}: cut off, {self.network.cut_off[0]}")
            if found:
                return found
            if self.network.refused:
                raise CommandError(f"{self.door.title}, {what}: {self.network.refused[0]}")
            if monotonic() > deadline_s:
                message = f"{self.door.title}: not within {TIMEOUT_S} s: {what}; {evidence()}"
                raise CommandError(message)
            self.page.wait_for_timeout(POLL_MS)

    def wait_list(self) -> Seen:
        """Wait until the study list is drawn."""
        self.wait("the list is drawn", lambda: self.seen().list_ms)
        return self.seen()

    def open_row(self) -> float:
        """Open a study by its row, in a list that has it alone; returns when, in milliseconds since 1970."""
        # The list has no room for more than the patient's name, which all of the bench's have.
        row = self.page.locator("tbody tr", has_text="Bench")
        with self._blaming_the_network():
            self.viewer.await_element(row)
            self.viewer.confirm_notice()
            self.network.fetched.clear()
            row.dblclick()
            self.page.wait_for_url("**/viewer?StudyInstanceUIDs=*")
        return self.seen().asked_ms


def _whole(study: Study) -> tuple[str, int]:
    """Return what a study's frames are below, and the bytes that each has at least."""
    return f"{study.series_path}/instances/", FRAME_BYTES
