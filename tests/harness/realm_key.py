"""A signature key of the realm that the tests hold too, put into Keycloak over its admin REST."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from harness.own_importer import backend_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.stack import Session, Stack

PROVIDER = "org.keycloak.keys.KeyProvider"
# Keycloak signs with the key of the highest priority; its own has 100.
BESIDE, INSTEAD = 50, 200


def master_token(stack: Stack) -> str:
    """Return a token of the realm master: its reconciler's."""
    secret = stack.data_dir / "secrets" / "realm.realm_reconciler_secret"
    master = f"{backend_url(stack, 'keycloak')}/auth/realms/master"
    with stack.session() as session:
        answer = session.post(
            f"{master}/protocol/openid-connect/token",
            data={"grant_type": "client_credentials", "scope": "openid"},
            auth=("realm-reconciler", secret.read_text().split()[0]),
        )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


@contextmanager
def administering(stack: Stack) -> Iterator[tuple[Session, str]]:
    """Provide a session that administers the realm, and the realm's address."""
    with stack.session() as session:
        session.headers["Authorization"] = f"Bearer {master_token(stack)}"
        yield session, f"{backend_url(stack, 'keycloak')}/auth/admin/realms/dicom"


@contextmanager
def realm_key(stack: Stack, priority: int) -> Iterator[tuple[rsa.RSAPrivateKey, str]]:
    """Add a key to the realm; provides it with the kid that Keycloak gave it, and removes it at the end."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    with administering(stack) as (session, realm):
        made = session.post(
            f"{realm}/components",
            json={
                "name": "known-to-the-tests",
                "providerId": "rsa",
                "providerType": PROVIDER,
                "config": {"priority": [str(priority)], "privateKey": [pem.decode()]},
            },
        )
        assert made.status_code == 201, made.text
        component = made.headers["Location"].rpartition("/")[2]
        keys = session.get(f"{realm}/keys").json()["keys"]
    (kid,) = (entry["kid"] for entry in keys if entry["providerId"] == component)
    try:
        yield key, kid
    finally:
        with administering(stack) as (session, realm):
            session.delete(f"{realm}/components/{component}")
