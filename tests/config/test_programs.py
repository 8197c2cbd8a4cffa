"""The configuration that ships is what its own program reads, with the settings that data hang on."""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING

import jmespath  # type: ignore[import-untyped]
import pytest
import yaml
from dotenv import dotenv_values
from harness import stack as stacks
from stack import images
from stack.compose import ADDITIONS, compose, remove_dropped, services
from stack.compose import images as wanted_images
from stack.settings import PODMAN_DIR, load, read_env
from stack.shell import CommandError, attempt, podman

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POSTGRESQL = PODMAN_DIR / "postgresql"

# Why each is as it is stands in facts that were found by trying.
ORTHANC = {
    # The default deletes the oldest patients when the disk is full.
    "MaximumStorageMode": "Reject",
    # The importer decides about another version of an image, never the archive by itself.
    "OverwriteInstances": "Never",
    # An acknowledged instance is on the disk.
    "SyncStorageArea": True,
    # Ways around the importer, or out of the container.
    "DicomServerEnabled": False,
    "ExecuteLuaEnabled": False,
    "OrthancExplorerEnabled": False,
    "RestApiWriteToFileSystemEnabled": False,
    "WebDavEnabled": False,
}


@pytest.mark.parametrize("key", ORTHANC)
def test_orthanc_keeps_what_it_has_and_has_one_door(key: str) -> None:
    assert json.loads((PODMAN_DIR / "orthanc" / "orthanc.json").read_text())[key] == ORTHANC[key]


def test_orthanc_has_one_connection_to_its_index() -> None:
    # With more, one instance in a thousand was dropped under load (PostgreSQL plugin 5.0).
    settings = json.loads((PODMAN_DIR / "orthanc" / "orthanc.json").read_text())
    assert settings["PostgreSQL"]["IndexConnectionsCount"] == 1
    assert "Password" not in settings["PostgreSQL"]


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
def test_postgresql_reads_its_file_and_is_durable(
    image: Callable[[str], str], setting: str
) -> None:
    shown = podman(
        *("run", "--rm", "--network=none", "--no-healthcheck", "--entrypoint=postgres"),
        *("-v", f"{POSTGRESQL}:/etc/postgresql:ro", image("postgresql")),
        *(
            "--config-file=/etc/postgresql/postgresql.conf",
            "-D",
            "/var/lib/postgresql",
            "-C",
            setting,
        ),
    )
    assert shown.strip() == "on"


def test_compose_files_name_no_address() -> None:
    files = list(PODMAN_DIR.glob("compose*.yml"))
    assert len(files) == 10
    assert [line for f in files for line in f.read_text().splitlines() if "172." in line] == []


@pytest.mark.parametrize(("target", "door"), [("", "2022"), ("s3:https://nas/stack", "")])
@pytest.mark.parametrize("observability", ADDITIONS)
def test_podman_compose_reads_its_files_as_one(observability: str, target: str, door: str) -> None:
    env_file = stacks.temporary_copy(
        stacks.TESTS / "stack.env",
        OBSERVABILITY=observability,
        BACKUP_TARGET=target,
        SFTP_PORT=door,
        SMB_PORT=door and "445",
    )
    settings = load(env_file)
    env_file.unlink()
    text = compose(settings, images.tags(wanted_images(settings)), "config")
    assert "${" not in text.replace("$${", "")
    read = yaml.safe_load(text)["services"]
    assert read.keys() == set(services(settings))
    # What the second file adds joins what the first says.
    shown = [volume.split(":")[1] for volume in read["nginx"]["volumes"]]
    assert "/etc/nginx/nginx.conf" in shown
    doors = {path.rpartition("/")[2] for path in shown if path.startswith("/etc/nginx/doors/")}
    assert (
        doors
        == {
            "": {"inbox.conf"},
            "embedded": {"classic.conf", "embedded.conf", "inbox.conf", "operator.conf"},
            "grafana": {"classic.conf", "grafana.conf", "inbox.conf", "operator.conf"},
        }[observability]
    )
    hosts = {line.split(":")[0] for line in read["prometheus"]["extra_hosts"]}
    assert ({"grafana", "loki"} <= hosts) is (observability == "grafana")
    assert ({"victorialogs", "victoriametrics"} <= hosts) is (observability == "embedded")
    assert ("oauth2proxy" in hosts) is bool(observability)
    told = {line.split(":")[0] for line in read.get("shipper", {}).get("extra_hosts", ())}
    assert told == {"embedded": {"victorialogs"}, "grafana": {"loki"}}.get(observability, set())
    assert ("backup" in hosts) is bool(target)
    assert {"orthanc", "keycloak"} <= hosts
    assert {"sftp", "smb"} & read.keys() == ({"sftp", "smb"} if door else set())
    addresses = [
        network["ipv4_address"]
        for s in read.values()
        for network in s["networks"].values()
        if network
    ]
    assert len(set(addresses)) == len(addresses)


