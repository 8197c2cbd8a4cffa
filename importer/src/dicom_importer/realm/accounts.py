"""What the realm file lets service accounts do at Keycloak itself, and their clients' tokens say."""

from collections.abc import Callable
from functools import partial

from dicom_importer.realm.groups import grant
from dicom_importer.realm.representation import Representation, record, records, text, texts
from dicom_importer.realm.rest import Keycloak


def reconcile(keycloak: Keycloak, wanted: Representation, changed: Callable[[str], None]) -> None:
    """Bring the roles of the file's service accounts to what is wanted."""
    realm = f"/{text(wanted, 'realm')}"
    for account in records(wanted["users"]):
        name = text(account, "serviceAccountClientId")
        client = _client(keycloak, realm, name)
        user = keycloak.one(f"{realm}/clients/{client}/service-account-user")
        mappings = f"{realm}/users/{text(user, 'id')}/role-mappings"
        told = partial(_tell, changed, name)
        client_roles = record(account["clientRoles"])
        for provider in client_roles:
            part = f"clients/{_client(keycloak, realm, provider)}"
            roles = f"{realm}/{part}/roles", texts(client_roles, provider)
            grant(keycloak, f"{mappings}/{part}", *roles, told)
            # Keycloak counts only what the client's scope lets through as well.
            scope = f"{realm}/clients/{client}/scope-mappings/{part}"
            grant(keycloak, scope, *roles, partial(told, "scope: "))


def _client(keycloak: Keycloak, realm: str, name: str) -> str:
    (client,) = keycloak.all(f"{realm}/clients", clientId=name)
    return text(client, "id")


def _tell(changed: Callable[[str], None], account: str, *words: str) -> None:
    changed(f"service account {account}: {''.join(words)}")
