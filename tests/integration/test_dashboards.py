"""Who comes from Keycloak to the dashboards, asked for as grafana.env says; Grafana itself is not built here."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import jmespath  # type: ignore[import-untyped]
import pytest
from harness.people import endpoint, form_action, open_login_form
from harness.second_factor import Phone, prove
from stack.settings import PODMAN_DIR, read_env

if TYPE_CHECKING:
    from harness.people import People
    from harness.stack import Stack

OAUTH = "GF_AUTH_GENERIC_OAUTH_"


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