def test_images_of_others_are_named_by_digest_and_without_a_registry() -> None:
    defaults = read_env(PODMAN_DIR / "defaults.env")
    found = {key: value for key, value in defaults.items() if key.endswith("_IMAGE")}
    assert found.keys() == {"GRAFANA_IMAGE", "LOKI_IMAGE"}
    for value in found.values():
        assert re.fullmatch(r"grafana/[a-z]+:[0-9.]+@sha256:[0-9a-f]{64}", value)


def test_an_image_that_no_registry_is_known_for_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # As on a host whose registries.conf says nothing.
    (tmp_path / "registries.conf").touch()
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    with pytest.raises(CommandError, match=r"grafana/absent.*registries\.conf"):
        images.pull([f"grafana/absent:1@sha256:{'0' * 64}"])


def test_what_a_setting_no_longer_adds_goes_and_nothing_else(image: Callable[[str], str]) -> None:
    project = f"dropping-{secrets.token_hex(4)}"
    env_file = stacks.temporary_copy(stacks.TESTS / "stack.env", PROJECT=project)
    settings = load(env_file)
    env_file.unlink()
    try:
        for service in ("loki", "nginx"):
            podman("create", f"--name={project}-{service}", image("nginx"))
        remove_dropped(settings)
        left = podman("ps", "--all", "--format={{.Names}}", f"--filter=name=^{project}").split()
        assert left == [f"{project}-nginx"]
    finally:
        podman("rm", "--force", "--ignore", f"{project}-loki", f"{project}-nginx")


@pytest.mark.parametrize("name", ["grafana", "keycloak"])
def test_podman_compose_hands_on_an_environment_file_as_it_is(name: str) -> None:
    # It replaces what looks like a variable of its own and strips what looks like a comment.
    path = PODMAN_DIR / name / f"{name}.env"
    assert dotenv_values(path) == read_env(path)


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"roles": ["admin"]}, "Editor"),
        ({"roles": ["physician", "admin"]}, "Editor"),
        ({"roles": ["physician", "technician"]}, None),
        ({"roles": ["administrator"]}, None),
        ({"roles": []}, None),
        ({"groups": ["/admins"]}, None),
    ],
)
def test_only_the_role_admin_is_one_that_grafana_lets_in(
    claims: dict[str, list[str]], role: str | None
) -> None:
    settings = read_env(PODMAN_DIR / "grafana" / "grafana.env")
    oauth = "GF_AUTH_GENERIC_OAUTH_"
    try:
        found = jmespath.search(settings[f"{oauth}ROLE_ATTRIBUTE_PATH"], claims)
    except jmespath.exceptions.JMESPathError:
        found = None
    # Grafana takes a text for a role and nothing else; strict, it refuses who has none.
    assert (found if isinstance(found, str) else None) == role
    assert settings[f"{oauth}ROLE_ATTRIBUTE_STRICT"] == "true"
    assert settings[f"{oauth}SKIP_ORG_ROLE_SYNC"] == "false"


