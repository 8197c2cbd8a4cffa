"""What a container is made of is known, so that a change of any of it makes the container anew."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest
import yaml
from stack import compose
from stack.alerts import BASE, alertmanager_json
from stack.credentials import GIVEN_BY_OPERATOR, READERS, ensure_secrets
from stack.files import prepare, snapshot, write_if_changed
from stack.images import digest
from stack.settings import load
from stack.site import site_conf

if TYPE_CHECKING:
    from pathlib import Path

    from stack.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Provide settings with prepared folders and secrets."""
    env = tmp_path / "env"
    env.write_text(f"DATA_DIR={tmp_path}/data\nPUBLIC_URL=https://pacs.example.org:8443\n")
    result = load(env)
    prepare(result)
    ensure_secrets(result.data_dir / "secrets")
    return result


def test_the_services_are_those_of_the_compose_file() -> None:
    text = compose.COMPOSE_FILE.read_text()
    assert yaml.safe_load(text)["services"].keys() == set(compose.SERVICES)


def test_every_secret_that_compose_mounts_is_made(settings: Settings) -> None:
    declared = yaml.safe_load(compose.COMPOSE_FILE.read_text())["secrets"]
    made = {p.name for p in (settings.data_dir / "secrets").iterdir()}
    made -= {"values.json", *GIVEN_BY_OPERATOR}
    assert declared.keys() == made
    assert {f"{s}.{form[0]}" for readers in READERS.values() for s, form in readers.items()} == made


def test_every_read_only_mount_secret_and_environment_file_counts_as_input(
    settings: Settings,
) -> None:
    for name, service in yaml.safe_load(compose.COMPOSE_FILE.read_text())["services"].items():
        found = {str(p) for p in compose.inputs(settings, name)}
        mounted = sum(v.endswith(":ro") for v in service["volumes"])
        others = [*service.get("secrets", ()), *service.get("env_file", ())]
        assert len(found) == mounted + len(others), name


def test_a_changed_secret_changes_the_hash_of_its_readers_only(settings: Settings) -> None:
    before = {s: digest(list(compose.inputs(settings, s))) for s in ("importer", "orthanc")}
    secret = settings.data_dir / "secrets" / "importer.orthanc_api_secret"
    secret.chmod(0o600)
    secret.write_text("rotated")
    assert digest(list(compose.inputs(settings, "importer"))) != before["importer"]
    assert digest(list(compose.inputs(settings, "orthanc"))) == before["orthanc"]


def test_a_snapshot_is_kept_for_each_change_and_holds_no_secret(settings: Settings) -> None:
    site = settings.data_dir / "config" / "site.conf"
    write_if_changed(site, site_conf(settings, own_authority=True))
    alerts = alertmanager_json(BASE.read_text(), settings)
    write_if_changed(settings.data_dir / "config" / "alertmanager.json", alerts)
    first = snapshot(settings)
    assert first
    assert snapshot(settings) is None
    write_if_changed(site, site_conf(settings, own_authority=False))
    assert snapshot(settings)
    with tarfile.open(first) as archive:
        names = archive.getnames()
    assert {"alertmanager.json", "compose.yml", "env", "site.conf", "nginx/nginx.conf"} <= set(
        names
    )
    assert not [n for n in names if "secret" in n or n.endswith(".key")]


def test_strict_transport_is_asked_only_with_a_certificate_that_browsers_trust(
    settings: Settings,
) -> None:
    assert "max-age" in site_conf(settings, own_authority=False)
    assert "max-age" not in site_conf(settings, own_authority=True)
    assert "https://pacs.example.org:8443" in site_conf(settings, own_authority=True)
