"""The commands of importer, auditor and backup, run inside their containers: `make explain` and so on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stack import deleted, old_studies
from stack.compose import services
from stack.credentials import UIDS
from stack.settings import SettingsError
from stack.shell import CommandError, environment, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stack.settings import Settings

NO_TARGET = (
    "nothing is backed up: set BACKUP_TARGET to a folder of another disk, or to sftp:, s3: or rest:,"
    " then make up"
)
# Told of a patient on their input.
LISTENING = ("correct", "merge")
NOT_RUN = 125  # podman's own failure, and not that of what it should run
# By the operator's word: the service, and its program.
PROGRAMS = {
    "importer": ("importer", "dicom-importer"),
    "audit": ("auditor", "dicom-audit"),
    "backup": ("backup", "dicom-backup"),
}


def run(settings: Settings, command: str, words: Sequence[str]) -> int:
    """Run one of the programs in its container; returns its exit status."""
    service, program = PROGRAMS[command]
    if service not in services(settings):
        raise SettingsError(NO_TARGET)
    container = settings.container(service)
    # With the keyboard, or an interruption would end the waiting here and not the work there.
    keyboard = ["-i"] if sys.stdin.isatty() else []
    terminal = ["-t", *keyboard] if sys.stdout.isatty() else []
    if command == "importer" and words[0] in LISTENING:
        # A terminal would echo it.
        terminal = ["-i"]
    told = [inside(settings, word) for word in words]
    argv = ["podman", "exec", *terminal, container, program, *told]
    done = subprocess.run(argv, check=False, env=environment())  # noqa: S603 - argument lists of our own, no shell
    if done.returncode == NOT_RUN:
        raise CommandError(f"the {service} does not run (container {container}): run make up first")
    if command == "importer" and _deletes(words):
        say(deleted.backups(settings))
    return done.returncode


def _deletes(words: Sequence[str]) -> bool:
    # A table for a spreadsheet has no words beneath it.
    return words[0] == "delete" or (
        words[0] == "retention" and {"--yes", "--csv"} & {*words} == {"--yes"}
    )


def old_studies_of(settings: Settings, source: str, clinic: str) -> int:
    """Bring a folder of old studies into a clinic's inbox, beside daily work; returns the exit status."""
    owner = str(UIDS["importer"])
    places = (f"--files={settings.data_dir}/files", f"--kept={settings.data_dir}/imports")
    return old_studies.main([f"--source={source}", f"--clinic={clinic}", *places, "--owner", owner])


def backup_key(settings: Settings) -> int:
    """Print the key of the repository, to be kept apart from this machine."""
    path = settings.data_dir / "secrets" / "backup.backup_key"
    if not path.exists():
        raise SettingsError(NO_TARGET)
    say(path.read_text())
    return 0


def inside(settings: Settings, word: str) -> str:
    """Turn a path below DATA_DIR into what the importer calls it; any other word stays."""
    files = (settings.data_dir / "files").resolve()
    # Not the file's own links: what it is, the importer judges.
    path = Path(word)
    path = path.parent.resolve() / path.name
    return str("/files" / path.relative_to(files)) if path.is_relative_to(files) else word
