"""`make rotate`: the new value works on both sides, the old one no more, nothing is lost or started for nothing."""

from __future__ import annotations

import hashlib
import json
import ssl
import subprocess
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from harness.drop import put, settled
from harness.own_importer import backend_url
from harness.people import endpoint, login
from harness.phantom import ct
from harness.stack import TOP, make
from harness.wait import wait_until
from stack import credentials, health
from stack.certificate import served
from stack.compose import services
from stack.shell import attempt, environment, podman

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from harness.people import People
    from harness.stack import Stack

CLIENTS = {
    "auditor_secret": "auditor",
    "grafana_secret": "grafana",
    "monitoring_secret": "monitoring",
    "operator_pages_secret": "operator-pages",
    "orthanc_api_secret": "orthanc-api",
}
# No mail server takes part: what Alertmanager would show to one. And what sessions are sealed with is nobody else's.
ALONE = {"operator_cookie_secret": "oauth2proxy", "smtp_password": "alertmanager"}
# Of each secret: the containers that start anew. Where Grafana is, it would be one of them.
RESTARTED = {
    "auditor_secret": {"auditor"},
    "grafana_secret": set(),
    "keycloak_db_password": {"keycloak"},
    "monitoring_db_password": {"dbmetrics"},
    "monitoring_secret": {"prober", "prometheus"},
    "operator_cookie_secret": {"oauth2proxy"},
    "operator_pages_secret": {"oauth2proxy"},
    "orthanc_api_secret": {"importer"},
    "orthanc_db_password": {"orthanc"},
    "realm_reconciler_secret": set(),
    "smtp_password": {"alertmanager"},
    # nginx reads it at each handshake.
    "tls_key": set(),
}


def folder(stack: Stack) -> Path:
    return stack.podman_settings.data_dir / "secrets"


def value(stack: Stack, name: str) -> str:
    """Return a secret's present value; the key's is what its public part is known by."""
    if name == "tls_key":
        text = served(stack.podman_settings).read_text()
        key = text[text.index("-----BEGIN PRIVATE KEY-----") :]
        return public(load_pem_private_key(key.encode(), None))
    if name in credentials.GIVEN_BY_OPERATOR:
        return (folder(stack) / name).read_text().strip()
    return str(json.loads((folder(stack) / "values.json").read_text())[name])


def public(holder: PrivateKeyTypes | x509.Certificate) -> str:
    found = holder.public_key()
    plain = found.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(plain).hexdigest()


def works(stack: Stack, name: str, given: str) -> bool:
    """Tell whether a value is one that the other side takes."""
    if name == "tls_key":
        parts = urlsplit(stack.url)
        shown = ssl.get_server_certificate((str(parts.hostname), parts.port or 443))
        return public(x509.load_pem_x509_certificate(shown.encode())) == given
    if name in ALONE:
        return stack.exec(ALONE[name], "cat", f"/run/secrets/{name}").stdout == given
    if name.endswith("_db_password"):
        role = name.removesuffix("_db_password")
        address = ("--host=postgresql", f"--username={role}", f"--dbname={role}", "--no-password")
        psql = ("psql", "--no-psqlrc", "--command=select 1", *address)
        container = stack.container("postgresql")
        asked = attempt(
            ["podman", "exec", "--env=PGPASSWORD", container, *psql], env={"PGPASSWORD": given}
        )
        assert asked.returncode == 0 or "password authentication failed" in asked.stderr
        return asked.returncode == 0
    return is_client(stack, name, given)


def is_client(stack: Stack, name: str, given: str) -> bool:
    if name == "realm_reconciler_secret":
        address = (
            f"{backend_url(stack, 'keycloak')}/auth/realms/master/protocol/openid-connect/token"
        )
        client = "realm-reconciler"
    else:
        address, client = endpoint(stack, "token"), CLIENTS[name]
    # Grafana's has no account of its own: a code that is none is refused after the secret was taken.
    form = {"grant_type": "authorization_code", "code": "none", "redirect_uri": stack.url}
    with stack.session() as session:
        answer = session.post(address, data=form, auth=(client, given))
    refused = answer.json()["error"]
    assert (answer.status_code, refused) in {
        (HTTPStatus.UNAUTHORIZED, "unauthorized_client"),
        (HTTPStatus.UNAUTHORIZED, "invalid_client"),
        (HTTPStatus.BAD_REQUEST, "invalid_grant"),
        (HTTPStatus.BAD_REQUEST, "unauthorized_client"),
    }, answer.text
    return answer.status_code == HTTPStatus.BAD_REQUEST


