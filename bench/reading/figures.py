"""Figures as tables: the median, the least and the most of the rounds, beside the bound that it is held to."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from bench.access_report import short, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

HEAD = ("| what | median (least to most) | bound | within |", "|---|---|---|---|")


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured so many times; without a bound it is told and not judged."""

    title: str
    values: tuple[float, ...]
    unit: str = "s"
    bound: float | None = None

    @property
    def is_within(self) -> bool:
        """Whether the median keeps to the bound."""
        return self.bound is None or median(self.values) <= self.bound

    def line(self) -> str:
        """Write it as a row of a table."""
        unit = f" {self.unit}" if self.unit else ""
        bound = "" if self.bound is None else f"{short(self.bound)}{unit}"
        verdict = "" if self.bound is None else ("yes" if self.is_within else "**no**")
        return f"| {self.title} | {spread(self.values)}{unit} | {bound} | {verdict} |"


def table(title: str, figures: Sequence[Figure]) -> str:
    """Write a table; what was never measured is left out."""
    lines = [figure.line() for figure in figures if figure.values]
    return "\n".join([f"### {title}", "", *HEAD, *lines, "", ""])


def ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, ...]:
    """Return how many times as much one took as another, round by round."""
    return tuple(a / b for a, b in zip(above, below, strict=True))
