"""`make upgrade`: the sources are new; databases, images and containers follow, and a way back is kept."""

from __future__ import annotations

import json
import shutil
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stack import (
    cluster,
    credentials,
    files,
    health,
    images,
    importing,
    preflight,
    upgrade_state,
    version,
)
from stack.compose import added
from stack.compose import images as wanted_images
from stack.settings import PODMAN_DIR, SettingsError, read_env
from stack.shell import CommandError, attempt, podman, run, say
from stack.upgrade_state import PREPARING, UPGRADED, UPGRADING, State, kept, note, save, sources

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stack.settings import Settings
    from stack.version import Version

# Under these names no build removes an image.
KEPT_REPOSITORY = "localhost/dicom-stack-kept"
STOP_TIMEOUT_S = 60
# Dumps, a second cluster here, and one more for the way back.
COPIES_OF_DATABASES = 3
JOURNAL = "importer/journal.sqlite"
_TAGS = """
import json
from stack import images
optional = getattr(images, "OPTIONAL", None) or filter(None, [getattr(images, "BACKUP", None)])
every = (*images.IMAGES, *optional)
print(json.dumps(images.tags(every)))
"""


def upgrade(settings: Settings, given: str, up: Callable[[Settings], None]) -> None:
    """Bring the stack to these sources' version; interrupted, it is run again and goes on.

    `given` names the version that runs where none is recorded. Raises SettingsError, CommandError.
    """
    state = _state(settings, given)
    if state is None:
        return
    try:
        _upgrade(settings, state, up)
    except CommandError as error:
        if state.phase == PREPARING:
            raise CommandError(
                f"{error}\nNothing was changed, {state.before.name} goes on running"
            ) from error
        raise CommandError(
            f"{error}\nThe upgrade stopped here: make upgrade goes on with it,"
            f" make rollback goes back to {state.before.name}"
        ) from error


def _upgrade(settings: Settings, state: State, up: Callable[[Settings], None]) -> None:
    if state.phase == PREPARING:
        _prepare(settings, state)
        _back_up(settings, state)
    if "dumps" not in state.steps:
        _stop(settings, state)
        _keep(settings, state)
    clear(settings)
    if major() != state.postgresql:
        _migrate(settings, state)
    note(settings, state, "started")
    up(settings)
    _check(settings, state)
    state.phase = UPGRADED
    save(settings, state)
    _forget_earlier(settings, state)
    down_s = time.time() - state.stopped_s
    say(f"{state.after.name} runs; people were without it for {down_s:.0f} s")
    say(f"if it does not do: make rollback goes back to {state.before.name}")


def major() -> int:
    """Return PostgreSQL's major version of these sources."""
    return int(read_env(images.VERSIONS)["POSTGRESQL_MAJOR"])


def _state(settings: Settings, given: str) -> State | None:
    after = version.of_sources()
    if after is None or not version.is_clone():
        raise SettingsError(
            "these sources are no git clone: there would be no way back to the version that runs;"
            " clone the repository, put .env there, and give make upgrade there"
        )
    state = upgrade_state.load(settings)
    if state and state.phase in (UPGRADING, upgrade_state.GOING_BACK):
        if state.phase == UPGRADING and state.after == after:
            say(f"going on with the upgrade from {state.before.name} to {after.name}")
            return state
        raise SettingsError(
            f"an upgrade from {state.before.name} to {state.after.name} has not ended ({state.phase}):"
            f" make rollback, or check {state.after.name} out and make upgrade"
        )
    before = version.recorded(settings)
    if given:
        before = version.named(given)
    if before is None:
        raise SettingsError(
            "which version runs here is not recorded: say it, as make upgrade FROM=v1.2 or FROM=<commit>"
        )
    if before == after:
        say(f"{after.name} is what runs: nothing to upgrade (make up brings it to what .env says)")
        return None
    have = _refuse(settings, before, after)
    say(f"upgrade from {before.name} to {after.name}")
    # Not written before people are stopped: until then the way back is that of the upgrade before.
    return State(before, after, have)


