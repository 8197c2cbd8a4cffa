"""Forged, strange and dead tokens against the real stack: nginx with Keycloak, and the plugin by itself."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import jwt
import pytest
from harness.forging import FORGERIES
from harness.people import endpoint, login
from harness.raw import first, request
from harness.realm_key import INSTEAD, administering, realm_key
from harness.wait import wait_until
from stack.shell import podman

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from harness.people import People
    from harness.stack import Stack
    from security.scene import Scene

# How long nginx believes Keycloak's yes; and how long Keycloak may hang before that is its answer.
BELIEVED_S = 10.0
HANG_S = 5.0
SLACK_S = 2.0
PHYSICIAN = "physician-a"


def outside(scene: Scene, path: str, *headers: str, method: str = "GET") -> tuple[int, bytes]:
    """Ask through nginx with headers as they are given."""
    sent = request(scene.stack.url, f"{method} {path}", *headers)
    return first(scene.stack.url, scene.stack.ca_file, sent)


def status(scene: Scene, token: str) -> int:
    """Read an own study's metadata with a token."""
    return outside(scene, f"{scene.own.in_study}/metadata", f"Authorization: Bearer {token}")[0]


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_token_opens_nothing(scene: Scene, name: str) -> None:
    forger = scene.forger(PHYSICIAN)
    token = FORGERIES[name][0](forger)
    own = scene.own
    paths = (f"{own.in_study}/metadata", own.wado_uri, "/dicom-web/studies", "/orthanc/system")
    if any(ord(character) > 255 for character in token):
        token = token.encode("ascii", "ignore").decode()
    for path in paths:
        found, body = outside(scene, path, f"Authorization: Bearer {token}")
        # What cannot stand in a header at all, or does not fit.
        is_unread = not token.isprintable() or len(token) > 16_000
        assert found == 401 or (is_unread and found in (400, 431)), body
        assert own.study.encode() not in body
    assert status(scene, forger.signed()) == 200


@pytest.mark.parametrize("name", FORGERIES)
def test_the_plugin_believes_no_forged_token_whatever_keycloak_says(
    scene: Scene, name: str
) -> None:
    forger = scene.forger(PHYSICIAN)
    token = FORGERIES[name][0](forger)
    if not (token.isascii() and token.isprintable()):
        token = token.encode("unicode_escape").decode()
    path = f"{scene.own.in_study}/metadata"
    assert scene.inside(token, path).status_code in (400, 403, 413, 431)
    # The refusal that nginx passes on.
    assert scene.inside(token, "/clinic-access/refusal").status_code in (400, 401, 413, 431)
    assert scene.inside(forger.signed(), path).status_code == 200


def test_a_token_of_another_kind_opens_nothing(scene: Scene, people: People) -> None:
    tokens = people.all_tokens(PHYSICIAN, fresh=True)
    assert status(scene, tokens["access_token"]) == 200
    for kind in ("id_token", "refresh_token"):
        assert status(scene, tokens[kind]) == 401
        assert scene.inside(tokens[kind], f"{scene.own.in_study}/metadata").status_code == 403


def test_one_authorization_header_counts_and_nothing_else_does(scene: Scene) -> None:
    token = scene.token(PHYSICIAN)
    path = f"{scene.own.in_study}/metadata"
    strange = scene.token("no-clinic")
    assert status(scene, token) == 200
    for pair in ((token, token), (token, strange), (strange, token), (token, "x"), ("", token)):
        assert outside(scene, path, *(f"Authorization: Bearer {token}" for token in pair))[0] in (
            400,
            401,
        )
    for header in (
        f"Authorization: Bearer {token}, Bearer {strange}",
        f"Authorization: Bearer {token} {token}",
        f"Authorization: Basic {token}",
        f"Authorization: {token}",
        f"Proxy-Authorization: Bearer {token}",
        f"X-Authorization: Bearer {token}",
        f"Cookie: access_token={token}; KEYCLOAK_IDENTITY={token}",
    ):
        assert outside(scene, path, header)[0] == 401
    assert outside(scene, f"{path}?access_token={token}&token={token}")[0] == 401


