"""The example appliance, evaluated once: its derivations, its generated files and units."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness.nix import store_on_host
from nixos import appliance as appliances
from nixos import bridge
from nixos.derivations import requisites, texts
from stack.settings import TOP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from subprocess import CompletedProcess

    from harness.nix import Nix
    from nixos.appliance import Appliance
    from nixos.bridge import System

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
    derivations = [path for path in paths if path.suffix == ".drv"]
    others = [path for path in paths if path.suffix != ".drv"]
    return Example(report, derivations, others, texts(derivations))


@pytest.fixture(scope="session")
def system(nix: Nix, say: Callable[[str], None]) -> System:
    """Provide the whole system, built."""
    built = bridge.build(nix)
    say(f"The whole system was built over Debian's files in {built.build_s:.0f} s.")
    for name in built.strings("absent"):
        say(f"{name}.service does not run here: Debian has no such program.")
    return built


@pytest.fixture(scope="module")
def appliance(system: System, say: Callable[[str], None]) -> Iterator[Appliance]:
    """Provide a machine with every unit running; the tests are in its network."""
    with appliances.machine(system) as made:
        made.start()
        say(f"It booted in {made.boot_s:.0f} s and takes {made.memory_mb()} MB of memory.")
        with made.beside_it():
            yield made


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Provide what prints a line of the run's own report."""
    reporter = request.config.pluginmanager.getplugin("terminalreporter")
    capture = request.config.pluginmanager.getplugin("capturemanager")
    assert reporter
    assert capture

    def line(text: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.write_line(f"\n{text}")

    return line