def _refuse(settings: Settings, before: Version, after: Version) -> int:
    """Raise SettingsError with everything that cannot work; returns PostgreSQL's major version."""
    found = preflight.problems(settings)
    have = cluster.major(settings)
    container = settings.container("postgresql")
    if version.is_older(after, before):
        found.append(
            f"{after.name} is older than {before.name}, which runs: make rollback goes back"
        )
    if have is None:
        found.append(f"{settings.data_dir} holds no database: make up starts a new stack")
    elif have > major():
        found.append(
            f"the databases are of PostgreSQL {have} and these sources bring {major()},"
            " which cannot read them: make rollback goes back"
        )
    if health.state(settings, "postgresql") != "healthy":
        found.append(f"the stack does not run ({container}): start {before.name} first")
    else:
        needed = preflight.DISK_FLOOR_BYTES + COPIES_OF_DATABASES * cluster.size_bytes(container)
        free = shutil.disk_usage(settings.data_dir).free
        if free < needed:
            found.append(
                f"{settings.data_dir} has {free / 2**30:.1f} GiB free, and for dumps and copies of the"
                f" databases {needed / 2**30:.1f} are needed: free some"
            )
    if found or have is None:
        raise SettingsError("cannot upgrade:\n" + "\n".join(f"  - {p}" for p in found))
    return have


def _prepare(settings: Settings, state: State) -> None:
    """Make sure of the way back, and build what is new, while the stack runs; raises CommandError."""
    if state.before.name.endswith("-dirty"):
        say(
            f"! {state.before.name}: git does not know what was changed in it, nor will the way back"
        )
    where = sources(settings, state)
    where.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    version.export(state.before, where)
    run([str(where / "podman" / "setup.sh")], timeout_s=900)
    said = run([sys.executable, "-B", "-c", _TAGS], env={"PYTHONPATH": str(where / "podman")})
    state.images = _running(settings, state, json.loads(said))
    built = images.build(
        settings.values["DEBIAN_MIRROR"], (*wanted_images(settings), images.BACKUP)
    )
    named = [f"{service.upper()}_IMAGE" for service in added(settings).services]
    images.pull([settings.values[name] for name in named if name in settings.values])
    state.program = built["backup"]
    files.own(settings.data_dir / "backup", "backup", 0o700)
    for name, tag in {**state.images, "program": state.program}.items():
        podman("tag", tag, kept_tag(settings, name, tag))


def _running(settings: Settings, state: State, tags: dict[str, str]) -> dict[str, str]:
    """Return the images of before; raises CommandError where others run."""
    found = {}
    for name, tag in tags.items():
        container = settings.container(name)
        shown = attempt(["podman", "container", "inspect", "-f", "{{.ImageName}}", container])
        if shown.returncode:
            continue
        if shown.stdout.strip() != tag:
            raise CommandError(
                f"{container} is not made of {state.before.name} ({shown.stdout.strip()}, and not {tag}):"
                " name what runs: make upgrade FROM=…"
            )
        found[name] = tag
    return found


def kept_tag(settings: Settings, name: str, tag: str) -> str:
    """Return the name under which an image of before is kept."""
    return f"{KEPT_REPOSITORY}/{settings.project}/{name}:{tag.rpartition(':')[2]}"


def _back_up(settings: Settings, state: State) -> None:
    if not settings.values["BACKUP_TARGET"]:
        return
    if health.state(settings, "backup") == "absent":
        say(f"! {state.before.name} makes no backup: the dumps below are all there is")
        return
    say("backup …")
    if importing.run(settings, "backup", ["run", "--dump"]):
        raise CommandError("the backup failed (see above)")


def _stop(settings: Settings, state: State) -> None:
    """Stop everything: from here on nobody changes anything."""
    if not state.stopped_s:
        state.stopped_s = time.time()
    state.phase = UPGRADING
    save(settings, state)
    say("the stack stops")
    clear(settings)


def containers(settings: Settings) -> list[str]:
    """Return all containers of the stack, whichever version made them."""
    own = f"label=io.podman.compose.project={settings.project}"
    return podman("ps", "--all", "--format", "{{.Names}}", "--filter", own).split()


