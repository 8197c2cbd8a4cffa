"""Clinics: groups below /clinics whose attribute clinic_id becomes a claim of their people."""

import re
from dataclasses import asdict, dataclass

from dicom_importer.realm.representation import Representation, record, text, texts
from dicom_importer.realm.rest import AbsentError, Keycloak

CLINIC_ID = re.compile(r"[a-z0-9](?:-?[a-z0-9])*")
CLINIC_ID_LENGTH = 32


class ClinicError(ValueError):
    """A clinic's id cannot be one, or no such clinic exists."""


@dataclass(frozen=True, slots=True)
class Clinic:
    """A clinic as Keycloak knows it."""

    id: str
    name: str

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
    parent = keycloak.one(f"/{realm}/group-by-path/clinics")
    children = keycloak.all(
        f"/{realm}/groups/{text(parent, 'id')}/children", briefRepresentation="false"
    )
    found = [clinic for group in children if (clinic := _clinic(group))]
    return sorted(found, key=lambda clinic: clinic.id)


def ensure(keycloak: Keycloak, realm: str, clinic: Clinic) -> str:
    """Create the clinic or rename it; gives what was done."""
    check_id(clinic.id)
    attributes: Representation = {"clinic_id": [clinic.id], "display_name": [clinic.name]}
    try:
        found = keycloak.one(f"/{realm}/group-by-path/clinics/{clinic.id}")
    except AbsentError:
        parent = keycloak.one(f"/{realm}/group-by-path/clinics")
        keycloak.post(
            f"/{realm}/groups/{text(parent, 'id')}/children",
            {"attributes": attributes, "name": clinic.id},
        )
        return "created"
    have = record(found.get("attributes", {}))
    if {**have, **attributes} == have:
        return "unchanged"
    keycloak.put(
        f"/{realm}/groups/{text(found, 'id')}", {**found, "attributes": {**have, **attributes}}
    )
    return "updated"


def _clinic(group: Representation) -> Clinic | None:
    attributes = record(group.get("attributes", {}))
    ids = texts(attributes, "clinic_id")
    if not ids:
        return None
    return Clinic(id=ids[0], name=next(iter(texts(attributes, "display_name")), ids[0]))
