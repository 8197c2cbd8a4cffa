"""Samba's own client as a clinic's workstation uses a share: by SMB 3.1.1, encrypted."""

from __future__ import annotations

import re
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stack.shell import attempt

from harness.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.stack import Stack

TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Account:
    """Where a clinic's share is, and what opens it; `clinic` logs in."""

    clinic: str
    address: str
    port: int
    folder: Path
    password: str = ""

    def options(self) -> list[str]:
        """Return the words that logging in takes; the password stands in a file."""
        login = self.folder / f"login-{self.clinic}"
        login.write_text(f"username={self.clinic}\npassword={self.password}\n")
        login.chmod(0o600)
        return [f"--port={self.port}", f"--authentication-file={login}", "--configfile=/dev/null"]

    def command(self, share: str, *options: str) -> list[str]:
        """Return the words of smbclient, which reads what to do from its input."""
        return ["smbclient", f"//{self.address}/{share}", *self.options(), *options]

    def upload(
        self, *lines: str, share: str = "", options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run smbclient with lines of its own language."""
        words = self.command(share or self.clinic, *options, f"--command={'; '.join(lines)}")
        return attempt(words, timeout_s=TIMEOUT_S)

    def shares(self) -> set[str]:
        """Return the names of the shares that are shown."""
        words = ["smbclient", f"--list={self.address}", "--grepable", *self.options()]
        done = attempt(words, timeout_s=TIMEOUT_S)
        assert done.returncode == 0, done.stdout + done.stderr
        return set(re.findall(r"^\w+\|([^|]+)\|", done.stdout, re.MULTILINE))

    @contextmanager
    def connected(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """Provide a connection that reads from its input, lines or what `put -` sends; it is killed at the end."""
        with subprocess.Popen(
            self.command(self.clinic, *options), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as client:
            try:
                yield client
            finally:
                client.kill()


def by_password(stack: Stack, clinic: str, folder: Path) -> Account:
    """Give a clinic a new password, as an operator does; returns when the door is open again."""
    said = stack.operate("account", CLINIC=clinic)
    found = re.search(r"password (\S+)", said)
    assert found, said
    made = Account(
        clinic, stack.value("SMB_ADDRESS"), int(stack.value("SMB_PORT")), folder, found[1]
    )
    wait_until(lambda: made.upload("ls").returncode == 0, 30, "the door is open", stack.logs)
    return made
