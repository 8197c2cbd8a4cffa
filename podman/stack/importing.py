"""The commands of importer and auditor, run inside their containers: `make explain`, `make access-report` and so on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stack.shell import CommandError, environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stack.settings import Settings

NOT_RUN = 125  # podman's own failure, and not that of what it should run
# By the operator's word: the service, and its program.
PROGRAMS = {"importer": ("importer", "dicom-importer"), "audit": ("auditor", "dicom-audit")}


def run(settings: Settings, command: str, words: Sequence[str]) -> int:
    """Run one of the programs in its container; returns its exit status."""
    service, program = PROGRAMS[command]
    container = settings.container(service)
    terminal = ["-t"] if sys.stdout.isatty() else []
    told = [inside(settings, word) for word in words]
    argv = ["podman", "exec", *terminal, container, program, *told]
    done = subprocess.run(argv, check=False, env=environment())  # noqa: S603 - argument lists of our own, no shell
    if done.returncode == NOT_RUN:
        raise CommandError(f"the {service} does not run (container {container}): run make up first")
    return done.returncode


def inside(settings: Settings, word: str) -> str:
    """Turn a path below DATA_DIR into what the importer calls it; any other word stays."""
    files = (settings.data_dir / "files").resolve()
    # Not the file's own links: what it is, the importer judges.
    path = Path(word)
    path = path.parent.resolve() / path.name
    return str("/files" / path.relative_to(files)) if path.is_relative_to(files) else word
