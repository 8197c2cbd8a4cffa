"""The operator's pages: admins get in, nobody else does, and who is no admin any more is soon out."""

from __future__ import annotations

import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from harness.operator import COOKIE, PAGE, enter
from harness.realm_key import administering
from harness.wait import wait_until

if TYPE_CHECKING:
    import requests
    from harness.people import People
    from harness.stack import Session, Stack

# Each page, what it asks by itself, and a word of what an admin sees there.
PAGES = {
    "/operator/": "What operators ask most",
    "/operator/alerts.js": "api/v2/alerts",
    "/prometheus/alerts": "Alerts",
    "/prometheus/targets": "Targets",
    "/prometheus/graph": "Prometheus",
    "/prometheus/api/v1/query?query=up": '"status":"success"',
    "/alertmanager/": "Alertmanager",
    "/alertmanager/api/v2/alerts": "[",
    "/dashboards/vmui/": "<html",
    "/dashboards/prometheus/vmui/custom-dashboards": "Imports",
    "/dashboards/api/v1/query?query=up": '"status":"success"',
    "/logs/select/vmui/": "<html",
    "/logs/select/logsql/query?query=*&limit=1": "",
}
# A confirmation of the session is as old as this at most: oauth2-proxy's, and nginx's memory of it.
CONFIRMED_S = 30 + 10


@pytest.fixture(autouse=True, scope="module")
def _podman(stack: Stack) -> None:
    """Skip for an appliance that the tests attached to: it has Grafana and Loki in their place."""
    assert stack.podman_settings.project


@pytest.fixture(scope="module")
def admin(stack: Stack, people: People) -> Session:
    """Provide an admin's browser."""
    session, answer = enter(stack, people, "admin-x")
    assert (answer.status_code, answer.url) == (200, f"{stack.url}/operator/")
    return session


def ask(stack: Stack, session: Session, path: str, **headers: str) -> requests.Response:
    """Ask for something without following where it leads."""
    return session.get(stack.url + path, headers=headers, allow_redirects=False)


def is_in(stack: Stack, session: Session) -> bool:
    """Whether the session opens the pages."""
    return ask(stack, session, "/prometheus/api/v1/query?query=up").status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_an_admin_sees_each_page(stack: Stack, admin: Session, path: str) -> None:
    answer = ask(stack, admin, path)
    assert answer.status_code == 200, answer.text[:500]
    assert PAGES[path] in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_without_a_session_a_page_leads_to_the_login_and_what_it_asks_is_refused(
    stack: Stack, people: People, path: str
) -> None:
    bearer = {"Authorization": f"Bearer {people.token('admin-x')}"}
    with stack.session() as nobody:
        led = ask(stack, nobody, path, **PAGE)
        asked = ask(stack, nobody, path)
        # An admin's token for the archive is no session.
        with_token = ask(stack, nobody, path, **bearer)
        forged = ask(stack, nobody, path, Cookie=f"{COOKIE}=forged|1|x")
    assert led.status_code == 302
    assert led.headers["Location"].startswith(f"{stack.url}/auth/realms/dicom/protocol/")
    assert [a.status_code for a in (asked, with_token, forged)] == [401, 401, 401]


@pytest.mark.parametrize("name", ["physician-a", "physician-ab", "technician-a", "no-clinic"])
def test_who_is_no_admin_gets_none_of_them(stack: Stack, people: People, name: str) -> None:
    session, answer = enter(stack, people, name)
    with session:
        assert (answer.status_code, "Your account does not allow this." in answer.text) == (
            403,
            True,
        )
        assert COOKIE not in session.cookies
        assert {ask(stack, session, path).status_code for path in PAGES} == {401}


def test_a_page_that_was_asked_for_is_shown_after_the_login(stack: Stack, people: People) -> None:
    session, answer = enter(stack, people, "admin-x", "/prometheus/graph?g0.expr=up&g0.tab=1")
    with session:
        assert answer.url == f"{stack.url}/prometheus/graph?g0.expr=up&g0.tab=1"
        assert answer.status_code == 200


def test_the_session_is_one_cookie_that_no_script_reads_and_no_other_site_sends(
    stack: Stack, people: People
) -> None:
    session, answer = enter(stack, people, "admin-x")
    with session:
        set_by = [a for a in answer.history if COOKIE in a.headers.get("Set-Cookie", "")]
        (header,) = (
            text
            for text in set_by[-1].raw.headers.getlist("Set-Cookie")
            if text.startswith(f"{COOKIE}=")
        )
    attributes = {part.strip().lower() for part in header.split(";")[1:]}
    assert {"path=/", "httponly", "secure", "samesite=lax"} <= attributes
    assert not any(part.startswith("domain") for part in attributes)
    # Browsers drop what is larger; in two it could not be handed on by nginx.
    assert len(header) < 4096


