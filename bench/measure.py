"""One run of one sender: seconds, CPU seconds, peak memory, and what the archive really holds afterwards."""

from __future__ import annotations

import http.client
import json
import shutil
import sqlite3
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from stack.shell import CommandError, podman

from bench.sets import orthanc_study

if TYPE_CHECKING:
    from collections.abc import Callable

    from stack.settings import Settings

    from bench.peers import Peer
    from bench.sets import SampleSet

ARCHIVE = ("orthanc", "postgresql")
CLINIC = "bench"
# Whoever takes longer has lost what is missing by then.
RUN_TIMEOUT_S = 600
POLL_S = 0.05
# What the archive does after a deletion (PostgreSQL's vacuum, the file system) is not the next sender's.
SETTLE_S = 2.0
# Orthanc was killed for its memory: podman starts it again.
RESTART_TIMEOUT_S = 120
RESTARTED = "the archive was restarted"
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took; the archive's CPU seconds are Orthanc's and PostgreSQL's."""

    seconds: float
    cpu_s: float
    peak_bytes: int
    archive_cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run: what was sent, what of it the archive did not hold, and what it took.

    What failed, and why, is no measurement.
    """

    peer: str
    set: str
    files: int
    size_bytes: int
    lost: int
    cost: Cost
    settled_s: float = 0.0
    failed: str = ""

    @property
    def rate(self) -> float:
        """Instances a second that reached the archive."""
        return (self.files - self.lost) / self.cost.seconds


@dataclass(frozen=True, slots=True)
class Bench:
    """The stack under measurement and the container that the peers run in."""

    settings: Settings

    @property
    def folder(self) -> Path:
        """Where the bench's own files lie, on the file system of the inboxes."""
        return self.settings.data_dir / "bench"

    @property
    def container(self) -> str:
        """The peers' container."""
        return self.settings.container("bench")

    def process(self, service: str) -> int:
        """Return the host's process id of a service's program, below its init."""
        return _patiently(lambda: self._process(service), service)

    def _process(self, service: str) -> int:
        # While it is being restarted it is process 0, which there is not.
        first = self._shown(service, "{{.State.Pid}}")
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return int(children[0]) if children else int(first)

    def _shown(self, service: str, what: str) -> str:
        return podman("inspect", "-f", what, self.settings.container(service)).strip()

    def archive_started(self) -> tuple[str, ...]:
        """Tell when the archive's containers were started last."""
        return tuple(self._shown(one, "{{.State.StartedAt}}") for one in ARCHIVE)

    def cpu_s(self, service: str) -> float:
        """Return the CPU seconds of a service's container, by its control group."""
        return _patiently(lambda: self._cpu_s(service), service)

    def _cpu_s(self, service: str) -> float:
        lines = Path(f"/proc/{self._process(service)}/cgroup").read_text().splitlines()
        parts = [line.split(":", 2) for line in lines]
        for _, controllers, path in parts:
            if "cpuacct" in controllers.split(","):
                usage = Path("/sys/fs/cgroup/cpuacct", path.lstrip("/"), "cpuacct.usage")
                return int(usage.read_text()) / 1e9
        unified = next(path for _, controllers, path in parts if not controllers)
        stat = Path("/sys/fs/cgroup", unified.lstrip("/"), "cpu.stat").read_text().split()
        return int(stat[stat.index("usage_usec") + 1]) / 1e6

    def archive_cpu_s(self) -> float:
        """Return what the archive has used."""
        return sum(map(self.cpu_s, ARCHIVE))

    def ask(self, method: str, path: str) -> bytes | None:
        """Ask Orthanc from this host; None where there is no such thing."""
        return _patiently(lambda: self._ask(method, path), "orthanc")

    def _ask(self, method: str, path: str) -> bytes | None:
        host = f"{self.settings.prefix('BACKEND')}.13"
        connection = http.client.HTTPConnection(host, 8042, timeout=600)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status == http.HTTPStatus.NOT_FOUND:
            return None
        if answer.status != http.HTTPStatus.OK:
            raise CommandError(f"{method} {path}: {answer.status} {content[:200]!r}")
        return content

    def held(self, sample: SampleSet, stamp: str) -> int:
        """Count what the archive holds of a stamped set, then have it removed."""
        total = 0
        for study in range(sample.shape.studies):
            path = f"/studies/{orthanc_study(stamp, study)}"
            if found := self.ask("GET", f"{path}/statistics"):
                total += int(json.loads(found)["CountInstances"])
                self.ask("DELETE", path)
        time.sleep(SETTLE_S)
        return total


def _patiently(ask: Callable[[], _Answer], service: str) -> _Answer:
    """Ask again until a service that is being restarted is there."""
    deadline = time.monotonic() + RESTART_TIMEOUT_S
    while True:
        try:
            return ask()
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() > deadline:
                raise CommandError(f"{service} does not come back: {error}") from error
            time.sleep(1)


