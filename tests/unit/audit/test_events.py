"""Keycloak's events as records: logins, failures, and what is done to people, roles and groups."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from dicom_importer.reasons import Unavailable
from unit.audit.building import START_S, Desk, frame

if TYPE_CHECKING:
    from access_audit.keycloak import Event


def login(desk: Desk, kind: str = "LOGIN", **changes: object) -> Event:
    fields: dict[str, object] = {
        "type": kind,
        "realmId": "realm-1",
        "clientId": "ohif-viewer",
        "userId": "5b0f-anna",
        "ipAddress": "192.0.2.7",
        "details": {"username": "anna", "redirect_uri": "https://pacs.example.org/callback"},
    }
    return desk.store.later(**fields | changes)


def change(desk: Desk, resource: str, operation: str, **changes: object) -> Event:
    fields: dict[str, object] = {
        "realmId": "realm-1",
        "authDetails": {"realmId": "realm-1", "userId": "5b0f-anna", "ipAddress": "192.0.2.9"},
        "operationType": operation,
        "resourceType": resource,
        "resourcePath": "users/77aa-bert",
        "representation": '{"lastName": "Mustermann"}',
    }
    return desk.store.later(**fields | changes)


@pytest.mark.parametrize(
    ("kind", "code", "outcome"),
    [
        ("LOGIN", ("110114", "110122"), 0),
        ("LOGIN_ERROR", ("110114", "110122"), 4),
        ("LOGOUT", ("110114", "110123"), 0),
        ("CODE_TO_TOKEN_ERROR", ("110114", "110122"), 4),
        ("RESET_PASSWORD", ("110113", "110137"), 0),
        ("UPDATE_CREDENTIAL_ERROR", ("110113", "110137"), 4),
        ("USER_DISABLED_BY_TEMPORARY_LOCKOUT", ("110113", "110137"), 8),
    ],
)
def test_an_event_of_a_person_has_its_code_and_outcome(
    desk: Desk, kind: str, code: tuple[str, str], outcome: int
) -> None:
    desk.store.events.append(login(desk, kind))
    desk.auditor().keycloak()
    (record,) = desk.records()
    assert (record["event"]["code"], record["type"]["code"]) == code  # type: ignore[index]
    assert record["outcome"] == outcome
    assert record["who"]["name"] == "anna"  # type: ignore[index]
    assert record["client"] == "192.0.2.7"


def test_who_failed_to_log_in_is_only_claimed(desk: Desk) -> None:
    event = login(desk, "LOGIN_ERROR", error="invalid_user_credentials", userId=None)
    desk.store.events.append(event)
    desk.auditor().keycloak()
    (record,) = desk.records()
    assert record["who"] == {"subject": "", "name": "anna", "roles": [], "verified": False}
    assert record["reason"] == "invalid_user_credentials"


@pytest.mark.parametrize(
    ("resource", "operation", "code", "action"),
    [
        ("USER", "CREATE", "110137", "C"),
        ("USER", "DELETE", "110137", "D"),
        ("GROUP_MEMBERSHIP", "CREATE", "110136", "C"),
        ("REALM_ROLE_MAPPING", "DELETE", "110136", "D"),
        ("USER", "ACTION", "110137", "E"),
        ("CLIENT", "UPDATE", "110129", "U"),
        ("REALM", "UPDATE", "110129", "U"),
    ],
)
def test_a_change_has_the_type_of_what_was_changed(
    desk: Desk, resource: str, operation: str, code: str, action: str
) -> None:
    desk.store.changes.append(change(desk, resource, operation))
    desk.auditor().keycloak()
    (record,) = desk.records()
    assert (record["event"]["code"], record["type"]["code"]) == ("110113", code)  # type: ignore[index]
    assert (record["action"], record["object"]) == (action, "users/77aa-bert")
    assert "Mustermann" not in json.dumps(record)


def test_an_admin_is_named_as_at_the_login(desk: Desk) -> None:
    desk.store.events.append(login(desk))
    desk.store.changes.append(change(desk, "USER", "CREATE"))
    by_command = {"realmId": "master", "userId": "0000", "ipAddress": "172.29.0.16"}
    desk.store.changes.append(change(desk, "USER", "CREATE", authDetails=by_command))
    desk.auditor().keycloak()
    assert [r["who"]["name"] for r in desk.records()] == ["anna", "anna", "realm-reconciler"]  # type: ignore[index]


def test_an_event_is_recorded_once_and_one_that_shows_late_too(desk: Desk) -> None:
    early, late = login(desk), login(desk, "LOGOUT")
    desk.store.events = [late]
    auditor = desk.auditor()
    auditor.keycloak()
    desk.store.events = [early, late]
    auditor.keycloak()
    desk.auditor().keycloak()
    assert [record["status"] for record in desk.records()] == ["logout", "login"]


def test_an_event_is_known_however_many_records_came_after_it(desk: Desk) -> None:
    desk.store.events = [login(desk)]
    desk.auditor().keycloak()
    desk.write(*(frame(n, study=f"1.2.{n}") for n in range(400)))
    desk.read()
    desk.auditor().keycloak()
    assert [record["status"] for record in desk.records()].count("login") == 1


def test_a_kill_between_records_and_state_doubles_no_event(desk: Desk) -> None:
    desk.store.events = [login(desk), login(desk, "LOGIN_ERROR")]
    desk.auditor().keycloak()
    (desk.top / "state" / "state.json").unlink()
    desk.store.events.append(login(desk, "LOGOUT"))
    desk.auditor().keycloak()
    assert [r["status"] for r in desk.records()] == ["login", "login", "logout"]


def test_while_keycloak_is_away_the_lag_grows_and_nothing_is_lost(desk: Desk) -> None:
    auditor = desk.auditor()
    desk.store.away = True
    desk.store.events = [login(desk)]
    desk.now_s = START_S + 500
    with pytest.raises(Unavailable):
        auditor.keycloak()
    lag = ("dicom_audit_lag_seconds", {"service": "keycloak"})
    assert auditor.metrics.registry.get_sample_value(*lag) == 500
    desk.store.away = False
    auditor.keycloak()
    assert auditor.metrics.registry.get_sample_value(*lag) == 0
    assert len(desk.records()) == 1


def test_hostile_names_in_a_login_break_no_line(desk: Desk) -> None:
    details = {"username": "x\n" * 4000 + "\x1b[2J"}
    desk.store.events.append(login(desk, "LOGIN_ERROR", details=details))
    desk.auditor().keycloak()
    (path,) = (desk.top / "access").glob("????-??.jsonl")
    (text,) = path.read_text().splitlines()
    assert len(text) < 1000
