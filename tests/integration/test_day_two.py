"""Day two of a clinic: people change, forget and leave; clinics are renamed, closed and archived."""

from __future__ import annotations

import re
import secrets
import shutil
from typing import TYPE_CHECKING

import pytest
from harness import phantom
from harness.dicomweb import Reader
from harness.drop import drop_files
from harness.people import claims, form_action, login, open_login_form
from harness.second_factor import Phone, prove, send_form
from harness.wait import wait_until
from integration.test_store import body, store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import requests
    from harness.people import People
    from harness.phantom import Study
    from harness.stack import Session, Stack

# How old the session's last proof may be, and the archive's knowledge of a study.
FELT_WITHIN_S = 20
WRONG = "Invalid username or password."


def fresh(kind: str) -> str:
    """Return a name that no other test knows."""
    return f"{kind}-{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def clinic(people: People) -> str:
    """Provide a clinic of this file's own."""
    name = fresh("clinic")
    people.clinic(name, "Clinic of day two")
    return name


@pytest.fixture(scope="module")
def study(stack: Stack, clinic: str) -> Study:
    """Provide a study of that clinic."""
    made = phantom.ct(seed=secrets.randbelow(10**6), slices=1, size=63)
    assert drop_files(stack, clinic, made.files).failed == {}
    return made


@pytest.fixture
def person(people: People, clinic: str) -> Iterator[Callable[[str], str]]:
    """Provide people of that clinic by role; the tests' records forget them afterwards."""
    made: list[str] = []

    def make(role: str) -> str:
        made.append(fresh(role))
        people.person(made[-1], role, "" if role == "admin" else clinic)
        return made[-1]

    yield make
    for name in made:
        people.told("user-leave", NAME=name)
        del people.passwords[name]


def given(stack: Stack, session: Session, name: str, password: str) -> requests.Response:
    """Enter name and password; returns what Keycloak answers."""
    page, _ = open_login_form(stack, session)
    fields = {"username": name, "password": password}
    return send_form(session, form_action(page.text), fields)


def one_time_password(said: str) -> str:
    """Return the password that a command printed."""
    return said.split("one-time password: ")[1].split(maxsplit=1)[0]


def felt(reader: Reader, status: int) -> None:
    """Wait until whoever holds this token is answered so."""
    wait_until(
        lambda: reader.get("/dicom-web/studies?limit=1").status_code == status,
        FELT_WITHIN_S,
        f"the token gets {status}",
    )


def row(people: People, name: str) -> str:
    """Return what the list of everybody says of a person."""
    listed = people.told("users").splitlines()
    (found,) = [line for line in listed if line.split()[0] == name]
    return " ".join(found.split()[1:])


def test_who_leaves_is_out_at_once_and_comes_back_only_as_a_new_person(
    stack: Stack, people: People, clinic: str, person: Callable[[str], str]
) -> None:
    name = person("physician")
    reader = Reader(stack, people.token(name, fresh=True))
    assert reader.get("/dicom-web/studies?limit=1").status_code == 200
    assert row(people, name) == f"physician {clinic} no"
    said = people.told("user-leave", NAME=name)
    assert "has left" in said
    felt(reader, 401)
    with stack.session() as session:
        assert WRONG in given(stack, session, name, people.passwords[name]).text
    assert row(people, name) == "- - no has left"
    refused = people.tell("user-password", NAME=name)
    assert refused.returncode
    assert f"{name} has left" in refused.stdout + refused.stderr
    back = people.told("user", NAME=name, ROLE="physician", CLINIC=clinic)
    with stack.session() as session:
        answer = given(stack, session, name, one_time_password(back))
        assert "execution=UPDATE_PASSWORD" in answer.headers["Location"]
    assert row(people, name) == f"physician {clinic} no"


def test_who_gets_another_role_or_clinic_has_the_new_one_alone_and_keeps_the_password(
    stack: Stack, people: People, clinic: str, study: Study, person: Callable[[str], str]
) -> None:
    name = person("physician")
    before = Reader(stack, people.token(name, fresh=True))
    assert before.study_uids() == {study.uid}
    people.told("user-change", NAME=name, ROLE="technician", CLINIC=clinic)
    felt(before, 401)
    after = Reader(stack, people.token(name, fresh=True))
    assert after.get("/dicom-web/studies?limit=1").status_code == 403
    people.told("user-change", NAME=name, ROLE="physician", CLINIC="clinic-a,clinic-b")
    felt(after, 401)
    last = Reader(stack, people.token(name, fresh=True))
    found = claims(last.token)["clinic_ids"]
    assert isinstance(found, list)
    assert sorted(found) == ["clinic-a", "clinic-b"]
    assert study.uid not in last.study_uids()


def test_a_forgotten_password_is_replaced_by_a_one_time_one_and_the_lock_lifted(
    stack: Stack, people: People, person: Callable[[str], str]
) -> None:
    name = person("physician")
    reader = Reader(stack, people.token(name, fresh=True))
    with stack.session() as session:
        for _ in range(5):
            assert WRONG in given(stack, session, name, "not the password, ever").text
        assert WRONG in given(stack, session, name, people.passwords[name]).text
    new = one_time_password(people.told("user-password", NAME=name))
    felt(reader, 401)
    with stack.session() as session:
        assert WRONG in given(stack, session, name, people.passwords[name]).text
        answer = given(stack, session, name, new)
        assert "execution=UPDATE_PASSWORD" in answer.headers["Location"]


