"""What an opening took, from what the network and the painted pages say of it; all times are the browser's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.reading.archive import Study


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer that came to its last byte; times are milliseconds since 1970."""

    url: str
    began_ms: float
    ended_ms: float
    is_page: bool = False

    @property
    def path(self) -> str:
        """Path of its address."""
        return urlsplit(self.url).path


@dataclass(frozen=True, slots=True)
class Seen:
    """When seen.js saw that something was asked, the list there, each pane drawn, one changed last; 0 is never."""

    asked_ms: float = 0
    list_ms: float = 0
    drawn_ms: tuple[float, ...] = ()
    changed_ms: float = 0

    def panes(self) -> int:
        """Count the panes that show a picture."""
        return sum(drawn > 0 for drawn in self.drawn_ms)


@dataclass(frozen=True, slots=True)
class Opening:
    """Seconds that a study took from when it was asked for to its first picture and its last frame; its metadata's."""

    first_image_s: float
    frames_s: float
    metadata_s: float


def entered_ms(fetched: Iterable[Fetched]) -> float:
    """Return when the viewer was asked for by its address; raises ValueError.

    Who has to log in comes back to it, at `/callback`: what Keycloak's own pages and the person took lies before that.
    """
    pages = sorted((f for f in fetched if f.is_page), key=lambda page: page.began_ms)
    logins = [number for number, page in enumerate(pages) if page.path.startswith("/auth/")]
    viewers = pages[logins[-1] + 1 :] if logins else pages
    if not viewers:
        raise ValueError("the viewer's page was never fetched")
    return viewers[0].began_ms


def metadata_s(fetched: Iterable[Fetched], study: Study) -> float:
    """Return how long a series' metadata took, from the request to its last byte; raises ValueError."""
    path = f"{study.series_path}/metadata"
    took = [one.ended_ms - one.began_ms for one in fetched if one.path == path]
    if not took:
        raise ValueError(f"{path} was never fetched")
    return max(took) / 1e3


def opening(
    asked_ms: float,
    seen: Seen,
    frames: Sequence[Fetched],
    fetched: Sequence[Fetched],
    study: Study,
) -> Opening:
    """Tell what an opening took that is over."""
    first_ms = min(drawn for drawn in seen.drawn_ms if drawn > 0)
    last_ms = max(frame.ended_ms for frame in frames)
    return Opening(
        (first_ms - asked_ms) / 1e3, (last_ms - asked_ms) / 1e3, metadata_s(fetched, study)
    )