def test_a_new_key_is_believed_without_a_restart_and_a_withdrawn_one_no_longer(
    scene: Scene, people: People
) -> None:
    services = ("nginx", "orthanc", "keycloak")
    before = [scene.stack.main_process(service) for service in services]
    old = people.token(PHYSICIAN, fresh=True)
    with realm_key(scene.stack, INSTEAD) as (_, kid):
        new = people.token(PHYSICIAN, fresh=True)
        assert jwt.get_unverified_header(new)["kid"] == kid
        assert jwt.get_unverified_header(old)["kid"] != kid
        assert (status(scene, new), status(scene, old)) == (200, 200)
    assert_felt(scene, new, 401)
    assert status(scene, people.token(PHYSICIAN, fresh=True)) == 200
    assert [scene.stack.main_process(service) for service in services] == before


def assert_felt(scene: Scene, token: str, expected: int) -> None:
    """Assert that no question put later than nginx believes an answer is answered as before."""
    left = time.monotonic()
    asked: list[tuple[float, int]] = []

    def is_felt() -> bool:
        asked.append((time.monotonic() - left, status(scene, token)))
        return asked[-1][1] == expected

    wait_until(is_felt, BELIEVED_S + HANG_S + SLACK_S, f"the answer is {expected}")
    assert {found for _, found in asked[:-1]} <= {200}
    assert asked[-1][0] < BELIEVED_S + SLACK_S


def test_logging_out_is_felt_within_ten_seconds(scene: Scene, people: People) -> None:
    name, stack = PHYSICIAN, scene.stack
    tokens, others = (login(stack, name, people.passwords[name]) for _ in range(2))
    assert status(scene, tokens["access_token"]) == 200
    with stack.session() as session:
        query = {
            "id_token_hint": tokens["id_token"],
            "post_logout_redirect_uri": f"{stack.url}/",
        }
        left = session.get(endpoint(stack, "logout"), params=query, allow_redirects=False)
    assert left.status_code == 302
    assert_felt(scene, tokens["access_token"], 401)
    assert status(scene, others["access_token"]) == 200


def test_disabling_an_account_is_felt_within_ten_seconds(scene: Scene, people: People) -> None:
    people.person("leaver", "physician", "clinic-a")
    token = people.token("leaver", fresh=True)
    assert status(scene, token) == 200
    with administering(scene.stack) as (session, realm):
        found = session.get(f"{realm}/users", params={"username": "leaver", "exact": "true"})
        (user,) = found.json()
        done = session.put(f"{realm}/users/{user['id']}", json=user | {"enabled": False})
        assert done.status_code == 204
        assert_felt(scene, token, 401)
        session.put(f"{realm}/users/{user['id']}", json=user | {"enabled": True})
    assert status(scene, scene.token(PHYSICIAN)) == 200


@contextmanager
def frozen(stack: Stack) -> Iterator[None]:
    """Have Keycloak hang."""
    podman("pause", stack.container("keycloak"))
    try:
        yield
    finally:
        podman("unpause", stack.container("keycloak"))


@contextmanager
def stopped(stack: Stack) -> Iterator[None]:
    """Have Keycloak gone."""
    podman("stop", "--time=0", stack.container("keycloak"))
    try:
        yield
    finally:
        podman("start", stack.container("keycloak"))


@pytest.mark.parametrize("gone", [frozen, stopped])
def test_without_keycloak_its_yes_is_believed_for_ten_seconds_and_then_nobody_is(
    scene: Scene, people: People, gone: Callable[[Stack], AbstractContextManager[None]]
) -> None:
    token, unseen = (people.token(name, fresh=True) for name in (PHYSICIAN, "physician-ab"))
    assert status(scene, token) == 200
    with gone(scene.stack):
        assert_felt(scene, token, 503)
        assert status(scene, unseen) == 503
        assert outside(scene, f"{scene.own.in_study}/metadata")[0] == 401
    wait_until(lambda: status(scene, token) == 200, 90, "Keycloak is asked again")
    assert status(scene, unseen) == 200
