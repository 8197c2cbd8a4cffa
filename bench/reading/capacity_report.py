"""The tables on capacity: memory by service, and how long each step of reading took, by physicians at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.reading import sizes
from bench.reading.figures import Figure, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STEPS = ("list", "metadata", "first frame", "all frames", "slowest frame")


def memory_table(memory: Mapping[int, Mapping[str, int]], totals: Mapping[int, int]) -> str:
    """Write each service's peak by the number of physicians, beside what the architecture document allows."""
    names = sorted(memory[0], key=lambda name: -memory[0][name])
    head = [f"{people} at once" if people else "nobody" for people in memory]
    rows = [[name, *(f"{one.get(name, 0) / 1e6:.0f}" for one in memory.values())] for name in names]
    rows += [["**together**, at one time", *(f"{total / 1e6:.0f}" for total in totals.values())]]
    allowed = [1e3 * (sizes.BASE_GB + sizes.PERSON_GB * people) for people in memory]
    rows += [["the architecture's table", *(f"{megabytes:.0f}" for megabytes in allowed)]]
    lines = [
        f"| {' | '.join(row)} |" for row in (["peak MB", *head], ["---"] * (len(head) + 1), *rows)
    ]
    return "\n".join(["### Memory of the stack, by physicians at once", "", *lines, "", ""])


def latency_table(
    steps: Mapping[int, Mapping[str, Sequence[float]]], size: sizes.Sizes, rounds: int
) -> str:
    """Write how long each step took, of all physicians and rounds."""
    figures = [
        Figure(f"{step}, {people} at once", tuple(found[step]))
        for step in STEPS
        for people, found in steps.items()
    ]
    title = f"A CT of {size.slices} slices by each of so many physicians at once, {rounds} rounds"
    return table(title, figures)
