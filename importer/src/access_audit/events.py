"""From Keycloak's events to records: logins, and what was done to people, roles and groups."""

import json
from collections.abc import Mapping

from clinic_access.json_value import Json

from access_audit import codes
from access_audit.codes import Code
from access_audit.judge import learn
from access_audit.record import Record, Result, What, Who, bounded, identify
from access_audit.state import State

REALM_ACCOUNT = "realm-reconciler"
MAX_PATH_CHARS = 200
_LOGINS = {
    "LOGIN": codes.LOGIN,
    "CLIENT_LOGIN": codes.LOGIN,
    "CODE_TO_TOKEN": codes.LOGIN,
    "REFRESH_TOKEN": codes.LOGIN,
    "LOGOUT": codes.LOGOUT,
}
_ACTIONS = {"CREATE": "C", "UPDATE": "U", "DELETE": "D", "ACTION": "E"}
_ERROR = "_ERROR"


def login(state: State, event: Mapping[str, Json]) -> Record:
    """Return the record of an event of a person: a login, or a change of the own credentials."""
    kind = _text(event, "type")
    failed = kind.endswith(_ERROR)
    plain = kind.removesuffix(_ERROR)
    details = event.get("details")
    claimed = details.get("username") if isinstance(details, Mapping) else None
    subject = bounded(event.get("userId"))
    name = bounded(claimed) or state.names.get(subject, "")
    if kind == "LOGIN" and subject and name:
        learn(state, subject, name)
    what = (
        What(codes.USER_AUTHENTICATION, "E", _LOGINS[plain])
        if plain in _LOGINS
        else What(codes.SECURITY_ALERT, "U", codes.USER_CHANGED)
    )
    # Locked out: somebody may be guessing.
    locked = "LOCKOUT" in plain
    outcome = codes.SERIOUS_FAILURE if locked else codes.MINOR_FAILURE if failed else codes.SUCCESS
    return _record(
        event,
        what,
        Who(subject, name, verified=not failed and not locked),
        Result(outcome, plain.lower(), bounded(event.get("error"))),
        bounded(event.get("ipAddress")),
    )


def change(state: State, event: Mapping[str, Json]) -> Record:
    """Return the record of an event of administration; what was written is not in it."""
    who = event.get("authDetails")
    auth: Mapping[str, Json] = who if isinstance(who, Mapping) else {}
    subject = bounded(auth.get("userId"))
    # In the realm of Keycloak's own administration there is this account and no other.
    own = auth.get("realmId") == event.get("realmId")
    name = state.names.get(subject, "") if own else REALM_ACCOUNT
    resource, operation = _text(event, "resourceType"), _text(event, "operationType")
    error = bounded(event.get("error"))
    return _record(
        event,
        What(codes.SECURITY_ALERT, _ACTIONS.get(operation, "E"), _changed(resource)),
        Who(subject, name, verified=True),
        Result(
            codes.MINOR_FAILURE if error else codes.SUCCESS,
            bounded(f"{resource} {operation}".lower()),
            error,
        ),
        bounded(auth.get("ipAddress")),
        bounded(event.get("resourcePath"), MAX_PATH_CHARS),
    )


def time_ms(event: Mapping[str, Json]) -> int:
    """Return when it happened, in milliseconds since 1970; raises ValueError."""
    value = event.get("time")
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("Keycloak's event has no time")  # noqa: TRY004 - as of any other text
    return value


def identity(event: Mapping[str, Json]) -> str:
    """Return what tells two events apart."""
    return identify("event", json.dumps(event, sort_keys=True, default=dict))


def _changed(resource: str) -> Code:
    if "ROLE" in resource or "GROUP" in resource:
        return codes.ROLES_CHANGED
    return codes.USER_CHANGED if resource.startswith("USER") else codes.SECURITY_CONFIGURATION


def _record(  # noqa: PLR0913, PLR0917 - the parts of a record
    event: Mapping[str, Json],
    what: What,
    who: Who,
    result: Result,
    client: str,
    path: str = "",
) -> Record:
    return Record(
        id=identity(event),
        time_s=time_ms(event) / 1000,
        what=what,
        who=who,
        result=result,
        client=client,
        target=path,
    )


def _text(event: Mapping[str, Json], key: str) -> str:
    return bounded(event.get(key))
