"""What a container is made of is known, so that a change of any of it makes the container anew."""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from stack import compose, shell
from stack.alerts import BASE, alertmanager_json
from stack.credentials import GIVEN_BY_OPERATOR, READERS, UIDS, ensure_secrets
from stack.files import prepare, snapshot, write_if_changed
from stack.images import digest
from stack.probes import BASE as PROBES
from stack.probes import prober_json
from stack.prometheus import prometheus_yml
from stack.settings import load
from stack.site import site_conf
from stack.words import words_tmpl

if TYPE_CHECKING:
    from stack.settings import Settings


EVERYTHING = (
    *compose.ADDITIONS.values(),
    compose.WITH_BACKUP,
    compose.WITH_RECEIVER,
    compose.WITH_SFTP,
    compose.WITH_SMB,
)


def merged(name: str, settings: Settings | None = None) -> dict[str, dict[str, object]]:
    """Return a part of the compose files by its entries' names: of all files, or of those of a stack."""
    added = [compose.added(settings)] if settings else EVERYTHING
    files = {compose.COMPOSE_FILE, *(file for addition in added for file in addition.files)}
    found: dict[str, dict[str, object]] = {}
    for file in files:
        for entry, content in yaml.safe_load(file.read_text()).get(name, {}).items():
            found.setdefault(entry, {}).update(content)
    return found


@pytest.fixture(
    params=[
        *("", "OBSERVABILITY=", "OBSERVABILITY=grafana", "BACKUP_TARGET=s3:https://nas/stack"),
        "DICOM_PORT=11112",
        "INBOX_PAGE=yes",
        "SFTP_PORT=2022",
        "SMB_PORT=445\nSMB_ADDRESS=192.0.2.5",
    ]
)
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """Provide settings with prepared folders and secrets, for each set of services."""
    env = tmp_path / "env"
    env.write_text(
        f"DATA_DIR={tmp_path}/data\nPUBLIC_URL=https://pacs.example.org:8443\n{request.param}\n"
    )
    result = load(env)
    prepare(result)
    ensure_secrets(result.data_dir / "secrets")
    return result


def test_the_services_are_those_of_the_compose_files(settings: Settings) -> None:
    assert merged("services", settings).keys() == set(compose.services(settings))


def test_every_service_is_restricted_alike() -> None:
    for addition in EVERYTHING:
        for file in addition.files:
            theirs = yaml.safe_load(file.read_text())["x-service"]
            ours = yaml.safe_load(compose.COMPOSE_FILE.read_text())["x-service"]
            assert theirs == {key: ours[key] for key in ours if key != "extra_hosts"}, file


def test_the_inboxs_page_is_shown_by_the_front_door_alone_and_only_when_asked_for(
    settings: Settings,
) -> None:
    (file,) = compose.WITH_INBOX_PAGE.files
    assert (file in compose.added(settings).files) is bool(settings.values["INBOX_PAGE"])
    ((name, service),) = yaml.safe_load(file.read_text())["services"].items()
    assert (name, [*service]) == ("nginx", ["volumes"])
    assert all(volume.endswith(":ro") for volume in service["volumes"])


def test_each_service_says_its_words_into_a_file_of_its_own(settings: Settings) -> None:
    for name, service in merged("services", settings).items():
        path = f"${{DATA_DIR}}/logs/{name}.log"
        # Of a realm's command the words are for whoever called it: a one-time password may be among them.
        driver = "${REALM_LOG_DRIVER}" if name == "realm" else "k8s-file"
        said = {"driver": driver, "options": {"max-size": "20mb", "path": path}}
        assert service["logging"] == said
    folder = (settings.data_dir / "logs").stat()
    assert (folder.st_uid, folder.st_gid, stat.S_IMODE(folder.st_mode)) == (
        0,
        UIDS["shipper"],
        0o2750,
    )


def test_every_secret_that_compose_mounts_is_made(settings: Settings) -> None:
    made = {p.name for p in (settings.data_dir / "secrets").iterdir()}
    made -= {"accounts", "values.json", *GIVEN_BY_OPERATOR}
    assert merged("secrets").keys() == made
    assert {f"{s}.{form[0]}" for readers in READERS.values() for s, form in readers.items()} == made


def test_each_added_service_has_a_folder_that_nobody_else_reads(settings: Settings) -> None:
    for service in compose.added(settings).services:
        folder = (settings.data_dir / service).stat()
        assert (folder.st_uid, stat.S_IMODE(folder.st_mode)) == (UIDS[service], 0o700)
    added = {"backup", "loki", "grafana", "receiver", "sftp", "shipper", "smb", "victorialogs"}
    absent = added - set(compose.services(settings))
    assert not [name for name in absent if (settings.data_dir / name).exists()]


