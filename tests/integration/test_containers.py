"""Every container runs with no more rights than it needs, and only nginx and the doors are published."""

from __future__ import annotations

import json
import re
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from stack.compose import ADDITIONS, ONE_SHOT, WITH_RECEIVER, WITH_SFTP, WITH_SMB
from stack.compose import SERVICES as ALWAYS
from stack.credentials import UIDS
from stack.shell import podman, run

if TYPE_CHECKING:
    from harness.stack import Stack

DOORS = (*WITH_RECEIVER.services, *WITH_SFTP.services, *WITH_SMB.services)
ADDED = (*ADDITIONS["embedded"].services, *DOORS)
SERVICES = (*ALWAYS, *ADDED)
LASTING = [service for service in SERVICES if service not in ONE_SHOT]
# The importer empties folders that belong to whoever dropped them; the shipper reads what Podman keeps for root.
# The doors for SFTP and SMB become the account that logs in, by SFTP in that one's folder.
CAPABILITIES = {
    "importer": {"CAP_DAC_OVERRIDE": 1},
    "sftp": {"CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_SYS_CHROOT": 18},
    "shipper": {"CAP_DAC_OVERRIDE": 1},
    "smb": {"CAP_SETGID": 6, "CAP_SETUID": 7},
}
# The group of another one, who moves what it puts there.
GROUPS = {"receiver": "importer"}
# nginx and the receiver are doors, Keycloak and Alertmanager send mail; who uploads by an account reaches no service.
NETWORKS = {
    "alertmanager": {"backend", "egress"},
    "keycloak": {"backend", "egress"},
    "nginx": {"backend", "frontend"},
    "receiver": {"backend", "frontend"},
    "sftp": {"frontend"},
    "smb": {"frontend"},
}
PUBLISHED = {
    "nginx": {"80/tcp", "443/tcp"},
    "receiver": {"4242/tcp"},
    "sftp": {"2022/tcp"},
    "smb": {"4450/tcp"},
}
WRITTEN = {
    "alertmanager": {"/var/lib/alertmanager"},
    "auditor": {"/var/lib/dicom-auditor", "/var/log/dicom-access", "/var/log/nginx-audit"},
    "importer": {"/files", "/var/lib/dicom-importer", "/var/log/dicom-audit"},
    "nginx": {"/var/log/nginx-audit"},
    "orthanc": {"/dicom"},
    "postgresql": {"/var/lib/postgresql"},
    "prometheus": {"/var/lib/prometheus"},
    "receiver": {"/files/inbox"},
    "shipper": {"/var/lib/metrics", "/var/lib/shipper"},
    "smb": {"/srv/smb"},
    "victorialogs": {"/var/lib/victorialogs"},
    "victoriametrics": {"/var/lib/victoriametrics"},
}
LISTENS = {
    "alertmanager": {9093},
    "auditor": {8080},
    "dbmetrics": {9187},
    "hostmetrics": {9100},
    "importer": {8080},
    "keycloak": {8080, 9000},
    "nginx": {80, 443, 8081},
    "nginxmetrics": {9113},
    "oauth2proxy": {4180, 44180},
    "ohif": {80},
    "orthanc": {8042},
    "postgresql": {5432},
    "prober": {9115},
    "prometheus": {9090},
    "receiver": {4242, 8080},
    "sftp": {2022},
    "shipper": set(),
    "smb": {4450},
    "victorialogs": {9428},
    "victoriametrics": {8428},
}
# What is asked of whoever sits on the backend already: Prometheus and Alertmanager trust it, and both show no person.
PROOF_WANTED = {
    "GET http://keycloak:8080/auth/admin/realms/dicom/users": 401,
    "POST http://importer:8080/dicom-web/studies": 401,
    "GET http://orthanc:8042/dicom-web/studies": 403,
    "POST http://orthanc:8042/dicom-web/studies": 403,
    "GET http://orthanc:8042/system": 403,
    "GET http://orthanc:8042/tools/metrics-prometheus": 403,
}
# One of whom nothing is asked but a page of another.
READS_NOTHING = {"nginxmetrics"}
STORED = 'multipart/related; type="application/dicom"; boundary=x'
LISTENING = "0A"
FILTERED = "2"


def inspected(stack: Stack, service: str) -> dict[str, Any]:
    """Return what Podman says of a container."""
    return dict(json.loads(podman("container", "inspect", stack.container(service)))[0])


def processes(stack: Stack, service: str) -> list[dict[str, str]]:
    """Return what the kernel says of every process in a container."""
    space = Path(f"/proc/{stack.main_process(service)}/ns/pid").readlink()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "ns" / "pid").readlink() == space:
                lines = (folder / "status").read_text().splitlines()
                found.append({k: v.strip() for k, _, v in (line.partition(":") for line in lines)})
        except OSError:  # It has ended meanwhile.
            continue
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_right_beyond_need(stack: Stack, service: str) -> None:
    found = inspected(stack, service)
    host = found["HostConfig"]
    assert found["Config"]["User"] == f"{UIDS[service]}:{UIDS[GROUPS.get(service, service)]}"
    assert host["ReadonlyRootfs"]
    assert not host["Privileged"]
    assert not host["Devices"]
    assert host["PidMode"] == host["IpcMode"].replace("shareable", "private") == "private"
    assert int(str(host["Memory"])) > 0
    assert "no-new-privileges" in host["SecurityOpt"]
    assert set(found["BoundingCaps"] or ()) == CAPABILITIES.get(service, {}).keys()