def _keep(settings: Settings, state: State) -> None:
    """Keep databases, journal and settings as they are now."""
    folder = kept(settings, state)
    configuration = sources(settings, state) / "podman" / "postgresql"
    with cluster.serving(settings, state.images["postgresql"], configuration) as database:
        state.counts = cluster.counts(database)
        state.day = f"{datetime.now(UTC):%Y-%m-%d}"
        cluster.keep(settings, state.program, database, folder)
    shutil.rmtree(folder / "journal", ignore_errors=True)
    (folder / "journal").mkdir()
    for path in journal(settings):
        shutil.copy2(path, folder / "journal")
    shutil.rmtree(folder / "config", ignore_errors=True)
    shutil.copytree(
        settings.data_dir / "config", folder / "config", ignore=shutil.ignore_patterns("snapshots")
    )
    own = settings.env_file.read_text() if settings.env_file.exists() else ""
    (folder / "settings.env").write_text(own)
    run(["sync", "--file-system", str(folder)])
    note(settings, state, "dumps")
    there = ", ".join(f"{count} {what}" for what, count in state.counts.items())
    say(f"kept in {folder}: databases ({there}), journal, settings")


def journal(settings: Settings) -> list[Path]:
    """Return the files of the importer's journal; whole while the importer is stopped."""
    path = settings.data_dir / JOURNAL
    return [p for p in (path, path.with_name(path.name + "-wal")) if p.exists()]


def clear(settings: Settings) -> None:
    """Stop and remove the stack's containers and networks; data stays."""
    names = containers(settings)
    # Who takes in first, who is written to last.
    first = [name for name in map(settings.container, ("nginx", "importer")) if name in names]
    last = [name for name in [settings.container("postgresql")] if name in names]
    others = [name for name in names if name not in (*first, *last)]
    for some in (first, others, last):
        if some:
            podman("stop", f"--time={STOP_TIMEOUT_S}", *some)
    if names:
        podman("rm", "--force", *names)
    own = f"label=io.podman.compose.project={settings.project}"
    for name in podman("network", "ls", "--format", "{{.Name}}", "--filter", own).split():
        podman("network", "rm", "--force", name)


def _migrate(settings: Settings, state: State) -> None:
    """Fill a new cluster from the dumps; the old one stays as it was, beside them."""
    if "migrated" in state.steps:
        return
    move(
        settings.data_dir / "postgresql" / str(state.postgresql),
        kept(settings, state) / f"postgresql-{state.postgresql}",
    )
    say(f"databases: from PostgreSQL {state.postgresql} to {major()}")
    image = images.tags()["postgresql"]
    # Of a role that the version before did not have, too.
    credentials.ensure_secrets(settings.data_dir / "secrets")
    with cluster.serving(settings, image, PODMAN_DIR / "postgresql") as database:
        cluster.bring(settings, state.program, database, kept(settings, state))
    note(settings, state, "migrated")


def move(source: Path, target: Path) -> None:
    """Move a folder within the data directory, unless it was moved already."""
    if source.exists() and not target.exists():
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        source.rename(target)


def _check(settings: Settings, state: State) -> None:
    """Raise CommandError unless somebody can log in and search, and everything is there."""
    probe = attempt(["podman", "exec", settings.container("importer"), "dicom-importer", "probe"])
    if probe.returncode:
        raise CommandError(f"a login and a search do not succeed: {probe.stdout}{probe.stderr}")
    missing(state, cluster.counts(settings.container("postgresql")))
    there = ", ".join(f"{count} {what}" for what, count in state.counts.items())
    say(f"checked: every service is healthy, a login and a search succeed, {there} are there")


def missing(state: State, found: dict[str, int]) -> None:
    """Raise CommandError where there is less of something than before."""
    less = [
        f"{found[what]} {what}, {count} before"
        for what, count in state.counts.items()
        if found[what] < count
    ]
    if less:
        raise CommandError(f"not everything is there: {'; '.join(less)}")


def _forget_earlier(settings: Settings, state: State) -> None:
    """Remove what the upgrade before this one had kept."""
    stays = {kept(settings, state), sources(settings, state)}
    folder = settings.data_dir / "backup"
    for path in (
        *folder.glob("before-*"),
        *folder.glob("after-*"),
        *sources(settings, state).parent.iterdir(),
    ):
        if path not in stays:
            shutil.rmtree(path)
    mine = {kept_tag(settings, n, t) for n, t in {**state.images, "program": state.program}.items()}
    for tag in podman("images", "--format", "{{.Repository}}:{{.Tag}}").split():
        if tag.startswith(f"{KEPT_REPOSITORY}/{settings.project}/") and tag not in mine:
            attempt(["podman", "image", "rm", tag])
