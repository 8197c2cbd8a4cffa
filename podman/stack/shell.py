"""Running podman and other programs of the host: one place for their environment and their errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stack.settings import PODMAN_DIR, TOP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VENV_BIN = TOP / ".venv" / "bin"


class CommandError(Exception):
    """A program of the host failed; the text holds its command and the end of what it said."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for podman; hosts without systemd get our containers.conf."""
    result = dict(os.environ)
    if not Path("/run/systemd/system").exists():
        result.setdefault("CONTAINERS_CONF", str(PODMAN_DIR / "containers.conf"))
    result |= extra or {}
    return result


def run(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, timeout_s: float = 600
) -> str:
    """Run a program and return what it printed; raises CommandError with the end of its messages."""
    done = attempt(argv, env=env, timeout_s=timeout_s)
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        message = f"{' '.join(argv[:6])} … failed with {done.returncode}:\n{tail}"
        raise CommandError(message)
    return done.stdout


def attempt(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 600,
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a program whose exit status the caller judges."""
    return subprocess.run(  # noqa: S603 - argument lists of our own, no shell
        list(argv),
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        env=environment(env),
        input=stdin,
    )


def podman(*args: str, timeout_s: float = 600) -> str:
    """Run podman and return what it printed."""
    return run(["podman", *args], timeout_s=timeout_s)


def say(text: str) -> None:
    """Tell the operator one line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
