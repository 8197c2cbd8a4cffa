"""Which version these sources are, and which one last ran on a data directory."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from stack.credentials import write_private
from stack.settings import TOP, SettingsError
from stack.shell import attempt, run

if TYPE_CHECKING:
    from pathlib import Path

    from stack.settings import Settings

RECORD = "config/version.json"
# Beside sources that were taken out of git: what they are.
MARK = ".version"


@dataclass(frozen=True, slots=True)
class Version:
    """A version's name for people (`git describe`, with -dirty where files were changed) and its commit."""

    name: str
    commit: str


def of_sources(top: Path = TOP) -> Version | None:
    """Return the version of these sources, None where git does not know it."""
    mark = top / MARK
    if mark.exists():
        return Version(**json.loads(mark.read_text()))
    if not is_clone(top):
        return None
    return Version(_describe(top, "--dirty"), _git(top, "rev-parse", "HEAD").strip())


def is_clone(top: Path = TOP) -> bool:
    """Whether these sources are a clone whose other versions git knows."""
    return (top / ".git").exists() and shutil.which("git") is not None


def named(text: str, top: Path = TOP) -> Version:
    """Return the version that a tag, branch or commit names; raises SettingsError."""
    asked = attempt([*_command(top), "rev-parse", "--verify", "--quiet", f"{text}^{{commit}}"])
    if asked.returncode:
        raise SettingsError(f"git knows no version {text}: git fetch --tags, or name another")
    commit = asked.stdout.strip()
    return Version(_describe(top, commit), commit)


def is_older(one: Version, other: Version, top: Path = TOP) -> bool:
    """Whether `other` was made after `one`, from it."""
    if one.commit == other.commit:
        return False
    asked = attempt([*_command(top), "merge-base", "--is-ancestor", one.commit, other.commit])
    return asked.returncode == 0


def recorded(settings: Settings) -> Version | None:
    """Return the version that last ran here, None where none was recorded."""
    path = settings.data_dir / RECORD
    return Version(**json.loads(path.read_text())) if path.exists() else None


def record(settings: Settings, version: Version | None) -> None:
    """Remember what runs here."""
    path = settings.data_dir / RECORD
    if version is None:
        path.unlink(missing_ok=True)
    elif recorded(settings) != version:
        write_private(path, json.dumps(asdict(version)) + "\n", 0, 0o644)


def export(version: Version, target: Path, top: Path = TOP) -> None:
    """Write a version's sources into a folder, in one step; raises CommandError where git does not have them."""
    if target.exists():
        return
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    packed = part / ".tar"
    run([*_command(top), "archive", f"--output={packed}", version.commit])
    run(["tar", "-xf", str(packed), "-C", str(part)])
    packed.unlink()
    (part / MARK).write_text(json.dumps(asdict(version)) + "\n")
    part.rename(target)


def _command(top: Path) -> list[str]:
    # Whoever owns the clone, root reads it.
    return ["git", "-C", str(top), "-c", f"safe.directory={top}"]


def _describe(top: Path, what: str) -> str:
    # It names folders too.
    return (
        _git(top, "describe", "--tags", "--always", "--abbrev=12", what).strip().replace("/", "-")
    )


def _git(top: Path, *words: str) -> str:
    return run([*_command(top), *words])
