"""The realm in Keycloak is made what the realm file says; people and clinics stay as they are."""

import json
from collections.abc import Callable

from dicom_importer.realm import accounts, clients, flows, groups, master
from dicom_importer.realm.representation import (
    Representation,
    by,
    differences,
    merged,
    record,
    records,
    text,
    texts,
    without,
)
from dicom_importer.realm.rest import AbsentError, Keycloak

USER_PROFILE = "org.keycloak.userprofile.UserProfileProvider"
# These have paths of their own; the rest of the file are settings of the realm itself.
PARTS = (
    "authenticationFlows",
    "authenticatorConfig",
    "clientScopes",
    "clients",
    "components",
    "groups",
    "roles",
    "scopeMappings",
    "users",
)


def reconcile(keycloak: Keycloak, wanted: Representation, changed: Callable[[str], None]) -> None:
    """Bring everything to what is wanted, telling each change; raises KeycloakError.

    The order is that of dependence: the realm's settings name a flow, scopes name clients
    that are audiences, groups name roles.
    """
    name = text(wanted, "realm")
    master.tidy(keycloak, changed)
    try:
        keycloak.one(f"/{name}")
    except AbsentError:
        # Bare, so that Keycloak adds its own scopes and clients; an import of the whole file
        # would suppress them, and would be a second way to the same realm.
        keycloak.post("", {"enabled": True, "realm": name})
        # The creator's rights over the new realm are in its next token only.
        keycloak.forget_token()
        changed(f"realm {name}: created")
    flows.reconcile(keycloak, wanted, changed)
    _settings(keycloak, wanted, changed)
    _user_profile(keycloak, wanted, changed)
    _roles(keycloak, wanted, changed)
    clients.reconcile(keycloak, wanted, changed)
    groups.reconcile(keycloak, wanted, changed)
    accounts.reconcile(keycloak, wanted, changed)


def _settings(keycloak: Keycloak, wanted: Representation, changed: Callable[[str], None]) -> None:
    name = text(wanted, "realm")
    found = keycloak.one(f"/{name}")
    settings = without(wanted, *PARTS, "smtpServer")
    mail = record(wanted.get("smtpServer", {}))
    # Keycloak shows no mail password, so it is sent each time and never compared.
    visible = {**settings, "smtpServer": without(mail, "password")}
    places = differences(visible, found)
    if found.get("smtpServer") and not mail:
        places.append("smtpServer")
    if places or "password" in mail:
        keycloak.put(f"/{name}", {**merged(settings, found), "smtpServer": mail})
    for place in places:
        changed(f"realm {name}: {place}")


def _user_profile(
    keycloak: Keycloak, wanted: Representation, changed: Callable[[str], None]
) -> None:
    path = f"/{text(wanted, 'realm')}/users/profile"
    (component,) = records(record(wanted["components"])[USER_PROFILE])
    (config,) = texts(record(component["config"]), "kc.user.profile.config")
    profile = record(json.loads(config))
    found = keycloak.one(path)
    have = by("name", records(found["attributes"]))
    want = by("name", records(profile["attributes"]))
    # Unmanaged attributes would let whoever edits a user write a clinic_id into it.
    unmanaged = "unmanagedAttributePolicy" in found
    if differences({**want}, {**have}) or have.keys() != want.keys() or unmanaged:
        keycloak.put(path, profile)
        changed("user profile: updated")


def _roles(keycloak: Keycloak, wanted: Representation, changed: Callable[[str], None]) -> None:
    path = f"/{text(wanted, 'realm')}/roles"
    found = {text(role, "name"): role for role in keycloak.all(path)}
    for role in records(record(wanted["roles"])["realm"]):
        name = text(role, "name")
        if name not in found:
            keycloak.post(path, role)
            changed(f"role {name}: created")
        elif places := differences(role, found[name]):
            keycloak.put(f"{path}/{name}", merged(role, found[name]))
            changed(f"role {name}: {', '.join(places)}")