def test_grafana_has_no_other_way_in_than_keycloaks_client() -> None:
    settings = read_env(PODMAN_DIR / "grafana" / "grafana.env")
    assert settings["GF_AUTH_BASIC_ENABLED"] == settings["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    assert settings["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert settings["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    others = [k for k in settings if re.fullmatch(r"GF_AUTH_[A-Z_]+_ENABLED", k)]
    assert [k for k in others if settings[k] == "true"] == ["GF_AUTH_GENERIC_OAUTH_ENABLED"]
    realm = json.loads((PODMAN_DIR / "keycloak" / "realm.json").read_text())
    (client,) = (c for c in realm["clients"] if c["clientId"] == "grafana")
    assert settings["GF_AUTH_GENERIC_OAUTH_CLIENT_ID"] == client["clientId"]
    root = settings["GF_SERVER_ROOT_URL"].replace("$__env{PUBLIC_URL}", "${PUBLIC_URL}")
    assert client["redirectUris"] == [f"{root}login/generic_oauth"]
    asked = set(settings["GF_AUTH_GENERIC_OAUTH_SCOPES"].split())
    assert asked - {"openid"} <= set(client["defaultClientScopes"])
    secret = re.compile(r"SECRET|PASSWORD|KEY$")
    given = {value for key, value in settings.items() if secret.search(key)}
    assert given == {
        f"$__file{{/run/secrets/{name}}}" for name in ("grafana_secret", "grafana_secret_key")
    }


def test_either_store_keeps_logs_as_the_settings_say_by_default_as_long_as_numbers_are() -> None:
    loki = yaml.safe_load((PODMAN_DIR / "loki" / "loki.yaml").read_text())
    assert loki["limits_config"]["retention_period"] == "${LOGS_RETENTION_DAYS}d"
    embedded = (PODMAN_DIR / "compose.embedded.yml").read_text()
    assert "-retentionPeriod=${LOGS_RETENTION_DAYS}d\n" in embedded
    assert "-retention.maxDiskSpaceUsageBytes=${LOGS_MB}MB\n" in embedded
    days = read_env(PODMAN_DIR / "defaults.env")["LOGS_RETENTION_DAYS"]
    assert f"retention.time={days}d\n" in (PODMAN_DIR / "compose.yml").read_text()
    assert loki["compactor"]["retention_enabled"]
    assert not loki["analytics"]["reporting_enabled"]


def test_an_image_below_its_floor_is_not_built(image: Callable[[str], str]) -> None:
    check = ["podman", "run", "--rm", "--network=none", "--no-healthcheck", "--user=0"]
    entry = ["--entrypoint=require-version", image("nginx"), "nginx"]
    assert attempt([*check, *entry, "1.0"]).returncode == 0
    below = attempt([*check, *entry, "99"])
    assert below.returncode != 0
    assert "below the floor" in below.stderr


def test_samba_knows_every_word_that_it_is_told_and_none_of_them_lets_more_in(
    image: Callable[[str], str],
) -> None:
    check = ["podman", "run", "--rm", "--network=none", "--no-healthcheck", "--entrypoint=bash"]
    check.append(f"--volume={PODMAN_DIR / 'smb' / 'smb.conf'}:/etc/smb/smb.conf:ro")
    # It misses folders that are made at the start.
    made = "mkdir -p /run/samba/{cache,lock,state} && exec testparm --suppress-prompt --verbose"
    done = attempt([*check, image("smb"), "-c", f"{made} /etc/smb/smb.conf"])
    assert done.returncode == 0, done.stderr
    assert "Loaded services file OK." in done.stderr
    assert "nknown parameter" not in done.stderr
    told = {
        key.strip(): value.strip()
        for key, equals, value in (line.partition("=") for line in done.stdout.splitlines())
        if equals
    }
    # By the names that the program itself has for them: the newest of its dialects is SMB3, and that is 3.1.1.
    assert told["server min protocol"] == "SMB3"
    assert told["server smb encrypt"] == "required"
    assert told["server signing"] == "required"
    assert told["map to guest"] == "Never"
    assert told["vfs objects"] == "syncops"
