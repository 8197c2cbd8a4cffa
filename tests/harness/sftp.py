"""OpenSSH's own client as a clinic's workstation uses it, by key or by password, knowing the server's key."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stack import accounts
from stack.shell import attempt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.stack import Stack

TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Account:
    """Where a clinic uploads to, and what opens it: a key's file, or a password."""

    clinic: str
    port: int
    folder: Path
    password: str = ""
    key: str = ""

    def options(self, port_option: str) -> list[str]:
        """Return the words that every one of OpenSSH's programs takes."""
        return [
            *(port_option, str(self.port), "-F", "none"),
            f"-oUserKnownHostsFile={self.folder}/known_hosts",
            "-oGlobalKnownHostsFile=none",
            *("-oStrictHostKeyChecking=yes", "-oConnectTimeout=10", "-oBatchMode=no"),
            *("-oNumberOfPasswordPrompts=1", "-oIdentitiesOnly=yes", "-oIdentityAgent=none"),
            f"-oIdentityFile={self.key or 'none'}",
            f"-oPreferredAuthentications={'publickey' if self.key else 'password'}",
        ]

    def environment(self) -> dict[str, str]:
        """Return what has the programs ask for the password."""
        ask = self.folder / "ask"
        ask.write_text('#!/bin/sh\nexec printf "%s\\n" "$TOLD"\n')
        ask.chmod(0o700)
        return {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "TOLD": self.password}

    def upload(self, *batch: str, rate_kbit: int = 0) -> subprocess.CompletedProcess[str]:
        """Run sftp with lines of its own language; it ends at the first that fails."""
        return attempt(
            self.command(rate_kbit),
            stdin="".join(f"{line}\n" for line in batch),
            env=self.environment(),
            timeout_s=TIMEOUT_S,
        )

    def command(self, rate_kbit: int = 0) -> list[str]:
        """Return the words of sftp, which reads what to do from its input."""
        slow = ["-l", str(rate_kbit)] if rate_kbit else []
        return ["sftp", *self.options("-P"), *slow, "-b", "-", f"{self.clinic}@127.0.0.1"]

    def ssh(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ssh with options before the host and a command behind it, parted by `--`."""
        given, _, asked = " ".join(words).partition("--")
        command = ["ssh", *self.options("-p"), *given.split(), f"{self.clinic}@127.0.0.1"]
        return attempt([*command, *asked.split()], env=self.environment(), timeout_s=TIMEOUT_S)

    @contextmanager
    def uploading(self, *batch: str, rate_kbit: int) -> Iterator[subprocess.Popen[str]]:
        """Provide an upload that is under way; what of it is left at the end is killed."""
        environment = os.environ | self.environment()
        with subprocess.Popen(
            self.command(rate_kbit),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            start_new_session=True,
        ) as client:
            assert client.stdin
            client.stdin.write("".join(f"{line}\n" for line in batch))
            client.stdin.close()
            try:
                yield client
            finally:
                if client.poll() is None:
                    os.killpg(client.pid, signal.SIGKILL)


def by_password(stack: Stack, clinic: str, folder: Path) -> Account:
    """Give a clinic a new password, as an operator does."""
    said = stack.operate("account", CLINIC=clinic)
    found = re.search(r"password (\S+)", said)
    assert found, said
    return Account(clinic, _known(stack, folder), folder, password=found[1])


def by_key(stack: Stack, clinic: str, folder: Path) -> Account:
    """Give a clinic a new key, as an operator does."""
    key = folder / f"id-{clinic}"
    made = attempt(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)])
    assert made.returncode == 0, made.stderr
    stack.operate("account", CLINIC=clinic, KEY_FILE=f"{key}.pub")
    return Account(clinic, _known(stack, folder), folder, key=str(key))


def _known(stack: Stack, folder: Path) -> int:
    port = int(stack.value("SFTP_PORT"))
    key = accounts.public_key(stack.data_dir / "secrets" / "sftp.sftp_host_key")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}\n")
    return port
