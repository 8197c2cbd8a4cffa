"""The command line behind the Makefile: `python -m stack COMMAND`."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stack import (
    alerts,
    certificate,
    checkup,
    credentials,
    demo,
    doors,
    files,
    health,
    images,
    importing,
    log_files,
    outdated,
    people,
    preflight,
    probes,
    prometheus,
    restoring,
    rolling_back,
    rotation,
    senders,
    status,
    unit,
    upgrade_state,
    upgrading,
    version,
    words,
)
from stack.compose import added, compose, forget_addresses, remove_dead, remove_dropped, services
from stack.compose import images as wanted_images
from stack.settings import Settings, SettingsError, load
from stack.shell import CommandError, environment, say
from stack.site import site_conf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# What changes nothing, and says whether all is well.
ASKING = {
    "alert-test": alerts.test,
    "accounts": doors.show,
    "backup-key": lambda settings: importing.backup_key(settings) == 0,
    "doctor": checkup.show,
    "outdated": outdated.show,
    "status": status.show,
    "users": people.show,
}


def _clinic(settings: Settings, given: argparse.Namespace) -> None:
    people.add_clinic(settings, given.id, given.name)
    doors.add_first(settings, given.id)


def _clinic_state(settings: Settings, given: argparse.Namespace) -> None:
    people.set_state(settings, given.id, given.state)
    # An inbox that went, or came back, is another one to who was shown it.
    doors.bring(settings)


def _words(given: argparse.Namespace, *names: str) -> list[str]:
    return [f"--{name}={vars(given)[name]}" for name in names]


# Who is told a name and nothing else.
OF_ONE_PERSON = ("user-password", "user-second-factor", "user-leave")
PEOPLE: dict[str, Callable[[Settings, argparse.Namespace], object]] = {
    "clinic": _clinic,
    "account": lambda settings, given: doors.add(settings, given.clinic, given.key_file),
    "account-remove": lambda settings, given: doors.remove(settings, given.clinic),
    "clinic-state": _clinic_state,
    "user": lambda settings, given: people.add_user(settings, given.name, given.clinic, given.role),
    "user-change": lambda settings, given: people.change_user(
        settings, given.name, given.clinic, given.role
    ),
    "sender": lambda settings, given: senders.run(
        settings, given.command, *_words(given, "clinic", "aet", "address")
    ),
    "senders": lambda settings, given: senders.run(settings, given.command),
    "remove-sender": lambda settings, given: senders.run(
        settings, given.command, *_words(given, "aet", "address")
    ),
    **dict.fromkeys(
        OF_ONE_PERSON,
        lambda settings, given: say(people.realm(settings, given.command, "--name", given.name)),
    ),
}


def up(settings: Settings) -> None:
    """Bring the stack to what the settings say; safe to repeat."""
    upgrade_state.refuse_half_done(settings)
    bring_up(settings)


def bring_up(settings: Settings) -> None:
    """Bring the stack to what the settings say, whatever is half done."""
    preflight.refuse_if_impossible(settings)
    built = images.build(settings.values["DEBIAN_MIRROR"], wanted_images(settings))
    named = [f"{service.upper()}_IMAGE" for service in added(settings).services]
    images.pull([settings.values[name] for name in named if name in settings.values])
    files.prepare(settings)
    credentials.ensure_secrets(settings.data_dir / "secrets")
    tls = certificate.ensure_certificate(settings)
    files.write_if_changed(
        settings.data_dir / "config" / "site.conf",
        site_conf(settings, trusted=tls.trusted),
    )
    files.write_if_changed(
        settings.data_dir / "config" / "alertmanager.json",
        alerts.alertmanager_json(
            alerts.BASE.read_text(), settings, credentials.given(settings.data_dir / "secrets")
        ),
    )
    files.write_if_changed(settings.data_dir / "config" / "words.tmpl", words.words_tmpl(settings))
    files.write_if_changed(
        settings.data_dir / "config" / "prober.json",
        probes.prober_json(probes.BASE.read_text(), settings),
    )
    files.write_if_changed(
        settings.data_dir / "config" / "prometheus.yml", prometheus.prometheus_yml(settings)
    )
    files.keep_settings(settings)
    if kept := files.snapshot(settings):
        say(f"configuration changed: kept a copy in {kept}")
    doors.show_inboxes(settings)
    remove_dropped(settings)
    remove_dead(settings)
    forget_addresses()
    rotation.tell_database(settings)
    log_files.shorten(settings)
    compose(settings, built, "up", "-d")
    health.wait_healthy(settings)
    unit.install(settings)
    say(people.realm(settings, "first-admin"))
    people.make_folders(settings)
    version.record(settings, version.of_sources())
    say(f"the stack is up at {settings.public_url}")
    if settings.values["OBSERVABILITY"]:
        say(f"dashboards, logs and alerts, for admins: {settings.public_url}/operator/")
    if not settings.values["BACKUP_TARGET"]:
        say("nothing is backed up: set BACKUP_TARGET (README, Backup)")


def down(settings: Settings) -> None:
    """Stop the stack; data stays."""
    remove_dropped(settings)
    compose(settings, images.tags(wanted_images(settings)), "down")
    say(f"the stack is down; its data stays in {settings.data_dir}")


def logs(settings: Settings, service: str) -> None:
    """Follow a service's log until interrupted."""
    if service not in services(settings):
        known = ", ".join(services(settings))
        raise SettingsError(f"there is no service {service!r}; the services are {known}")
    os.execvpe("podman", ["podman", "logs", "-f", settings.container(service)], environment())  # noqa: S606, S607 - replaces this process


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Hold the stack's lock: two commands that change it run one after the other.

    The lock's time is that of the last command's end, by which a clock that went back is noticed.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    path = settings.data_dir / preflight.LOCK
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        os.utime(path)


