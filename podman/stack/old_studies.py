"""`make import-archive`: brings a folder of old studies into a clinic's inbox, part by part beside daily work.

It needs Python alone, since on NixOS it is run by itself. The folder is only read. A part is a first-level folder of
the inbox, which the importer settles, imports and files away as it does any export. Killed, or stopped, it goes on
where it was when it is run again; once it has ended it begins anew, and what is there already counts as imported.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PART_FILES, PART_BYTES = 1000, 2 * 2**30
# So many parts wait for their cool-down or are imported at once.
PARTS_AT_ONCE = 4
# Room that is left for daily work, beside what is put; the importer pauses by itself before the disk is full.
FREE_BYTES = 10 * 2**30
# What others export meanwhile goes first, but a file that stays does not hold the old ones up for ever.
DAILY_WORK_S = 300.0
POLL_INTERVAL_S = 1.0


class BeginError(Exception):
    """It cannot begin; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Task:
    """From where into which clinic's inbox; `files` is DATA_DIR/files, `kept` where it remembers how far it is."""

    source: Path
    clinic: str
    files: Path
    kept: Path
    owner: int

    @property
    def name(self) -> str:
        """Name of its parts: the same for the same folder."""
        return f"old-{hashlib.sha256(os.fsencode(self.source)).hexdigest()[:8]}"

    @property
    def inbox(self) -> Path:
        """The clinic's inbox."""
        return self.files / "inbox" / self.clinic


@dataclass(frozen=True, slots=True)
class State:
    """Which run it is and how far: parts and files that were put, and the last of these, below the source."""

    run: str
    parts: int = 0
    put: int = 0
    last: str = ""


def walk(source: Path) -> Iterator[Path]:
    """Give every regular file below a folder, always in the same order; links are not followed."""
    for top, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names):
            path = Path(top, name)
            if path.is_file() and not path.is_symlink():
                yield path


def parts(paths: Iterator[Path]) -> Iterator[list[Path]]:
    """Gather files into parts of at most PART_FILES and about PART_BYTES."""
    part: list[Path] = []
    size = 0
    for path in paths:
        part.append(path)
        size += path.stat().st_size
        if len(part) >= PART_FILES or size >= PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _place(task: Task) -> Path:
    return task.kept / f"{task.clinic}-{task.name}.json"


def load(task: Task) -> State:
    """Return how far it was, or that a run begins."""
    path = _place(task)
    return State(**json.loads(path.read_text())) if path.exists() else State(f"{time.time_ns():x}")


def save(task: Task, state: State) -> None:
    """Remember how far it is, durably and at once."""
    path = _place(task)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(asdict(state)))
    partial.rename(path)
    os.sync()


