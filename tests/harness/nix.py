"""Nix in a container of the tests: its linters, and with a nixpkgs tree the evaluation of the NixOS form."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from stack.images import Image
from stack.settings import TOP
from stack.shell import attempt, podman

RECIPE = TOP / "nixos-tests" / "tools"
TOOLS = Image("nix-tools", "base", RECIPE / "Containerfile", RECIPE, (RECIPE,))
# Kept from one run to the next: a tree of nixpkgs is copied into it once.
STORE_VOLUME = "dicom-stack-nix"
EVALUATION_TIMEOUT_S = 400


@dataclass(frozen=True, slots=True)
class Nix:
    """The container's image, the repository's files as a commit would hold them, and a nixpkgs tree or none."""

    image: str
    source: Path
    nixpkgs: Path | None = None

    def run(self, *argv: str, **mounts: Path) -> subprocess.CompletedProcess[str]:
        """Run a program beside the sources (in /repo); each of `mounts` appears under / by its name."""
        shown = {
            "repo": self.source,
            **({"nixpkgs": self.nixpkgs} if self.nixpkgs else {}),
            **mounts,
        }
        return attempt(
            [
                *("podman", "run", "--rm", "--network=none", "--workdir=/repo"),
                # Only an evaluation of nixpkgs is worth keeping.
                *(("-v", f"{STORE_VOLUME}:/nix") if self.nixpkgs else ()),
                *(word for name, path in shown.items() for word in ("-v", f"{path}:/{name}:ro")),
                *(self.image, *argv),
            ],
            timeout_s=EVALUATION_TIMEOUT_S,
        )

    def evaluate(self, expression: str, **mounts: Path) -> object:
        """Return the value of a Nix expression, which may be anything that JSON can say."""
        done = self.run(
            *("nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode"),
            *("-E", expression),
            **mounts,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout)


def store_on_host() -> Path:
    """Return where the container's /nix lies on this host."""
    return Path(podman("volume", "inspect", "--format", "{{.Mountpoint}}", STORE_VOLUME).strip())


def copy_sources(target: Path) -> Path:
    """Copy what a commit of the repository would hold, as a flake sees it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=TOP, check=True, capture_output=True, text=True).stdout
    for name in listed.split("\0"):
        if name and (TOP / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TOP / name, target / name)
    return target
