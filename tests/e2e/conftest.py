"""A browser for the session, windows for each test, and the studies that they look for."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

import pytest
from harness.browser import chromium
from harness.drop import drop_files
from harness.phantom import KINDS, Identity, Study
from harness.stack import TESTS
from harness.viewer import Viewer, window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.people import People
    from harness.stack import Stack
    from playwright.sync_api import Browser

SCREENSHOTS = TESTS / ".artifacts" / "screenshots"


@pytest.fixture(scope="session")
def browser(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Provide a browser that trusts the stack as its people's browsers do."""
    with chromium(tmp_path_factory.mktemp("browser"), stack.ca_file) as result:
        yield result


@pytest.fixture
def new_window(
    browser: Browser, stack: Stack, request: pytest.FixtureRequest
) -> Iterator[Callable[[], Viewer]]:
    """Provide windows without a session; each is photographed at the test's end."""
    opened: list[Viewer] = []
    name = re.sub(r"\W+", "-", request.node.name).strip("-")

    def open_one() -> Viewer:
        opened.append(window(browser, stack.url, SCREENSHOTS))
        return opened[-1]

    yield open_one
    for number, viewer in enumerate(opened, start=1):
        viewer.keep_picture(f"{name}-{number}")
        viewer.page.context.close()


@pytest.fixture(scope="session")
def drop_study(stack: Stack, people: People) -> Callable[[str, str, int], Study]:
    """Drop a study of a kind with a pattern into a clinic's inbox; returns when the archive has it."""
    assert people.passwords

    def drop(clinic: str, kind: str, seed: int) -> Study:
        patient = f"Phantom{secrets.token_hex(4)}"
        identity = Identity(patient, f"{patient}^{kind.title()}", description=f"{kind} of {clinic}")
        study = KINDS[kind](seed, identity)
        outcome = drop_files(stack, clinic, study.files)
        assert not outcome.failed, outcome.reasons
        return study

    return drop
