"""`python -m bench.access`: what access control costs frames and searches, beside bare Orthanc in one run."""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from stack import people
from stack.__main__ import alone
from stack.settings import SettingsError, load
from stack.shell import CommandError

from bench import access_report
from bench.__main__ import in_turn, machine, new_stamp, tell
from bench.access_report import Round
from bench.login import add_person, token
from bench.measure import ARCHIVE, Bench, analyze
from bench.sets import BLOCK, FRAME_BYTES, SampleSet, Shape, orthanc_study
from bench.stage import lay_over, stage
from bench.template import NO_DATE, NO_INSTITUTION, Kind, encode, uid
from bench.ways import ARCHIVE_CONF, BARE, WAYS, WHOLE, Client, Way, unchecked_conf

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.queues import SimpleQueue
    from multiprocessing.synchronize import Event

    from stack.settings import Settings

# Each as long as what the template has for an institution.
CLINICS = ("bench-clinic-number-01", "bench-clinic-number-02")
PERSON = "bench-physician"
STUDIES, YEARS_DAYS, SLICES = 2000, 730, 20
ROWS, MANY = 25, 1000
FRAMES, SEARCHES, SLOWED_S, WARM_UP = 150, 8, 6.0, 10
SENDERS = 2
SETTLED_TIMEOUT_S, QUIET_CPU_S = 150, 0.1
DICOM_JSON = "application/dicom+json"


@dataclass(frozen=True, slots=True)
class Scene:
    """The stack that is asked, by whom, and which frames."""

    settings: Settings
    tls: ssl.SSLContext
    token: str
    frames: tuple[str, ...]

    def client(self, way: Way) -> Client:
        """Open a connection."""
        return Client(self.settings, self.tls, way, self.token)


def instances(
    sample: SampleSet, stamp: str, today: date, clinics: Sequence[str] = CLINICS
) -> Iterator[bytes]:
    """Yield the files of a set: studies of each clinic in turn, spread over two years up to today."""
    for index in range(sample.shape.files):
        study = sample.study(index)
        made = today - timedelta(days=study * YEARS_DAYS // sample.shape.studies)
        header = (
            sample.header(stamp, index)
            .replace(NO_INSTITUTION.encode(), clinics[study % len(clinics)].encode())
            .replace(NO_DATE.encode(), f"{made:%Y%m%d}".encode())
        )
        yield header + BLOCK[: sample.shape.pixel_bytes]


def fill(settings: Settings, files: Sequence[bytes]) -> None:
    """Store files, over a few kept connections."""

    def send(part: Sequence[bytes]) -> None:
        host = f"{settings.prefix('BACKEND')}.13"
        with closing(http.client.HTTPConnection(host, 8042, timeout=60)) as connection:
            for body in part:
                connection.request("POST", "/instances", body)
                answer = connection.getresponse()
                content = answer.read()
                if answer.status != http.HTTPStatus.OK:
                    raise CommandError(f"a file was not stored: {answer.status} {content[:200]!r}")

    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(send, [files[number::SENDERS] for number in range(SENDERS)]))


def set_up(bench: Bench, studies: int) -> tuple[tuple[str, ...], str]:
    """Make clinics, a physician and studies; returns the paths of frames and the physician's password."""
    settings = bench.settings
    (bench.folder / "unchecked.conf").write_text(unchecked_conf(ARCHIVE_CONF.read_text()))
    with alone(settings):
        lay_over(bench, "access.yml", "nginx")
        for clinic in CLINICS:
            people.add_clinic(settings, clinic, clinic)
        password = add_person(settings, PERSON, CLINICS[0], "physician")
    today = datetime.now(UTC).date()
    few, many = new_stamp(), new_stamp()
    shapes = {
        many: Shape("studies", "", studies, 2048, studies),
        few: Shape("slices", "", SLICES, FRAME_BYTES),
    }
    for stamp, shape in shapes.items():
        kind = Kind(shape.name, shape.pixel_bytes, shape.frames)
        files = list(instances(SampleSet(shape, bench.folder, encode(kind)), stamp, today))
        tell(f"storing {len(files)} files")
        fill(settings, files)
    analyze(bench)
    wait_settled(bench, orthanc_study(few, 0))
    above = f"/dicom-web/studies/{uid(few, 1, 0)}/series/{uid(few, 2, 0)}/instances"
    return tuple(f"{above}/{uid(few, 3, i)}/frames/1" for i in range(SLICES)), password


def wait_settled(bench: Bench, last: str) -> None:
    """Wait until Orthanc has made what it makes a minute after the last file came, and rests."""
    tell("waiting until the archive rests")
    deadline = time.monotonic() + SETTLED_TIMEOUT_S
    while time.monotonic() < deadline:
        before_s = sum(map(bench.cpu_s, ARCHIVE))
        time.sleep(2)
        rests = sum(map(bench.cpu_s, ARCHIVE)) - before_s < QUIET_CPU_S
        if rests and json.loads(bench.ask("GET", f"/studies/{last}") or b"{}").get("IsStable"):
            return
    raise CommandError(f"the archive does not rest within {SETTLED_TIMEOUT_S} s")


