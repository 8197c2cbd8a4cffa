"""What the identity provider gives to whom, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from harness.people import (
    CLINICS,
    claims,
    endpoint,
    form_action,
    login,
    open_login_form,
    redeem,
    service_token,
)
from harness.second_factor import send_form

if TYPE_CHECKING:
    import requests
    from harness.people import People
    from harness.stack import Session, Stack

SAME_ANSWER = "Invalid username or password"


def ask_token(stack: Stack, session: Session, **form: str) -> requests.Response:
    return session.post(endpoint(stack, "token"), data=form)


def refresh(stack: Stack, session: Session, refresh_token: str) -> requests.Response:
    return ask_token(
        stack,
        session,
        client_id="ohif-viewer",
        grant_type="refresh_token",
        refresh_token=refresh_token,
    )


def submit(
    session: Session, page: requests.Response, name: str, password: str
) -> requests.Response:
    fields = {"username": name, "password": password}
    return send_form(session, form_action(page.text), fields)


def query(answer: requests.Response) -> dict[str, list[str]]:
    return parse_qs(urlsplit(answer.headers["Location"]).query)


def secret(stack: Stack, name: str) -> str:
    return (stack.data_dir / "secrets" / f"realm.{name}").read_text()


@pytest.mark.parametrize(
    ("name", "roles", "clinic_ids"),
    [
        ("physician-a", ["physician"], ["clinic-a"]),
        ("physician-ab", ["physician"], ["clinic-a", "clinic-b"]),
        ("technician-a", ["technician"], ["clinic-a"]),
    ],
)
def test_a_persons_token_says_role_and_clinics_and_no_more(
    stack: Stack, people: People, name: str, roles: list[str], clinic_ids: list[str]
) -> None:
    found = people.claims(name)
    assert found["roles"] == roles
    assert sorted(found["clinic_ids"]) == clinic_ids  # type: ignore[call-overload]
    assert sorted(found["groups"]) == [f"/clinics/{clinic}" for clinic in clinic_ids]  # type: ignore[call-overload]
    assert (found["aud"], found["azp"], found["typ"]) == ("orthanc-api", "ohif-viewer", "Bearer")
    assert found["iss"] == f"{stack.url}/auth/realms/dicom"
    assert found["preferred_username"] == name
    assert found["sub"]
    assert int(str(found["exp"])) - int(str(found["iat"])) == 300
    assert not {"realm_access", "resource_access"} & found.keys()


def test_without_a_clinic_the_token_names_none(people: People) -> None:
    found = people.claims("no-clinic")
    assert found["roles"] == ["physician"]
    assert "clinic_ids" not in found
    assert not found.get("groups")


def test_an_admins_viewer_token_has_no_rights_over_people(people: People) -> None:
    found = people.claims("admin-x")
    assert found["roles"] == ["admin"]
    assert found["aud"] == "orthanc-api"
    assert not {"realm_access", "resource_access", "clinic_ids"} & found.keys()


@pytest.mark.parametrize(
    "challenge",
    [
        {"code_challenge": "", "code_challenge_method": ""},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": ""},
    ],
    ids=["missing", "plain", "without method"],
)
def test_a_login_without_s256_is_refused(stack: Stack, challenge: dict[str, str]) -> None:
    with stack.session() as session:
        refused, _ = open_login_form(stack, session, **challenge)
        assert refused.status_code == 302
        assert query(refused)["error"] == ["invalid_request"]
        allowed, _ = open_login_form(stack, session)
        assert allowed.status_code == 200


def test_a_code_without_its_verifier_is_worth_nothing(stack: Stack, people: People) -> None:
    people.claims("physician-a")
    with stack.session() as session:
        page, _ = open_login_form(stack, session)
        answer = submit(session, page, "physician-a", people.passwords["physician-a"])
        refused = ask_token(
            stack,
            session,
            client_id="ohif-viewer",
            code=query(answer)["code"][0],
            code_verifier="x" * 64,
            grant_type="authorization_code",
            redirect_uri=f"{stack.url}/callback",
        )
        assert refused.status_code == 400
        assert refused.json()["error"] == "invalid_grant"


@pytest.mark.parametrize("client", ["ohif-viewer", "admin-cli"])
def test_a_password_is_taken_by_the_form_only(stack: Stack, people: People, client: str) -> None:
    password = people.passwords["physician-b"]
    with stack.session() as session:
        refused = ask_token(
            stack,
            session,
            client_id=client,
            grant_type="password",
            password=password,
            scope="openid",
            username="physician-b",
        )
    assert refused.status_code in {400, 401}
    assert refused.json()["error"] in {"unauthorized_client", "invalid_client"}
    assert login(stack, "physician-b", password)["access_token"]


def test_the_implicit_flow_is_refused(stack: Stack) -> None:
    with stack.session() as session:
        refused, _ = open_login_form(stack, session, response_type="id_token token", nonce="n")
        assert refused.status_code == 302
        assert "error=unauthorized_client" in refused.headers["Location"]


@pytest.mark.parametrize("address", ["https://elsewhere.example/callback", "{url}/other", "{url}"])
def test_a_code_is_sent_to_the_viewer_and_nowhere_else(stack: Stack, address: str) -> None:
    with stack.session() as session:
        refused, _ = open_login_form(stack, session, redirect_uri=address.format(url=stack.url))
        assert refused.status_code == 400
        assert "redirect_uri" in refused.text


def test_a_refresh_token_works_once(stack: Stack, people: People) -> None:
    tokens = login(stack, "physician-a", people.passwords["physician-a"])
    with stack.session() as session:
        first = refresh(stack, session, tokens["refresh_token"])
        assert first.status_code == 200
        assert claims(first.json()["access_token"])["clinic_ids"] == ["clinic-a"]
        again = refresh(stack, session, tokens["refresh_token"])
        assert again.status_code == 400
        assert again.json()["error"] == "invalid_grant"


def test_two_tabs_refresh_beside_each_other(stack: Stack, people: People) -> None:
    with stack.session() as session:
        page, verifier = open_login_form(stack, session)
        answer = submit(session, page, "physician-a", people.passwords["physician-a"])
        tabs = [redeem(stack, session, query(answer)["code"][0], verifier)["refresh_token"]]
        silent, verifier = open_login_form(stack, session, prompt="none")
        tabs.append(redeem(stack, session, query(silent)["code"][0], verifier)["refresh_token"])
        for _ in range(2):
            for number, token in enumerate(tabs):
                answer = refresh(stack, session, token)
                assert answer.status_code == 200, answer.text
                tabs[number] = answer.json()["refresh_token"]


def test_logging_out_ends_the_session_and_returns_to_the_viewer(
    stack: Stack, people: People
) -> None:
    tokens = login(stack, "physician-a", people.passwords["physician-a"])
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    with stack.session() as session:
        assert session.get(endpoint(stack, "userinfo"), headers=bearer).status_code == 200
        left = session.get(
            endpoint(stack, "logout"),
            params={
                "id_token_hint": tokens["id_token"],
                "post_logout_redirect_uri": f"{stack.url}/",
            },
            allow_redirects=False,
        )
        assert (left.status_code, left.headers["Location"]) == (302, f"{stack.url}/")
        assert session.get(endpoint(stack, "userinfo"), headers=bearer).status_code == 401
        assert refresh(stack, session, tokens["refresh_token"]).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("client", ["orthanc-api", "monitoring"])
def test_a_service_account_is_known_by_its_client_and_has_no_role(
    stack: Stack, client: str
) -> None:
    token = service_token(stack, client)
    found = claims(token)
    assert (found["azp"], found["aud"]) == (client, "orthanc-api")
    assert found["preferred_username"] == f"service-account-{client}"
    assert found["sub"]
    assert not {"roles", "clinic_ids", "groups", "realm_access"} & found.keys()
    with stack.session() as session:
        bearer = {"Authorization": f"Bearer {token}"}
        assert session.get(endpoint(stack, "userinfo"), headers=bearer).status_code == 200


def test_userinfo_refuses_a_token_that_was_not_asked_for_with_openid(stack: Stack) -> None:
    with stack.session() as session:
        form = {
            "client_id": "orthanc-api",
            "client_secret": secret(stack, "orthanc_api_secret"),
            "grant_type": "client_credentials",
        }
        answer = ask_token(stack, session, **form)
        bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        assert session.get(endpoint(stack, "userinfo"), headers=bearer).status_code == 403


def test_a_service_account_needs_its_secret(stack: Stack) -> None:
    with stack.session() as session:
        form = {"client_id": "orthanc-api", "grant_type": "client_credentials"}
        refused = ask_token(stack, session, client_secret="wrong", **form)  # noqa: S106 - the point
        assert refused.status_code == 401
        assert service_token(stack, "orthanc-api")


def test_the_dashboards_token_is_none_for_the_archive(stack: Stack, people: People) -> None:
    people.claims("physician-a")
    callback = f"{stack.url}/grafana/login/generic_oauth"
    with stack.session() as session:
        page, verifier = open_login_form(stack, session, client_id="grafana", redirect_uri=callback)
        answer = submit(session, page, "physician-a", people.passwords["physician-a"])
        tokens = ask_token(
            stack,
            session,
            client_id="grafana",
            client_secret=secret(stack, "grafana_secret"),
            code=query(answer)["code"][0],
            code_verifier=verifier,
            grant_type="authorization_code",
            redirect_uri=callback,
        )
        found = claims(tokens.json()["access_token"])
        assert found["azp"] == "grafana"
        assert "orthanc-api" not in str(found.get("aud"))
        assert not {"roles", "clinic_ids", "groups"} & found.keys()


def test_a_failed_login_does_not_tell_whether_the_name_exists(stack: Stack, people: People) -> None:
    people.person("guessed-at", "physician", "clinic-a")
    with stack.session() as session:
        for name in ("guessed-at", "nobody-of-that-name"):
            page, _ = open_login_form(stack, session)
            answer = submit(session, page, name, "wrong")
            assert answer.status_code == 200
            assert SAME_ANSWER in answer.text


def test_guessing_locks_for_a_while_and_says_no_more_than_before(
    stack: Stack, people: People
) -> None:
    people.person("locked-out", "physician", "clinic-a")
    assert login(stack, "locked-out", people.passwords["locked-out"])["access_token"]
    with stack.session() as session:
        page, _ = open_login_form(stack, session)
        for _ in range(5):
            page = submit(session, page, "locked-out", "wrong")
        refused = submit(session, page, "locked-out", people.passwords["locked-out"])
        assert refused.status_code == 200
        assert SAME_ANSWER in refused.text
    # An operator's reset lifts the lock.
    people.person("locked-out", "physician", "clinic-a")
    assert login(stack, "locked-out", people.passwords["locked-out"])["access_token"]


def test_nobody_signs_up_alone(stack: Stack) -> None:
    with stack.session() as session:
        page, _ = open_login_form(stack, session)
        assert "registration" not in page.text
        assert session.get(endpoint(stack, "registrations")).status_code in {400, 403, 404}


def test_a_one_time_password_must_be_changed_at_the_first_login(
    stack: Stack, people: People
) -> None:
    assert people.claims("physician-a")
    made = stack.realm(
        "user", "--name", "newcomer", "--clinic", "clinic-a", "--role", "physician", "--reset"
    )
    assert made.returncode == 0, made.stderr
    password = made.stdout.split("one-time password: ")[1].split()[0]
    with stack.session() as session:
        page, _ = open_login_form(stack, session)
        answer = submit(session, page, "newcomer", password)
        assert "execution=UPDATE_PASSWORD" in answer.headers["Location"]


def test_a_person_of_an_unknown_clinic_is_refused_with_the_known_ones(
    stack: Stack, people: People
) -> None:
    assert people.claims("physician-a")
    refused = stack.realm("user", "--name", "jane", "--clinic", "clinic-zz", "--role", "physician")
    assert refused.returncode == 1
    assert "no clinic clinic-zz: known are" in refused.stdout + refused.stderr


def test_an_existing_person_is_left_alone_without_reset(stack: Stack, people: People) -> None:
    before = people.claims("physician-b")
    again = stack.realm(
        "user", "--name", "physician-b", "--clinic", "clinic-a", "--role", "physician"
    )
    assert again.returncode == 0
    assert "exists, nothing changed" in again.stdout
    after = claims(login(stack, "physician-b", people.passwords["physician-b"])["access_token"])
    assert after["clinic_ids"] == before["clinic_ids"] == ["clinic-b"]


def test_reconciling_again_changes_nothing(stack: Stack, people: People) -> None:
    assert people.claims("physician-a")
    done = stack.realm("reconcile")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "realm dicom: no changes"
    listed = stack.realm("clinics")
    assert all(clinic in listed.stdout for clinic in CLINICS)
    assert login(stack, "physician-a", people.passwords["physician-a"])["access_token"]


def test_there_is_one_first_admin(stack: Stack, people: People) -> None:
    assert people.claims("physician-a")
    done = stack.realm("first-admin")
    assert done.returncode == 0, done.stderr
    assert "an admin exists" in done.stdout
    assert "password" not in done.stdout
