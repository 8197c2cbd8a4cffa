"""The realm master: nobody logs in there, and the reconciler's account keeps only what it needs."""

from collections.abc import Callable

from dicom_importer.realm.representation import by, record, text
from dicom_importer.realm.rest import Keycloak, KeycloakError

RECONCILER = "realm-reconciler"
TEMPORARY = "is_temporary_admin"
# Enough to change its own secret, which only a client administrator may.
OWN_REALM_ROLES = ("manage-clients", "query-clients", "view-clients")


def tidy(keycloak: Keycloak, changed: Callable[[str], None]) -> None:
    """Make the bootstrap account permanent and take the role admin from it.

    Runs while the account still has that role, which is once. It may create realms, and whoever
    creates a realm administers it; a lost account comes back by `kc.sh bootstrap-admin service`.
    """
    try:
        users = keycloak.all("/master/users")
    except KeycloakError:
        return
    clients = by("clientId", keycloak.all("/master/clients"))
    client = clients[RECONCILER]
    client_path = f"/master/clients/{text(client, 'id')}"
    account = keycloak.one(f"{client_path}/service-account-user")
    for user in users:
        if TEMPORARY in record(user.get("attributes", {})) and user["id"] != account["id"]:
            keycloak.delete(f"/master/users/{text(user, 'id')}")
            changed(f"master: temporary admin {text(user, 'username')} removed")
    attributes = record(client.get("attributes", {}))
    if TEMPORARY in attributes:
        keycloak.put(client_path, {**client, "attributes": {**attributes, TEMPORARY: ""}})
    attributes = record(account.get("attributes", {}))
    if TEMPORARY in attributes:
        keycloak.put(
            f"/master/users/{text(account, 'id')}",
            {**account, "attributes": {k: v for k, v in attributes.items() if k != TEMPORARY}},
        )
    # The only client of master that would take a password over the network.
    console = clients["admin-cli"]
    keycloak.put(f"/master/clients/{text(console, 'id')}", {**console, "enabled": False})
    _reduce(keycloak, text(account, "id"), text(clients["master-realm"], "id"))
    keycloak.forget_token()
    changed(f"master: {RECONCILER} made permanent, its role admin removed")


def keep_secret(keycloak: Keycloak, newest: str, changed: Callable[[str], None]) -> None:
    """Tell Keycloak the account's newest secret where it still believes one before it."""
    (client,) = keycloak.all("/master/clients", clientId=RECONCILER)
    if keycloak.secret != newest:
        keycloak.put(f"/master/clients/{text(client, 'id')}", {**client, "secret": newest})
        keycloak.forget_token()
        changed(f"master: {RECONCILER} has its new secret")


def _reduce(keycloak: Keycloak, account_id: str, own_realm_client_id: str) -> None:
    roles = by("name", keycloak.all("/master/roles"))
    own = by("name", keycloak.all(f"/master/clients/{own_realm_client_id}/roles"))
    mappings = f"/master/users/{account_id}/role-mappings"
    keycloak.post(f"{mappings}/realm", [{**roles["create-realm"]}])
    keycloak.post(
        f"{mappings}/clients/{own_realm_client_id}", [{**own[role]} for role in OWN_REALM_ROLES]
    )
    keycloak.delete(f"{mappings}/realm", [{**roles["admin"]}])
