"""`dicom-importer realm …`: what the operator and the start of the stack ask of Keycloak."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence

import requests

from dicom_importer.realm import clinics, config, document, master, people, reconcile, rest
from dicom_importer.realm.config import Config
from dicom_importer.realm.master import RECONCILER
from dicom_importer.realm.people import Password, Person
from dicom_importer.realm.representation import Representation
from dicom_importer.realm.rest import Keycloak

REALM = "dicom"
COMMANDS = {"open": clinics.OPEN, "close": clinics.CLOSED, "archive": clinics.ARCHIVED}
STATES = {
    clinics.OPEN: "open, it takes studies in",
    clinics.CLOSED: "closed, it takes nothing in; its people go on reading",
    clinics.ARCHIVED: "archived, only admins read it",
}


def main(argv: Sequence[str]) -> int:
    """Run one command; gives the exit status: 0 done, 1 refused, 2 not understood."""
    arguments = _parser().parse_args(argv)
    try:
        return run(arguments, config.load(), _say)
    except (
        clinics.ClinicError,
        config.ConfigError,
        document.DocumentError,
        people.PersonError,
        rest.KeycloakError,
    ) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def run(arguments: argparse.Namespace, settings: Config, say: Callable[[str], None]) -> int:
    """Connect and run the command."""
    with requests.Session() as session:
        # Proxies and certificate bundles of the environment have no part in a backend call.
        session.trust_env = False
        rest.wait_until_ready(settings.keycloak_url, session, settings.ready_timeout_s, say)
        keycloak = Keycloak(settings.keycloak_url, RECONCILER, settings.reconciler_secrets, session)
        command: Callable[..., int] = arguments.run
        return command(arguments, settings, keycloak, say)


def _reconcile(
    _arguments: argparse.Namespace,
    settings: Config,
    keycloak: Keycloak,
    say: Callable[[str], None],
) -> int:
    changes: list[str] = []

    def changed(change: str) -> None:
        changes.append(change)
        say(change)

    master.keep_secret(keycloak, settings.reconciler_secrets[0], changed)
    reconcile.reconcile(keycloak, document.load(settings), changed)
    say(f"realm {REALM}: {len(changes) or 'no'} change{'' if len(changes) == 1 else 's'}")
    return 0


def _clinic(
    arguments: argparse.Namespace,
    _settings: Config,
    keycloak: Keycloak,
    say: Callable[[str], None],
) -> int:
    wanted = clinics.Clinic(clinics.check_id(arguments.id), arguments.name or arguments.id)
    done = clinics.ensure(keycloak, REALM, wanted)
    state = clinics.state(keycloak, REALM, wanted.id)
    say(f"clinic {wanted.id} ({wanted.name}): {done}, {state}")
    return 0


def _clinics(
    _arguments: argparse.Namespace,
    _settings: Config,
    keycloak: Keycloak,
    say: Callable[[str], None],
) -> int:
    say(json.dumps([clinic.as_json() for clinic in clinics.clinics(keycloak, REALM)]))
    return 0


def _clinic_state(
    arguments: argparse.Namespace,
    _settings: Config,
    keycloak: Keycloak,
    say: Callable[[str], None],
) -> int:
    if arguments.set:
        clinic = clinics.set_state(keycloak, REALM, arguments.id, COMMANDS[arguments.set])
        say(f"clinic {clinic.id} ({clinic.name}): {STATES[clinic.state]}")
    else:
        say(clinics.state(keycloak, REALM, arguments.id))
    return 0


def _check(
    arguments: argparse.Namespace,
    _settings: Config,
    keycloak: Keycloak,
    say: Callable[[str], None],
) -> int:
    found = clinics.differences(clinics.groups_of(keycloak, REALM), arguments.inbox)
    for line in found:
        say(line)
    return 1 if found else 0


def _user(
    arguments: argparse.Namespace,
    _settings: Config,
    keycloak: Keycloak,
    say: Callable[[str], None],
) -> int:
    person = _person(arguments)
    found = people.find(keycloak, REALM, person.name)
    if found and found["enabled"] and not arguments.reset:
        people.check(keycloak, REALM, person)
        say(f"user {person.name} exists, nothing changed; --reset sets password, role and clinics")
        return 0
    password = (
        Password(sys.stdin.readline().rstrip("\r\n"), temporary=False)
        if arguments.password_stdin
        else people.one_time_password()
    )
    if found:
        people.reset(keycloak, REALM, found, person, password)
    else:
        people.create(keycloak, REALM, person, password)
    say(f"user {person.name} ({_where(person)}) {'reset' if found else 'created'}")
    _tell(password, say)
    return 0


def _users(
    _arguments: argparse.Namespace,
    _settings: Config,
    keycloak: Keycloak,
    say: Callable[[str], None],
) -> int:
    rows = [("name", "role", "clinics", "second factor", "")]
    for one in people.everybody(keycloak, REALM):
        factor = "yes" if one.has_second_factor else "no"
        left = "has left" if one.has_left else ""
        where = ", ".join(one.clinic_ids) or "-"
        rows.append((one.name, ", ".join(one.roles) or "-", where, factor, left))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        words = (word.ljust(width) for word, width in zip(row, widths, strict=True))
        say("  ".join(words).rstrip())
    return 0


def _change(
    arguments: argparse.Namespace,
    _settings: Config,
    keycloak: Keycloak,
    say: Callable[[str], None],
) -> int:
    person = _person(arguments)
    people.change(keycloak, REALM, people.known(keycloak, REALM, person.name), person)
    say(f"user {person.name} ({_where(person)}): changed, and must log in again")
    return 0


def _new_password(
    arguments: argparse.Namespace,
    _settings: Config,
    keycloak: Keycloak,
    say: Callable[[str], None],
) -> int:
    password = people.one_time_password()
    found = _present(keycloak, arguments.name)
    people.give_password(keycloak, REALM, found, password)
    say(f"user {arguments.name}: the old password is void, and every login has ended")
    _tell(password, say)
    return 0


def _new_second_factor(
    arguments: argparse.Namespace,
    _settings: Config,
    keycloak: Keycloak,
    say: Callable[[str], None],
) -> int:
    people.forget_second_factor(keycloak, REALM, _present(keycloak, arguments.name))
    say(
        f"user {arguments.name}: the second factor is forgotten, and every login has ended; "
        "an admin sets up another one at the next login"
    )
    return 0


def _leave(
    arguments: argparse.Namespace,
    _settings: Config,
    keycloak: Keycloak,
    say: Callable[[str], None],
) -> int:
    people.leave(keycloak, REALM, people.known(keycloak, REALM, arguments.name))
    say(
        f"user {arguments.name} has left: no login, no role, no clinic; "
        "what is open ends within ten seconds, and the audit keeps the name"
    )
    return 0


def _person(arguments: argparse.Namespace) -> Person:
    ids = tuple(clinic for clinic in arguments.clinic.split(",") if clinic)
    return Person(arguments.name, arguments.role, ids, arguments.email)


def _present(keycloak: Keycloak, name: str) -> Representation:
    """Give somebody who may log in; raises PersonError."""
    found = people.known(keycloak, REALM, name)
    if found["enabled"]:
        return found
    raise people.PersonError(f"{name} has left: make this person again, with role and clinic")


def _first_admin(
    _arguments: argparse.Namespace,
    _settings: Config,
    keycloak: Keycloak,
    say: Callable[[str], None],
) -> int:
    if people.has_admin(keycloak, REALM):
        say("an admin exists")
        return 0
    password = people.one_time_password()
    person = Person("admin", people.ADMIN, ())
    if found := people.find(keycloak, REALM, person.name):
        people.reset(keycloak, REALM, found, person, password)
    else:
        people.create(keycloak, REALM, person, password)
    say("user admin (admin) created; a second factor is set up at the first login")
    _tell(password, say)
    return 0


def _where(person: Person) -> str:
    if person.role == people.ADMIN:
        return person.role
    clinic_ids = ", ".join(person.clinic_ids)
    return f"{person.role} in {clinic_ids or 'no clinic: nothing is visible to them yet'}"


def _tell(password: Password, say: Callable[[str], None]) -> None:
    if password.temporary:
        say(f"one-time password: {password.value}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dicom-importer realm", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("reconcile", help="make the realm what the realm file says")
    command.set_defaults(run=_reconcile)

    command = commands.add_parser("clinic", help="add a clinic or rename it")
    command.add_argument("--id", required=True)
    command.add_argument("--name", default="")
    command.set_defaults(run=_clinic)

    command = commands.add_parser("clinics", help="list the clinics as JSON")
    command.set_defaults(run=_clinics)

    command = commands.add_parser("clinic-state", help="open, close or archive a clinic, or ask")
    command.add_argument("--id", required=True)
    command.add_argument("--set", choices=COMMANDS, default="")
    command.set_defaults(run=_clinic_state)

    command = commands.add_parser("check", help="say where clinics and inboxes do not fit")
    command.add_argument("--inbox", action="append", default=[], help="a clinic's id; repeatable")
    command.set_defaults(run=_check)

    command = _about_somebody(commands, "user", "add a person, or one who left", _user)
    command.add_argument("--password-stdin", action="store_true", help="a lasting password")
    command.add_argument("--reset", action="store_true", help="change a person who exists")
    _about_somebody(commands, "user-change", "another role, other clinics", _change)

    commands.add_parser("users", help="list everybody").set_defaults(run=_users)
    for name, words, run_it in (
        ("user-password", "a new one-time password", _new_password),
        ("user-second-factor", "forget the device", _new_second_factor),
        ("user-leave", "close the account", _leave),
    ):
        command = commands.add_parser(name, help=words)
        command.add_argument("--name", required=True)
        command.set_defaults(run=run_it)

    command = commands.add_parser("first-admin", help="add an admin where there is none")
    command.set_defaults(run=_first_admin)
    return parser


def _about_somebody(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    words: str,
    run_it: Callable[..., int],
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=words)
    command.add_argument("--name", required=True)
    command.add_argument("--clinic", default="", help="ids, separated by commas")
    command.add_argument("--role", required=True, help=", ".join(people.ROLES))
    command.add_argument("--email", default="")
    command.set_defaults(run=run_it)
    return command
