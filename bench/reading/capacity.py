"""Several physicians at once: what the stack's services have of memory for them, and how long each waits.

They are programs that ask what the viewer asks, each over as many connections as a browser holds to one server: so many
browsers would measure the cores that they share with the stack.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from queue import Empty
from typing import TYPE_CHECKING

from stack.compose import services
from stack.shell import CommandError, podman

from bench.__main__ import tell
from bench.access import DICOM_JSON
from bench.reading import proc
from bench.reading.capacity_report import STEPS, latency_table, memory_table
from bench.ways import WHOLE, Client

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier

    from bench.measure import Bench
    from bench.reading.archive import Study
    from bench.reading.scene import Scene
    from bench.reading.window import Person

CONNECTIONS = 6
SESSION_TIMEOUT_S = 600
# A token is good for five minutes.
TOKEN_S = 120


def roots(bench: Bench) -> dict[str, int]:
    """Return the first process of every service that runs, by the service's name."""
    names = {bench.settings.container(service): service for service in services(bench.settings)}
    shown = podman("inspect", "-f", "{{.Name}} {{.State.Pid}}", *names)
    found = [line.split() for line in shown.splitlines()]
    return {names[name]: int(pid) for name, pid in found if int(pid)}


def session(scene: Scene, token: str, study: Study) -> dict[str, float]:
    """Do what a physician's viewer does with a study; returns the seconds of each step."""
    clients = [Client(scene.bench.settings, scene.tls(), WHOLE, token) for _ in range(CONNECTIONS)]
    with closing(clients[0]) as first:
        list_s, _ = first.ask("/dicom-web/studies?limit=101&offset=0", DICOM_JSON)
        first.ask(f"/dicom-web/studies/{study.uid}/series", DICOM_JSON)
        metadata_s, content = first.ask(f"{study.series_path}/metadata", DICOM_JSON)
        if (held := len(json.loads(content))) != study.slices:
            raise CommandError(f"metadata of {held} slices instead of {study.slices}")
        paths = [f"{study.series_path}/instances/{uid}/frames/1" for uid in study.instances]
        began_s = time.perf_counter()
        first_s, _ = first.ask(paths[0])

        def fetch(number: int) -> list[float]:
            with closing(clients[number]) as client:
                return [client.ask(path)[0] for path in paths[1:][number::CONNECTIONS]]

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            took = [seconds for one in pool.map(fetch, range(CONNECTIONS)) for seconds in one]
    all_s = time.perf_counter() - began_s
    return dict(zip(STEPS, (list_s, metadata_s, first_s, all_s, max(took)), strict=True))


def _take_part(
    scene: Scene, token: str, study: Study, together: Barrier, took: Queue[dict[str, float]]
) -> None:
    """Read with the others; an empty answer tells that it failed."""
    together.wait(SESSION_TIMEOUT_S)
    found: dict[str, float] = {}
    try:
        found = session(scene, token, study)
    finally:
        took.put(found)


class Tokens:
    """The people's access tokens, each taken anew when it is old: nginx lets one address log in every two seconds."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._held: dict[Person, tuple[str, float]] = {}

    def of(self, person: Person) -> str:
        """Return a token that is good for a while."""
        token, taken_s = self._held.get(person, ("", 0.0))
        if not token or time.monotonic() - taken_s > TOKEN_S:
            token = self._scene.token(person)
            self._held[person] = token, time.monotonic()
        return token


def at_once(scene: Scene, tokens: Tokens, people: int) -> list[dict[str, float]]:
    """Have so many physicians read at the same time, each a CT of their own; raises CommandError."""
    context = multiprocessing.get_context("fork")
    together, took = context.Barrier(people), context.Queue()
    readers = [
        context.Process(
            target=_take_part, args=(scene, tokens.of(person), study, together, took), daemon=True
        )
        for person, study in zip(scene.people[:people], scene.studies[:people], strict=True)
    ]
    for reader in readers:
        reader.start()
    try:
        found = [took.get(timeout=SESSION_TIMEOUT_S) for _ in readers]
    except Empty as error:
        raise CommandError(f"{people} physicians do not come to an end") from error
    finally:
        for reader in readers:
            reader.join(1)
            reader.kill()
            reader.join()
    if not all(found):
        raise CommandError(f"not every one of {people} physicians could read: see above")
    return found


def measure(scene: Scene, rounds: int) -> str:
    """Measure, nobody first, and write the tables."""
    running, tokens = roots(scene.bench), Tokens(scene)
    memory: dict[int, dict[str, int]] = {0: proc.trees_bytes(running)}
    totals: dict[int, int] = {0: sum(memory[0].values())}
    steps: dict[int, dict[str, list[float]]] = {}
    for people in scene.sizes.people:
        found: dict[str, list[float]] = defaultdict(list)
        with proc.Sampler(lambda: proc.trees_bytes(running)) as sampler:
            for turn in range(rounds):
                for one in at_once(scene, tokens, people):
                    for step, seconds in one.items():
                        found[step].append(seconds)
                tell(f"{people} physicians, {turn + 1}/{rounds}: {dict(found)}")
        memory[people], totals[people], steps[people] = sampler.peaks, sampler.total, found
    return memory_table(memory, totals) + latency_table(steps, scene.sizes, rounds)
