"""The decision itself: who may use which route on whose study."""

from dataclasses import dataclass

from clinic_access.routes import Access, Route
from clinic_access.tokens import Caller, Kind

# One answer for what is not there and for what belongs to another clinic, so that nobody can
# tell them apart.
_ABSENT_REASON = "no such resource"

_SERVICES = {
    Kind.IMPORTER: frozenset(
        {
            Access.SEARCH,
            Access.RETRIEVE,
            Access.STORE,
            Access.NATIVE_READ,
            Access.VERIFY,
            Access.REMOVE,  # a version that an administrator has another one replace
        }
    ),
    Kind.MONITORING: frozenset({Access.METRICS, Access.HEALTH}),
}
_ROLES = {
    # The importer asks, with the token of who brings something in or looks what came, for which clinics they do.
    "admin": frozenset({Access.SEARCH, Access.RETRIEVE, Access.NATIVE_READ, Access.DELIVER}),
    "physician": frozenset({Access.SEARCH, Access.RETRIEVE, Access.DELIVER}),
    "technician": frozenset({Access.DELIVER}),
}


@dataclass(frozen=True, slots=True)
class Deny:
    """A refusal: the HTTP status that the caller gets and the reason in words."""

    status: int
    reason: str


ABSENT = Deny(404, _ABSENT_REASON)
NO_ROUTE = Deny(404, _ABSENT_REASON)
NO_TOKEN = Deny(401, "no bearer token")
FORBIDDEN = Deny(403, "role does not allow this")
NOT_ENCODED = Deny(
    406, "the archive encodes neither JPEG-LS nor JPEG 2000: ask for transfer-syntax=*"
)
TOO_MANY = Deny(429, "too many requests of this person")
KEYS_MISSING = Deny(503, "identity provider not available")
ARCHIVE_MISSING = Deny(503, "archive not available")
RETURNING = Deny(503, "not all of it is back from the backup")


def may(caller: Caller, access: Access) -> bool:
    """Tell whether the caller may use routes of this kind at all."""
    if caller.kind is Kind.PERSON:
        return any(access in _ROLES.get(role, ()) for role in caller.roles)
    return access in _SERVICES[caller.kind]


def clinics_of(caller: Caller) -> tuple[str, ...] | None:
    """Name the clinics whose studies the caller reads; None: every one, and those of none."""
    if caller.kind is Kind.IMPORTER or is_admin(caller):
        return None
    return caller.clinic_ids


def brings_all(caller: Caller) -> bool:
    """Tell whether the caller brings anything into the own clinics."""
    return "technician" in caller.roles


def brings_derived(caller: Caller) -> bool:
    """Tell whether the caller adds what a viewer derives to studies of the own clinics."""
    return "physician" in caller.roles


def is_admin(caller: Caller) -> bool:
    """Tell whether the caller is a person who sees every clinic."""
    return caller.kind is Kind.PERSON and "admin" in caller.roles


def needs_owner(caller: Caller, route: Route) -> bool:
    """Tell whether the decision depends on which clinic the study belongs to."""
    return route.access is Access.RETRIEVE and clinics_of(caller) is not None


def decide(caller: Caller, route: Route, owner: str | None) -> Deny | None:
    """Deny, or allow by None; owner is the study's clinic, None for absent or not asked for."""
    if not may(caller, route.access):
        return FORBIDDEN
    if needs_owner(caller, route) and owner not in (clinics_of(caller) or ()):
        return ABSENT
    return None
