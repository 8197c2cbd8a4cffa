"""The NixOS form's units under systemd, in a container with a network of its own, on the root that the bridge fills."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.nix import store_on_host
from harness.wait import wait_until
from nixos.bridge import Bridge, fill
from nixos.derivations import texts
from stack import images
from stack.certificate import ensure_certificate
from stack.images import IMAGES, Image
from stack.settings import TOP, load
from stack.shell import attempt, podman, run

if TYPE_CHECKING:
    from harness.nix import Nix

RECIPE = TOP / "nixos-tests" / "bridge"
PROGRAMS = Image(
    "nixos-bridge", "base-testing", RECIPE / "Containerfile", RECIPE, (RECIPE / "Containerfile",)
)
EVALUATE = "import /repo/nixos-tests/bridge/evaluate.nix {nixpkgs = /nixpkgs;}"
START_TIMEOUT_S = 300


@dataclass(slots=True)
class Appliance:
    """A booted root: its folder, what was evaluated, and the process that holds it."""

    root: Path
    report: dict[str, object]
    authority: Path
    nspawn: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Boot it."""
        # The manager of Debian testing knows no other control groups.
        env = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        self.nspawn = subprocess.Popen(
            [
                *(
                    "systemd-nspawn",
                    "--quiet",
                    "--directory",
                    str(self.root),
                    "--machine=dicom-appliance",
                ),
                *("--private-network", "--register=no", "--keep-unit", "--console=pipe", "--boot"),
            ],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(
            lambda: self.run("systemctl", "is-system-running").stdout.strip() != "",
            60,
            "systemd answers",
        )

    def stop(self) -> None:
        """Shut it down as a reboot would."""
        assert self.nspawn
        self.run("systemctl", "poweroff")
        self.nspawn.wait(timeout=120)
        self.nspawn = None

    @property
    def leader(self) -> int:
        """Process id of its systemd, as seen here."""
        assert self.nspawn
        children = (
            Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
        )
        return int(children[0])

    def inside(self, *argv: str) -> list[str]:
        """Return the command that runs a program in it."""
        return [
            "nsenter",
            f"--target={self.leader}",
            "-m",
            "-u",
            "-i",
            "-n",
            "-p",
            "-C",
            "-r",
            "-w",
            *argv,
        ]

    def beside(self, *argv: str) -> list[str]:
        """Return the command that runs a program of this host in its network."""
        return ["nsenter", f"--target={self.leader}", "-n", *argv]

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program in it."""
        try:
            return attempt(self.inside(*argv), timeout_s=120)
        except (IndexError, OSError):
            return subprocess.CompletedProcess(argv, 1, "", "it is not there yet")

    def state(self) -> dict[str, str]:
        """Return each unit's state."""
        shown = self.run("systemctl", "show", "--property=Id,ActiveState", *self.units)
        blocks = [
            dict(re.findall(r"^(\w+)=(.*)$", b, re.MULTILINE)) for b in shown.stdout.split("\n\n")
        ]
        return {b["Id"]: b["ActiveState"] for b in blocks if "Id" in b}

    @property
    def units(self) -> list[str]:
        """Names of the units of the stack."""
        found = self.report["units"]
        assert isinstance(found, list)
        return [str(name) for name in found]

    def wait_running(self) -> None:
        """Wait until every unit is active."""

        def waiting() -> dict[str, str]:
            state = self.state()
            return {u: state.get(u, "?") for u in self.units if state.get(u) != "active"}

        wait_until(lambda: not waiting(), START_TIMEOUT_S, "every unit is active", self.logs)

    def logs(self) -> str:
        """Return the units' states and the end of the journal."""
        tail = self.run("journalctl", "--no-pager", "--priority=warning", "--lines=40").stdout
        return f"{self.state()}\n{tail}"


def build(nix: Nix, folder: Path) -> Appliance:
    """Evaluate the appliance and make its root in a folder: an overlay over the programs' image."""
    report = nix.evaluate(EVALUATE)
    assert isinstance(report, dict)
    tags = images.build("", (*IMAGES, PROGRAMS))
    lower = podman("image", "mount", tags[PROGRAMS.name]).strip()
    for name in ("upper", "work", "root", "built", "tls"):
        (folder / name).mkdir()
    root = folder / "root"
    layers = f"lowerdir={lower},upperdir={folder}/upper,workdir={folder}/work"
    run(["mount", "-t", "overlay", "overlay", "-o", layers, str(root)])
    made = Appliance(root, report, folder / "tls" / "tls" / "ca.crt")
    try:
        _fill(made, nix, tags, folder)
    except BaseException:
        remove(made)
        raise
    return made


def _fill(made: Appliance, nix: Nix, tags: dict[str, str], folder: Path) -> None:
    for image, path, name in (
        ("keycloak", "opt/keycloak", "keycloak"),
        ("nginx", "usr/share/ohif", "ohif"),
        ("nginx", "etc/nginx/mime.types", "mime.types"),
    ):
        source = Path(podman("image", "mount", tags[image]).strip()) / path
        (folder / "built" / name).symlink_to(source)
    bridge = Bridge(
        made.root,
        texts(nix, str(made.report["toplevel"])),
        lambda path: store_on_host() / path.removeprefix("/nix/"),
    )
    fill(bridge, made.report, folder / "built" / "keycloak", folder / "built" / "ohif")
    _certificate(bridge, folder / "tls")
    bridge.write("/etc/machine-id", f"{secrets.token_hex(16)}\n", 0o444)


def _certificate(bridge: Bridge, folder: Path) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".env") as env:
        env.write(f"PUBLIC_URL=https://localhost\nDATA_DIR={folder}\n")
        env.flush()
        made = ensure_certificate(load(Path(env.name)))
    for name in ("server.crt", "server.key"):
        # For everyone: the users are made at the first start only.
        bridge.write(f"/etc/tls/{name}", made.path.read_text())


def remove(appliance: Appliance) -> None:
    """End it and unmount its root."""
    if appliance.nspawn:
        appliance.nspawn.terminate()
        try:
            appliance.nspawn.wait(timeout=60)
        except subprocess.TimeoutExpired:
            appliance.nspawn.kill()
            appliance.nspawn.wait()
    run(["umount", "--lazy", str(appliance.root)])


def targets(appliance: Appliance) -> dict[str, str]:
    """Return the health of Prometheus' targets by job."""
    asked = appliance.run("curl", "-s", "http://prometheus:9090/api/v1/targets?state=active")
    try:
        found = json.loads(asked.stdout)["data"]["activeTargets"]
    except ValueError:
        return {}
    return {target["labels"]["job"]: target["health"] for target in found}
