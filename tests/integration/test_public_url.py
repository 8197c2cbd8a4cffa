"""Moving the stack to another public address needs one setting and `make up`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness.people import claims, login
from harness.stack import from_env_file, make, temporary_copy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.people import People
    from harness.stack import Stack


def new_address(stack: Stack) -> str:
    """Return the stack's address with another host name."""
    return f"https://127.0.0.1:{stack.podman_settings.ports[1]}"


@pytest.fixture
def moved(stack: Stack, people: People) -> Iterator[Stack]:
    """Provide the stack at another public address, and move it back afterwards."""
    assert people.passwords
    original = stack.podman_settings.env_file
    changed = temporary_copy(original, PUBLIC_URL=new_address(stack))
    make("up", changed)
    yield from_env_file(changed)
    make("up", original)
    changed.unlink()


def test_login_works_at_the_new_address_and_the_old_one_leads_there(
    moved: Stack, stack: Stack, people: People
) -> None:
    tokens = login(moved, "physician-a", people.passwords["physician-a"])
    assert claims(tokens["access_token"])["iss"] == f"{moved.url}/auth/realms/dicom"
    with moved.session() as session:
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        found = session.get(f"{moved.url}/dicom-web/studies", headers=bearer)
        # The old name still leads here, but the certificate is for the new one.
        old_name = {"Host": stack.podman_settings.public_authority}
        old = session.get(moved.url, allow_redirects=False, headers=old_name)
    assert found.status_code in (200, 204)
    assert old.is_redirect
    assert old.headers["Location"].startswith(moved.url)
