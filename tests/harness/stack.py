"""The stack under test: the Podman form started for the tests, or a running appliance that they attach to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from stack import health
from stack.compose import one_shot
from stack.settings import Settings, load
from stack.shell import attempt, environment, podman

if TYPE_CHECKING:
    from collections.abc import Mapping

TESTS = Path(__file__).resolve().parents[1]
TOP = TESTS.parent
REQUEST_TIMEOUT_S = 30


class Session(requests.Session):
    """A requests session with a timeout on every call and nothing taken from the environment."""

    def __init__(self, ca_file: Path | None) -> None:
        super().__init__()
        self.trust_env = False
        self.verify = str(ca_file) if ca_file else True

    def request(self, method: str, url: str, **kwargs: object) -> requests.Response:  # type: ignore[override]
        """Send a request; `timeout` is set where the caller gave none."""
        kwargs.setdefault("timeout", REQUEST_TIMEOUT_S)
        return super().request(method, url, **kwargs)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack: its public address, authority, inboxes and a way to run the operator's commands on it.

    Of one that the tests attached to, `control` is the operator's command, `journal` that which prints
    its journal as journalctl does, and `values` are settings that clients have to know.
    """

    url: str
    ca_file: Path | None
    files: Path
    settings: Settings | None = None
    control: tuple[str, ...] = ()
    journal: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)

    def session(self) -> Session:
        """Return a new session that trusts this stack's certificate."""
        return Session(self.ca_file)

    def realm(self, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run `dicom-importer realm …` on the stack."""
        if self.settings:
            return one_shot(self.settings, "realm", *args, stdin=stdin)
        return attempt([*self.control, "realm", *args], stdin=stdin, timeout_s=180)

    def attempt(self, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run one of the operator's commands, whose variables are named as `make` has them."""
        if self.settings:
            words = [f"{key}={value}" for key, value in variables.items()]
            make_it = ["/usr/bin/make", "-s", "-C", str(TOP), command, *words]
            return attempt([*make_it, f"ENV={self.settings.env_file}"], timeout_s=1800)
        words = []
        for key, value in variables.items():
            if key == "F":
                # As its own workstations see it.
                words += [f"/{Path(value).relative_to(self.files)}"]
                continue
            option = "by" if key == "WHO" else key.lower().replace("_", "-")
            words += [f"--{option}", *([] if value == "1" else [value])]
        return attempt([*self.control, command, *words], timeout_s=1800)

    def operate(self, command: str, **variables: str) -> str:
        """Run one of the operator's commands, and expect that all is well; returns what it said."""
        done = self.attempt(command, **variables)
        assert done.returncode == 0, f"{command}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def exec(self, service: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program inside a service's container (Podman form only)."""
        return attempt(["podman", "exec", self.container(service), *argv], timeout_s=120)

    def container(self, service: str) -> str:
        """Name of a service's container (Podman form only)."""
        return self.podman_settings.container(service)

    def main_process(self, service: str) -> int:
        """Return the host's process id of a container's first process, 0 when it does not run."""
        state = json.loads(podman("container", "inspect", self.container(service)))[0]["State"]
        return int(state["Pid"]) if state["Running"] else 0

    @property
    def podman_settings(self) -> Settings:
        """The Podman form's settings; what needs them is skipped for an appliance that the tests attached to."""
        if not self.settings:
            pytest.skip("it looks into the Podman form's containers, or calls its commands")
        return self.settings

    @property
    def data_dir(self) -> Path:
        """Where its data lies."""
        return self.files.parent

    def logs(self, service: str = "importer", lines: int = 30) -> str:
        """Return the end of a service's log; empty where none is known of."""
        if self.settings:
            return health.log_tail(self.settings, service, lines)
        if not self.journal:
            return ""
        return attempt([*self.journal, f"--lines={lines}", f"--unit=*{service}*"]).stdout

    def value(self, name: str) -> str:
        """Return a setting that a client has to know; without it the test is skipped."""
        values = self.settings.values if self.settings else self.values
        if not values.get(name):
            pytest.skip(f"nothing was said of {name} (--value {name}=…)")
        return values[name]

    def inbox(self, clinic: str) -> Path:
        """Inbox folder of a clinic, as a workstation sees it."""
        return self.files / "inbox" / clinic


def make(target: str, env_file: Path, *, stdin: str = "", **variables: str) -> str:
    """Run a target of the Makefile as an operator does; returns what it printed."""
    words = [f"{key}={value}" for key, value in variables.items()]
    done = subprocess.run(
        ["/usr/bin/make", "-s", "-C", str(TOP), target, f"ENV={env_file}", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=1800,
        env=environment(),
        input=stdin,
    )
    assert done.returncode == 0, (
        f"make {target} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    )
    return done.stdout


def from_env_file(env_file: Path) -> Stack:
    """Describe the Podman form that an env file describes."""
    settings = load(env_file)
    ca_file = settings.data_dir / "tls" / "ca.crt"
    return Stack(settings.public_url, ca_file, settings.data_dir / "files", settings)


def start(env_file: Path, *, keep: bool) -> Stack:
    """Start the Podman form for the tests, with an empty data directory unless a running one is kept."""
    stack = from_env_file(env_file)
    if keep and health.state(stack.podman_settings, "nginx") == "healthy":
        return stack
    if not keep:
        discard(stack)
    make("up", env_file)
    return stack


def discard(stack: Stack) -> None:
    """Stop the tests' stack and delete its data."""
    settings = stack.podman_settings
    assert settings.data_dir.name.startswith("dicom-stack-test"), (
        "only the tests' own data may be deleted"
    )
    if settings.data_dir.exists():
        make("down", settings.env_file)
        shutil.rmtree(settings.data_dir)


def temporary_copy(env_file: Path, **changes: str) -> Path:
    """Return a copy of an env file with settings changed."""
    lines = [
        line for line in env_file.read_text().splitlines() if line.partition("=")[0] not in changes
    ]
    handle, name = tempfile.mkstemp(suffix=".env")
    with os.fdopen(handle, "w") as file:
        file.write("\n".join([*lines, *(f"{k}={v}" for k, v in changes.items())]) + "\n")
    return Path(name)