@pytest.mark.parametrize("service", LASTING)
def test_the_kernel_holds_every_process_to_that(stack: Stack, service: str) -> None:
    ids = {str(UIDS[service]), str(UIDS[GROUPS.get(service, service)])}
    allowed = sum(1 << number for number in CAPABILITIES.get(service, {}).values())
    running = processes(stack, service)
    assert running
    for process in running:
        assert set(process["Uid"].split()) | set(process["Gid"].split()) == ids
        assert process["NoNewPrivs"] == "1"
        assert process["Seccomp"] == FILTERED
        for kind in ("CapBnd", "CapEff", "CapPrm", "CapInh"):
            assert int(process[kind], 16) & ~allowed == 0, (kind, process["Name"])


@pytest.mark.parametrize("service", LASTING)
def test_a_container_is_asked_whether_it_works(stack: Stack, service: str) -> None:
    assert inspected(stack, service)["Config"]["Healthcheck"]["Test"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_writes_where_it_must_and_nowhere_else(stack: Stack, service: str) -> None:
    found = inspected(stack, service)
    mounts = {str(m["Destination"]): m["RW"] for m in found["Mounts"]}
    assert mounts or service in READS_NOTHING
    written = {place for place, is_writable in mounts.items() if is_writable}
    # Those who have an account have their inboxes there.
    written = {place for place in written if not re.fullmatch(r"/srv/sftp/[^/]+/inbox", place)}
    assert written == WRITTEN.get(service, set())
    # In memory, gone with the container; Podman adds two where the root cannot be written.
    assert found["HostConfig"]["Tmpfs"].keys() == {"/run", "/tmp", "/var/tmp"}  # noqa: S108 - of the container
    if service in LASTING:
        refused = stack.exec(service, "touch", "/usr/bin/nothing", "/etc/nothing")
        assert refused.stderr.count("Read-only file system") == len(refused.args[-2:])


@pytest.mark.parametrize("service", SERVICES)
def test_only_the_doors_are_published(stack: Stack, service: str) -> None:
    ports = inspected(stack, service)["NetworkSettings"]["Ports"] or {}
    published = {port for port, bound in ports.items() if bound}
    assert published == PUBLISHED.get(service, set())


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_is_on_the_networks_that_it_needs(stack: Stack, service: str) -> None:
    networks = inspected(stack, service)["NetworkSettings"]["Networks"]
    project = stack.podman_settings.project
    assert {n.removeprefix(f"{project}_") for n in networks} == NETWORKS.get(service, {"backend"})
    if service in LASTING:
        # From the backend alone there is no way out of this host.
        routes = Path(f"/proc/{stack.main_process(service)}/net/route").read_text().splitlines()
        leads_out = any(line.split()[1] == "00000000" for line in routes[1:])
        assert leads_out == (service in NETWORKS)


@pytest.mark.parametrize("service", LASTING)
def test_a_container_listens_on_its_services_ports_only(stack: Stack, service: str) -> None:
    ports = set()
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/{stack.main_process(service)}/net/{table}")
        for line in path.read_text().splitlines()[1:]:
            address, state = (line.split()[column] for column in (1, 3))
            host, _, port = address.partition(":")
            if state == LISTENING and not host.endswith(("0100007F", "000000000100000")):
                ports.add(int(port, 16))
    assert ports == LISTENS[service]


@pytest.mark.parametrize("asked", PROOF_WANTED)
def test_who_sits_on_the_backend_is_asked_for_proof_all_the_same(stack: Stack, asked: str) -> None:
    # All services share it: a container that was taken over reaches every port there, and no more.
    method, url = asked.split()
    shown = ("-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Content-Type: {STORED}")
    answered = _from_the_viewers_server(stack, *shown, "-X", method, url)
    assert answered == str(PROOF_WANTED[asked])


def test_the_database_wants_a_password_of_everybody(stack: Stack) -> None:
    # A start-up message; PostgreSQL answers with R (authentication) and 10 (SASL), never 0 (welcome).
    words = b"user\0orthanc\0database\0orthanc\0\0"
    message = struct.pack("!ii", 8 + len(words), 3 << 16) + words
    program = (
        "import socket, sys; s = socket.create_connection((sys.argv[1], 5432), 10);"
        f"s.sendall(bytes.fromhex({message.hex()!r})); print(s.recv(9).hex())"
    )
    address = f"{stack.podman_settings.prefix('BACKEND')}.14"
    enter = ("nsenter", f"--target={stack.main_process('ohif')}", "--net")
    answer = bytes.fromhex(run([*enter, sys.executable, "-c", program, address]).strip())
    assert (answer[:1], struct.unpack("!i", answer[5:9])) == (b"R", (10,))


def _from_the_viewers_server(stack: Stack, *words: str) -> str:
    """Run curl in the network of the container that needs no other service at all."""
    hosts = stack.exec("ohif", "cat", "/etc/hosts").stdout
    names = {n: line.split()[0] for line in hosts.splitlines() for n in line.split()[1:]}
    service, port = re.findall(r"//([a-z]+):(\d+)/", words[-1])[0]
    enter = ("nsenter", f"--target={stack.main_process('ohif')}", "--net")
    return run(
        [*enter, "curl", "--resolve", f"{service}:{port}:{names[service]}", *words], timeout_s=30
    )


@pytest.mark.parametrize("service", LASTING)
def test_every_service_name_resolves_in_every_container(stack: Stack, service: str) -> None:
    hosts = stack.exec(service, "cat", "/etc/hosts").stdout
    names = {name for line in hosts.splitlines() for name in line.split()[1:]}
    # What a setting adds has the names that it needs, and nobody else needs its.
    apart = set(ADDED)
    assert names >= ({service} if service in apart else set(LASTING) - apart)
