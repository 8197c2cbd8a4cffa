"""The example appliance, evaluated once: its derivations, its generated files and units."""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness.nix import store_on_host
from nixos import appliance as appliances
from nixos.derivations import requisites, texts
from stack.settings import TOP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from subprocess import CompletedProcess

    from harness.nix import Nix
    from nixos.appliance import Appliance

# The value behind the example's secret: it must not be found in anything that an evaluation writes.
CANARY = "canary-in-the-coal-mine"


@dataclass(frozen=True, slots=True)
class Example:
    """What the evaluation of the example said and wrote: a report, derivation files, generated texts by name."""

    report: dict[str, object]
    derivations: list[Path]
    sources: list[Path]
    texts: dict[str, str]

    def get(self, *keys: str) -> object:
        """Return a value of the report, one key a level."""
        value: object = self.report
        for key in keys:
            assert isinstance(value, dict)
            value = value[key]
        return value

    def strings(self, *keys: str) -> dict[str, str]:
        """Return a value of the report that is strings by name."""
        value = self.get(*keys)
        assert isinstance(value, dict)
        return {str(key): str(item) for key, item in value.items()}

    def content(self, name: str) -> str:
        """Return the text of a file under /etc."""
        path = self.strings("etc")[name]
        on_host = on_this_host(path)
        return (
            on_host.read_text()
            if on_host.exists()
            else self.texts[Path(path).name.partition("-")[2]]
        )


def on_this_host(path: str) -> Path:
    """Return where a path of the container's store lies here."""
    return store_on_host() / Path(path).relative_to("/nix")


@pytest.fixture(scope="session")
def override(nix: Nix) -> list[str]:
    """Provide the options by which the flake takes the given tree for its input."""
    hashed = nix.run("nix", "hash", "path", "--sri", "/nixpkgs")
    assert hashed.returncode == 0, hashed.stderr
    tree = f"path:/nixpkgs?narHash={hashed.stdout.strip()}"
    return ["--override-input", "nixpkgs", tree, "--no-write-lock-file"]


@pytest.fixture(scope="session")
def flake_check(nix: Nix, override: list[str]) -> Iterator[Future[CompletedProcess[str]]]:
    """Provide the flake's check, which runs while the example is evaluated: each keeps one core busy."""
    with ThreadPoolExecutor() as pool:
        yield pool.submit(nix.run, "nix", "flake", "check", "--no-build", *override, "path:/repo")


@pytest.fixture(scope="session")
def example(
    nix: Nix,
    override: list[str],
    flake_check: Future[CompletedProcess[str]],  # noqa: ARG001 - started first
    tmp_path_factory: pytest.TempPathFactory,
) -> Example:
    """Provide the example appliance's system, instantiated."""
    secrets = tmp_path_factory.mktemp("secrets")
    (secrets / "smtp_password").write_text(CANARY)
    done = nix.run(
        # Impure: a module that read the secret would succeed, and be found out.
        *("nix", "eval", "--impure", "--json", *override),
        *("path:/repo#nixosConfigurations.example", "--apply"),
        (TOP / "nixos-tests" / "report.nix").read_text(),
        **{"var/lib/secrets": secrets},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout)
    paths = requisites(nix, report["toplevel"])
    named = texts(nix, report["toplevel"])
    by_name = {path.split("/")[3].partition("-")[2]: text for path, text in named.items()}
    derivations = [path for path in paths if path.suffix == ".drv"]
    return Example(report, derivations, [p for p in paths if p.suffix != ".drv"], by_name)


@pytest.fixture(scope="session")
def appliance(nix: Nix) -> Iterator[Appliance]:
    """Provide the appliance, booted, with every unit running."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="dicom-appliance-") as folder:
        made = appliances.build(nix, Path(folder))
        try:
            made.start()
            made.wait_running()
            yield made
        finally:
            appliances.remove(made)
