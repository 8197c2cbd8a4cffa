"""Clinics: groups below /clinics whose attribute clinic_id becomes a claim of their people."""

import re
from collections.abc import Collection
from dataclasses import asdict, dataclass

from dicom_importer.realm.representation import Representation, record, text, texts
from dicom_importer.realm.rest import AbsentError, Keycloak

CLINIC_ID = re.compile(r"[a-z0-9](?:-?[a-z0-9])*")
CLINIC_ID_LENGTH = 32
# Takes studies in and shows them; shows them and has no inbox; is shown to admins alone.
OPEN, CLOSED, ARCHIVED = STATES = ("open", "closed", "archived")
# Whose people's tokens name it, and where the id is kept that none names.
CLAIMED, KEPT = "clinic_id", "archived_clinic_id"


class ClinicError(ValueError):
    """A clinic's id cannot be one, or no such clinic exists."""


@dataclass(frozen=True, slots=True)
class Clinic:
    """A clinic as Keycloak knows it; its state is one of STATES."""

    id: str
    name: str
    state: str = OPEN

    def as_json(self) -> dict[str, str]:
        """Give it as the command prints it."""
        return asdict(self)


def check_id(clinic_id: str) -> str:
    """Give the id back; raises ClinicError where it cannot be one."""
    if len(clinic_id) > CLINIC_ID_LENGTH or not CLINIC_ID.fullmatch(clinic_id):
        raise ClinicError(
            f"{clinic_id!r} cannot be a clinic's id: at most {CLINIC_ID_LENGTH} small letters, "
            "digits and single hyphens between them"
        )
    return clinic_id


def clinics(keycloak: Keycloak, realm: str) -> list[Clinic]:
    """List every clinic, by id."""
    found = [clinic for group in groups_of(keycloak, realm) if (clinic := _clinic(group))]
    return sorted(found, key=lambda clinic: clinic.id)


def ensure(keycloak: Keycloak, realm: str, clinic: Clinic) -> str:
    """Create the clinic or rename it, its state as it was; gives what was done."""
    check_id(clinic.id)
    try:
        found = _group(keycloak, realm, clinic.id)
    except AbsentError:
        parent = keycloak.one(f"/{realm}/group-by-path/clinics")
        attributes: Representation = {CLAIMED: [clinic.id], "display_name": [clinic.name]}
        keycloak.post(
            f"/{realm}/groups/{text(parent, 'id')}/children",
            {"attributes": attributes, "name": clinic.id},
        )
        return "created"
    have = _clinic(found)
    wanted = Clinic(clinic.id, clinic.name, have.state if have else OPEN)
    return "updated" if _bring(keycloak, realm, found, wanted) else "unchanged"


def set_state(keycloak: Keycloak, realm: str, clinic_id: str, state: str) -> Clinic:
    """Open, close or archive a clinic; whoever is logged in and loses it is logged out. Raises ClinicError."""
    group = _known(keycloak, realm, clinic_id)
    have = _clinic(group)
    wanted = Clinic(clinic_id, have.name if have else clinic_id, state)
    if _bring(keycloak, realm, group, wanted):
        # Their tokens say what was true when they were given.
        for member in keycloak.all(f"/{realm}/groups/{text(group, 'id')}/members"):
            keycloak.post(f"/{realm}/users/{text(member, 'id')}/logout", None)
    return wanted


def state(keycloak: Keycloak, realm: str, clinic_id: str) -> str:
    """Give a clinic's state; raises ClinicError where there is none."""
    found = _clinic(_known(keycloak, realm, clinic_id))
    return found.state if found else OPEN


def differences(groups: Collection[Representation], inboxes: Collection[str]) -> list[str]:
    """Say where groups below /clinics and inboxes do not fit together, and what to do about each."""
    known = {clinic.id: clinic for group in groups if (clinic := _clinic(group))}
    odd = [
        f"the group /clinics/{text(group, 'name')} in Keycloak is no clinic, and shows its people nothing: "
        "its name and its attribute clinic_id must be the clinic's id"
        for group in groups
        if (clinic := _clinic(group)) is None or clinic.id != text(group, "name")
    ]
    without = [
        f"clinic {clinic.id} is open and has no inbox: make the clinic again with its id and name"
        for clinic in known.values()
        if clinic.state == OPEN and clinic.id not in inboxes
    ]
    too_many = [
        f"clinic {clinic.id} is {clinic.state} and has an inbox, from which is imported: close it again"
        for clinic in known.values()
        if clinic.state != OPEN and clinic.id in inboxes
    ]
    nobodys = [
        f"inbox {name} is no clinic's: what it takes in only admins see. "
        f"Make the clinic {name}, or move the folder away"
        for name in sorted(set(inboxes) - known.keys())
    ]
    return [*odd, *without, *too_many, *nobodys]


def groups_of(keycloak: Keycloak, realm: str) -> list[Representation]:
    """List what lies below /clinics, clinic or not."""
    parent = keycloak.one(f"/{realm}/group-by-path/clinics")
    path = f"/{realm}/groups/{text(parent, 'id')}/children"
    return keycloak.all(path, briefRepresentation="false")


def _group(keycloak: Keycloak, realm: str, clinic_id: str) -> Representation:
    return keycloak.one(f"/{realm}/group-by-path/clinics/{clinic_id}")


def _known(keycloak: Keycloak, realm: str, clinic_id: str) -> Representation:
    try:
        return _group(keycloak, realm, check_id(clinic_id))
    except AbsentError as error:
        known = ", ".join(clinic.id for clinic in clinics(keycloak, realm))
        raise ClinicError(f"no clinic {clinic_id}: known are {known or 'none'}") from error


def _bring(keycloak: Keycloak, realm: str, found: Representation, clinic: Clinic) -> bool:
    """Make a group's attributes those of the clinic; tells whether that changed any."""
    have = record(found.get("attributes", {}))
    ours = {CLAIMED, KEPT, "display_name", "state"}
    attributes: Representation = {
        **{name: value for name, value in have.items() if name not in ours},
        (KEPT if clinic.state == ARCHIVED else CLAIMED): [clinic.id],
        "display_name": [clinic.name],
        **({} if clinic.state == OPEN else {"state": [clinic.state]}),
    }
    if attributes == have:
        return False
    keycloak.put(f"/{realm}/groups/{text(found, 'id')}", {**found, "attributes": attributes})
    return True


def _clinic(group: Representation) -> Clinic | None:
    attributes = record(group.get("attributes", {}))
    ids = texts(attributes, CLAIMED) or texts(attributes, KEPT)
    if not ids:
        return None
    name = next(iter(texts(attributes, "display_name")), ids[0])
    return Clinic(ids[0], name, next(iter(texts(attributes, "state")), OPEN))
