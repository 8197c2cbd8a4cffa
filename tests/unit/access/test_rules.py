"""The table of who may do what; every cell that is not allowed is denied."""

from __future__ import annotations

import pytest
from clinic_access.routes import Access, Route
from clinic_access.rules import (
    ABSENT,
    FORBIDDEN,
    brings_all,
    brings_derived,
    clinics_of,
    decide,
    is_admin,
)
from clinic_access.tokens import Caller, Kind
from hypothesis import given
from hypothesis import strategies as st


def caller(kind: Kind = Kind.PERSON, roles: str = "", clinics: str = "") -> Caller:
    """Make a caller from words."""
    return Caller(kind, "s", "n", frozenset(roles.split()), tuple(clinics.split()), 0.0)


CALLERS = {
    "admin": caller(roles="admin"),
    "physician": caller(roles="physician", clinics="clinic-a"),
    "technician": caller(roles="technician", clinics="clinic-a"),
    "nobody": caller(clinics="clinic-a"),
    "importer": caller(Kind.IMPORTER),
    "monitoring": caller(Kind.MONITORING),
}
MAY = {
    Access.SEARCH: {"admin", "physician", "importer"},
    Access.RETRIEVE: {"admin", "physician", "importer"},
    Access.STORE: {"importer"},
    Access.NATIVE_READ: {"admin", "importer"},
    Access.VERIFY: {"importer"},
    Access.REMOVE: {"importer"},
    Access.METRICS: {"monitoring"},
    Access.HEALTH: {"monitoring"},
    Access.EXPLAIN: set[str](),
    Access.DELIVER: {"admin", "physician", "technician"},
}


@pytest.mark.parametrize("access", Access)
@pytest.mark.parametrize("who", CALLERS)
def test_each_caller_may_do_what_the_table_says(who: str, access: Access) -> None:
    denial = decide(CALLERS[who], Route(access, "1.2"), "clinic-a")
    assert denial is (None if who in MAY[access] else FORBIDDEN)


def test_a_technician_brings_anything_and_a_physician_what_is_derived() -> None:
    assert {who for who in CALLERS if brings_all(CALLERS[who])} == {"technician"}
    assert {who for who in CALLERS if brings_derived(CALLERS[who])} == {"physician"}


def test_an_admin_is_a_person_with_that_role() -> None:
    assert {who for who in CALLERS if is_admin(CALLERS[who])} == {"admin"}
    assert not is_admin(caller(Kind.MONITORING, roles="admin"))


@pytest.mark.parametrize("owner", ["clinic-b", "clinic", "Clinic-A", "clinic-a ", "", None])
def test_a_study_of_another_clinic_is_as_absent_as_none(owner: str | None) -> None:
    physician = CALLERS["physician"]
    route = Route(Access.RETRIEVE, "1.2")
    assert decide(physician, route, "clinic-a") is None
    assert decide(physician, route, owner) is ABSENT


def test_a_physician_of_two_clinics_reads_both_and_no_third() -> None:
    both = caller(roles="physician", clinics="clinic-a clinic-b")
    route = Route(Access.RETRIEVE, "1.2")
    assert decide(both, route, "clinic-a") is None
    assert decide(both, route, "clinic-b") is None
    assert decide(both, route, "clinic-c") is ABSENT


def test_a_physician_without_a_clinic_reads_nothing() -> None:
    lonely = caller(roles="physician")
    assert clinics_of(lonely) == ()
    for owner in ("clinic-a", "", None):
        assert decide(lonely, Route(Access.RETRIEVE, "1.2"), owner) is ABSENT


def test_a_role_in_a_service_accounts_token_gives_it_nothing() -> None:
    odd = caller(Kind.MONITORING, roles="admin physician", clinics="clinic-a")
    assert clinics_of(odd) == ("clinic-a",)
    for access in (Access.SEARCH, Access.RETRIEVE, Access.STORE, Access.NATIVE_READ):
        assert decide(odd, Route(access, "1.2"), "clinic-a") is FORBIDDEN


# Each is a part of another, differs from it by case alone or would match it in a query.
ALIKE = ["clinic", "clinic-a", "clinic-a1", "clinic-ab", "c", "Clinic-A", "clinic-a ", "*", "", "a"]


@given(
    st.frozensets(st.sampled_from(["physician", "technician", "offline_access", "uma", "Admin"])),
    st.lists(st.sampled_from(ALIKE), unique=True),
    st.sampled_from([*ALIKE, None]),
)
def test_nobody_but_an_admin_retrieves_from_a_clinic_not_in_the_token(
    roles: frozenset[str], clinics: list[str], owner: str | None
) -> None:
    person = Caller(Kind.PERSON, "s", "n", roles, tuple(clinics), 0.0)
    allowed = decide(person, Route(Access.RETRIEVE, "1.2"), owner) is None
    assert allowed is ("physician" in roles and owner in clinics)
