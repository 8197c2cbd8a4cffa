"""The gate that every request to the archive passes: token, route, owner, decision."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from clinic_access import rules
from clinic_access.cache import ExpiringCache
from clinic_access.index import IndexMissingError
from clinic_access.keys import KeyRing, KeysUnavailableError
from clinic_access.pace import Pace
from clinic_access.routes import WADO_URI, Access, Pairs, Route, inner_path, parse, query_pairs
from clinic_access.rules import Deny
from clinic_access.tokens import Caller, Kind, TokenRefusedError, UnknownKeyError, verify

# Either may be felt this late: a token past its end never, another owner of a study at most.
TOKEN_LIFETIME_S = 10.0
OWNER_LIFETIME_S = 10.0
MAX_TOKENS = 2_000
MAX_OWNERS = 20_000

# JPEG-LS and JPEG 2000 in an Accept header. GDCM, which encodes them, ends Orthanc with the one, since its calls reach
# DCMTK's functions of the same names, and with the other where a dose names no Number of Frames.
_UNENCODED = (
    *("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "image/jls", "image/x-jls"),
    *("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "image/jp2", "image/jpx"),
)

# What Orthanc takes for a read without a body when it asks its filter.
_READS = frozenset({"GET", "HEAD", "OPTIONS", "PROPFIND"})


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as Orthanc sees it: the path decoded, header names in lower case."""

    method: str
    path: str
    query: Pairs
    headers: Mapping[str, str]
    address: str


@dataclass(frozen=True, slots=True)
class Collaborators:
    """What the gate asks: the owner of a study (None: absent), the time in two ways, and what is not back yet.

    The last is after a disaster only, while images come back from the backup.
    """

    find_owner: Callable[[str], str | None]
    now_s: Callable[[], float]
    monotonic_s: Callable[[], float]
    lacks: Callable[[Route], bool]


@dataclass(frozen=True, slots=True)
class Gate:
    """Decides; its only state is what expires by time: caches, and how much each person has read."""

    issuer: str
    keys: KeyRing
    ask: Collaborators
    tokens: ExpiringCache[bytes, Caller] = field(init=False)
    owners: ExpiringCache[str, str] = field(init=False)
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        """Make the state on the clock that was given."""
        clock = self.ask.monotonic_s
        object.__setattr__(self, "tokens", ExpiringCache(MAX_TOKENS, clock))
        object.__setattr__(self, "owners", ExpiringCache(MAX_OWNERS, clock))
        object.__setattr__(self, "pace", Pace(clock))

    def decide(self, request: Request) -> Deny | None:
        """Deny, or allow by None and count it. The archive's own errors pass through."""
        return self._judge(request, self.pace.take)

    def _judge(self, request: Request, is_in_pace: Callable[[str], bool]) -> Deny | None:
        route = _route(request)
        if route and _open_to_all(route, request):
            return None
        caller = self.caller(request.headers)
        if isinstance(caller, Deny):
            return caller
        if route is None:
            return rules.NO_ROUTE
        # The importer speaks to the archive directly: its account, which reads, stores and removes
        # in every clinic, is worth nothing to somebody outside.
        if caller.kind is Kind.IMPORTER and _is_forwarded(request):
            return rules.FORBIDDEN
        owner = None
        if route.study and rules.may(caller, route.access) and rules.needs_owner(caller, route):
            owner = self._owner(route.study)
        denial = rules.decide(caller, route, owner)
        # Whoever speaks to the archive directly is told by Orthanc itself, and acts on each image by itself.
        if denial is None and _is_forwarded(request) and self._lacks(route):
            denial = rules.RETURNING
        if denial is None and route.access is Access.RETRIEVE and _wants_unencoded(request):
            denial = rules.NOT_ENCODED
        is_somebody = caller.kind is Kind.PERSON and _is_forwarded(request)
        if denial is None and is_somebody and not is_in_pace(caller.subject):
            return rules.TOO_MANY
        return denial

    def _lacks(self, route: Route) -> bool:
        try:
            return self.ask.lacks(route)
        except IndexMissingError:
            return True

    def explain(self, request: Request) -> Deny:
        """Say why the request that nginx names in two headers was refused."""
        method = request.headers.get("x-original-method", "GET")
        uri = request.headers.get("x-original-uri", "/")
        query = query_pairs(uri)
        if any(key == "_method" for key, _ in query):
            method = ""  # Orthanc lets a query turn GET into DELETE; we have no such route
        elif method in _READS:
            method = "GET"
        path = inner_path(method, uri)
        original = Request(method, path, query, request.headers, request.address)
        # What is allowed by now was refused before for a reason that has passed.
        return self._judge(original, self.pace.allows) or rules.ARCHIVE_MISSING

    def caller(self, headers: Mapping[str, str]) -> Caller | Deny:
        """Return whom the request's bearer token speaks for (RFC 6750 2.1)."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return rules.NO_TOKEN
        digest = sha256(token.encode(errors="surrogatepass")).digest()
        known = self.tokens.get(digest)
        now_s = self.ask.now_s()
        if known and now_s < known.expires_at_s:
            return known
        try:
            caller = self._verified(token, now_s)
        except TokenRefusedError as error:
            return Deny(401, str(error))
        except KeysUnavailableError:
            return rules.KEYS_MISSING
        self.tokens.put(digest, caller, TOKEN_LIFETIME_S)
        return caller

    def _verified(self, token: str, now_s: float) -> Caller:
        try:
            return verify(token, self.keys.current(), self.issuer, now_s)
        except UnknownKeyError as error:
            return verify(token, self.keys.newer(error.kid), self.issuer, now_s)

    def _owner(self, study: str) -> str | None:
        """Look the clinic up; an absent study is never cached: it may arrive any moment."""
        owner = self.owners.get(study)
        if owner is None:
            owner = self.ask.find_owner(study)
            if owner is not None:
                self.owners.put(study, owner, OWNER_LIFETIME_S)
        return owner


def _route(request: Request) -> Route | None:
    """Find the route; where a query decides, as Orthanc reads it and as it was written.

    Orthanc hands a repeated key over as one; the header can only take away from what is allowed.
    """
    route = parse(request.method, request.path, request.query)
    uri = request.headers.get("x-original-uri")
    if request.path == WADO_URI and uri and parse("GET", WADO_URI, query_pairs(uri)) != route:
        return None
    return route


def _wants_unencoded(request: Request) -> bool:
    accept = request.headers.get("accept", "").lower()
    return any(word in accept for word in _UNENCODED)


def _open_to_all(route: Route, request: Request) -> bool:
    """Tell whether the route needs no token: health on the spot, and why one was refused."""
    if route.access is Access.EXPLAIN:
        return True
    # nginx shares the loopback address on NixOS.
    local = request.address == "127.0.0.1" and not _is_forwarded(request)
    return route.access is Access.HEALTH and local


def _is_forwarded(request: Request) -> bool:
    """Tell whether a request came through nginx, which gives this header to all that it hands on."""
    return "x-forwarded-for" in request.headers
