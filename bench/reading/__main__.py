"""`python -m bench.reading`: fills an archive, reads it as physicians do, and prints one table a measurement."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import redirect_stdout
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from playwright.sync_api import Error as PageError
from stack.settings import SettingsError, load
from stack.shell import CommandError

from bench.__main__ import machine, tell
from bench.reading import capacity, listing, room, series, volume
from bench.reading.browsers import described
from bench.reading.peers import peers
from bench.reading.scene import set_up
from bench.reading.sizes import sizes
from bench.stage import stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.measure import Bench
    from bench.reading.scene import Scene
    from bench.reading.sizes import Sizes

PARTS: dict[str, Callable[[Scene, int], str]] = {
    "list": listing.measure,
    "series": series.measure,
    "volume": volume.measure,
    "capacity": capacity.measure,
    "room": room.measure,
}


def measure(bench: Bench, size: Sizes, parts: Sequence[str], rounds: int, out: TextIO) -> list[str]:
    """Measure part by part and print each; returns the parts that failed, which keep no other from being measured."""
    scene = set_up(bench, size)
    failed = []
    with peers(bench, scene.study):
        out.write(f"{described(bench.settings)}\n\n")
        for name in parts:
            tell(f"measuring {name}")
            began_s = time.monotonic()
            try:
                out.write(PARTS[name](scene, rounds))
            except (CommandError, OSError, HTTPException, PageError, ValueError) as error:
                tell(f"{name} failed: {error}")
                out.write(f"### {name}\n\nNot measured: {error}\n\n")
                failed.append(name)
            out.flush()
            tell(f"{name} took {time.monotonic() - began_s:.0f} s")
    return failed


def main(argv: list[str]) -> int:
    """Run the bench; returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench.reading")
    parser.add_argument("--env-file", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", default="", help="names, separated by spaces; all by default")
    parser.add_argument("--scale", type=float, default=1.0, help="less than 1: to try it out")
    parser.add_argument("--studies", type=int, help="in the list; 5000 by default")
    parser.add_argument("--keep", action="store_true", help="leave the stack running")
    given = parser.parse_args(argv)
    parts = given.parts.split() or list(PARTS)
    if wrong := sorted(set(parts) - PARTS.keys()):
        sys.stderr.write(f"unknown: {', '.join(wrong)}; parts: {', '.join(PARTS)}\n")
        return 1
    out = sys.stdout
    size = sizes(given.scale)
    if given.studies:
        size = replace(size, studies=given.studies)
    try:
        settings = load(given.env_file.resolve())
        out.write(f"{machine()}\n\n")
        with redirect_stdout(sys.stderr), stage(settings, keep=given.keep, peers=False) as bench:
            failed = measure(bench, size, parts, given.rounds, out)
    except (SettingsError, CommandError, HTTPException, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