def ask_frames(scene: Scene, ways: Sequence[Way], turn: int) -> dict[Way, list[float]]:
    """Ask the same frames by every way, one after the other."""
    found: dict[Way, list[float]] = {way: [] for way in ways}
    with ExitStack() as stack:
        clients = {way: stack.enter_context(closing(scene.client(way))) for way in ways}
        for number in range(-WARM_UP, FRAMES):
            path = scene.frames[number % len(scene.frames)]
            for way in _in_turn(ways, turn + number):
                seconds, content = clients[way].ask(way.prefix + path)
                if len(content) < FRAME_BYTES:
                    raise CommandError(f"{way.title}: a frame of {len(content)} bytes")
                if number >= 0:
                    found[way].append(seconds)
    return found


def ask_searches(scene: Scene, ways: Sequence[Way], turn: int) -> dict[Way, list[float]]:
    """Ask for the same page by every way, one after the other."""
    found: dict[Way, list[float]] = {way: [] for way in ways}
    with ExitStack() as stack:
        clients = {way: stack.enter_context(closing(scene.client(way))) for way in ways}
        for number in range(-1, SEARCHES):
            for way in _in_turn(ways, turn + number):
                seconds, content = clients[way].ask(way.search(CLINICS[0], ROWS), DICOM_JSON)
                if (rows := len(json.loads(content))) != ROWS:
                    raise CommandError(f"{way.title}: {rows} rows instead of {ROWS}")
                if number >= 0:
                    found[way].append(seconds)
    return found


def _in_turn(ways: Sequence[Way], turn: int) -> list[Way]:
    by_title = {way.title: way for way in ways}
    return [by_title[title] for title in in_turn(list(by_title), turn)]


def ask_while_searching(scene: Scene, way: Way) -> tuple[list[float], list[float]]:
    """Ask frames while a search runs over and over; returns the seconds of both."""
    frames: list[float] = []
    context = multiprocessing.get_context("fork")
    ended, took = context.Event(), context.SimpleQueue()
    searching = context.Process(target=_search, args=(scene, way, ended, took), daemon=True)
    searching.start()
    try:
        # Its first answer has warmed what there is to warm.
        background = [_taken(took)]
        with closing(scene.client(way)) as client:
            until = time.monotonic() + SLOWED_S
            while time.monotonic() < until:
                path = scene.frames[len(frames) % len(scene.frames)]
                frames.append(client.ask(way.prefix + path)[0])
    finally:
        ended.set()
        searching.join(120)
    while not took.empty():
        background.append(_taken(took))
    return frames, background[1:] or background


def _taken(took: SimpleQueue[float]) -> float:
    seconds = took.get()
    if seconds < 0:
        raise CommandError("the search in the background failed")
    return seconds


def _search(scene: Scene, way: Way, ended: Event, took: SimpleQueue[float]) -> None:
    """Search until told to end; -1 tells that a search failed."""
    with closing(scene.client(way)) as client:
        while not ended.is_set():
            try:
                seconds, _ = client.ask(way.search(CLINICS[0], MANY), DICOM_JSON)
            except (CommandError, OSError, http.client.HTTPException):
                took.put(-1.0)
                raise
            took.put(seconds)


def one_round(scene: Scene, turn: int) -> Round:
    """Measure everything once."""
    result = Round(ask_frames(scene, WAYS, turn), ask_searches(scene, WAYS, turn))
    for way in _in_turn((WHOLE, BARE), turn):
        result.slowed[way], result.background[way] = ask_while_searching(scene, way)
    return result


def measure(bench: Bench, studies: int, rounds: int) -> list[Round]:
    """Fill the archive, then measure in rounds, each with a token of its own."""
    settings = bench.settings
    frames, password = set_up(bench, studies)
    tls = ssl.create_default_context(cafile=settings.data_dir / "tls" / "ca.crt")
    found = []
    for turn in range(rounds):
        scene = Scene(settings, tls, token(settings, tls, PERSON, password), frames)
        found.append(one := one_round(scene, turn))
        tell(
            f"round {turn + 1}/{rounds}: {one.added_ms:.2f} ms added, search {one.search_ratio:.2f},"
            f" slowing {one.slowing_ratio:.2f} and {one.mean_slowing_ratio:.2f}"
        )
    return found


def main(argv: list[str]) -> int:
    """Run the bench; returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench.access")
    parser.add_argument("--env-file", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="leave the stack running")
    given = parser.parse_args(argv)
    try:
        settings = load(given.env_file.resolve())
        with redirect_stdout(sys.stderr), stage(settings, keep=given.keep, peers=False) as bench:
            found = measure(bench, STUDIES, given.rounds)
    except (SettingsError, CommandError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{machine()}\n\n{access_report.write(found, STUDIES, ROWS, MANY)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
