"""A DICOM receiver of the tests' own: the real program on this host, with an inbox and senders below a folder."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import requests
from dicom_receiver import config, senders
from stack.settings import PODMAN_DIR, TOP

from harness.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AE_TITLE = "STACK"
# Its settings, but for the place of the senders, which is the same everywhere.
PROGRAM = (
    "import sys; from pathlib import Path; from dicom_receiver import config;"
    "config.SENDERS_FILE = Path(sys.argv.pop()); from dicom_receiver.cli import main; sys.exit(main())"
)
READY_TIMEOUT_S = 30


def free_port() -> int:
    """Return a port of this host that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class OwnReceiver:
    """An inbox with clinics, the senders, and where a process of it listens."""

    root: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        for name in ("clinic-a", "clinic-b", config.SPOOL):
            (self.inbox / name).mkdir(parents=True)

    @property
    def inbox(self) -> Path:
        """Where it puts what it takes."""
        return self.root / "inbox"

    @property
    def senders_file(self) -> Path:
        """Who may store."""
        return self.root / "senders.json"

    def let(self, clinic: str, ae_title: str, address: str = "127.0.0.1") -> None:
        """Let a device store into a clinic."""
        senders.add(self.senders_file, senders.sender(clinic, ae_title, address))

    def start(self) -> subprocess.Popen[bytes]:
        """Start a process, and wait until it takes associations."""
        with (self.root / "log").open("ab") as log:
            process = subprocess.Popen(
                self._argv("run"), env=self._environment(), stdout=log, stderr=log
            )
        wait_until(
            lambda: self._answers() or process.poll() is not None,
            READY_TIMEOUT_S,
            "the receiver answers",
            self.log,
        )
        assert process.poll() is None, self.log()
        return process

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of the operator's commands."""
        return subprocess.run(
            self._argv(*words),
            env=self._environment(),
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )

    def _argv(self, *words: str) -> list[str]:
        conf = PODMAN_DIR / "importer" / "importer.conf"
        program = [sys.executable, "-B", "-c", PROGRAM, f"--config={conf}"]
        return [*program, *words, str(self.senders_file)]

    def _environment(self) -> dict[str, str]:
        return {
            "DICOM_AET": AE_TITLE,
            "DICOM_HOST": "127.0.0.1",
            "DICOM_LISTEN_PORT": str(self.port),
            "INBOX_DIR": str(self.inbox),
            "LISTEN_HOST": "127.0.0.1",
            "LISTEN_PORT": str(self.metrics_port),
            "MIN_FREE_BYTES": "1",
            "RESUME_FREE_BYTES": "1",
            "PYTHONPATH": str(TOP / "importer" / "src"),
        } | self.settings

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Have a process until the end of the with block, which ends as it is told to."""
        process = self.start()
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(READY_TIMEOUT_S)

    def log(self) -> str:
        """Return what it said."""
        return (self.root / "log").read_text()

    def count(self, name: str, **labels: str) -> float:
        """Return a metric's sum over what has these labels."""
        with requests.Session() as session:
            session.trust_env = False
            text = session.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).text
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = [line for line in text.splitlines() if line.partition("{")[0].split()[0] == name]
        return sum(
            float(line.rpartition(" ")[2]) for line in lines if all(word in line for word in wanted)
        )

    def arrived(self, clinic: str) -> list[Path]:
        """Return what lies in a clinic's inbox."""
        return sorted(path for path in (self.inbox / clinic).rglob("*") if path.is_file())

    def _answers(self) -> bool:
        try:
            with requests.Session() as session:
                session.trust_env = False
                url = f"http://127.0.0.1:{self.metrics_port}/health"
                return bool(session.get(url, timeout=5).ok)
        except requests.ConnectionError:
            return False
