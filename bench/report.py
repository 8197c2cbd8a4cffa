"""The report: a Markdown table for each set, of medians and spread."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from bench.peers import FLOOR, OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.measure import Run

HEAD = (
    "| sender | instances/s (least to most) | MB/s | CPU s | peak MB | archive's CPU s | of the floor | note |",
    "|---|---|---|---|---|---|---|---|",
)


def table(title: str, runs: Sequence[Run], titles: dict[str, str], http: set[str]) -> str:
    """Write what was measured of one set; `http` names the peers that ours is compared with."""
    whole = [run for run in runs if not run.failed]
    rates = {name: _rate(_of(whole, name)) for name in titles if _of(whole, name)}
    floor = rates.get(FLOOR, 0.0)
    ranked = sorted(rates, key=lambda name: -rates[name])
    lines = [f"### {title}", "", *HEAD]
    lines += [_line(titles[name], _of(runs, name), floor) for name in ranked]
    unmeasured = [name for name in titles if _of(runs, name) and name not in rates]
    lines += [f"| {titles[name]} |||||||{_note(_of(runs, name))} |" for name in unmeasured]
    return "\n".join([*lines, "", _verdict(rates, runs, http), ""])


def _of(runs: Sequence[Run], name: str) -> list[Run]:
    return [run for run in runs if run.peer == name]


def _rate(runs: Sequence[Run]) -> float:
    return median(run.rate for run in runs)


def _line(title: str, runs: Sequence[Run], floor: float) -> str:
    """Write one sender's line; figures are medians over the rounds that did not fail."""
    whole = [run for run in runs if not run.failed]

    def middle(value: Callable[[Run], float]) -> float:
        return median(value(run) for run in whole)

    rates = [run.rate for run in whole]
    cells = (
        title,
        f"{_short(median(rates))} ({_short(min(rates))} to {_short(max(rates))})",
        _short(middle(lambda run: run.rate * run.size_bytes / run.files / 1e6)),
        f"{middle(lambda run: run.cost.cpu_s):.1f}",
        f"{middle(lambda run: run.cost.peak_bytes) / 1e6:.0f}",
        f"{middle(lambda run: run.cost.archive_cpu_s):.1f}",
        f"{median(rates) / floor:.2f}" if floor else "",
        _note(runs),
    )
    return f"| {' | '.join(cells)} |"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.3g}"  # noqa: PLR2004 - three digits tell enough


def _note(runs: Sequence[Run]) -> str:
    failed = [run.failed for run in runs if run.failed]
    words = [f"{len(failed)} of {len(runs)} failed: {failed[0]}"] if failed else []
    if lost := max(run.lost for run in runs):
        words.append(f"lost {lost} of {runs[0].files}")
    elif any(run.files != runs[0].files for run in runs):
        words.append("of different numbers")
    if settled := [run.settled_s for run in runs if run.settled_s]:
        words.append(f"settled after {median(settled):.1f} s")
    return ", ".join(words)


def _verdict(rates: dict[str, float], runs: Sequence[Run], http: set[str]) -> str:
    """Say how ours stands to the floor and to the fastest HTTP peer that lost nothing."""
    if OURS not in rates:
        return ""
    words = []
    if rates.get(FLOOR):
        words.append(f"{rates[OURS] / rates[FLOOR]:.2f} of the floor")
    whole = [
        n for n in http & rates.keys() if not any(run.lost or run.failed for run in _of(runs, n))
    ]
    if whole:
        fastest = max(whole, key=lambda name: rates[name])
        words.append(f"{rates[OURS] / rates[fastest]:.2f} of the fastest HTTP peer ({fastest})")
    return f"Ours: {', '.join(words)}." if words else ""
