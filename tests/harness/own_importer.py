"""An importer of the tests' own: the real program on this host beside the stack's, to be killed at will."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stack.settings import TOP, read_env

from harness.drop import remaining
from harness.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.stack import Stack

    Process = subprocess.Popen[bytes]

# The console script's own line; the interpreter is the tests'.
PROGRAM = "import sys; from dicom_importer.cli import main; sys.exit(main())"
FOLDERS = ("files/inbox", "files/processed", "files/failed")
READY_TIMEOUT_S = 30
END_TIMEOUT_S = 90


def backend_url(stack: Stack, service: str) -> str:
    """Return where this host reaches a service of the stack directly."""
    port = {"orthanc": 8042, "keycloak": 8080}[service]
    if stack.settings:
        host = {"orthanc": 13, "keycloak": 11}[service]
        return f"http://{stack.settings.prefix('BACKEND')}.{host}:{port}"
    names = json.loads((TOP / "modules" / "names.json").read_text())
    return f"http://{names[service]}:{port}"


@dataclass(frozen=True, slots=True)
class OwnImporter:
    """Inboxes, state and settings below a folder; a process of it may come and go."""

    root: Path

    @property
    def files(self) -> Path:
        """What holds inbox, processed and failed, on one file system."""
        return self.root / "files"

    @property
    def inbox(self) -> Path:
        """Where clinics drop."""
        return self.files / "inbox"

    @property
    def log(self) -> Path:
        """What every process of it printed, one after the other."""
        return self.root / "log"

    @property
    def audit(self) -> Path:
        """The audit records."""
        return self.root / "audit" / "import.jsonl"

    def records(self) -> list[dict[str, object]]:
        """Return the audit records that are whole: a kill or a full disk may tear one."""
        text = self.audit.read_text() if self.audit.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("}\n")]

    def start(self) -> Process:
        """Start a process."""
        argv = [sys.executable, "-c", PROGRAM, "--config", str(self.root / "importer.conf"), "run"]
        env = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(TOP / "importer" / "src"),
            # Beside the tests' folders: compiled once for all of them, nothing in the sources.
            "PYTHONPYCACHEPREFIX": str(self.root.parent / "pycache"),
        }
        with self.log.open("ab") as log:
            return subprocess.Popen(argv, stdout=log, stderr=log, env=env)

    @contextmanager
    def running(self) -> Iterator[Process]:
        """Run a process that has begun with its work; it is killed at the end if it still lives."""
        before = self.log.read_bytes().count(b'"started"') if self.log.exists() else 0
        process = self.start()
        try:
            wait_until(
                lambda: self.log.read_bytes().count(b'"started"') > before,
                READY_TIMEOUT_S,
                "the importer starts",
                self.tail,
            )
            yield process
        finally:
            process.kill()
            process.wait()

    def finish(self, files: int, timeout_s: float = END_TIMEOUT_S) -> None:
        """Run until all is done."""
        with self.running() as process:
            self.come_to_an_end(process, files, timeout_s)

    def come_to_an_end(
        self, process: Process, files: int, timeout_s: float = END_TIMEOUT_S
    ) -> None:
        """Wait until the inbox is empty and as many files are audited, then stop it as an operator does."""
        wait_until(
            lambda: not remaining(self.inbox) and self.audited() >= files,
            timeout_s,
            f"{self.inbox} is empty and {files} files are audited",
            lambda: f"{self.audited()} audited, {remaining(self.inbox)} left\n{self.tail()}",
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(READY_TIMEOUT_S) == 0, self.tail()

    def audited(self) -> int:
        """Count the files that the audit tells the outcome of."""
        records = (record for record in self.records() if record["status"] != "delivered")
        return sum(int(str(record["instances"])) for record in records)

    def tail(self) -> str:
        """Return the end of the log."""
        return self.log.read_text()[-4000:] if self.log.exists() else ""


def own_importer(root: Path, stack: Stack, **changes: str) -> OwnImporter:
    """Make the folders and settings of an importer that stores into the stack's archive."""
    result = OwnImporter(root)
    for name in (*FOLDERS, "state", "audit"):
        (root / name).mkdir(parents=True)
    token = f"{backend_url(stack, 'keycloak')}/auth/realms/dicom/protocol/openid-connect/token"
    secret = stack.data_dir / "secrets" / "importer.orthanc_api_secret"
    settings = read_env(TOP / "podman" / "importer" / "importer.conf") | {
        "ARCHIVE_DIR": str(stack.data_dir / "dicom"),
        "AUDIT_FILE": str(result.audit),
        "CLIENT_SECRET_FILE": str(secret),
        "COOLDOWN_S": "0.2",
        "FAILED_DIR": str(result.files / "failed"),
        "INBOX_DIR": str(result.inbox),
        "LISTEN_HOST": "127.0.0.1",
        "LISTEN_PORT": "0",
        # The tests' disks are small.
        "MIN_FREE_BYTES": "0",
        "ORTHANC_URL": backend_url(stack, "orthanc"),
        "PROCESSED_DIR": str(result.files / "processed"),
        "STATE_DIR": str(root / "state"),
        "TOKEN_URL": token,
        **changes,
    }
    lines = "".join(f"{key}={value}\n" for key, value in settings.items())
    (root / "importer.conf").write_text(lines)
    return result
