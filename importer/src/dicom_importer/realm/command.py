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
from dicom_importer.realm.rest import Keycloak

REALM = "dicom"


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
    clinic = clinics.Clinic(clinics.check_id(arguments.id), arguments.name or arguments.id)
    say(f"clinic {clinic.id} ({clinic.name}): {clinics.ensure(keycloak, REALM, clinic)}")
    return 0


def _clinics(
    _arguments: argparse.Namespace,
    _settings: Config,
    keycloak: Keycloak,
    say: Callable[[str], None],
) -> int:
    say(json.dumps([clinic.as_json() for clinic in clinics.clinics(keycloak, REALM)]))
    return 0


def _user(
    arguments: argparse.Namespace,
    _settings: Config,
    keycloak: Keycloak,
    say: Callable[[str], None],
) -> int:
    ids = tuple(clinic for clinic in arguments.clinic.split(",") if clinic)
    person = Person(arguments.name, arguments.role, ids, arguments.email)
    found = people.find(keycloak, REALM, person.name)
    if found and not arguments.reset:
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
    people.create(keycloak, REALM, Person("admin", people.ADMIN, ()), password)
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

    command = commands.add_parser("user", help="add a person")
    command.add_argument("--name", required=True)
    command.add_argument("--clinic", default="", help="ids, separated by commas")
    command.add_argument("--role", required=True, help=", ".join(people.ROLES))
    command.add_argument("--email", default="")
    command.add_argument("--password-stdin", action="store_true", help="a lasting password")
    command.add_argument("--reset", action="store_true", help="change a person who exists")
    command.set_defaults(run=_user)

    command = commands.add_parser("first-admin", help="add an admin where there is none")
    command.set_defaults(run=_first_admin)
    return parser
