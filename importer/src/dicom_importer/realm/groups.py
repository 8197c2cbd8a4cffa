"""The realm file's groups and the roles that they give; groups below them are left alone."""

from collections.abc import Callable
from functools import partial

from dicom_importer.realm.representation import Representation, by, record, records, text, texts
from dicom_importer.realm.rest import Keycloak


def reconcile(keycloak: Keycloak, wanted: Representation, changed: Callable[[str], None]) -> None:
    """Bring the file's groups to what is wanted."""
    realm = f"/{text(wanted, 'realm')}"
    found = {text(group, "name"): text(group, "id") for group in keycloak.all(f"{realm}/groups")}
    for group in records(wanted["groups"]):
        name = text(group, "name")
        identifier = found.get(name)
        if identifier is None:
            identifier = keycloak.post(f"{realm}/groups", {"name": name})
            changed(f"group /{name}: created")
        mappings = f"{realm}/groups/{identifier}/role-mappings"
        told = partial(_tell, changed, name)
        grant(keycloak, f"{mappings}/realm", f"{realm}/roles", texts(group, "realmRoles"), told)
        client_roles = record(group.get("clientRoles", {}))
        for client_id in client_roles:
            (client,) = keycloak.all(f"{realm}/clients", clientId=client_id)
            part = f"clients/{text(client, 'id')}"
            names = texts(client_roles, client_id)
            grant(keycloak, f"{mappings}/{part}", f"{realm}/{part}/roles", names, told)


def grant(
    keycloak: Keycloak,
    path: str,
    roles_path: str,
    names: list[str],
    changed: Callable[[str], None],
) -> None:
    """Make the roles at a path exactly those named, of those that another path lists."""
    have = by("name", keycloak.all(path))
    if extra := sorted(have.keys() - set(names)):
        keycloak.delete(path, [dict(have[role]) for role in extra])
        changed(f"roles {', '.join(extra)} removed")
    if missing := sorted(set(names) - have.keys()):
        roles = by("name", keycloak.all(roles_path))
        keycloak.post(path, [dict(roles[role]) for role in missing])
        changed(f"roles {', '.join(missing)} added")


def _tell(changed: Callable[[str], None], group: str, change: str) -> None:
    changed(f"group /{group}: {change}")
