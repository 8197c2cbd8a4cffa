"""The example appliance, evaluated once: its derivations, its generated files and units."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness.nix import store_on_host
from stack.settings import TOP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from subprocess import CompletedProcess

    from harness.nix import Nix

# The value behind the example's secret: it must not be found in anything that an evaluation writes.
CANARY = "canary-in-the-coal-mine"
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_TEXT = re.compile(r'\("text","((?:[^"\\]|\\.)*)"\)')


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


def unescape(text: str) -> str:
    """Undo the escapes of a string in a derivation file."""
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text, flags=re.DOTALL)


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
    listed = nix.run("nix-store", "--query", "--requisites", report["toplevel"])
    assert listed.returncode == 0, listed.stderr
    store = store_on_host()
    paths = [store / Path(line).relative_to("/nix") for line in listed.stdout.split()]
    derivations = [path for path in paths if path.suffix == ".drv"]
    texts = {}
    for path in derivations:
        if found := _TEXT.search(path.read_text(errors="replace")):
            texts[path.stem.partition("-")[2]] = unescape(found[1])
    return Example(report, derivations, [p for p in paths if p.suffix != ".drv"], texts)
