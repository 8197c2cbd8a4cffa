"""The export of people beside each dump: everybody is in it with what they have, or it is said who is not."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from dicom_backup import realm, status
from dicom_backup.dumps import Programs
from dicom_backup.realm import Counts, RealmError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unit.backup.site import Database, Site

LOCKED = "ALTER TABLE user_entity RENAME COLUMN username TO login"
UNLOCKED = "ALTER TABLE user_entity RENAME COLUMN login TO username"


@pytest.fixture
def strange(database: Database) -> Iterator[None]:
    """Provide a database of another version of Keycloak."""
    database.ask("keycloak", LOCKED)
    yield
    database.ask("keycloak", UNLOCKED)


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def test_everybody_is_in_it_with_groups_roles_and_hashes_and_it_is_in_the_backup(
    site: Site, tmp_path: Path
) -> None:
    known = site.back_up()
    assert (known.error, known.realm_error, known.realm_people) == ("", "", 2)
    path = site.config.realm_dir / realm.NAME
    # It is as secret as the dump of the database.
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert "2 people exported" in " ".join(
        line.text for line in status.lines(site.config, known, site.now_s)
    )
    service = site.complete()[-1].service.snapshot
    site.tools.repository.run("restore", service, f"--target={tmp_path / 'back'}")
    found = read(tmp_path / "back" / "backup" / "realm" / realm.NAME)
    assert found == read(path)
    jane, zoe = found["users"]
    assert (jane["username"], jane["groups"], jane["realmRoles"], jane["clientRoles"]) == (
        *("jane", ["/clinics/clinic-a"], ["physician"]),
        {"realm-management": ["view-users"]},
    )
    assert jane["credentials"][0]["secretData"] == '{"value":"aGFzaA=="}'
    assert (zoe["username"], zoe["email"], zoe["realmRoles"]) == (
        *("zoë", "z@example.org"),
        ["default-roles-dicom"],
    )
    (clinics,) = found["groups"]
    assert clinics["subGroups"][0]["attributes"] == {"clinic_id": ["clinic-a"]}
    # An import makes the realm's own default role.
    assert [role["name"] for role in found["roles"]["realm"]] == ["physician"]


@pytest.mark.parametrize("lost", ["a person", "a hash", "a group", "a role"])
def test_who_is_missing_or_lacks_something_is_named(site: Site, lost: str) -> None:
    site.back_up()
    path = site.config.realm_dir / realm.NAME
    whole = {"jane": Counts(1, 1, 2), "zoë": Counts(0, 0, 1)}
    realm.prove(path, whole)
    found = read(path)
    jane = found["users"][0]
    if lost == "a person":
        del found["users"][0]
    else:
        del jane[{"a hash": "credentials", "a group": "groups", "a role": "clientRoles"}[lost]]
    path.chmod(0o600)
    path.write_text(json.dumps(found))
    with pytest.raises(RealmError, match=r"1 of 2 are missing .* \(jane\)"):
        realm.prove(path, whole)
    with pytest.raises(RealmError, match="nobody in the realm"):
        realm.prove(path, {})


@pytest.mark.usefixtures("strange")
def test_a_database_that_is_not_as_expected_is_said_and_the_backup_goes_on(
    site: Site, database: Database
) -> None:
    known = site.back_up()
    assert (known.error, known.dump_error) == ("", "")
    assert "Keycloak's people could not be exported: the database keycloak" in known.realm_error
    assert not all(line.well for line in status.lines(site.config, known, site.now_s))
    assert len(site.complete()) == 1
    database.ask("keycloak", UNLOCKED)
    # Sooner than in an hour.
    site.now_s += 900
    assert site.back_up().realm_error == ""
    database.ask("keycloak", LOCKED)


def test_an_export_that_fails_leaves_the_one_before(site: Site) -> None:
    site.back_up()
    path = site.config.realm_dir / realm.NAME
    before = path.read_bytes()
    site.tools = replace(site.tools, programs=Programs(psql="/bin/false"))
    with pytest.raises(RealmError, match="false failed with 1"):
        realm.export(site.config, site.tools.programs)
    assert path.read_bytes() == before
