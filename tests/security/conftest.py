"""The scene of the security tests, set once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from security.offered import orthanc
from security.scene import Scene, setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.people import People
    from harness.stack import Stack
    from security.offered import Offer


@pytest.fixture(scope="session")
def scene(stack: Stack, people: People) -> Iterator[Scene]:
    """Provide objects and callers."""
    yield from setting(stack, people)


@pytest.fixture(scope="session")
def offered(image: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Offer:
    """Provide what the image's Orthanc offers."""
    return orthanc(image("orthanc"), tmp_path_factory.mktemp("orthanc"))
