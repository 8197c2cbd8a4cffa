"""Secrets, passwords and tokens of the running stack are nowhere but with their readers.

Each search looks for something that is there as well: one that finds nothing at all would prove nothing.
"""

from __future__ import annotations

import json
import secrets
import subprocess
from typing import TYPE_CHECKING

import pytest
from harness.canaries import among, files, forms, in_trees, processes
from harness.people import service_token
from harness.stack import make
from stack import credentials
from stack.certificate import served
from stack.images import IMAGES, SFTP, SHIPPER, SMB, VICTORIALOGS
from stack.shell import attempt, podman

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.people import People
    from harness.stack import Stack

CLIENTS = {
    "auditor_secret": "auditor",
    "grafana_secret": "grafana",
    "monitoring_secret": "monitoring",
    "operator_pages_secret": "operator-pages",
    "orthanc_api_secret": "orthanc-api",
    "realm_reconciler_secret": "realm-reconciler",
}
LAST = "smtp_password"
# What the operator gives is not always the secret alone; nobody answers at such an address.
GIVEN_AS = {
    "alert_heartbeat_url": "http://127.0.0.1:9/{}",
    "alert_webhook_url": "http://127.0.0.1:9/{}",
    "backup_ca": "{}\n{authority}",
    "backup_credentials": "AWS_SECRET_ACCESS_KEY={}",
}
BUILT = [image.name for image in (*IMAGES, SFTP, SHIPPER, SMB, VICTORIALOGS)]
# Keycloak keeps its clients' secrets as they are, in its database; they are worth what the database is.
IN_THE_DATABASE = "postgresql"


@pytest.fixture(scope="module")
def planted(stack: Stack, people: People) -> Mapping[bytes, str]:
    """Provide what is looked for: every secret, keys, what people log in by and what they got for it."""
    data = stack.podman_settings.data_dir
    values = dict(json.loads((data / "secrets" / "values.json").read_text()))
    values["backup_key"] = (data / "secrets" / "backup.backup_key").read_text()
    authority = (data / "tls" / "ca.crt").read_text()
    # As the command does it, whose last one hands them all out at once.
    for name in sorted(credentials.GIVEN_BY_OPERATOR, key=LAST.__eq__):
        values[name] = secrets.token_urlsafe(24)
        given = GIVEN_AS.get(name, "{}").format(values[name], authority=authority)
        if name == LAST:
            make("rotate", stack.podman_settings.env_file, stdin=given, SECRET=name)
        else:
            credentials.renew(data / "secrets", name, given)
    assert values.keys() == credentials.READERS.keys()
    for key in (served(stack.podman_settings), data / "tls" / "ca.key"):
        values[key.name] = key.read_text().split("-----BEGIN PRIVATE KEY-----\n")[1].splitlines()[0]
    for who in ("physician-a", "admin-x"):
        tokens = people.all_tokens(who, fresh=True)
        values |= {f"{kind} of {who}": tokens[kind] for kind in ("access_token", "refresh_token")}
        values[f"password of {who}"] = people.passwords[who]
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        with stack.session() as session:
            # Seen by every layer, and refused by one.
            for path in ("/dicom-web/studies", "/orthanc/system", "/dicom-web/studies/1.2.3"):
                session.get(stack.url + path, headers=bearer)
    for client in CLIENTS.values():
        if client not in ("grafana", "operator-pages", "realm-reconciler"):
            values[f"token of {client}"] = service_token(stack, client)
    return forms(values, CLIENTS)


def containers(stack: Stack) -> list[str]:
    own = f"label=io.podman.compose.project={stack.podman_settings.project}"
    return podman("ps", "--all", "--format", "{{.Names}}", "--filter", own).split()


def test_no_process_shows_one_in_its_environment_or_arguments(planted: Mapping[bytes, str]) -> None:
    control = {b"PUBLIC_URL=https://": "a setting", b"--storage.tsdb.path": "an option"}
    found = among(processes(), {**planted, **control})
    assert found >= {("environ", "a setting"), ("cmdline", "an option")}
    assert {name for _, name in found} == {"a setting", "an option"}