def put(task: Task, state: State, part: list[Path]) -> None:
    """Copy the next part beside the inboxes and show it at once."""
    shown = task.inbox / f"{task.name}-{state.run}-{state.parts:06}"
    if shown.exists():
        # By this run, before it was killed; it may be imported already, which leaves the folder.
        return
    hidden = task.files / f".{shown.name}"
    shutil.rmtree(hidden, ignore_errors=True)
    for path in part:
        target = hidden / path.relative_to(task.source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        os.chown(target, task.owner, task.owner)
    for top, _, _ in os.walk(hidden):
        os.chown(top, task.owner, task.owner)
        Path(top).chmod(0o2775)
    # One for all of them; what is lost nevertheless is still in the source.
    os.sync()
    hidden.rename(shown)


def run(task: Task, say: Callable[[str], object]) -> bool:
    """Put everything, wait until it is filed away and report; returns whether nothing failed."""
    if not task.source.is_dir():
        raise BeginError(f"{task.source} is no folder")
    if not task.inbox.is_dir():
        raise BeginError(f"clinic {task.clinic} has no inbox: it is closed, or there is none")
    task.kept.mkdir(parents=True, exist_ok=True)
    state, total = load(task), sum(1 for _ in walk(task.source))
    # Known before anything is shown, or a run that was killed would not know its own parts.
    save(task, state)
    say(f"{total} files in {task.source}, {state.put} of them put before")
    began_s, before = time.monotonic(), state.put
    for part in parts(_rest(task, state)):
        _await_room(task, sum(path.stat().st_size for path in part))
        put(task, state, part)
        last = str(part[-1].relative_to(task.source))
        state = State(state.run, state.parts + 1, state.put + len(part), last)
        save(task, state)
        say(_progress(state.put, total, (state.put - before) / (time.monotonic() - began_s)))
    while _waiting(task):
        time.sleep(POLL_INTERVAL_S)
    for emptied in task.inbox.glob(f"{task.name}-*"):
        for top, _, _ in os.walk(emptied, topdown=False):
            # The importer tidies as well, and what still comes in stays.
            with contextlib.suppress(OSError):
                Path(top).rmdir()
    _place(task).unlink(missing_ok=True)
    if state.put < total:
        say(
            f"{total - state.put} files more are in {task.source} by now: the same command again brings them"
        )
    return _report(task, state.put, say) and state.put >= total


def _rest(task: Task, state: State) -> Iterator[Path]:
    """Give what follows the last that was put; where that has gone, everything."""
    rest = walk(task.source)
    if any(str(path.relative_to(task.source)) == state.last for path in rest):
        return rest
    return walk(task.source)


def _progress(done: int, total: int, per_s: float) -> str:
    left_min = (total - done) / per_s / 60
    return f"{done} of {total} files put, {per_s:.0f} a second, {left_min:.0f} minutes left"


def _waiting(task: Task) -> int:
    """Count the parts of which files are still in the inbox."""
    shown = task.inbox.glob(f"{task.name}-*")
    return sum(any(True for _ in walk(part)) for part in shown)


def _await_room(task: Task, size: int) -> None:
    """Wait until few parts are on their way, there is room, and others have nothing waiting."""
    until_s = time.monotonic() + DAILY_WORK_S
    while (
        _waiting(task) >= PARTS_AT_ONCE
        or shutil.disk_usage(task.files).free < FREE_BYTES + 2 * size
        or (_others_wait(task) and time.monotonic() < until_s)
    ):
        time.sleep(POLL_INTERVAL_S)


def _others_wait(task: Task) -> bool:
    """Tell whether anything else lies in an inbox."""
    inboxes = [p for p in (task.files / "inbox").iterdir() if p.is_dir()]
    others = (p for inbox in inboxes for p in inbox.iterdir() if not p.name.startswith("old-"))
    return any(any(True for _ in walk(p)) if p.is_dir() else True for p in others)


def _report(task: Task, total: int, say: Callable[[str], object]) -> bool:
    found = (task.files / "failed" / task.clinic).glob(f"*/{task.name}-*/**/*.error.json")
    reasons: Counter[str] = Counter()
    report = task.kept / f"{task.clinic}-{task.name}.failed.txt"
    with report.open("w") as file:
        for path in sorted(found):
            reason = str(json.loads(path.read_text()).get("reason", "unknown"))
            reasons[reason] += 1
            file.write(f"{reason}\t{path.parent / path.name.removesuffix('.error.json')}\n")
    failed = sum(reasons.values())
    say(f"{total - failed} of {total} files are imported, or kept in processed/ beside images")
    for reason, count in reasons.most_common():
        say(f"{count} failed: {reason}")
    if failed:
        say(f"each of them is named in {report}; make explain says why")
    return not failed


def main(argv: list[str]) -> int:
    """Run by itself; returns the exit status."""
    parser = argparse.ArgumentParser(prog="import-archive")
    for option in ("source", "clinic", "files", "kept", "owner"):
        parser.add_argument(f"--{option}", required=True)
    given = parser.parse_args(argv)
    source = Path(given.source).resolve()
    task = Task(source, given.clinic, Path(given.files), Path(given.kept), int(given.owner))
    try:
        return 0 if run(task, _say) else 1
    except BeginError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command goes on from here\n")
        return 130


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