def fill(bench: Bench, floor: Peer, sample: SampleSet, stamp: str) -> None:
    """Give the archive something that stays: on emptied tables PostgreSQL plans as for nothing."""
    sample.stamp(stamp)
    timed(bench, floor.command(f"/sets/{sample.shape.name}"))
    analyze(bench)


def analyze(bench: Bench) -> None:
    """Have PostgreSQL count what it holds, by which it plans."""
    # Its container keeps the socket in /tmp.
    database = ("psql", "-q", "-h", "/tmp", "-U", "postgres", "orthanc")  # noqa: S108
    podman("exec", bench.settings.container("postgresql"), *database, "-c", "ANALYZE")


def timed(bench: Bench, argv: list[str]) -> Cost:
    """Run a command in the peers' container."""
    before = bench.archive_cpu_s()
    runner = ("exec", bench.container, "python3", "/senders/timed.py")
    limit = ("timeout", str(RUN_TIMEOUT_S))
    printed = podman(*runner, *limit, *argv, timeout_s=2 * RUN_TIMEOUT_S)
    found = json.loads(printed)
    after = bench.archive_cpu_s()
    return Cost(found["seconds"], found["cpu_s"], found["peak_bytes"], max(0.0, after - before))


def peer_run(bench: Bench, peer: Peer, sample: SampleSet, stamp: str, start_up: Cost) -> Run:
    """Have a peer send a set; its start-up is taken off."""
    sample.stamp(stamp)
    files = min(peer.limit, sample.shape.files)
    folder = sample.part(files).relative_to(bench.folder / "sets")
    cost = timed(bench, peer.command(f"/sets/{folder}"))
    lost = files - bench.held(sample, stamp)
    net = Cost(
        max(cost.seconds - start_up.seconds, 1e-3),
        max(cost.cpu_s - start_up.cpu_s, 0.0),
        cost.peak_bytes,
        cost.archive_cpu_s,
    )
    size_bytes = sample.size_bytes * files // sample.shape.files
    return Run(peer.name, sample.shape.name, files, size_bytes, lost, net)


def importer_run(bench: Bench, name: str, sample: SampleSet, stamp: str) -> Run:
    """Drop a set into the inbox and wait until all of it is filed away.

    It begins when the first file is taken up, which the journal knows as the time of its coercion,
    and ends when the last one was linked into processed/, which its inode knows (ctime).
    """
    sample.stamp(stamp)
    files = bench.settings.data_dir / "files"
    inbox = files / "inbox" / CLINIC / stamp
    process = bench.process("importer")
    Path(f"/proc/{process}/clear_refs").write_text("5")  # the peak of memory begins anew
    archive_before, before = bench.archive_cpu_s(), bench.cpu_s("importer")
    dropped_at = time.time()
    sample.folder.rename(inbox)
    deadline = time.monotonic() + RUN_TIMEOUT_S
    while time.monotonic() < deadline and any(path.is_file() for path in inbox.rglob("*")):
        time.sleep(POLL_S)
    after, archive_after = bench.cpu_s("importer"), bench.archive_cpu_s()
    peak_bytes = _peak_bytes(process)
    filed = list((files / "processed" / CLINIC).glob(f"*/{stamp}/*/*"))
    ended_at = max(path.stat().st_ctime for path in filed) if filed else time.time()
    journal = bench.settings.data_dir / "importer" / "journal.sqlite"
    began_at = _first_coercion(journal, stamp) or dropped_at
    refused = list((files / "failed" / CLINIC).glob(f"*/{stamp}/*/*.dcm"))
    _take_back(sample, [*filed, *refused], inbox)
    lost = sample.shape.files - min(bench.held(sample, stamp), len(filed))
    cost = Cost(ended_at - began_at, after - before, peak_bytes, archive_after - archive_before)
    count, settled_s = sample.shape.files, began_at - dropped_at
    return Run(name, sample.shape.name, count, sample.size_bytes, lost, cost, settled_s)


def _take_back(sample: SampleSet, filed: list[Path], inbox: Path) -> None:
    """Put the files of a set back to where the other senders find them."""
    inbox.rename(sample.folder)
    for path in filed:
        path.rename(sample.folder / path.parent.name / path.name)
    for folder in {path.parent.parent for path in filed}:
        shutil.rmtree(folder)


def _peak_bytes(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) * 1024


def _first_coercion(journal: Path, stamp: str) -> float:
    """Return when the first file of a submission was taken up, in seconds since the epoch; 0 if none was."""
    with sqlite3.connect(f"file:{journal}?mode=ro", uri=True) as db:
        (first,) = db.execute(
            "SELECT min(coerced_at) FROM file WHERE submission = ? AND coerced_at <> ''",
            (stamp.encode(),),
        ).fetchone()
    if first is None:
        return 0.0
    return datetime.strptime(first, "%Y%m%d%H%M%S.%f%z").timestamp()
