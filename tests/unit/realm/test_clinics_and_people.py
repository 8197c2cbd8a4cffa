"""Clinic ids and first passwords."""

import pytest
from clinic_access import tokens
from dicom_importer.realm import clinics
from dicom_importer.realm.clinics import ClinicError, check_id
from dicom_importer.realm.command import main
from dicom_importer.realm.people import PASSWORD_ALPHABET, one_time_password


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
