"""`make rollback`: back to the version before the last upgrade, with its data; what arrived since is imported again."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stack import cluster, upgrade_state, upgrading, version
from stack.images import exists
from stack.settings import SettingsError
from stack.shell import CommandError, environment, podman, say
from stack.upgrade_state import BACK, GOING_BACK, State, kept, note, save, sources
from stack.upgrading import clear, journal, move

if TYPE_CHECKING:
    from pathlib import Path

    from stack.settings import Settings


def data(settings: Settings) -> State:
    """Bring data and settings back to what they were; interrupted, it goes on. Raises SettingsError, CommandError."""
    state = upgrade_state.load(settings)
    if state is None:
        raise SettingsError("there was no upgrade here: there is nothing to go back to")
    if state.phase == BACK:
        raise SettingsError(
            f"this stack is back at {state.before.name} already; its sources are in {sources(settings, state)}"
        )
    say(f"back from {state.after.name} to {state.before.name}")
    if not state.aside:
        state.aside = f"after-{state.after.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    state.phase = GOING_BACK
    save(settings, state)
    for name, tag in {**state.images, "program": state.program}.items():
        if tag and not exists(tag):
            podman("tag", upgrading.kept_tag(settings, name, tag), tag)
    clear(settings)
    if "dumps" in state.steps and "back: data" not in state.steps:
        _databases(settings, state)
        _journal(settings, state)
        _settings_file(settings, state)
        note(settings, state, "back: data")
    version.record(settings, state.before)
    return state


def start(settings: Settings, state: State, who: str) -> None:
    """Start the version of before and import again what arrived since; raises CommandError.

    It takes the stack's lock itself.
    """
    where = sources(settings, state)
    _make(where, settings, "up")
    if "dumps" in state.steps:
        say("what arrived since is imported again")
        _make(where, settings, "replay", f"SINCE={state.day}", f"WHO={who}")
        upgrading.missing(state, cluster.counts(settings.container("postgresql")))
    state.phase = BACK
    save(settings, state)
    say(f"{state.before.name} runs; its commands are given in {where}, or here after")
    say(f"  git checkout {state.before.name}")
    say(
        f"what the other version made of the databases stays in {_aside(settings, state)} until the next upgrade"
    )


def _databases(settings: Settings, state: State) -> None:
    """Put the databases back: the old cluster itself where it was kept, else a new one from the dumps."""
    if "started" not in state.steps and "migrated" not in state.steps:
        # Nobody has touched them, unless they were on their way into another cluster.
        _old_cluster(settings, state)
        return
    if not _old_cluster(settings, state):
        if "back: aside" not in state.steps:
            move(
                _cluster(settings, state),
                _aside(settings, state) / f"postgresql-{state.postgresql}",
            )
            note(settings, state, "back: aside")
        image = state.images["postgresql"]
        configuration = sources(settings, state) / "podman" / "postgresql"
        with cluster.serving(settings, image, configuration) as database:
            cluster.bring(settings, state.program, database, kept(settings, state))
    say("databases: as they were before the upgrade")


def _old_cluster(settings: Settings, state: State) -> bool:
    """Take back a cluster of another major version; returns whether there was one."""
    old = kept(settings, state) / f"postgresql-{state.postgresql}"
    if old.exists():
        note(settings, state, "back: old cluster")
        for other in (settings.data_dir / "postgresql").glob("[0-9]*"):
            move(other, _aside(settings, state) / f"postgresql-{other.name}")
        move(old, _cluster(settings, state))
    return "back: old cluster" in state.steps


def _cluster(settings: Settings, state: State) -> Path:
    return settings.data_dir / "postgresql" / str(state.postgresql)


def _aside(settings: Settings, state: State) -> Path:
    return settings.data_dir / "backup" / state.aside


def _journal(settings: Settings, state: State) -> None:
    """Put the journal of before in the place of the newer one, which stays aside."""
    if "back: journal" in state.steps:
        return
    aside = _aside(settings, state) / "journal"
    aside.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = (settings.data_dir / upgrading.JOURNAL).parent
    owner = folder.stat()
    if not (aside / ".whole").exists():
        for path in journal(settings):
            shutil.copy2(path, aside)
        (aside / ".whole").touch()
    for path in folder.glob("journal.sqlite*"):
        path.unlink()
    for path in (kept(settings, state) / "journal").iterdir():
        target = folder / path.name
        shutil.copy2(path, target)
        shutil.chown(target, owner.st_uid, owner.st_gid)
    note(settings, state, "back: journal")


def _settings_file(settings: Settings, state: State) -> None:
    """Put the settings of before back, which the old version knows; newer ones stay beside."""
    was = (kept(settings, state) / "settings.env").read_text()
    now = settings.env_file.read_text() if settings.env_file.exists() else ""
    if was == now:
        return
    aside = settings.env_file.with_name(f"{settings.env_file.name}.{state.after.name}")
    aside.write_text(now)
    settings.env_file.write_text(was)
    say(f"settings: {settings.env_file} is as it was; what it said since is in {aside}")


def _make(where: Path, settings: Settings, *words: str) -> None:
    # Not what this make handed on.
    env = {k: v for k, v in environment().items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    argv = ["make", "-s", "-C", str(where), *words, f"ENV={settings.env_file.resolve()}"]
    done = subprocess.run(argv, check=False, env=env)  # noqa: S603 - argument list of our own, no shell
    if done.returncode:
        raise CommandError(
            f"make {words[0]} of {where} failed (see above): make rollback goes on with it"
        )
