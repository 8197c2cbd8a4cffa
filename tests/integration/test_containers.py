"""Every container runs with no more rights than it needs, and only nginx is published."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from stack.compose import SERVICES
from stack.shell import podman

if TYPE_CHECKING:
    from harness.stack import Stack

# The importer empties folders that belong to whoever dropped them.
NEEDED_CAPABILITIES = {"importer": ["CAP_DAC_OVERRIDE"]}


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_right_beyond_need(stack: Stack, service: str) -> None:
    inspected = json.loads(podman("container", "inspect", stack.container(service)))[0]
    host = inspected["HostConfig"]
    assert inspected["Config"]["User"].partition(":")[0] not in ("", "0", "root")
    assert host["ReadonlyRootfs"]
    assert not host["Privileged"]
    assert host["Memory"] > 0
    assert "no-new-privileges" in host["SecurityOpt"]
    assert (inspected["BoundingCaps"] or []) == NEEDED_CAPABILITIES.get(service, [])


@pytest.mark.parametrize("service", SERVICES)
def test_only_nginx_is_published(stack: Stack, service: str) -> None:
    inspected = json.loads(podman("container", "inspect", stack.container(service)))[0]
    published = {
        port for port, bound in (inspected["NetworkSettings"]["Ports"] or {}).items() if bound
    }
    assert published == ({"80/tcp", "443/tcp"} if service == "nginx" else set())


@pytest.mark.parametrize("service", SERVICES)
def test_no_secret_is_in_a_containers_environment_or_command(stack: Stack, service: str) -> None:
    text = podman("container", "inspect", stack.container(service))
    folder = stack.podman_settings.data_dir / "secrets"
    values = [v for v in json.loads((folder / "values.json").read_text()).values() if v]
    assert len(values) > 5
    assert not [value for value in values if value in text]


@pytest.mark.parametrize("service", [s for s in SERVICES if s != "realm"])
def test_every_service_name_resolves_in_every_container(stack: Stack, service: str) -> None:
    hosts = stack.exec(service, "cat", "/etc/hosts").stdout
    names = {name for line in hosts.splitlines() for name in line.split()[1:]}
    assert names >= {s for s in SERVICES if s != "realm"}
