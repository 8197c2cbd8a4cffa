"""The configuration that ships is what its own program reads, with the settings that data hang on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from stack.compose import COMPOSE_FILE
from stack.settings import PODMAN_DIR
from stack.shell import attempt, podman

if TYPE_CHECKING:
    from collections.abc import Callable

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


def test_compose_file_names_no_address() -> None:
    found = [line for line in COMPOSE_FILE.read_text().splitlines() if "172." in line]
    assert found == []


def test_an_image_below_its_floor_is_not_built(image: Callable[[str], str]) -> None:
    check = ["podman", "run", "--rm", "--network=none", "--no-healthcheck", "--user=0"]
    entry = ["--entrypoint=require-version", image("nginx"), "nginx"]
    assert attempt([*check, *entry, "1.0"]).returncode == 0
    below = attempt([*check, *entry, "99"])
    assert below.returncode != 0
    assert "below the floor" in below.stderr
