"""People: who comes, changes, forgets and leaves."""

import secrets
from dataclasses import dataclass
from urllib.parse import quote

from dicom_importer.realm.clinics import ARCHIVED, clinics
from dicom_importer.realm.representation import Json, Representation, by, text
from dicom_importer.realm.rest import Keycloak, KeycloakError

ADMIN = "admin"
ADMINS_GROUP = "/admins"
CLINICS = "/clinics/"
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
class Known:
    """Somebody who has an account: who that is, where, and how they prove it."""

    name: str
    roles: tuple[str, ...]
    clinic_ids: tuple[str, ...]
    has_left: bool
    has_second_factor: bool


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


def known(keycloak: Keycloak, realm: str, name: str) -> Representation:
    """Give a person who exists; raises PersonError."""
    if found := find(keycloak, realm, name):
        return found
    raise PersonError(f"nobody is named {name!r}")


def has_admin(keycloak: Keycloak, realm: str, besides: str = "") -> bool:
    """Tell whether anybody, or anybody else, is an admin who may log in, by group or by role."""
    group = keycloak.one(f"/{realm}/group-by-path{ADMINS_GROUP}")
    members = keycloak.all(f"/{realm}/groups/{text(group, 'id')}/members")
    found = [*members, *keycloak.all(f"/{realm}/roles/{ADMIN}/users")]
    return any(user["enabled"] and user["username"] != besides for user in found)


def everybody(keycloak: Keycloak, realm: str) -> list[Known]:
    """List everybody, by name."""
    found = []
    for user in keycloak.all(f"/{realm}/users"):
        path = f"/{realm}/users/{text(user, 'id')}"
        groups = {text(group, "path") for group in keycloak.all(f"{path}/groups")}
        roles = {text(role, "name") for role in keycloak.all(f"{path}/role-mappings/realm")}
        kinds = {text(credential, "type") for credential in keycloak.all(f"{path}/credentials")}
        found.append(
            Known(
                text(user, "username"),
                tuple(sorted(roles & set(ROLES) | ({ADMIN} if ADMINS_GROUP in groups else set()))),
                tuple(sorted(g.removeprefix(CLINICS) for g in groups if g.startswith(CLINICS))),
                has_left=not user["enabled"],
                has_second_factor="otp" in kinds,
            )
        )
    return sorted(found, key=lambda one: one.name)


def check(keycloak: Keycloak, realm: str, person: Person) -> None:
    """Raise PersonError where the role or a clinic does not exist."""
    if person.role not in ROLES:
        raise PersonError(f"no role {person.role!r}: use one of {', '.join(ROLES)}")
    known = [clinic.id for clinic in clinics(keycloak, realm) if clinic.state != ARCHIVED]
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
    """Make somebody who exists, or who left, what a new person would be, and end every session.

    A second factor goes too, since who comes for a new password may have lost the device; an
    admin must enrol another one at the next login.
    """
    check(keycloak, realm, person)
    path = f"/{realm}/users/{text(user, 'id')}"
    mailed: Representation = {"email": person.email, "emailVerified": True} if person.email else {}
    if {**user, **mailed, "enabled": True} != user:
        keycloak.put(path, {**user, **mailed, "enabled": True})
    forget_second_factor(keycloak, realm, user)
    _belong(keycloak, realm, text(user, "id"), person)
    give_password(keycloak, realm, user, password)


def give_password(keycloak: Keycloak, realm: str, user: Representation, password: Password) -> None:
    """Give a new password, lift the lock that failed logins brought, and end every session."""
    identifier = text(user, "id")
    path = f"/{realm}/users/{identifier}"
    try:
        _set_password(keycloak, path, password)
    except KeycloakError as error:
        if SAME_PASSWORD not in str(error):
            raise
        # The policy keeps people from confirming a one-time password as their own; an operator
        # who gives the same password again is told nothing new.
        _forget(keycloak, path, "password")
        _set_password(keycloak, path, password)
    keycloak.delete(f"/{realm}/attack-detection/brute-force/users/{identifier}")
    _log_out(keycloak, path)


def forget_second_factor(keycloak: Keycloak, realm: str, user: Representation) -> None:
    """Forget a device, which may be lost, and end every session; an admin must enrol another one."""
    path = f"/{realm}/users/{text(user, 'id')}"
    _forget(keycloak, path, "otp")
    _log_out(keycloak, path)


def change(keycloak: Keycloak, realm: str, user: Representation, person: Person) -> None:
    """Give somebody another role and other clinics; password and second factor stay. Raises PersonError."""
    check(keycloak, realm, person)
    if not user["enabled"]:
        raise PersonError(f"{person.name} has left: make this person again, with role and clinic")
    if person.role != ADMIN:
        _keep_an_admin(keycloak, realm, person.name)
    _belong(keycloak, realm, text(user, "id"), person)
    # Their tokens say what was true when they were given.
    _log_out(keycloak, f"/{realm}/users/{text(user, 'id')}")


def leave(keycloak: Keycloak, realm: str, user: Representation) -> None:
    """Close an account for good: no login, no clinic, no role, no password, no device. Raises PersonError.

    The name stays taken, since the audit means this person by it.
    """
    name, identifier = text(user, "username"), text(user, "id")
    _keep_an_admin(keycloak, realm, name)
    path = f"/{realm}/users/{identifier}"
    keycloak.put(path, {**user, "enabled": False})
    _log_out(keycloak, path)
    _belong(keycloak, realm, identifier, Person(name, "", ()))
    for kind in ("password", "otp"):
        _forget(keycloak, path, kind)


def _keep_an_admin(keycloak: Keycloak, realm: str, name: str) -> None:
    if has_admin(keycloak, realm, name) or not has_admin(keycloak, realm):
        return
    raise PersonError(f"{name} is the only admin: make another one first")


def _log_out(keycloak: Keycloak, path: str) -> None:
    keycloak.post(f"{path}/logout", None)


def _belong(keycloak: Keycloak, realm: str, identifier: str, person: Person) -> None:
    """Make role and groups exactly the person's; other roles and groups of ours are taken."""
    path = f"/{realm}/users/{identifier}"
    want = {f"{CLINICS}{clinic}" for clinic in person.clinic_ids}
    if person.role == ADMIN:
        # The group gives the role and, outside the viewer's scope, the right to manage people.
        want.add(ADMINS_GROUP)
    have = by("path", keycloak.all(f"{path}/groups"))
    for group in have.keys() - want:
        if group == ADMINS_GROUP or group.startswith(CLINICS):
            keycloak.delete(f"{path}/groups/{text(have[group], 'id')}")
    for group in want - have.keys():
        found = keycloak.one(f"/{realm}/group-by-path{quote(group)}")
        keycloak.put(f"{path}/groups/{text(found, 'id')}")
    roles = by("name", keycloak.all(f"/{realm}/roles"))
    wanted_roles = {person.role} - {ADMIN, ""}
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
