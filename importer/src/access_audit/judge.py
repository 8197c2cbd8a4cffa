"""From requests to records: a view is one record however many slices it takes."""

import re

from clinic_access.routes import Access, inner_path, parse

from access_audit import codes
from access_audit.record import Record, Result, What, Who, identify
from access_audit.spool import Request
from access_audit.state import MAX_NAMES, State, remember

# A view ends when nothing of its study is asked for during this time.
VIEW_IDLE_S = 1800.0
# Searches, and refusals of one kind, that follow within this time of the first are one record.
REPEAT_S = 60.0

_SEARCH = What(codes.QUERY, "E")
_STORE = What(codes.IMPORT, "C")
_ACTIONS = {"DELETE": "D", "PATCH": "U", "PUT": "U"}
_NATIVE = re.compile(r"/orthanc/((?:patients|studies|series|instances)/[0-9a-f-]{44})", re.ASCII)
_LISTS = re.compile(
    r"(?:/orthanc)?/dicom-web/(?:studies|series|instances)/?|/orthanc/[a-z]+", re.ASCII
)
_CLIENT_GONE = 499
# Taken in and then found wanting (PS3.18 10.5.3), which the importer records.
_NOT_STORED = 409
_REFUSED = 400
_FAILED = 500
_REASONS = {
    400: "malformed",
    401: "not_logged_in",
    403: "not_allowed",
    404: "absent",
    405: "read_only",
    413: "too_large",
    429: "too_many",
}


def judge(state: State, request: Request) -> Record | None:
    """Return what is to be recorded of a request, and note it in the state."""
    what, name = _what(request)
    if request.who.verified and request.who.name:
        learn(state, request.who.subject, request.who.name)
    # That it does not answer, alerts tell.
    if _is_about_the_archive(request) and not _REFUSED <= request.status < _FAILED:
        return None
    if request.status >= _REFUSED:
        return _refusal(state, request, what, name)
    # Redirects lead here again; what was stored is recorded by the importer.
    if not 200 <= request.status < 300 or what is _STORE:  # noqa: PLR2004 - HTTP's success
        return None
    if what is _SEARCH:
        key = _key("search", request.who.subject, request.client)
        result = Result(codes.SUCCESS, "searched")
        return None if _repeated(state, key, request) else _record(request, what, name, result)
    key = _key(request.who.subject, request.client, name)
    last_s = state.views.get(key)
    remember(state.views, key, request.time_s)
    _forget(state.views, request.time_s - VIEW_IDLE_S)
    if last_s is not None and request.time_s - last_s < VIEW_IDLE_S:
        return None
    return _record(request, what, name, Result(codes.SUCCESS, "viewed"))


def learn(state: State, subject: str, name: str) -> None:
    """Remember a person's name."""
    if state.names.get(subject) != name:
        state.names.pop(subject, None)
        state.names[subject] = name
        if len(state.names) > MAX_NAMES:
            del state.names[next(iter(state.names))]


def _what(request: Request) -> tuple[What, str]:
    """Return what was asked for, and of what: a study's UID or Orthanc's name for an object."""
    native = _NATIVE.match(request.path)
    name = request.study_uid or (native[1] if native else "")
    if request.method == "POST":
        return _STORE, name
    route = parse(request.method, inner_path(request.method, request.path), ())
    search = route is not None and route.access is Access.SEARCH and not route.study
    if search or _LISTS.fullmatch(request.path):
        return _SEARCH, name
    return What(codes.INSTANCES_ACCESSED, _ACTIONS.get(request.method, "R")), name


def _is_about_the_archive(request: Request) -> bool:
    """Tell whether it was asked how the archive is: the prober does all day, and nobody's images are in the answer."""
    route = parse(request.method, inner_path(request.method, request.path), ())
    return route is not None and route.access in (Access.HEALTH, Access.METRICS)


def _refusal(state: State, request: Request, what: What, name: str) -> Record | None:
    taken_in = what is _STORE and request.status == _NOT_STORED
    if request.status == _CLIENT_GONE or taken_in:
        return None
    who = request.who
    # Who is nobody reaches no study, and could name a new one each time.
    key = _key(
        "refused",
        who.subject or request.client,
        what.event.code,
        name if who.verified else "",
        str(request.status),
    )
    if _repeated(state, key, request):
        return None
    failed = request.status >= _FAILED
    reason = _REASONS.get(request.status, "unavailable" if failed else "refused")
    result = Result(
        codes.SERIOUS_FAILURE if failed else codes.MINOR_FAILURE,
        "failed" if failed else "refused",
        reason,
        request.status,
    )
    return _record(request, what, name, result)


def _repeated(state: State, key: str, request: Request) -> bool:
    _forget(state.recent, request.time_s - REPEAT_S)
    first_s = state.recent.get(key)
    if first_s is not None and request.time_s - first_s < REPEAT_S:
        return True
    remember(state.recent, key, request.time_s)
    return False


def _forget(mapping: dict[str, float], before_s: float) -> None:
    """Drop what has ended; a clock that was set back only keeps something longer."""
    while mapping and mapping[oldest := next(iter(mapping))] < before_s:
        del mapping[oldest]


def _key(*parts: str) -> str:
    return "\n".join(parts)


def _record(request: Request, what: What, name: str, result: Result) -> Record:
    uid = request.study_uid
    return Record(
        id=identify("request", request.id),
        time_s=request.time_s,
        what=what,
        who=request.who if request.who.verified else Who(name=request.who.name),
        result=result,
        client=request.client,
        study_uid=uid,
        target="" if uid else name,
    )
