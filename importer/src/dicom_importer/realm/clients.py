"""Client scopes and clients: their settings, mappers, assigned scopes and role scope."""

from collections.abc import Callable
from functools import partial

from dicom_importer.realm.representation import (
    Representation,
    by,
    differences,
    merged,
    records,
    text,
    texts,
    without,
)
from dicom_importer.realm.rest import Keycloak

ASSIGNMENTS = {
    "defaultClientScopes": "default-client-scopes",
    "optionalClientScopes": "optional-client-scopes",
}


def reconcile(keycloak: Keycloak, wanted: Representation, changed: Callable[[str], None]) -> None:
    """Bring the file's scopes and clients to what is wanted; others are the operator's own."""
    realm = f"/{text(wanted, 'realm')}"
    found_scopes = by("name", keycloak.all(f"{realm}/client-scopes"))
    for scope in records(wanted["clientScopes"]):
        _scope(keycloak, realm, scope, found_scopes.get(text(scope, "name")), changed)
    scope_ids = {
        text(scope, "name"): text(scope, "id") for scope in keycloak.all(f"{realm}/client-scopes")
    }
    found_clients = by("clientId", keycloak.all(f"{realm}/clients"))
    for client in records(wanted["clients"]):
        name = text(client, "clientId")
        if found := found_clients.get(name):
            places = differences(without(client, *ASSIGNMENTS), found)
            if places:
                settings = without(client, *ASSIGNMENTS)
                keycloak.put(f"{realm}/clients/{text(found, 'id')}", merged(settings, found))
                changed(f"client {name}: {', '.join(places)}")
            path = f"{realm}/clients/{text(found, 'id')}"
        else:
            path = f"{realm}/clients/{keycloak.post(f'{realm}/clients', client)}"
            changed(f"client {name}: created")
        for key, part in ASSIGNMENTS.items():
            if key in client:
                told = partial(_tell, changed, name)
                _assign(keycloak, f"{path}/{part}", texts(client, key), scope_ids, told)
    for mapping in records(wanted["scopeMappings"]):
        _role_scope(keycloak, realm, mapping, changed)


def _scope(
    keycloak: Keycloak,
    realm: str,
    scope: Representation,
    found: Representation | None,
    changed: Callable[[str], None],
) -> None:
    name = text(scope, "name")
    if found is None:
        keycloak.post(f"{realm}/client-scopes", scope)
        changed(f"client scope {name}: created")
        return
    path = f"{realm}/client-scopes/{text(found, 'id')}"
    settings = without(scope, "protocolMappers")
    if places := differences(settings, found):
        keycloak.put(path, merged(settings, without(found, "protocolMappers")))
        changed(f"client scope {name}: {', '.join(places)}")
    want = by("name", records(scope["protocolMappers"]))
    have = by("name", records(found.get("protocolMappers")))
    for mapper in have.keys() - want.keys():
        keycloak.delete(f"{path}/protocol-mappers/models/{text(have[mapper], 'id')}")
        changed(f"client scope {name}: mapper {mapper} removed")
    for mapper, settings in want.items():
        if mapper not in have:
            keycloak.post(f"{path}/protocol-mappers/models", settings)
            changed(f"client scope {name}: mapper {mapper} added")
        elif places := differences(settings, have[mapper]):
            keycloak.put(
                f"{path}/protocol-mappers/models/{text(have[mapper], 'id')}",
                merged(settings, have[mapper]),
            )
            changed(f"client scope {name}: mapper {mapper}: {', '.join(places)}")


def _assign(
    keycloak: Keycloak,
    path: str,
    names: list[str],
    scope_ids: dict[str, str],
    changed: Callable[[str], None],
) -> None:
    have = {text(scope, "name"): text(scope, "id") for scope in keycloak.all(path)}
    kind = path.rpartition("/")[2]
    for name in have.keys() - set(names):
        keycloak.delete(f"{path}/{have[name]}")
        changed(f"{kind}: {name} removed")
    for name in set(names) - have.keys():
        keycloak.put(f"{path}/{scope_ids[name]}")
        changed(f"{kind}: {name} added")


def _role_scope(
    keycloak: Keycloak, realm: str, mapping: Representation, changed: Callable[[str], None]
) -> None:
    name = text(mapping, "client")
    (client,) = keycloak.all(f"{realm}/clients", clientId=name)
    path = f"{realm}/clients/{text(client, 'id')}/scope-mappings/realm"
    roles = by("name", keycloak.all(f"{realm}/roles"))
    have = by("name", keycloak.all(path))
    want = set(texts(mapping, "roles"))
    if extra := sorted(have.keys() - want):
        keycloak.delete(path, [dict(have[role]) for role in extra])
        changed(f"client {name}: roles {', '.join(extra)} taken out of its tokens")
    if missing := sorted(want - have.keys()):
        keycloak.post(path, [dict(roles[role]) for role in missing])
        changed(f"client {name}: roles {', '.join(missing)} let into its tokens")


def _tell(changed: Callable[[str], None], client: str, change: str) -> None:
    changed(f"client {client}: {change}")
