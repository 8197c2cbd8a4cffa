"""The NixOS form's whole system, built over Debian's files in a container without a network."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stack import images
from stack.images import IMAGES, Image
from stack.settings import TOP
from stack.shell import attempt, podman

if TYPE_CHECKING:
    from harness.nix import Nix

RECIPE = TOP / "nixos-tests" / "bridge"
CONFIGURATION = TOP / "nixos-tests" / "tools" / "nix.conf"
PROGRAMS = Image(
    "nixos-bridge", "base-testing", RECIPE / "Containerfile", RECIPE, (RECIPE / "Containerfile",)
)
# Kept from one run to the next; what was built and is the same is not built again.
STORE_VOLUME = "dicom-stack-nix-bridge"
BUILD_TIMEOUT_S = 900


@dataclass(frozen=True, slots=True)
class System:
    """What was built, where it lies on this host, and what stands behind it there."""

    # In the store: the system (toplevel), the same with a setting changed, and a report.
    path: str
    store: Path
    usr: Path
    etc: Path
    # What is no package of Debian's, by its place below /opt.
    others: dict[str, Path]
    build_s: float

    def on_host(self, path: str) -> Path:
        """Return where a path of its store lies here."""
        return self.store / Path(path).relative_to("/nix/store")

    @property
    def report(self) -> dict[str, object]:
        """What the tests are told of it."""
        link = self.on_host(self.path) / "report.json"
        return dict(json.loads(self.on_host(str(link.readlink())).read_text()))

    def strings(self, key: str) -> list[str]:
        """Return a list of the report."""
        value = self.report[key]
        assert isinstance(value, list)
        return [str(item) for item in value]


def _switch(nixpkgs: Path) -> Image:
    """Return the image of the program that goes from one configuration to another, from the tree's own sources."""
    sources = nixpkgs / "pkgs" / "by-name" / "sw" / "switch-to-configuration-ng"
    recipe = RECIPE / "switch" / "Containerfile"
    return Image("nixos-switch", "base-testing", recipe, sources, (recipe, sources))


def build(nix: Nix) -> System:
    """Build the images that stand behind it where they are missing, and then all of it."""
    assert nix.nixpkgs
    switch = _switch(nix.nixpkgs)
    tags = images.build("", (*IMAGES, PROGRAMS, switch))
    names = (PROGRAMS.name, switch.name, "importer", "keycloak", "nginx")
    mounted = {name: Path(podman("image", "mount", tags[name]).strip()) for name in names}
    keycloak = mounted["keycloak"] / "opt" / "keycloak"
    shown = {
        STORE_VOLUME: "/nix",
        f"{nix.source}": "/repo:ro",
        f"{nix.nixpkgs}": "/nixpkgs:ro",
        f"{CONFIGURATION}": "/etc/nix/nix.conf:ro",
        f"{keycloak}": "/opt/keycloak:ro",
        f"{mounted[switch.name]}/opt/switch": "/opt/switch:ro",
    }
    start_s = time.monotonic()
    done = attempt(
        [
            *("podman", "run", "--rm", "--network=none", "--entrypoint="),
            *(word for what, where in shown.items() for word in ("-v", f"{what}:{where}")),
            *(tags[PROGRAMS.name], "nix-build", "--no-out-link", "--keep-going", "--max-jobs", "2"),
            *("--arg", "nixpkgs", "/nixpkgs", "--argstr", "images"),
            *(" ".join(tags[name] for name in names), "/repo/nixos-tests/bridge/system.nix"),
        ],
        timeout_s=BUILD_TIMEOUT_S,
    )
    told = sorted({line for line in done.stderr.splitlines() if "the bridge's image" in line})
    assert done.returncode == 0, "\n".join(told) or done.stderr[-8000:]
    # The library and what Python is told of its version.
    pynetdicom = mounted["importer"].glob("opt/dicom-importer/lib/*/site-packages/pynetdicom*")
    volume = podman("volume", "inspect", "--format", "{{.Mountpoint}}", STORE_VOLUME).strip()
    return System(
        done.stdout.strip(),
        Path(volume) / "store",
        mounted[PROGRAMS.name] / "usr",
        mounted[PROGRAMS.name] / "etc",
        {
            "keycloak": keycloak,
            "ohif": mounted["nginx"] / "usr" / "share" / "ohif",
            **{f"python/{path.name}": path for path in pynetdicom},
        },
        time.monotonic() - start_s,
    )
