"""The routes of the archive that exist; whatever is not named here is denied."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import parse_qsl, unquote_to_bytes

Pairs = Sequence[tuple[str, str]]

MAX_UID_CHARS = 64  # PS3.5 9.1
_UID = rf"(?=[0-9.]{{1,{MAX_UID_CHARS}}}(?:/|$))[0-9]+(?:\.[0-9]+)*"
_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{8}){4}"  # Orthanc's identifiers: a SHA-1 in five groups
_TAG = r"[0-9a-fA-F]{8}"

# PS3.18 10.4: the study level and, optionally, the levels below it.
_STUDY = rf"/studies/(?P<study>{_UID})"
_SERIES = rf"{_STUDY}/series/(?P<series>{_UID})"
_INSTANCE = rf"{_SERIES}/instances/(?P<instance>{_UID})"
_FRAMES = r"frames/[1-9][0-9]*(?:,[1-9][0-9]*)*"

WADO_URI = "/wado"
_WADO_URI_KEYS = frozenset(
    {"requestType", "studyUID", "seriesUID", "objectUID", "contentType", "transferSyntax"}
)


class Access(Enum):
    """What a route does, which is what the rules decide on."""

    SEARCH = auto()
    RETRIEVE = auto()
    STORE = auto()
    NATIVE_READ = auto()
    VERIFY = auto()
    REMOVE = auto()
    METRICS = auto()
    HEALTH = auto()
    EXPLAIN = auto()
    DELIVER = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """One request's place: what it does, and the UIDs that its path or query names."""

    access: Access
    study: str | None = None
    series: str | None = None
    instance: str | None = None


def _retrieval(level: str, endings: str) -> str:
    return rf"/dicom-web{level}(?:/(?:{endings}))?"


_PICTURES = "metadata|rendered|thumbnail"
_ATTACHMENT = r"attachments/dicom/(?:data|md5|size)"

ROUTES = tuple(
    (method, re.compile(pattern), access)
    for method, pattern, access in (
        ("GET", r"/clinic-search/(?:studies|series|instances)", Access.SEARCH),
        ("GET", rf"/clinic-search{_STUDY}/(?:series|instances)", Access.SEARCH),
        ("GET", rf"/clinic-search{_SERIES}/instances", Access.SEARCH),
        ("GET", _retrieval(_STUDY, _PICTURES), Access.RETRIEVE),
        ("GET", _retrieval(_SERIES, _PICTURES), Access.RETRIEVE),
        (
            "GET",
            _retrieval(
                _INSTANCE,
                rf"{_PICTURES}|frames|{_FRAMES}|frames/[1-9][0-9]*/(?:rendered|thumbnail)"
                rf"|bulk/{_TAG}(?:/[1-9][0-9]*/{_TAG})*",
            ),
            Access.RETRIEVE,
        ),
        ("POST", rf"/dicom-web/studies(?:/{_UID})?", Access.STORE),
        ("POST", r"/instances", Access.STORE),
        ("GET", rf"/(?:patients|studies|series|instances)/{_ID}", Access.NATIVE_READ),
        ("GET", r"/(?:studies|changes|statistics|system)", Access.NATIVE_READ),
        ("POST", r"/clinic-access/(?:aged|files|held)", Access.VERIFY),
        ("POST", r"/clinic-access/set-aside", Access.REMOVE),
        ("POST", r"/tools/lookup", Access.VERIFY),
        ("GET", rf"/(?:studies|series)/{_ID}/(?:series|instances)", Access.VERIFY),
        ("GET", rf"/instances/{_ID}/(?:file|tags|simplified-tags|metadata)", Access.VERIFY),
        ("GET", rf"/instances/{_ID}/{_ATTACHMENT}", Access.VERIFY),
        ("POST", rf"/instances/{_ID}/attachments/dicom/verify-md5", Access.VERIFY),
        ("POST", rf"/studies/{_ID}/update-dicomweb-cache", Access.VERIFY),
        ("DELETE", rf"/(?:studies|instances)/{_ID}", Access.REMOVE),
        ("GET", r"/tools/metrics-prometheus", Access.METRICS),
        ("GET", r"/health", Access.HEALTH),
        ("GET", r"/clinic-access/refusal", Access.EXPLAIN),
        ("GET", r"/clinic-access/clinics", Access.DELIVER),
    )
)

_UID_ONLY = re.compile(_UID)
_SEARCH = re.compile(
    r"/dicom-web(?P<rest>/(?:studies|series|instances)"
    r"|/studies/[^/]+/(?:series|instances)|/studies/[^/]+/series/[^/]+/instances)/?"
)


def is_uid(text: str) -> bool:
    """Tell whether the text is a UID: no list, no wildcard, which Orthanc would follow."""
    return _UID_ONLY.fullmatch(text) is not None


def parse(method: str, path: str, query: Pairs) -> Route | None:
    """Find the route of a request to Orthanc, of which the path is decoded; None: denied."""
    if method == "GET" and path == WADO_URI:
        return _wado_uri(query)
    for allowed, pattern, access in ROUTES:
        match = pattern.fullmatch(path) if method == allowed else None
        if match:
            return Route(access, **match.groupdict())
    return None


def _wado_uri(query: Pairs) -> Route | None:
    """Read the query of WADO-URI (PS3.18 9.1.2): every key known, none twice, all UIDs given.

    Orthanc itself serves the one instance whose UIDs on all three levels are these.
    """
    given = dict(query)
    if len(given) != len(query) or not given.keys() <= _WADO_URI_KEYS:
        return None
    # Orthanc sends an object as it is stored: another transfer syntax would be a false promise.
    if given.get("requestType") != "WADO" or given.get("transferSyntax", "*") != "*":
        return None
    uids = [given.get(key, "") for key in ("studyUID", "seriesUID", "objectUID")]
    return Route(Access.RETRIEVE, *uids) if all(map(is_uid, uids)) else None


def query_pairs(public_uri: str) -> list[tuple[str, str]]:
    """Split the query of a URI as it came, so that no duplicate is lost.

    At the question mark and nowhere else: urlsplit looks for hosts, cuts off fragments, drops
    control characters and raises ValueError, none of which nginx or Orthanc does.
    """
    return parse_qsl(public_uri.partition("?")[2], keep_blank_values=True)


def inner_path(method: str, public_uri: str) -> str:
    """Map a public URI to the path that nginx asks Orthanc for.

    /orthanc is stripped, and a search goes to the callback that limits it to clinics.
    """
    written = public_uri.partition("?")[0].encode(errors="surrogatepass")
    path = unquote_to_bytes(written).decode(errors="replace")
    path = path.removeprefix("/orthanc")
    search = _SEARCH.fullmatch(path) if method == "GET" else None
    return f"/clinic-search{search['rest']}" if search else path