def started(stack: Stack) -> dict[str, str]:
    """Return when each container that lasts was started."""
    found = {}
    for service in set(services(stack.podman_settings)) - {"realm"}:
        inspected = json.loads(podman("container", "inspect", stack.container(service)))[0]
        found[service] = f"{inspected['Id']} {inspected['State']['StartedAt']}"
    return found


def rotate(stack: Stack, name: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *("/usr/bin/make", "-s", "-C", str(TOP), "rotate"),
            *(f"ENV={stack.podman_settings.env_file}", f"SECRET={name}"),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=400,
        env=environment(),
        input=given,
    )


@pytest.fixture
def in_service(stack: Stack, people: People) -> Callable[[], None]:
    """Provide a check that what a person began before goes on, and what a clinic dropped arrives."""
    who = "physician-a"
    tokens = login(stack, who, people.passwords[who])
    study = ct(61)
    export = f"while-rotating-{study.uid}"
    put(stack.inbox("clinic-a") / export, study.files)

    def check() -> None:
        with stack.session() as session:
            refreshed = session.post(
                endpoint(stack, "token"),
                data={
                    "client_id": "ohif-viewer",
                    "grant_type": "refresh_token",
                    "refresh_token": tokens["refresh_token"],
                },
            )
            assert refreshed.status_code == HTTPStatus.OK, refreshed.text
            bearer = {"Authorization": f"Bearer {refreshed.json()['access_token']}"}
            found = session.get(f"{stack.url}/dicom-web/studies", headers=bearer)
            assert found.status_code == HTTPStatus.OK, found.text
        outcome = settled(stack, "clinic-a", export, timeout_s=120)
        assert not outcome.failed
        assert len(outcome.processed) == len(study.files)

    return check


@pytest.mark.parametrize("name", RESTARTED)
def test_after_one_command_the_new_value_works_and_the_old_one_no_more(
    stack: Stack, in_service: Callable[[], None], name: str
) -> None:
    if name == "smtp_password":
        assert rotate(stack, name, "the mail provider's first\n").returncode == 0
    old, before = value(stack, name), started(stack)
    assert works(stack, name, old)
    done = rotate(stack, name, "another\n" if name in credentials.GIVEN_BY_OPERATOR else "")
    assert done.returncode == 0, done.stdout + done.stderr
    new = value(stack, name)
    assert new != old
    assert works(stack, name, new)
    assert not works(stack, name, old)
    after = started(stack)
    assert {s for s in after if after[s] != before[s]} == RESTARTED[name]
    in_service()
    if name != "tls_key":
        assert new not in done.stdout + done.stderr


def test_whatever_was_cut_off_is_completed_by_the_next_start(stack: Stack) -> None:
    names = ("orthanc_db_password", "keycloak_db_password", "realm_reconciler_secret")
    old = {name: value(stack, name) for name in names}
    for _ in range(2):
        for name in names:
            credentials.renew(folder(stack), name)
        # Handed out to files, and nobody told: twice.
        credentials.ensure_secrets(folder(stack))
    make("up", stack.podman_settings.env_file)
    before = started(stack)
    for name in names:
        assert works(stack, name, value(stack, name)), name
        assert not works(stack, name, old[name]), name
    make("up", stack.podman_settings.env_file)
    assert started(stack) == before


def test_a_database_that_was_told_while_it_ran_starts_again_with_the_new_password(
    stack: Stack, people: People
) -> None:
    assert rotate(stack, "orthanc_db_password").returncode == 0
    podman("restart", stack.container("postgresql"))
    wait_until(
        lambda: health.state(stack.podman_settings, "postgresql") == "healthy",
        60,
        "PostgreSQL is back",
        lambda: stack.logs("postgresql"),
    )
    assert works(stack, "orthanc_db_password", value(stack, "orthanc_db_password"))

    def reads() -> bool:
        # Keycloak and Orthanc find their databases again by themselves.
        try:
            tokens = login(stack, "physician-a", people.passwords["physician-a"])
        except AssertionError:
            return False
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        with stack.session() as session:
            return session.get(f"{stack.url}/dicom-web/studies", headers=bearer).ok

    wait_until(reads, 120, "people log in and read again", lambda: stack.logs("keycloak"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("grafana_secret_key", "Grafana could no longer read"),
        ("no_such_secret", "the secrets are keycloak_db_password"),
        ("smtp_password", "yours to give: it is empty"),
    ],
)
def test_what_cannot_be_rotated_is_said_and_stays(stack: Stack, name: str, said: str) -> None:
    before = (folder(stack) / "values.json").read_text(), started(stack)
    refused = rotate(stack, name)
    assert refused.returncode != 0
    assert said in refused.stderr
    assert ((folder(stack) / "values.json").read_text(), started(stack)) == before
