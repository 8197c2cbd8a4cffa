"""Clinic ids and first passwords."""

import pytest
from clinic_access import tokens
from dicom_importer.realm import clinics, people
from dicom_importer.realm.clinics import ClinicError, check_id
from dicom_importer.realm.command import main
from dicom_importer.realm.people import PASSWORD_ALPHABET, PersonError, one_time_password
from dicom_importer.realm.representation import Representation
from dicom_importer.realm.rest import Keycloak


@pytest.mark.parametrize("clinic_id", ["a", "clinic-a", "0", "a1-b2-c3", "x" * 32])
def test_an_id_of_small_letters_digits_and_single_hyphens_is_one(clinic_id: str) -> None:
    assert check_id(clinic_id) == clinic_id


@pytest.mark.parametrize(
    "clinic_id",
    [
        "",
        "-a",
        "a-",
        "a--b",
        "A",
        "a b",
        "a_b",
        "a*",
        "a?",
        "a\\b",
        "a/b",
        "..",
        "a,b",
        "a\n",
        "ä",
        "٣",
        "x" * 33,
    ],
)
def test_an_id_that_a_query_or_a_path_would_read_otherwise_is_refused(clinic_id: str) -> None:
    with pytest.raises(ClinicError, match="cannot be a clinic's id"):
        check_id(clinic_id)


def test_a_one_time_password_must_be_changed_and_is_never_the_same() -> None:
    passwords = {one_time_password().value for _ in range(100)}
    assert len(passwords) == 100
    assert one_time_password().temporary


def test_a_one_time_password_has_four_groups_without_what_is_misread() -> None:
    groups = one_time_password().value.split("-")
    assert [len(group) for group in groups] == [4, 4, 4, 4]
    assert set("".join(groups)) <= set(PASSWORD_ALPHABET)
    assert not set("0o1l") & set(PASSWORD_ALPHABET)


def test_a_command_without_its_parts_is_not_understood(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["user", "--name", "jane"])
    assert "--role" in capsys.readouterr().err


def test_realm_and_archive_agree_on_what_a_clinic_id_is() -> None:
    # The importer's image carries no JWT library, so the realm cannot import the archive's rule.
    assert (clinics.CLINIC_ID.pattern, clinics.CLINIC_ID_LENGTH) == (
        tokens.CLINIC_ID.pattern,
        tokens.MAX_CLINIC_ID_CHARS,
    )


def group(name: str, **attributes: str) -> Representation:
    """Make a group below /clinics as Keycloak gives it."""
    return {"attributes": {key: [value] for key, value in attributes.items()}, "name": name}


def test_clinics_whose_inbox_is_where_it_should_be_make_no_difference() -> None:
    found = [
        group("clinic-a", clinic_id="clinic-a"),
        group("clinic-b", clinic_id="clinic-b", state="closed"),
        group("clinic-c", archived_clinic_id="clinic-c", state="archived"),
    ]
    assert clinics.differences(found, ["clinic-a"]) == []


@pytest.mark.parametrize(
    ("found", "inboxes", "words"),
    [
        (group("clinic-a", clinic_id="clinic-a"), [], "clinic clinic-a is open and has no inbox"),
        (
            group("clinic-a", clinic_id="clinic-a", state="closed"),
            ["clinic-a"],
            "clinic clinic-a is closed and has an inbox",
        ),
        (
            group("clinic-a", archived_clinic_id="clinic-a", state="archived"),
            ["clinic-a"],
            "clinic clinic-a is archived and has an inbox",
        ),
        (group("clinic-a"), [], "the group /clinics/clinic-a in Keycloak is no clinic"),
        (
            group("clinic-a", clinic_id="clinic-b"),
            ["clinic-b"],
            "the group /clinics/clinic-a in Keycloak is no clinic",
        ),
    ],
)
def test_what_does_not_fit_is_said(found: Representation, inboxes: list[str], words: str) -> None:
    (said,) = clinics.differences([found], inboxes)
    assert said.startswith(words)


def test_an_inbox_without_a_clinic_is_said() -> None:
    (said,) = clinics.differences([], ["clinic-a"])
    assert said.startswith("inbox clinic-a is no clinic's")


class Listing(Keycloak):
    """Keycloak, as far as it lists: answers by path."""

    def __init__(self, answers: dict[str, list[Representation]]) -> None:
        self.answers = answers

    def one(self, path: str) -> Representation:
        """Answer with the group of admins."""
        assert path == "/dicom/group-by-path/admins"
        return {"id": "1"}

    def all(self, path: str, **_parameters: str) -> list[Representation]:
        """Answer with what was given."""
        return self.answers.get(path, [])


@pytest.mark.parametrize("where", ["/dicom/groups/1/members", "/dicom/roles/admin/users"])
def test_an_admin_who_may_log_in_counts(where: str) -> None:
    def has(*others: tuple[str, bool]) -> bool:
        found = [("admin", True), *others]
        users: list[Representation] = [{"enabled": may, "username": name} for name, may in found]
        assert people.has_admin(Listing({where: users}), "dicom")
        return people.has_admin(Listing({where: users}), "dicom", besides="admin")

    assert not has()
    assert not has(("jane", False))
    assert has(("jane", True))


def test_the_only_admin_does_not_leave() -> None:
    user: Representation = {"enabled": True, "id": "2", "username": "admin"}
    keycloak = Listing({"/dicom/groups/1/members": [user]})
    with pytest.raises(PersonError, match="admin is the only admin: make another one first"):
        people.leave(keycloak, "dicom", user)