def test_no_page_of_errors_or_redirect_leads_elsewhere(stack: Stack) -> None:
    with stack.session() as nobody:
        led = ask(stack, nobody, "/operator/?rd=https://example.org/", **PAGE)
        assert "example.org" not in led.headers["Location"].split("state=")[0]
        back = ask(stack, nobody, "/operator/session/callback?code=x&state=x:https://example.org/")
    assert back.status_code == 403
    assert "example.org" not in back.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/prometheus/-/reload"),
        ("POST", "/prometheus/-/quit"),
        ("POST", "/prometheus/api/v1/admin/tsdb/delete_series?match[]=up"),
        ("POST", "/prometheus/api/v1/write"),
        ("GET", "/prometheus/metrics"),
        ("POST", "/alertmanager/-/reload"),
        ("GET", "/alertmanager/api/v2/status"),
        ("GET", "/dashboards/api/v1/admin/tsdb/delete_series?match[]=up"),
        ("POST", "/dashboards/api/v1/import"),
        ("GET", "/dashboards/snapshot/create"),
        ("GET", "/dashboards/metrics"),
        ("POST", "/logs/insert/jsonline"),
        ("GET", "/logs/metrics"),
    ],
)
def test_nothing_is_changed_from_the_pages_not_even_by_an_admin(
    stack: Stack, admin: Session, method: str, path: str
) -> None:
    answer = admin.request(method, stack.url + path, allow_redirects=False)
    assert answer.status_code == 404


def test_alertmanager_is_told_nothing_from_its_page(stack: Stack, admin: Session) -> None:
    answer = admin.post(f"{stack.url}/alertmanager/api/v2/silences", json={})
    assert answer.status_code == 405


def test_prometheus_takes_neither_orders_nor_numbers_of_anybody(stack: Stack) -> None:
    asked = stack.exec("prometheus", "cat", "/proc/1/cmdline").stdout
    for flag in ("enable-admin-api", "enable-lifecycle", "enable-remote-write-receiver"):
        assert flag not in asked


def test_a_session_goes_on_although_many_ask_at_once_when_it_must_be_confirmed(
    stack: Stack, people: People
) -> None:
    session, _ = enter(stack, people, "admin-x")
    with session, ThreadPoolExecutor(12) as pool:
        for _ in range(2):
            before = session.cookies[COOKIE]
            time.sleep(31)
            # As a dashboard does, all with the cookie of before.
            asked = [
                pool.submit(
                    ask,
                    stack,
                    session,
                    f"/dashboards/api/v1/query?query={number}",
                    Cookie=f"{COOKIE}={before}",
                )
                for number in range(24)
            ]
            assert {one.result().status_code for one in asked} == {200}
            assert is_in(stack, session)
            assert session.cookies[COOKIE] != before


def test_who_is_disabled_is_out_within_a_minute(stack: Stack, people: People) -> None:
    name = f"admin-{secrets.token_hex(4)}"
    people.person(name, "admin", "")
    session, answer = enter(stack, people, name)
    assert answer.status_code == 200
    with session:
        assert is_in(stack, session)
        with administering(stack) as (keycloak, realm):
            found = keycloak.get(
                f"{realm}/users", params={"username": name, "exact": "true"}
            ).json()
            person = f"{realm}/users/{found[0]['id']}"
            assert keycloak.put(person, json={"enabled": False}).ok
        start_s = time.monotonic()
        wait_until(lambda: not is_in(stack, session), CONFIRMED_S + 15, "the session is over")
        print(f"out after {time.monotonic() - start_s:.0f} s")  # noqa: T201 - a measurement
        # Nor does the way in lead anywhere.
        assert ask(stack, session, "/operator/", **PAGE).status_code == 302
        with administering(stack) as (keycloak, _):
            assert keycloak.delete(person).ok
    del people.passwords[name]


def test_logging_out_ends_the_session_at_keycloak_too(stack: Stack, people: People) -> None:
    session, _ = enter(stack, people, "admin-x")
    with session:
        kept = session.cookies[COOKIE]
        link = ask(stack, session, "/operator/session/sign_out")
        assert link.status_code == 405
        assert is_in(stack, session)
        out = session.post(f"{stack.url}/operator/session/sign_out?rd=%2F", allow_redirects=False)
        assert (out.status_code, out.headers["Location"]) == (302, "/")
        assert COOKIE not in session.cookies
        assert not is_in(stack, session)
        form = session.get(f"{stack.url}/operator/", headers=PAGE)
        assert re.search(r'id="?(kc-form-login|username)', form.text)
        # A copy of the cookie lasts until it must be confirmed.
        wait_until(
            lambda: (
                ask(
                    stack,
                    session,
                    "/prometheus/api/v1/query?query=up",
                    Cookie=f"{COOKIE}={kept}",
                ).status_code
                == 401
            ),
            CONFIRMED_S + 15,
            "a copy of the cookie is worth nothing",
        )
