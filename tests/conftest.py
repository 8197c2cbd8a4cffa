"""Fixtures of the acceptance suite and the order of its parts: fast things first."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from harness import stack as stacks
from harness.dicomweb import Reader
from harness.nix import TOOLS, Nix, copy_sources
from harness.people import People
from harness.stack import Stack
from stack import images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A machine may be busy, which is no property of the code; examples that failed belong into a test.
hypothesis.settings.register_profile("suite", database=None, deadline=None)
hypothesis.settings.load_profile("suite")

ORDER = ("unit", "config", "nixos", "integration", "e2e", "security", "faults")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that say which stack is tested."""
    parser.addoption(
        "--stack", default="podman", help="podman (start one) or the address of a running appliance"
    )
    parser.addoption(
        "--env",
        default=str(stacks.TESTS / "stack.env"),
        help="settings of the stack that is started",
    )
    parser.addoption(
        "--keep", action="store_true", help="use the tests' stack if it runs, and leave it running"
    )
    parser.addoption(
        "--control",
        default="dicom-stack",
        help="attached: the command that runs the operator's there",
    )
    parser.addoption(
        "--files",
        default="/files",
        help="attached: the folder that holds inbox, processed and failed",
    )
    parser.addoption(
        "--journal", default="", help="attached: the command that prints its journal (journalctl)"
    )
    parser.addoption(
        "--value",
        action="append",
        default=[],
        help="attached: a setting that clients have to know, as SFTP_PORT=2022",
    )
    parser.addoption(
        "--nixpkgs", type=Path, help="a nixpkgs tree, for tests/nixos (make test-nixos)"
    )
    parser.addoption(
        "--ca", default="", help="attached: the authority of the appliance's certificate"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what needs a nixpkgs tree where none was given: `make test-nixos` says so."""
    without = collection_path == stacks.TESTS / "nixos" and not config.getoption("--nixpkgs")
    return True if without else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the parts in the order of their cost."""

    def rank(item: pytest.Item) -> int:
        parts = item.path.relative_to(stacks.TESTS).parts
        return ORDER.index(parts[0]) if parts[0] in ORDER else len(ORDER)

    items.sort(key=rank)


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Provide the stack under test; one that was started is discarded at the end."""
    where = request.config.getoption("--stack")
    if where != "podman":
        given = request.config.getoption
        yield Stack(
            where,
            Path(given("--ca")) if given("--ca") else None,
            Path(given("--files")),
            control=tuple(shlex.split(given("--control"))),
            journal=tuple(shlex.split(given("--journal"))),
            values=dict(value.split("=", 1) for value in given("--value")),
        )
        return
    keep = request.config.getoption("--keep")
    started = stacks.start(Path(request.config.getoption("--env")), keep=keep)
    yield started
    if not keep:
        stacks.discard(started)


@pytest.fixture(scope="session")
def people(stack: Stack) -> People:
    """Provide the test clinics and their people."""
    result = People(stack)
    result.make()
    return result


@pytest.fixture
def reader(stack: Stack, people: People) -> Callable[[str], Reader]:
    """Provide reading access by a person's name."""
    return lambda name: Reader(stack, people.token(name, fresh=True))


@pytest.fixture(scope="session")
def image() -> Callable[[str], str]:
    """Provide the tag of an image by name, built if need be."""
    added = (images.SFTP, images.SHIPPER, images.SMB, images.VICTORIALOGS)
    tags = images.build("", (*images.IMAGES, *added))
    return lambda name: tags[name]


@pytest.fixture(scope="session")
def nix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Nix:
    """Provide Nix and the repository's files as a commit would hold them."""
    tag = images.build("", (TOOLS,))[TOOLS.name]
    tree: Path | None = request.config.getoption("--nixpkgs")
    sources = copy_sources(tmp_path_factory.mktemp("sources"))
    return Nix(tag, sources, tree.resolve() if tree else None)
