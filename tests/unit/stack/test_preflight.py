"""The stack refuses to start where it cannot work, and says which and what to do."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import pytest
from stack import preflight, subnets
from stack.__main__ import alone
from stack.certificate import ensure_certificate
from stack.credentials import UIDS
from stack.settings import SettingsError, load
from stack.shell import podman

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stack.settings import Settings


def settings(folder: Path, *lines: str) -> Settings:
    """Return settings of a stack that does not run."""
    env = folder / "env"
    own = (
        f"DATA_DIR={folder}/data",
        "PROJECT=not-running",
        "PUBLISH_ADDRESS=127.0.0.1",
        "HTTP_PORT=18980",
        "HTTPS_PORT=18943",
    )
    env.write_text("\n".join([*own, *lines]) + "\n")
    return load(env)


def test_a_host_that_can_run_it_has_no_problem(tmp_path: Path) -> None:
    assert preflight.problems(settings(tmp_path)) == []


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"port {port} .*set HTTPS_PORT"):
            preflight.refuse_if_impossible(settings(tmp_path, f"HTTPS_PORT={port}"))


def test_a_taken_port_of_the_dicom_door_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = preflight.problems(settings(tmp_path, f"DICOM_PORT={port}"))
        assert [problem for problem in found if "set DICOM_PORT" in problem] == found != []


def test_addresses_that_the_machine_has_already_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes = tmp_path / "route"
    routes.write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "podman99\t00F81FAC\t00000000\t0001\t0\t0\t0\t00FCFFFF\t0\t0\t0\n"
    )
    monkeypatch.setattr(subnets, "ROUTES", routes)
    (said,) = preflight.problems(settings(tmp_path, "BACKEND_SUBNET=172.31.0.0/16"))
    assert (
        "BACKEND_SUBNET=172.31.0.0/16 is taken by this machine's interface podman99 (172.31.248.0/22)"
        in said
    )
    assert said.endswith("ip link del podman99")
    assert preflight.problems(settings(tmp_path, "BACKEND_SUBNET=10.77.0.0/16")) == []


@pytest.fixture
def network() -> Iterator[str]:
    """Provide a network of Podman's that no container is on, so that no interface has its addresses."""
    name = f"left-{os.getpid()}_backend"
    podman("network", "create", "--subnet", "10.78.16.0/24", name)
    yield name
    podman("network", "rm", name)


def test_a_network_of_podmans_that_has_the_addresses_is_named(tmp_path: Path, network: str) -> None:
    (said,) = preflight.problems(settings(tmp_path, "BACKEND_SUBNET=10.78.0.0/16"))
    assert (
        f"BACKEND_SUBNET=10.78.0.0/16 is taken by Podman's network {network} (10.78.16.0/24)"
        in said
    )
    assert said.endswith(f"podman network rm {network}")
    assert (
        preflight.problems(
            settings(
                tmp_path,
                f"PROJECT={network.removesuffix('_backend')}",
                "BACKEND_SUBNET=10.78.0.0/16",
            )
        )
        == []
    )


def test_an_authority_of_devices_that_is_not_there_is_said(tmp_path: Path) -> None:
    lines = ("DICOM_PORT=18981", "DICOM_TLS=yes", f"DICOM_CLIENT_CA={tmp_path}/ca.pem")
    assert preflight.problems(settings(tmp_path, *lines)) == [
        f"DICOM_CLIENT_CA={tmp_path}/ca.pem: there is no such file"
    ]


def test_the_receiver_gets_what_tls_needs_and_nothing_without(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("an authority\n")
    tls = tmp_path / "data" / "tls"
    (tls).mkdir(parents=True)
    lines = ("DICOM_PORT=18981", "DICOM_TLS=yes", f"DICOM_CLIENT_CA={tmp_path}/ca.pem")
    ensure_certificate(settings(tmp_path, *lines))
    copy = tls / "receiver" / "server.pem"
    assert copy.read_text() == (tls / "nginx" / "server.pem").read_text()
    assert (copy.stat().st_uid, copy.stat().st_mode & 0o777) == (UIDS["receiver"], 0o400)
    assert (tls / "receiver" / "clients.pem").read_text() == "an authority\n"
    ensure_certificate(settings(tmp_path, "DICOM_PORT=18981"))
    assert list((tls / "receiver").iterdir()) == []


def test_too_little_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "DISK_FLOOR_BYTES", 2**60)
    assert "DATA_DIR" in preflight.problems(settings(tmp_path))[0]


def test_a_clock_behind_the_last_start_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    lock = tmp_path / "data" / ".lock"
    lock.touch()
    assert preflight.problems(settings(tmp_path)) == []
    os.utime(lock, (time.time() + 7200, time.time() + 7200))
    assert "2 hours behind" in preflight.problems(settings(tmp_path))[0]


def test_the_lock_tells_when_the_last_command_ended_and_not_when_this_one_began(
    tmp_path: Path,
) -> None:
    stack = settings(tmp_path)
    with alone(stack):
        lock = stack.data_dir / preflight.LOCK
    os.utime(lock, (later := time.time() + 7200, later))
    with alone(stack), pytest.raises(SettingsError, match="2 hours behind"):
        preflight.refuse_if_impossible(stack)
    assert abs(lock.stat().st_mtime - time.time()) < 60


def test_a_certificate_for_another_name_or_a_foreign_key_is_refused(tmp_path: Path) -> None:
    made = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        made.append(ensure_certificate(settings(folder, "PUBLIC_URL=https://pacs.example.org")))

    def own(name: str, key: Path) -> list[str]:
        lines = (
            f"PUBLIC_URL=https://{name}",
            f"TLS_CERTIFICATE={made[0].path}",
            f"TLS_CERTIFICATE_KEY={key}",
        )
        return preflight.problems(settings(tmp_path, *lines))

    assert own("pacs.example.org", made[0].path) == []
    assert "is not for other.example.org" in own("other.example.org", made[0].path)[0]
    assert "does not belong" in own("pacs.example.org", made[1].path)[0]
    assert "no such file" in own("pacs.example.org", tmp_path / "absent.key")[0]
