"""People: created with their role and clinics and a first password."""

import secrets
from dataclasses import dataclass
from urllib.parse import quote

from dicom_importer.realm.clinics import clinics
from dicom_importer.realm.representation import Json, Representation, by, text
from dicom_importer.realm.rest import Keycloak, KeycloakError

ADMIN = "admin"
ADMINS_GROUP = "/admins"
ROLES = ("admin", "physician", "technician")
# Without what is misread on paper: 31 characters, 16 of them are 79 bits.
PASSWORD_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # noqa: S105 - an alphabet
SAME_PASSWORD = "invalidPasswordHistoryMessage"  # noqa: S105 - the name of a refusal
PASSWORD_GROUPS = 4
PASSWORD_GROUP_LENGTH = 4


class PersonError(ValueError):
    """A person cannot be made as asked."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who somebody is and where; without a clinic nobody but an admin sees anything."""

    name: str
    role: str
    clinic_ids: tuple[str, ...]
    email: str = ""


@dataclass(frozen=True, slots=True)
class Password:
    """A password; a temporary one must be changed at the first login."""

    value: str
    temporary: bool


def one_time_password() -> Password:
    """Make a password to be read aloud once."""
    groups = (
        "".join(secrets.choice(PASSWORD_ALPHABET) for _ in range(PASSWORD_GROUP_LENGTH))
        for _ in range(PASSWORD_GROUPS)
    )
    return Password("-".join(groups), temporary=True)


def find(keycloak: Keycloak, realm: str, name: str) -> Representation | None:
    """Find a person by name."""
    return next(iter(keycloak.all(f"/{realm}/users", exact="true", username=name)), None)


def has_admin(keycloak: Keycloak, realm: str) -> bool:
    """Tell whether anybody is an admin, by group or by role."""
    group = keycloak.one(f"/{realm}/group-by-path{ADMINS_GROUP}")
    members = keycloak.all(f"/{realm}/groups/{text(group, 'id')}/members")
    return bool(members or keycloak.all(f"/{realm}/roles/{ADMIN}/users"))


def check(keycloak: Keycloak, realm: str, person: Person) -> None:
    """Raise PersonError where the role or a clinic does not exist."""
    if person.role not in ROLES:
        raise PersonError(f"no role {person.role!r}: use one of {', '.join(ROLES)}")
    known = [clinic.id for clinic in clinics(keycloak, realm)]
    if unknown := [clinic for clinic in person.clinic_ids if clinic not in known]:
        raise PersonError(f"no clinic {', '.join(unknown)}: known are {', '.join(known) or 'none'}")


def create(keycloak: Keycloak, realm: str, person: Person, password: Password) -> None:
    """Create the person; raises PersonError, KeycloakError (name or password refused)."""
    check(keycloak, realm, person)
    identifier = keycloak.post(
        f"/{realm}/users",
        {
            "email": person.email,
            "emailVerified": bool(person.email),
            "enabled": True,
            "requiredActions": ["CONFIGURE_TOTP"] if person.role == ADMIN else [],
            "username": person.name,
        },
    )
    try:
        _belong(keycloak, realm, identifier, person)
        _set_password(keycloak, f"/{realm}/users/{identifier}", password)
    except Exception:
        # Half a person would stand in the way of the next attempt.
        keycloak.delete(f"/{realm}/users/{identifier}")
        raise


def reset(
    keycloak: Keycloak, realm: str, user: Representation, person: Person, password: Password
) -> None:
    """Give an existing person the role, clinics and password, and end every session.

    A second factor goes too, since who comes for a new password may have lost the device; an
    admin must enrol another one at the next login.
    """
    check(keycloak, realm, person)
    identifier = text(user, "id")
    path = f"/{realm}/users/{identifier}"
    if person.email and user.get("email") != person.email:
        keycloak.put(path, {**user, "email": person.email, "emailVerified": True})
    _forget(keycloak, path, "otp")
    try:
        _set_password(keycloak, path, password)
    except KeycloakError as error:
        if SAME_PASSWORD not in str(error):
            raise
        # The policy keeps people from confirming a one-time password as their own; an operator
        # who gives the same password again is told nothing new.
        _forget(keycloak, path, "password")
        _set_password(keycloak, path, password)
    _belong(keycloak, realm, identifier, person)
    keycloak.delete(f"/{realm}/attack-detection/brute-force/users/{identifier}")
    keycloak.post(f"{path}/logout", None)


def _belong(keycloak: Keycloak, realm: str, identifier: str, person: Person) -> None:
    """Make role and groups exactly the person's; other roles and groups of ours are taken."""
    path = f"/{realm}/users/{identifier}"
    want = {f"/clinics/{clinic}" for clinic in person.clinic_ids}
    if person.role == ADMIN:
        # The group gives the role and, outside the viewer's scope, the right to manage people.
        want.add(ADMINS_GROUP)
    have = by("path", keycloak.all(f"{path}/groups"))
    for group in have.keys() - want:
        if group == ADMINS_GROUP or group.startswith("/clinics/"):
            keycloak.delete(f"{path}/groups/{text(have[group], 'id')}")
    for group in want - have.keys():
        found = keycloak.one(f"/{realm}/group-by-path{quote(group)}")
        keycloak.put(f"{path}/groups/{text(found, 'id')}")
    roles = by("name", keycloak.all(f"/{realm}/roles"))
    wanted_roles = set() if person.role == ADMIN else {person.role}
    found_roles = {text(role, "name") for role in keycloak.all(f"{path}/role-mappings/realm")}
    extra: list[Json] = [{**roles[r]} for r in (found_roles & set(ROLES)) - wanted_roles]
    missing: list[Json] = [{**roles[r]} for r in wanted_roles - found_roles]
    if extra:
        keycloak.delete(f"{path}/role-mappings/realm", extra)
    if missing:
        keycloak.post(f"{path}/role-mappings/realm", missing)


def _forget(keycloak: Keycloak, path: str, kind: str) -> None:
    for credential in keycloak.all(f"{path}/credentials"):
        if credential["type"] == kind:
            keycloak.delete(f"{path}/credentials/{text(credential, 'id')}")


def _set_password(keycloak: Keycloak, path: str, password: Password) -> None:
    keycloak.put(
        f"{path}/reset-password",
        {"temporary": password.temporary, "type": "password", "value": password.value},
    )
