"""Runs the operator's commands as the processes that they are, also such as are killed at a step."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from dicom_importer import cli
from dicom_importer.journal import JOURNAL
from dicom_importer.table import Table

if TYPE_CHECKING:
    import pytest
    from unit.importer.conftest import Importer

SOURCES = Path(cli.__file__).resolve().parents[1]
# Nobody waits for the archive to forget, or for a worker that had not seen a plan.
HASTY = "import time; time.sleep = lambda _: None\n"
# Runs the command with one of its steps in place of which, or after which, the process is killed.
KILLED = """
import functools, importlib, os, signal, sys
from datetime import datetime
now, step, when, *arguments = sys.argv[1:]
module, _, name = step.partition(":")
*holder, name = name.split(".")
owner = functools.reduce(getattr, holder, importlib.import_module("dicom_importer." + module))
real = getattr(owner, name)
def die(*args, **kwargs):
    if when == "after":
        real(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, name, die)
from dicom_importer import cli
cli._now = lambda: datetime.fromisoformat(now)
sys.exit(cli.main(arguments))
"""


def conf(importer: Importer) -> list[str]:
    """Return the option that names the importer's settings."""
    path = importer.root / "importer.conf"
    names = importer.config.__dataclass_fields__
    path.write_text("\n".join(f"{n.upper()}={getattr(importer.config, n)}" for n in names))
    return ["--config", str(path)]


def command(
    importer: Importer, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str]:
    """Run a command; returns its exit status and what it printed."""
    capsys.readouterr()
    with mock.patch.object(cli, "_now", importer.clock.utc):
        status = cli.main([*conf(importer), *map(str, arguments)])
    return status, capsys.readouterr().out


def killed(importer: Importer, step: str, when: str, *arguments: object) -> None:
    """Run a command that is killed (SIGKILL) before or after `module:name` of the importer."""
    now = importer.clock.utc().isoformat()
    words = [now, step, when, *conf(importer), *map(str, arguments)]
    done = subprocess.run(
        [sys.executable, "-B", "-c", HASTY + KILLED, *words],
        env=os.environ | {"PYTHONPATH": str(SOURCES)},
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def journalled(importer: Importer) -> list[tuple[str, str, str]]:
    """Return status, state and target of every row of the journal."""
    table = Table(importer.config.state_dir / JOURNAL, read_only=True)
    with contextlib.closing(table):
        rows = table.query("SELECT status, state, target FROM file ORDER BY id")
    return [(status, state, os.fsdecode(target)) for status, state, target in rows]