def test_an_admin_who_lost_the_phone_sets_up_another_and_keeps_the_password(
    stack: Stack, people: People, person: Callable[[str], str]
) -> None:
    name = person("admin")
    password = people.passwords[name]
    assert login(stack, name, password, Phone())["access_token"]
    assert row(people, name) == "admin - yes"
    people.told("user-second-factor", NAME=name)
    assert row(people, name) == "admin - no"
    with stack.session() as session:
        answer = given(stack, session, name, password)
        assert "execution=CONFIGURE_TOTP" in answer.headers["Location"]
        assert "code=" in prove(session, answer, Phone()).headers["Location"]


@pytest.mark.parametrize("command", ["user-password", "user-second-factor", "user-leave"])
def test_a_name_that_nobody_has_is_said(people: People, command: str) -> None:
    done = people.tell(command, NAME="nobody-of-that-name")
    assert done.returncode
    assert "nobody is named 'nobody-of-that-name'" in done.stdout + done.stderr


def test_a_clinic_is_renamed_closed_archived_and_opened_again(
    stack: Stack, people: People, person: Callable[[str], str]
) -> None:
    clinic, inbox = fresh("clinic"), "waits for its end.part"
    people.clinic(clinic, "Clinic of before")
    study = phantom.ct(seed=secrets.randbelow(10**6), slices=1, size=63)
    assert drop_files(stack, clinic, study.files).failed == {}
    names = {role: person(role) for role in ("physician", "technician")}
    for role, name in names.items():
        people.told("user-change", NAME=name, ROLE=role, CLINIC=clinic)
    reader = Reader(stack, people.token(names["physician"], fresh=True))
    assert reader.study_uids() == {study.uid}

    # What waits would be forgotten.
    (stack.inbox(clinic) / inbox).write_bytes(b"half a file")
    refused = people.tell("clinic-close", ID=clinic)
    assert refused.returncode
    assert f"clinic {clinic} stays open" in refused.stdout + refused.stderr
    (stack.inbox(clinic) / inbox).unlink()

    assert "closed" in people.told("clinic-close", ID=clinic)
    people.clinic(clinic, "Clinic of afterwards")
    assert not stack.inbox(clinic).exists()
    assert f"clinic {clinic}" not in differences(people)
    more = phantom.ct(seed=secrets.randbelow(10**6), slices=1, size=63)
    answer = store(stack, people.token(names["technician"], fresh=True), body(more))
    assert (answer.status_code, "closed" in answer.text) == (403, True)
    reader = Reader(stack, people.token(names["physician"], fresh=True))
    assert reader.study_uids() == {study.uid}

    assert "only admins" in people.told("clinic-archive", ID=clinic)
    felt(reader, 401)
    reader = Reader(stack, people.token(names["physician"], fresh=True))
    assert reader.study_uids() == set()
    assert "clinic_ids" not in claims(reader.token)
    assert study.uid in Reader(stack, people.token("admin-x", fresh=True)).study_uids()
    refused = people.tell("user", NAME=fresh("late"), ROLE="physician", CLINIC=clinic)
    assert f"no clinic {clinic}" in refused.stdout + refused.stderr

    people.told("clinic-open", ID=clinic)
    answer = store(stack, people.token(names["technician"], fresh=True), body(more))
    assert answer.status_code == 200
    reader = Reader(stack, people.token(names["physician"], fresh=True))
    assert reader.study_uids() == {study.uid, more.uid}


def differences(people: People) -> str:
    """Return what status says."""
    return people.tell("status").stdout


def test_status_tells_of_inboxes_and_clinics_that_do_not_fit(
    stack: Stack, people: People, clinic: str
) -> None:
    stray = stack.files / "inbox" / fresh("stray")
    inbox = stack.inbox(clinic)
    told = f"inbox {stray.name} is no clinic's", f"clinic {clinic} is open and has no inbox"
    assert not [words for words in told if words in differences(people)]
    aside = stack.files / fresh("aside")
    stray.mkdir()
    inbox.rename(aside)
    try:
        said = differences(people)
    finally:
        stray.rmdir()
        people.clinic(clinic, "Clinic of day two")
        shutil.rmtree(aside)
    assert [words for words in told if words in said] == list(told)
    assert inbox.is_dir()
    assert not [words for words in told if words in differences(people)]


def test_the_doctor_finds_an_inbox_that_nobody_may_write_and_is_content_once_it_is_mended(
    stack: Stack, people: People, clinic: str
) -> None:
    def said() -> str:
        return people.tell("doctor").stdout

    inbox = stack.inbox(clinic)
    mode = inbox.stat().st_mode
    inbox.chmod(0o700)
    try:
        ill = said()
    finally:
        inbox.chmod(mode)
    assert re.search(rf"^! inboxes: \S+/{clinic} is of group \d+ with mode 700", ill, re.MULTILINE)
    well = said()
    assert "  inboxes: each can be written by its group and taken from\n" in well
    if stack.settings:
        # Whether something keeps this machine's clock is not the stack's doing.
        odd = [line for line in well.splitlines() if line.startswith("!")]
        assert [line for line in odd if not line.startswith("! clock")] == []
