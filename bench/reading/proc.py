"""How much memory a tree of processes has, by /proc: the sum of what each has of its own and its part of the shared."""

from __future__ import annotations

import os
import re
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

INTERVAL_S = 0.5


def parse_stat(text: str) -> tuple[int, str, int]:
    """Return number, name and parent of a process from its `stat`; a name may have anything in it."""
    number, _, rest = text.partition(" (")
    name, _, fields = rest.rpartition(") ")
    return int(number), name, int(fields.split()[1])


def parse_pss(text: str) -> int:
    """Return the proportional set size, in bytes, from `smaps_rollup`."""
    found = re.search(r"^Pss:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def descendants(root: int, processes: Iterable[tuple[int, str, int]]) -> dict[int, str]:
    """Return a process and all that it started, directly or not, by number, each with its name."""
    listed = list(processes)
    found = {number: name for number, name, _ in listed if number == root}
    grown = True
    while grown:
        new = {n: name for n, name, parent in listed if parent in found and n not in found}
        grown = bool(new)
        found |= new
    return found


def running() -> list[tuple[int, str, int]]:
    """Return number, name and parent of every process of the host."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            found.append(parse_stat(path.read_text()))
        except (FileNotFoundError, ProcessLookupError):
            continue  # It has ended.
    return found


def pss_bytes(numbers: Iterable[int]) -> int:
    """Return the proportional set size of processes; one that has ended has none."""
    total = 0
    for number in numbers:
        try:
            total += parse_pss(Path(f"/proc/{number}/smaps_rollup").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def browser_bytes() -> dict[str, int]:
    """Return what the browser has that this process started."""
    own = descendants(os.getpid(), running())
    return {"browser": pss_bytes(n for n, name in own.items() if name.startswith("chrom"))}


def trees_bytes(roots: Mapping[str, int]) -> dict[str, int]:
    """Return what each of several named processes and all below it have."""
    processes = running()
    return {name: pss_bytes(descendants(root, processes)) for name, root in roots.items()}


class Sampler:
    """Asks over and over in a thread of its own, and keeps the most of each name and of all together."""

    def __init__(self, measure: Callable[[], dict[str, int]]) -> None:
        self._measure = measure
        self._ended = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self.peaks: dict[str, int] = {}
        self.total = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            found = self._measure()
            self.total = max(self.total, sum(found.values()))
            self.peaks = {n: max(size, self.peaks.get(n, 0)) for n, size in found.items()}
            if self._ended.wait(INTERVAL_S):
                return
