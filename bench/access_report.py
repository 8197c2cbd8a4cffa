"""The report on access control: what each way took, and the three ratios beside their bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import mean, median, quantiles
from typing import TYPE_CHECKING

from bench.ways import BARE, WAYS, WHOLE, Way

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ADDED_MS, SEARCH_RATIO, SLOWING_RATIO = 1.0, 1.5, 1.2
HEAD = (
    "| way | median ms (least to most of the rounds) | mean ms | 95 of 100 below ms | asked |",
    "|---|---|---|---|---|",
)


@dataclass(frozen=True, slots=True)
class Round:
    """What one round took, in seconds: frames, searches, frames under a search, and that search."""

    frames: dict[Way, list[float]] = field(default_factory=dict)
    searches: dict[Way, list[float]] = field(default_factory=dict)
    slowed: dict[Way, list[float]] = field(default_factory=dict)
    background: dict[Way, list[float]] = field(default_factory=dict)

    @property
    def added_ms(self) -> float:
        """Milliseconds that a frame takes longer with access control."""
        return 1e3 * (median(self.frames[WHOLE]) - median(self.frames[BARE]))

    @property
    def search_ratio(self) -> float:
        """How many times as long as on bare Orthanc a search takes."""
        return median(self.searches[WHOLE]) / median(self.searches[BARE])

    @property
    def slowing_ratio(self) -> float:
        """How many times as much as on bare Orthanc frames slow, at the median."""
        slowing = {way: median(self.slowed[way]) / median(self.frames[way]) for way in self.slowed}
        return slowing[WHOLE] / slowing[BARE]

    @property
    def mean_slowing_ratio(self) -> float:
        """The same of the means, which count the frames that had to wait long."""
        slowing = {way: mean(self.slowed[way]) / mean(self.frames[way]) for way in self.slowed}
        return slowing[WHOLE] / slowing[BARE]


def write(rounds: Sequence[Round], studies: int, rows: int, many: int) -> str:
    """Write all tables."""
    return "\n".join(
        [
            *_table("A frame", [one.frames for one in rounds]),
            *_table(f"A search for {rows} of {studies} studies", [one.searches for one in rounds]),
            *_table(f"A frame while {many} rows are searched", [one.slowed for one in rounds]),
            *_table(f"That search, for {many} rows", [one.background for one in rounds]),
            *_verdicts(rounds),
            "",
        ]
    )


def _table(title: str, rounds: Sequence[dict[Way, list[float]]]) -> list[str]:
    lines = [_line(way, [one[way] for one in rounds]) for way in WAYS if way in rounds[0]]
    return [f"### {title}", "", *HEAD, *lines, ""]


def _line(way: Way, rounds: Sequence[list[float]]) -> str:
    whole = [1e3 * seconds for one in rounds for seconds in one]
    # Of two or more: what lies above the 19th of 20 parts is the slowest twentieth.
    slow = quantiles(whole, n=20, method="inclusive")[-1] if len(whole) > 1 else whole[0]
    middles = spread([1e3 * median(one) for one in rounds])
    return f"| {way.title} | {middles} | {short(mean(whole))} | {short(slow)} | {len(whole)} |"


def _verdicts(rounds: Sequence[Round]) -> list[str]:
    def line(what: str, values: Iterable[float], bound: float, unit: str = "") -> str:
        found = list(values)
        verdict = "yes" if median(found) <= bound else "**no**"
        return f"| {what} | {spread(found)}{unit} | {short(bound)}{unit} | {verdict} |"

    return [
        "| through nginx, with access control against without | median (least to most) | bound | within |",
        "|---|---|---|---|",
        line("added to a frame", (one.added_ms for one in rounds), ADDED_MS, " ms"),
        line("search", (one.search_ratio for one in rounds), SEARCH_RATIO),
        line(
            "slowing of frames by a search, at the median",
            (one.slowing_ratio for one in rounds),
            SLOWING_RATIO,
        ),
        line(
            "slowing of frames by a search, on average",
            (one.mean_slowing_ratio for one in rounds),
            SLOWING_RATIO,
        ),
    ]


def spread(values: Sequence[float]) -> str:
    """Write the median, and the least and the most."""
    return f"{short(median(values))} ({short(min(values))} to {short(max(values))})"


def short(value: float) -> str:
    """Write a figure with as many digits as tell enough."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits tell enough