@pytest.mark.parametrize("place", ["cmdline", "environ"])
def test_a_process_that_shows_one_is_found(planted: Mapping[bytes, str], place: str) -> None:
    value = next(iter(planted)).decode()
    waiting = ["/bin/sh", "-c", "read line", value if place == "cmdline" else ""]
    env = {"PASSWORD": value} if place == "environ" else {}
    with subprocess.Popen(waiting, env=env, stdin=subprocess.PIPE) as shown:
        found = among(processes(), planted)
        shown.kill()
    assert {where for where, _ in found} == {place}


def test_no_container_shows_one_to_who_inspects_it(
    stack: Stack, planted: Mapping[bytes, str]
) -> None:
    among_them = containers(stack)
    assert len(among_them) >= 10
    shown = [(n, podman("container", "inspect", n).encode()) for n in among_them]
    found = among(shown, {**planted, b"stack.inputs": "a label"})
    assert found == {(name, "a label") for name in among_them}


def test_no_log_holds_one(stack: Stack, planted: Mapping[bytes, str]) -> None:
    logs = [(n, _log(n)) for n in containers(stack)]
    # Who logged in, from where and with what outcome is told; with what is not.
    control = {b"database system is ready": "a start", b'"path":"/dicom-web/studies"': "a request"}
    found = among(logs, {**planted, **control})
    project = stack.podman_settings.project
    assert found >= {(f"{project}-postgresql", "a start"), (f"{project}-nginx", "a request")}
    assert {name for _, name in found} == {"a start", "a request"}


def _log(container: str) -> bytes:
    done = attempt(["podman", "logs", container])
    return (done.stdout + done.stderr).encode()


def test_no_file_of_the_stack_holds_one_but_the_readers_own(
    stack: Stack, planted: Mapping[bytes, str]
) -> None:
    data = stack.data_dir
    meant = (data / "secrets", served(stack.podman_settings), data / "tls" / "ca.key")
    control = {stack.url.encode(): "the address"}
    found = among(files(data, (*meant, data / IN_THE_DATABASE)), {**planted, **control})
    assert {name for _, name in found} == {"the address"}
    # In the copies of the configuration, too, which are packed.
    assert any(".tar.gz: " in place for place, _ in found)
    assert among(files(data / "secrets"), planted)


def test_the_databases_hold_what_keycloak_keeps_of_its_clients_and_no_more(
    stack: Stack, planted: Mapping[bytes, str]
) -> None:
    found = set()
    for database in ("keycloak", "orthanc"):
        dump = ("pg_dump", "--data-only", "--inserts", f"--dbname={database}")
        lines = stack.exec("postgresql", *dump).stdout.encode().splitlines()
        rows = [(line.split()[2].decode(), line) for line in lines if line.startswith(b"INSERT")]
        # So many has an archive that holds nothing yet.
        assert len(rows) > 10
        found |= among(rows, planted)
    # Its events tell of changed clients, and the auditor reads them: without their secrets.
    assert found == {("public.client", name) for name in CLIENTS}


def test_no_layer_of_an_image_and_no_step_of_its_making_holds_one(
    image: Callable[[str], str], planted: Mapping[bytes, str]
) -> None:
    layers, told = set(), []
    for name in BUILT:
        tag = image(name)
        shown = podman("image", "inspect", tag)
        history = podman("image", "history", "--no-trunc", "--format", "json", tag)
        told.append((name, (shown + history).encode()))
        driver = json.loads(shown)[0]["GraphDriver"]["Data"]
        layers |= {*driver["UpperDir"].split(":"), *driver.get("LowerDir", "").split(":")} - {""}
    assert among(told, {**planted, b"ENTRYPOINT": "a step"}) == {(name, "a step") for name in BUILT}
    # As it stands in Keycloak's start script.
    control = {b"bootstrap-admin-client-secret=%s": "a line"}
    found = in_trees(sorted(layers), {**planted, **control})
    assert {path.rpartition("/")[2] for path in found} == {"entrypoint.sh"}, found
