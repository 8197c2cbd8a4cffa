"""`make explain`, `retry`, `replace`, `replay` and `verify`: the importer's own commands, run inside it."""

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


def run(settings: Settings, words: Sequence[str]) -> int:
    """Run `dicom-importer` in the importer's container; returns its exit status."""
    container = settings.container("importer")
    terminal = ["-t"] if sys.stdout.isatty() else []
    told = [inside(settings, word) for word in words]
    command = ["podman", "exec", *terminal, container, "dicom-importer", *told]
    done = subprocess.run(command, check=False, env=environment())  # noqa: S603 - argument lists of our own, no shell
    if done.returncode == NOT_RUN:
        raise CommandError(f"the importer does not run (container {container}): run make up first")
    return done.returncode


def inside(settings: Settings, word: str) -> str:
    """Turn a path below DATA_DIR into what the importer calls it; any other word stays."""
    files = (settings.data_dir / "files").resolve()
    # Not the file's own links: what it is, the importer judges.
    path = Path(word)
    path = path.parent.resolve() / path.name
    return str("/files" / path.relative_to(files)) if path.is_relative_to(files) else word
