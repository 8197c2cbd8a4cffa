"""How people prove who they are: the second factor of admins, passwords that are refused, logins that end."""

from __future__ import annotations

import html
import re
import secrets
import time
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest
from harness.people import claims, endpoint, form_action, login, open_login_form
from harness.realm_key import administering
from harness.second_factor import Phone, prove, send_form
from harness.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests
    from harness.people import People
    from harness.stack import Session, Stack

WRONG_CODE = "Invalid authenticator code"
FAILURES_UNTIL_LOCKED = 5


def someone(people: People, role: str) -> str:
    """Make a person whom no other test knows."""
    name = f"{role}-{secrets.token_hex(4)}"
    people.person(name, role, "" if role == "admin" else "clinic-a")
    return name


def give_password(stack: Stack, session: Session, name: str, password: str) -> requests.Response:
    page, _ = open_login_form(stack, session)
    fields = {"username": name, "password": password}
    return send_form(session, form_action(page.text), fields)


def give_code(session: Session, page: requests.Response, code: str) -> requests.Response:
    assert 'name="otp"' in page.text, page.text[:2000]
    return send_form(session, form_action(page.text), {"otp": code})


def is_let_in(answer: requests.Response) -> bool:
    """Tell whether an answer carries the code for which the viewer gets its tokens."""
    return "code=" in answer.headers.get("Location", "")


@pytest.fixture
def admin(stack: Stack, people: People) -> tuple[str, Phone]:
    """Provide an admin who has enrolled a phone."""
    name, phone = someone(people, "admin"), Phone()
    assert login(stack, name, people.passwords[name], phone)["access_token"]
    return name, phone


def test_an_admin_gets_nothing_by_the_password_alone(stack: Stack, people: People) -> None:
    name = someone(people, "admin")
    with stack.session() as session:
        answer = give_password(stack, session, name, people.passwords[name])
        assert not is_let_in(answer)
        assert "execution=CONFIGURE_TOTP" in answer.headers["Location"]
        # Going round the page leads back to it.
        again, _ = open_login_form(stack, session)
        assert not is_let_in(again)
        assert is_let_in(prove(session, answer, Phone()))


def test_each_code_opens_once_and_a_wrong_one_never(
    stack: Stack, people: People, admin: tuple[str, Phone]
) -> None:
    name, phone = admin
    with stack.session() as session:
        page = give_password(stack, session, name, people.passwords[name])
        right = phone.code()
        wrong = f"{(int(right) + 1) % 10**6:06}"
        page = give_code(session, page, wrong)
        assert WRONG_CODE in page.text
        assert is_let_in(give_code(session, page, right))
    with stack.session() as session:
        page = give_password(stack, session, name, people.passwords[name])
        page = give_code(session, page, right)
        assert WRONG_CODE in page.text


def test_guessing_codes_locks_like_guessing_passwords(
    stack: Stack, people: People, admin: tuple[str, Phone]
) -> None:
    name, phone = admin
    with stack.session() as session:
        page = give_password(stack, session, name, people.passwords[name])
        for guess in range(FAILURES_UNTIL_LOCKED):
            page = give_code(session, page, f"{guess:06}")
            if 'name="otp"' not in page.text:
                break
        refused = give_password(stack, session, name, people.passwords[name])
        assert not is_let_in(refused)
        assert "Invalid username or password" in refused.text
    people.person(name, "admin", "")
    assert login(stack, name, people.passwords[name], phone)["access_token"]


def test_whoever_became_an_admin_needs_a_second_factor_from_then_on(
    stack: Stack, people: People
) -> None:
    name = someone(people, "physician")
    assert claims(login(stack, name, people.passwords[name])["access_token"])["roles"]
    people.person(name, "admin", "")
    with stack.session() as session:
        answer = give_password(stack, session, name, people.passwords[name])
        assert not is_let_in(answer)
        assert "execution=CONFIGURE_TOTP" in answer.headers["Location"]


def test_a_new_password_must_be_long_and_new_and_no_name(stack: Stack, people: People) -> None:
    assert people.passwords
    name = f"newcomer-{secrets.token_hex(4)}"
    made = stack.realm("user", "--name", name, "--clinic", "clinic-a", "--role", "physician")
    password = made.stdout.split("one-time password: ")[1].split()[0]
    with stack.session() as session:
        answer = give_password(stack, session, name, password)
        page = session.get(answer.headers["Location"])
        for refused, said in (
            ("short-pass1", "Invalid password: minimum length 12."),
            ("x" * 129, "Invalid password: maximum length 128."),
            (name, "Invalid password: must not be equal to the username."),
            (password, "Invalid password: must not be equal to any of last 1 passwords."),
        ):
            page = change_password(session, page, refused)
            told = html.unescape(re.sub(r"<[^>]+>", " ", page.text))
            assert said in told, (refused, re.findall(r"[^\n]*assword[^\n]*", told))
        assert is_let_in(change_password(session, page, "correct horse battery staple"))


def change_password(session: Session, page: requests.Response, password: str) -> requests.Response:
    fields = {"password-new": password, "password-confirm": password}
    return send_form(session, form_action(page.text), fields)


@contextmanager
def realm_setting(stack: Stack, **changed: int) -> Iterator[None]:
    """Have the realm otherwise for a while."""
    with administering(stack) as (session, realm):
        before = {key: session.get(realm).json()[key] for key in changed}
        assert session.put(realm, json=changed).ok
    try:
        yield
    finally:
        with administering(stack) as (session, realm):
            assert session.put(realm, json=before).ok


def refresh(stack: Stack, session: Session, token: str) -> requests.Response:
    form = {"client_id": "ohif-viewer", "grant_type": "refresh_token", "refresh_token": token}
    return session.post(endpoint(stack, "token"), data=form)


def test_a_login_ends_after_half_an_hour_without_use_and_after_ten_hours_in_any_case(
    stack: Stack, people: People
) -> None:
    name = someone(people, "physician")
    tokens = login(stack, name, people.passwords[name])
    assert int(tokens["refresh_expires_in"]) == 1800
    with administering(stack) as (session, realm):
        found = session.get(realm).json()
    assert (found["ssoSessionIdleTimeout"], found["ssoSessionMaxLifespan"]) == (1800, 36000)
    assert found["rememberMe"] is False


@pytest.mark.parametrize("limit", ["ssoSessionIdleTimeout", "ssoSessionMaxLifespan"])
def test_past_its_limit_a_login_cannot_be_renewed(stack: Stack, people: People, limit: str) -> None:
    name = someone(people, "physician")
    with realm_setting(stack, **{limit: 3}), stack.session() as session:
        unused = login(stack, name, people.passwords[name])["refresh_token"]
        first = refresh(stack, session, unused)
        assert first.status_code == HTTPStatus.OK, first.text
        # Renewing was use.
        ends = time.time() + 3
        wait_until(lambda: time.time() > ends + 1, 10, "the limit has passed")
        late = refresh(stack, session, first.json()["refresh_token"])
        assert late.status_code == HTTPStatus.BAD_REQUEST
        assert late.json()["error"] == "invalid_grant"
