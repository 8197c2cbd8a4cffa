"""Whose the addresses are that this machine's container networks and interfaces have."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from stack.shell import attempt

# The stack's own networks, each with a setting NAME_SUBNET.
NAMES = ("FRONTEND", "BACKEND", "EGRESS")
# By interface: where to, by which gateway, with which mask.
ROUTES = Path("/proc/net/route")
NO_GATEWAY = ANYWHERE = "00000000"


@dataclass(frozen=True, slots=True)
class Taken:
    """A network that is in use: by whom, said in words, and the command that ends that."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    owner: str
    said: str
    removal: str


def taken() -> list[Taken]:
    """Return what Podman's networks have, running or not, and what other interfaces have.

    A bridge can outlive the network that it was made for.
    """
    listed = attempt(["podman", "network", "ls", "-q"]).stdout.split()
    networks = json.loads(attempt(["podman", "network", "inspect", *listed]).stdout or "[]")
    result = [
        Taken(
            ipaddress.ip_network(subnet["subnet"]),
            network["name"],
            f"Podman's network {network['name']}",
            f"podman network rm {network['name']}",
        )
        for network in networks
        for subnet in network.get("subnets", [])
    ]
    bridges = {network.get("network_interface") for network in networks}
    rows = [row.split() for row in ROUTES.read_text().splitlines()[1:]]
    return result + [
        Taken(
            _network(row[1], row[7]),
            row[0],
            f"this machine's interface {row[0]}",
            f"ip link del {row[0]}",
        )
        for row in rows
        if row[2] == NO_GATEWAY and row[7] != ANYWHERE and row[0] not in bridges
    ]


def _network(address: str, mask: str) -> ipaddress.IPv4Network:
    """Read a network as the kernel writes it: hexadecimal, the last octet first."""
    octets = (ipaddress.IPv4Address(bytes.fromhex(word)[::-1]) for word in (address, mask))
    return ipaddress.IPv4Network("/".join(map(str, octets)))