def test_what_was_written_for_a_service_to_read_counts_as_input_and_its_data_does_not(
    settings: Settings,
) -> None:
    data = {
        f"${{DATA_DIR}}/{name}"
        for name in (
            *(
                "acme-challenge",
                "audit/importer",
                "dicom",
                "logs",
                "metrics",
                "postgresql",
                "prometheus",
                "secrets/accounts",
            ),
            *("receiver", "tls/nginx", "tls/receiver"),
        )
    } | {"${DATA_DIR}"}
    files = (compose.COMPOSE_FILE, *compose.added(settings).files)
    parsed = [yaml.safe_load(file.read_text())["services"] for file in files]
    for name in compose.services(settings):
        found = {str(p) for p in compose.inputs(settings, name)}
        parts = [services[name] for services in parsed if name in services]
        volumes = [v.split(":") for part in parts for v in part.get("volumes", ())]
        mounted = sum(v[-1] == "ro" and v[0] not in data for v in volumes)
        others = [
            item for part in parts for key in ("secrets", "env_file") for item in part.get(key, ())
        ]
        # These are told of new values while they run, and read their copies at a start only.
        told = {"postgresql": 3, "keycloak": 1}.get(name, 0)
        assert len(found) == mounted + len(others) - told, name


def test_a_changed_secret_changes_the_hash_of_its_readers_only(settings: Settings) -> None:
    before = {s: digest(list(compose.inputs(settings, s))) for s in ("importer", "orthanc")}
    secret = settings.data_dir / "secrets" / "importer.orthanc_api_secret"
    secret.chmod(0o600)
    secret.write_text("rotated")
    assert digest(list(compose.inputs(settings, "importer"))) != before["importer"]
    assert digest(list(compose.inputs(settings, "orthanc"))) == before["orthanc"]


def test_a_snapshot_is_kept_for_each_change_and_holds_no_secret(settings: Settings) -> None:
    site = settings.data_dir / "config" / "site.conf"
    write_if_changed(site, site_conf(settings, trusted=False))
    alerts = alertmanager_json(BASE.read_text(), settings)
    write_if_changed(settings.data_dir / "config" / "alertmanager.json", alerts)
    write_if_changed(settings.data_dir / "config" / "words.tmpl", words_tmpl(settings))
    prober = prober_json(PROBES.read_text(), settings)
    write_if_changed(settings.data_dir / "config" / "prober.json", prober)
    watched = prometheus_yml(settings)
    write_if_changed(settings.data_dir / "config" / "prometheus.yml", watched)
    first = snapshot(settings)
    assert first
    assert snapshot(settings) is None
    write_if_changed(site, site_conf(settings, trusted=True))
    assert snapshot(settings)
    with tarfile.open(first) as archive:
        names = archive.getnames()
    generated = {"alertmanager.json", "prober.json", "prometheus.yml", "site.conf", "words.tmpl"}
    assert {*generated, "compose.yml", "compose.grafana.yml", "env"} <= set(names)
    assert {"nginx/nginx.conf", "loki/loki.yaml", "grafana/grafana.env"} <= set(names)
    assert not [n for n in names if "secret" in n or n.endswith(".key")]


def test_strict_transport_is_asked_only_with_a_certificate_that_browsers_trust(
    settings: Settings,
) -> None:
    assert "max-age" in site_conf(settings, trusted=True)
    assert "max-age" not in site_conf(settings, trusted=False)
    assert "https://pacs.example.org:8443" in site_conf(settings, trusted=False)


def test_a_process_that_was_killed_lives_no_more_though_nobody_took_note_of_it() -> None:
    child = subprocess.Popen(["/usr/bin/sleep", "60"])
    process = Path("/proc", str(child.pid))
    group = (process / "cgroup").read_text().strip()
    assert compose.lives(group, process)
    assert not compose.lives("another container's", process)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process.exists()
    assert not compose.lives(group, process)
    child.wait()
    assert not compose.lives(group, process)


@pytest.mark.parametrize("running", ["", "5a8b506e876a\n"])
def test_addresses_are_forgotten_only_while_no_container_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: str
) -> None:
    addresses = tmp_path / "ipam.db"
    addresses.write_text("of a container that is gone")
    monkeypatch.setattr(compose, "ADDRESSES", addresses)
    monkeypatch.setattr(compose, "run", lambda _: running)
    compose.forget_addresses()
    assert addresses.exists() == bool(running)


def test_the_reason_is_not_lost_among_what_podman_says_of_its_timers() -> None:
    said = "Error: the reason\n" + f"{shell.NO_TIMERS} to add\n" * 20
    with pytest.raises(shell.CommandError, match="the reason"):
        shell.run(["/usr/bin/sh", "-c", f"printf '{said}' >&2; exit 125"])


def test_what_is_started_apart_does_not_hear_the_operators_interruption() -> None:
    asked = shell.attempt(["/usr/bin/cut", "-d", " ", "-f5", "/proc/self/stat"], apart=True)
    assert int(asked.stdout) != os.getpgrp()
