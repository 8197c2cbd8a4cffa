"""The realm file that ships: what it must never allow."""

import json
import re
from pathlib import Path

import pytest
from dicom_importer.realm.config import CLIENT_SECRETS
from dicom_importer.realm.flows import Step, steps
from dicom_importer.realm.reconcile import USER_PROFILE
from dicom_importer.realm.representation import (
    Representation,
    by,
    record,
    records,
    text,
    texts,
)

FILE = Path(__file__).resolve().parents[2] / "podman" / "keycloak" / "realm.json"
REALM = record(json.loads(FILE.read_text()))
CLIENTS = by("clientId", records(REALM["clients"]))
OWN = sorted(CLIENTS.keys() - {"admin-cli"})
SCOPES = by("name", records(REALM["clientScopes"]))


def attributes(client: str) -> Representation:
    return record(CLIENTS[client].get("attributes", {}))


def test_the_clients_are_those_of_the_design() -> None:
    assert OWN == [
        "auditor",
        "grafana",
        "monitoring",
        "ohif-viewer",
        "operator-pages",
        "orthanc-api",
    ]
    assert CLIENTS["admin-cli"]["enabled"] is False


@pytest.mark.parametrize("client", sorted(CLIENTS))
def test_no_client_takes_a_password(client: str) -> None:
    assert CLIENTS[client]["directAccessGrantsEnabled"] is False


@pytest.mark.parametrize("client", OWN)
def test_no_client_has_another_flow_than_it_needs(client: str) -> None:
    assert CLIENTS[client]["implicitFlowEnabled"] is False
    assert CLIENTS[client]["fullScopeAllowed"] is False
    assert attributes(client)["oauth2.device.authorization.grant.enabled"] == "false"
    assert attributes(client)["oidc.ciba.grant.enabled"] == "false"
    assert attributes(client)["standard.token.exchange.enabled"] == "false"
    assert CLIENTS[client]["standardFlowEnabled"] != CLIENTS[client]["serviceAccountsEnabled"]


@pytest.mark.parametrize("client", OWN)
def test_whoever_logs_in_by_browser_must_prove_possession_of_the_code(client: str) -> None:
    if CLIENTS[client]["standardFlowEnabled"]:
        assert attributes(client)["pkce.code.challenge.method"] == "S256"
    else:
        assert CLIENTS[client]["redirectUris"] == []


@pytest.mark.parametrize("client", OWN)
def test_a_code_goes_to_an_exact_public_address_only(client: str) -> None:
    for uri in texts(CLIENTS[client], "redirectUris"):
        assert re.fullmatch(r"\$\{PUBLIC_URL\}/[a-z_/.-]+", uri)


@pytest.mark.parametrize("client", OWN)
def test_tokens_never_live_without_a_session(client: str) -> None:
    scopes = texts(CLIENTS[client], "defaultClientScopes")
    scopes += texts(CLIENTS[client], "optionalClientScopes")
    assert "offline_access" not in scopes
    assert set(scopes) <= SCOPES.keys() | {"basic", "email", "profile"}


def test_only_who_may_talk_to_the_archive_has_its_audience() -> None:
    with_audience = {
        name
        for name in OWN
        if "orthanc-api-audience" in texts(CLIENTS[name], "defaultClientScopes")
    }
    assert with_audience == {"monitoring", "ohif-viewer", "orthanc-api"}


def test_each_confidential_client_has_a_secret_and_none_is_in_the_file() -> None:
    assert {name for name in OWN if not CLIENTS[name]["publicClient"]} == CLIENT_SECRETS.keys()
    assert not re.search(r'"(secret|password)"\s*:', FILE.read_text(), re.IGNORECASE)


def test_clinics_come_from_groups_only() -> None:
    mapper = by("name", records(SCOPES["clinics"]["protocolMappers"]))["clinic_ids"]
    assert record(mapper["config"])["aggregate.attrs"] == "true"
    (component,) = records(record(REALM["components"])[USER_PROFILE])
    (config,) = texts(record(component["config"]), "kc.user.profile.config")
    profile = record(json.loads(config))
    assert "unmanagedAttributePolicy" not in profile
    names = {text(item, "name") for item in records(profile["attributes"])}
    assert names == {"username", "email", "firstName", "lastName"}


def test_people_cannot_rename_themselves() -> None:
    (component,) = records(record(REALM["components"])[USER_PROFILE])
    (config,) = texts(record(component["config"]), "kc.user.profile.config")
    for item in records(record(json.loads(config))["attributes"]):
        assert texts(record(item["permissions"]), "edit") == ["admin"]
    assert REALM["editUsernameAllowed"] is False


def test_rights_over_people_lie_outside_the_viewers_scope() -> None:
    (scope,) = [m for m in records(REALM["scopeMappings"]) if m["client"] == "ohif-viewer"]
    assert sorted(texts(scope, "roles")) == ["admin", "physician", "technician"]
    # A composite role would carry its parts into every token that may hold the role.
    assert not any("composites" in role for role in records(record(REALM["roles"])["realm"]))
    assert "clients" not in record(REALM["roles"])


def test_admins_must_have_a_second_factor() -> None:
    flow = steps(REALM, text(REALM, "browserFlow"))
    start = flow.index(
        Step(
            2, "conditional-user-role", "REQUIRED", (("condUserRole", "admin"), ("negate", "false"))
        )
    )
    assert flow[start - 1].requirement == "CONDITIONAL"
    assert (flow[start + 1].name, flow[start + 1].requirement) == ("auth-otp-form", "REQUIRED")


def test_passwords_sessions_and_tokens_are_bounded() -> None:
    assert "length(12)" in text(REALM, "passwordPolicy")
    assert REALM["accessTokenLifespan"] == 300
    assert REALM["revokeRefreshToken"] is True
    assert REALM["refreshTokenMaxReuse"] == 0
    assert REALM["bruteForceProtected"] is True
    assert REALM["rememberMe"] is False
    assert REALM["registrationAllowed"] is False


def test_logins_are_recorded() -> None:
    assert REALM["eventsEnabled"] is True
    assert {"LOGIN", "LOGIN_ERROR", "LOGOUT"} <= set(texts(REALM, "enabledEventTypes"))
    assert REALM["adminEventsEnabled"] is True


def test_a_service_account_may_read_events_and_nothing_else() -> None:
    (account,) = records(REALM["users"])
    assert account["serviceAccountClientId"] == "auditor"
    assert account["clientRoles"] == {"realm-management": ["view-events"]}
    assert texts(CLIENTS["auditor"], "defaultClientScopes") == ["basic"]


def test_the_file_names_no_clinic_and_no_person() -> None:
    assert [user["username"] for user in records(REALM["users"])] == ["service-account-auditor"]
    assert not any("subGroups" in group for group in records(REALM["groups"]))
