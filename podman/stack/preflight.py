"""Reasons why the stack could not work on this host, found before anything is started."""

from __future__ import annotations

import ipaddress
import shutil
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from stack import certificate, credentials, subnets
from stack.settings import SettingsError
from stack.shell import attempt

if TYPE_CHECKING:
    from stack.settings import Settings

DISK_FLOOR_BYTES = 5 * 2**30
MEMORY_FLOOR_BYTES = 3 * 2**30
# No clock of a machine that can run this is before this day.
EARLIEST_CLOCK_S = 1_780_000_000
CLOCK_TOLERANCE_S = 300
LOCK = ".lock"
# What is published beside the front door: the service, and the beginning of its settings.
DOORS = (("receiver", "DICOM"), ("sftp", "SFTP"), ("smb", "SMB"))


def problems(settings: Settings) -> list[str]:
    """Return one sentence a problem: what is wrong and what to do; empty when the stack can run."""
    checks = (_ports, _subnets, _disk, _memory, _clock, _certificate, _telegram)
    return [problem for check in checks for problem in check(settings)]


def _running(settings: Settings, service: str) -> bool:
    container = settings.container(service)
    found = attempt(["podman", "container", "inspect", "-f", "{{.State.Running}}", container])
    return found.stdout.strip() == "true"


def _ports(settings: Settings) -> list[str]:
    values = settings.values
    address = values["PUBLISH_ADDRESS"]
    wanted = [("nginx", key, address) for key in ("HTTP_PORT", "HTTPS_PORT")]
    wanted += [
        (service, f"{key}_PORT", values[f"{key}_ADDRESS"] or address) for service, key in DOORS
    ]
    result = []
    for service, key, bound in wanted:
        if not values[key] or _running(settings, service):
            continue
        port = int(values[key])
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((bound, port))
            except OSError as error:
                result.append(
                    f"port {port} cannot be used ({error.strerror}):"
                    f" stop what listens there or set {key} in {settings.env_file}"
                )
    return result


def _subnets(settings: Settings) -> list[str]:
    """Podman does not say whose the addresses are that it cannot give."""
    own = {f"{settings.project}_{name.lower()}" for name in subnets.NAMES}
    taken = [one for one in subnets.taken() if one.owner not in own]
    wanted = {
        name: ipaddress.ip_network(settings.values[f"{name}_SUBNET"]) for name in subnets.NAMES
    }
    return [
        f"{name}_SUBNET={network} is taken by {one.said} ({one.network}): set another one in"
        f" {settings.env_file}, or, if no stack needs it any more, {one.removal}"
        for name, network in wanted.items()
        for one in taken
        if network.overlaps(one.network)
    ]


def existing_parent(path: Path) -> Path:
    """Return the path itself or the nearest folder above it that exists."""
    return next(p for p in (path, *path.parents) if p.exists())


def _disk(settings: Settings) -> list[str]:
    free = shutil.disk_usage(existing_parent(settings.data_dir)).free
    if free >= DISK_FLOOR_BYTES:
        return []
    found = (
        f"{settings.data_dir} has {free / 2**30:.1f} GiB free, {DISK_FLOOR_BYTES >> 30} are needed"
    )
    return [f"{found}: free some or set DATA_DIR"]


def _memory(_: Settings) -> list[str]:
    line = next(
        x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemTotal")
    )
    total = int(line.split()[1]) * 1024
    return (
        []
        if total >= MEMORY_FLOOR_BYTES
        else [f"this machine has {total / 2**30:.1f} GiB of memory, 3 are the least that works"]
    )


def _clock(settings: Settings) -> list[str]:
    lock = settings.data_dir / LOCK
    last_seen_s = lock.stat().st_mtime if lock.exists() else EARLIEST_CLOCK_S
    behind_s = max(EARLIEST_CLOCK_S, last_seen_s) - time.time()
    if behind_s < CLOCK_TOLERANCE_S:
        return []
    hours = f"{behind_s / 3600:.0f} hours"
    return [
        f"this machine's clock is {hours} behind: set it (logins and certificates depend on it)"
    ]


def _certificate(settings: Settings) -> list[str]:
    files = {key: settings.values[key] for key in ("TLS_CERTIFICATE", "TLS_CERTIFICATE_KEY")}
    named = {**files, "DICOM_CLIENT_CA": settings.values["DICOM_CLIENT_CA"]}
    if missing := [
        f"{k}={p}: there is no such file" for k, p in named.items() if p and not Path(p).is_file()
    ]:
        return missing
    chain, key = (Path(path) for path in files.values())
    if not files["TLS_CERTIFICATE"]:
        return []
    if not certificate.names_host(chain, settings.host_name):
        advice = "set PUBLIC_URL to its name or TLS_CERTIFICATE to one for that name"
        return [f"the certificate {chain} is not for {settings.host_name}: {advice}"]
    if certificate.ends_within(chain, 0):
        return [f"the certificate {chain} has expired: renew it"]
    if not certificate.belong_together(chain, key):
        return [f"the key {key} does not belong to the certificate {chain}"]
    return []


def _telegram(settings: Settings) -> list[str]:
    folder = settings.data_dir / "secrets"
    if not settings.values["ALERT_TELEGRAM_CHAT"] or "telegram_token" in credentials.given(folder):
        return []
    file = folder / "telegram_token"
    return [f"ALERT_TELEGRAM_CHAT is set: put the token of the bot that writes there into {file}"]


def refuse_if_impossible(settings: Settings) -> None:
    """Raise SettingsError with every problem found."""
    if found := problems(settings):
        raise SettingsError("cannot start:\n" + "\n".join(f"  - {p}" for p in found))
