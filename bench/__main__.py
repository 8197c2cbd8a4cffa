"""`python -m bench`: runs every sender over every set in turns, and prints the report."""

from __future__ import annotations

import argparse
import os
import platform
import secrets
import sys
import time
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TextIO

from stack.settings import SettingsError, load
from stack.shell import CommandError

from bench import report, sets
from bench.measure import RESTARTED, Bench, Cost, Run, fill, importer_run, peer_run, timed
from bench.peers import OURS, PEERS, Peer, curl_config
from bench.stage import stage

if TYPE_CHECKING:
    from collections.abc import Sequence

OURS_TITLE = "**the importer**: token, clinic set, verified, filed"
START_UPS = 3
WARM_UP = 20
FILLING = 1000


def tell(text: str) -> None:
    """Say how far it is, apart from the report."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def new_stamp() -> str:
    """Return 20 digits that were never used."""
    return f"{secrets.randbelow(10**20):020}"


def start_up(bench: Bench, peer: Peer) -> Cost:
    """Measure a peer that has nothing to send."""
    costs = [timed(bench, peer.idle) for _ in range(START_UPS)]
    return Cost(median(c.seconds for c in costs), median(c.cpu_s for c in costs), 0)


def in_turn(names: Sequence[str], turn: int) -> list[str]:
    """Return the order of a round: another begins each time, and who follows whom alternates."""
    first = turn % len(names)
    order = [*names[first:], *names[:first]]
    return [order[0], *order[:0:-1]] if turn % 2 else order


def one_run(bench: Bench, name: str, sample: sets.SampleSet, start_ups: dict[str, Cost]) -> Run:
    """Have one sender send one set; a restart of the archive is recorded and not measured."""
    started = bench.archive_started()
    if name == OURS:
        run = importer_run(bench, name, sample, new_stamp())
    else:
        peer = next(peer for peer in PEERS if peer.name == name)
        run = peer_run(bench, peer, sample, new_stamp(), start_ups[name])
    return run if bench.archive_started() == started else replace(run, failed=RESTARTED)


def make_set(bench: Bench, shape: sets.Shape) -> sets.SampleSet:
    """Write a set and the lists that go with it."""
    above = bench.folder / "sets"
    sample = sets.sample_set(shape, above)
    paths = [f"/sets/{sample.path(i).relative_to(above)}" for i in range(shape.files)]
    (above / f"{shape.name}.curl").write_text(curl_config(paths))
    return sample


def measure(
    bench: Bench, shapes: Sequence[sets.Shape], names: Sequence[str], rounds: int, out: TextIO
) -> None:
    """Measure and print the report, set by set."""
    titles = {OURS: OURS_TITLE} | {peer.name: peer.title for peer in PEERS}
    http = {peer.name for peer in PEERS if peer.http and peer.name != "floor"}
    start_ups = {peer.name: start_up(bench, peer) for peer in PEERS if peer.name in names}
    for name, cost in start_ups.items():
        tell(f"start-up of {name}: {cost.seconds:.2f} s, CPU {cost.cpu_s:.2f} s")
    warm = make_set(bench, sets.Shape("warm-up", "", WARM_UP, 2048))
    fill(
        bench, PEERS[0], make_set(bench, sets.Shape("filling", "", FILLING, 2048, 10)), new_stamp()
    )
    for name in names:
        one_run(bench, name, warm, start_ups)
    for shape in shapes:
        sample = make_set(bench, shape)
        runs: list[Run] = []
        for turn in range(rounds):
            for name in in_turn(names, turn):
                runs.append(one := one_run(bench, name, sample, start_ups))
                came = one.failed or f"{one.rate:.1f}/s, {one.cost}"
                tell(f"{shape.name} {turn + 1}/{rounds} {name}: {came}, lost {one.lost}")
        count = f"{shape.files} " if shape.files > 1 else ""
        title = f"{count}{shape.title}, {rounds} rounds"
        out.write(report.table(title, runs, titles, http) + "\n")
        out.flush()


def machine() -> str:
    """Describe where this was measured."""
    cpu = next(
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith(("model name", "CPU part"))
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GB, Linux {platform.release()};"
        f" load before it began {load:.1f}."
    )


def main(argv: list[str]) -> int:
    """Run the bench; returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--env-file", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sets", default="", help="names, separated by spaces; all by default")
    parser.add_argument("--peers", default="", help="the same")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--largest-mb", type=int, default=1399)
    parser.add_argument("--keep", action="store_true", help="leave the stack running")
    given = parser.parse_args(argv)
    shapes = sets.shapes(given.scale, given.largest_mb)
    known = [OURS, *(peer.name for peer in PEERS)]
    chosen, names = given.sets.split() or list(shapes), given.peers.split() or known
    if wrong := [*(set(chosen) - shapes.keys()), *(set(names) - set(known))]:
        sys.stderr.write(
            f"unknown: {wrong}; sets: {', '.join(shapes)}; peers: {', '.join(known)}\n"
        )
        return 1
    try:
        settings = load(given.env_file.resolve())
        out = sys.stdout
        out.write(machine() + "\n\n")
        with redirect_stdout(sys.stderr), stage(settings, keep=given.keep) as bench:
            measure(bench, [shapes[name] for name in chosen], names, given.rounds, out)
    except (SettingsError, CommandError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
