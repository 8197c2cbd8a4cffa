"""Going to the operator's pages as a browser does: through oauth2-proxy and Keycloak's own form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.people import form_action
from harness.second_factor import Phone, prove, send_form

if TYPE_CHECKING:
    import requests

    from harness.people import People
    from harness.stack import Session, Stack

PAGE = {"Accept": "text/html,application/xhtml+xml"}
COOKIE = "__Host-operator"


def enter(
    stack: Stack, people: People, name: str, path: str = "/operator/"
) -> tuple[Session, requests.Response]:
    """Open a page and log in on the way; returns the browser's session and where it ended."""
    session = stack.session()
    form = session.get(stack.url + path, headers=PAGE)
    assert form.status_code == 200, f"{form.status_code} {form.url} {form.text[:500]}"
    credentials = {"username": name, "password": people.passwords[name]}
    answer = send_form(session, form_action(form.text), credentials)
    if "code=" not in answer.headers.get("Location", ""):
        answer = prove(session, answer, people.phones.setdefault(name, Phone()))
    assert answer.status_code == 302, f"{answer.status_code} {answer.text[:2000]}"
    return session, session.get(answer.headers["Location"], headers=PAGE)
