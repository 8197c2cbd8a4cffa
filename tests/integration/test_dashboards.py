"""Every panel has something to show after traffic; and who comes from Keycloak to Grafana, which is not built here."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import jmespath  # type: ignore[import-untyped]
import pytest
from harness.day import hour
from harness.operator import enter
from harness.people import endpoint, form_action, open_login_form
from harness.second_factor import Phone, prove
from harness.wait import wait_until
from stack import dashboards
from stack.settings import PODMAN_DIR, read_env

if TYPE_CHECKING:
    from harness.people import People
    from harness.stack import Session, Stack

PANELS = [
    pytest.param(panel, id=f"{dashboard.name}: {panel.title}")
    for dashboard in dashboards.read()
    for panel in dashboard.panels
]
# Two scrapes, the copy to VictoriaMetrics, and what it holds back of the newest.
SHOWN_S = 150

OAUTH = "GF_AUTH_GENERIC_OAUTH_"


@pytest.fixture(scope="module")
def admin(stack: Stack, people: People) -> Session:
    """Provide an admin's browser, after an hour's traffic in two clinics."""
    assert stack.podman_settings.project
    hour(stack, people)
    session, answer = enter(stack, people, "admin-x")
    assert answer.status_code == 200
    return session


def series(stack: Stack, admin: Session, store: str, expr: str) -> list[dict[str, object]]:
    """Ask a store for the present value of each line of a query, through the operator's door."""
    answer = admin.get(f"{stack.url}/{store}/api/v1/query", params={"query": expr})
    assert answer.status_code == 200, answer.text
    # What is divided by nothing is no number to draw.
    return [one for one in answer.json()["data"]["result"] if one["value"][1] != "NaN"]


@pytest.mark.parametrize("store", ["prometheus", "dashboards"])
@pytest.mark.parametrize("panel", PANELS)
def test_every_query_of_a_panel_has_something_to_show_after_traffic(
    stack: Stack, admin: Session, panel: dashboards.Panel, store: str
) -> None:
    for query in panel.queries:
        ask = partial(series, stack, admin, store, query.expr)
        what = f"{store} has {query.expr}"
        found = wait_until(ask, SHOWN_S, what, lambda: stack.logs("prometheus"))
        for one in found or []:
            # A line without a name could not be told from the next one.
            labels = one["metric"]
            assert isinstance(labels, dict)
            assert set(dashboards.labels(query.legend)) <= set(labels), query.expr
        assert query.legend.count("{{") or len(found or []) == 1, query.expr


@pytest.mark.parametrize("asks", dashboards.questions())
def test_every_question_of_the_operators_page_is_one_that_prometheus_answers(
    stack: Stack, admin: Session, asks: str
) -> None:
    series(stack, admin, "prometheus", dashboards.questions()[asks])


def test_victoriametrics_offers_the_dashboards_of_the_list(stack: Stack, admin: Session) -> None:
    answer = admin.get(f"{stack.url}/dashboards/prometheus/vmui/custom-dashboards")
    shown = {one["title"] for one in answer.json()["dashboardsSettings"]}
    assert shown == {dashboard.title for dashboard in dashboards.read()}


@pytest.fixture(scope="module")
def grafana(stack: Stack) -> dict[str, str]:
    """Provide Grafana's settings of this kind, with what it takes from its environment and its files put in."""
    secret = stack.data_dir / "secrets" / "grafana.grafana_secret"
    return {
        key.removeprefix(OAUTH): value.replace("$__env{PUBLIC_URL}", stack.url).replace(
            "$__file{/run/secrets/grafana_secret}", secret.read_text()
        )
        for key, value in read_env(PODMAN_DIR / "grafana" / "grafana.env").items()
    }


def who(stack: Stack, people: People, grafana: dict[str, str], name: str) -> dict[str, object]:
    """Return what Keycloak tells Grafana of a person that has logged in there."""
    callback = f"{grafana['GF_SERVER_ROOT_URL']}login/generic_oauth"
    client = {"client_id": grafana["CLIENT_ID"], "redirect_uri": callback}
    with stack.session() as session:
        assert grafana["AUTH_URL"] == endpoint(stack, "auth")
        page, verifier = open_login_form(stack, session, scope=grafana["SCOPES"], **client)
        fields = {"username": name, "password": people.passwords[name]}
        answer = session.post(form_action(page.text), data=fields, allow_redirects=False)
        if "code=" not in answer.headers.get("Location", ""):
            answer = prove(session, answer, people.phones.setdefault(name, Phone()))
        form = client | {
            "client_secret": grafana["CLIENT_SECRET"],
            "code": parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0],
            "code_verifier": verifier,
            "grant_type": "authorization_code",
        }
        tokens = session.post(endpoint(stack, "token"), data=form).json()
        # An admin's session is looked after while it lasts.
        assert tokens["refresh_token"]
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        return dict(session.get(endpoint(stack, "userinfo"), headers=bearer).json())


@pytest.mark.parametrize(
    ("name", "role"), [("admin-x", "Editor"), ("physician-a", None), ("technician-a", None)]
)
def test_an_admin_gets_a_role_at_the_dashboards_and_nobody_else_does(
    stack: Stack, people: People, grafana: dict[str, str], name: str, role: str | None
) -> None:
    told = who(stack, people, grafana, name)
    assert jmespath.search(grafana["LOGIN_ATTRIBUTE_PATH"], told) == name
    assert jmespath.search(grafana["EMAIL_ATTRIBUTE_PATH"], told)
    try:
        found = jmespath.search(grafana["ROLE_ATTRIBUTE_PATH"], told)
    except jmespath.exceptions.JMESPathError:
        # There are no roles at all: that is no role either.
        found = None
    assert found == role