def main(argv: list[str]) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="stack")
    parser.add_argument("--env-file", type=Path, required=True)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in (
        "accounts",
        "build",
        "up",
        "down",
        "status",
        "doctor",
        "users",
        "demo",
        "backup-key",
        "alert-test",
    ):
        commands.add_parser(name)
    commands.add_parser("logs").add_argument("service")
    clinic = commands.add_parser("clinic")
    clinic.add_argument("--id", required=True)
    clinic.add_argument("--name", required=True)
    state = commands.add_parser("clinic-state")
    state.add_argument("--id", required=True)
    state.add_argument("--state", required=True)
    for name in ("user", "user-change"):
        user = commands.add_parser(name)
        user.add_argument("--name", required=True)
        user.add_argument("--clinic", default="")
        user.add_argument("--role", required=True)
    for name in OF_ONE_PERSON:
        commands.add_parser(name).add_argument("--name", required=True)
    commands.add_parser("senders")
    for name in ("sender", "remove-sender"):
        about = commands.add_parser(name)
        for word in ("clinic", "aet", "address"):
            about.add_argument(f"--{word}", default="")
    account = commands.add_parser("account")
    account.add_argument("--clinic", required=True)
    account.add_argument("--key-file", default="")
    commands.add_parser("account-remove").add_argument("--clinic", required=True)
    rotate = commands.add_parser("rotate")
    rotate.add_argument("secret")
    rotate.add_argument("--file", default="")
    restored = commands.add_parser("restore")
    for name in (
        "source",
        "key-file",
        "credentials-file",
        "ssh-key-file",
        "ca-file",
        "host-key",
        "at",
    ):
        restored.add_argument(f"--{name}", default="")
    restored.add_argument("--by", default="")
    commands.add_parser("upgrade").add_argument("--from", dest="before", default="")
    commands.add_parser("rollback").add_argument("--by", default="")
    commands.add_parser("outdated")
    archive = commands.add_parser("import-archive")
    archive.add_argument("--source", required=True)
    archive.add_argument("--clinic", required=True)
    for name in importing.PROGRAMS:
        commands.add_parser(name).add_argument("words", nargs=argparse.REMAINDER)
    given = parser.parse_args(argv)
    try:
        return _dispatch(given, load(given.env_file.resolve()))
    except (SettingsError, CommandError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _dispatch(given: argparse.Namespace, settings: Settings) -> int:
    if given.command in importing.PROGRAMS:
        return importing.run(settings, given.command, given.words)
    if given.command == "import-archive":
        return importing.old_studies_of(settings, given.source, given.clinic)
    if given.command in ASKING:
        return 0 if ASKING[given.command](settings) else 1
    if given.command == "logs":
        logs(settings, given.service)
    if given.command == "build":
        images.build(settings.values["DEBIAN_MIRROR"], wanted_images(settings))
    elif given.command == "restore":
        wanted = restoring.wanted(given)
        settings = restoring.settings_of(settings, wanted)
        with alone(settings):
            restoring.restore(settings, wanted, up)
    elif given.command == "rollback":
        with alone(settings):
            state = rolling_back.data(settings)
        # The version of before takes the lock itself.
        rolling_back.start(load(given.env_file.resolve()), state, given.by)
    else:
        with alone(settings):
            _change(given, settings)
    return 0


def _change(given: argparse.Namespace, settings: Settings) -> None:
    if given.command == "rotate":
        rotation.renew(settings, given.secret, given.file)
    if given.command in ("up", "demo", "rotate"):
        up(settings)
    if given.command == "upgrade":
        upgrading.upgrade(settings, given.before, bring_up)
    elif given.command == "demo":
        demo.run(settings)
    elif given.command == "down":
        down(settings)
    elif given.command in PEOPLE:
        PEOPLE[given.command](settings, given)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
