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

# What Podman says for each container, and more than once, on a host without systemd; health.py checks instead.
NO_TIMERS = "unable to get systemd connection"
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
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 600,
    apart: bool = False,
) -> str:
    """Run a program and return what it printed; raises CommandError with the end of its messages."""
    done = attempt(argv, env=env, timeout_s=timeout_s, apart=apart)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        tail = "\n".join([line for line in lines if NO_TIMERS not in line][-15:])
        message = f"{' '.join(argv[:6])} … failed with {done.returncode}:\n{tail}"
        raise CommandError(message)
    return done.stdout


def attempt(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 600,
    stdin: str = "",
    apart: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a program whose exit status the caller judges.

    `apart`: what it started itself is not interrupted by the operator's Ctrl-C and comes to its end.
    """
    return subprocess.run(  # noqa: S603 - argument lists of our own, no shell
        list(argv),
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        env=environment(env),
        input=stdin,
        start_new_session=apart,
    )


def podman(*args: str, timeout_s: float = 600) -> str:
    """Run podman and return what it printed."""
    return run(["podman", *args], timeout_s=timeout_s)


def say(text: str) -> None:
    """Tell the operator one line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
