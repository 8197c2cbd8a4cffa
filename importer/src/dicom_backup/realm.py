"""Keycloak's people as a file of its own, which another Keycloak can import: accounts, groups, roles, password hashes.

A by-product: what comes back after a loss is the database's dump. Keycloak's own `kc.sh export` is a second Keycloak of
400 MB. Clients and their service accounts are not in it: the stack makes them itself, with secrets that are its own.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from dicom_backup import dumps
from dicom_backup.config import Config
from dicom_backup.dumps import DumpError, Programs
from dicom_backup.durable import sync

REALM = "dicom"
NAME = f"{REALM}-people.json"
_SHOWN = 5
_SNAPSHOT = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
_ROLES = """
SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', k.name, 'description', k.description))), '[]')
FROM keycloak_role k JOIN realm r ON r.id = k.realm_id
WHERE r.name = 'dicom' AND NOT k.client_role AND k.id IS DISTINCT FROM r.default_role
"""
_GROUPS = """
SELECT coalesce(jsonb_agg(jsonb_build_object(
  'id', g.id, 'name', g.name, 'parent', g.parent_group,
  'attributes', (SELECT coalesce(jsonb_object_agg(a.name, a.held), '{}') FROM (
    SELECT name, jsonb_agg(value) AS held FROM group_attribute WHERE group_id = g.id GROUP BY name) a),
  'realmRoles', (SELECT coalesce(jsonb_agg(k.name), '[]') FROM group_role_mapping m
    JOIN keycloak_role k ON k.id = m.role_id WHERE m.group_id = g.id AND NOT k.client_role),
  'clientRoles', (SELECT coalesce(jsonb_object_agg(c.client_id, c.held), '{}') FROM (
    SELECT c.client_id, jsonb_agg(k.name) AS held FROM group_role_mapping m
    JOIN keycloak_role k ON k.id = m.role_id AND k.client_role JOIN client c ON c.id = k.client
    WHERE m.group_id = g.id GROUP BY c.client_id) c)) ORDER BY g.name), '[]')
FROM keycloak_group g JOIN realm r ON r.id = g.realm_id WHERE r.name = 'dicom'
"""
_PEOPLE = """
WITH RECURSIVE placed AS (
  SELECT g.id, '/' || g.name AS path FROM keycloak_group g
  WHERE NOT EXISTS (SELECT FROM keycloak_group p WHERE p.id = g.parent_group)
  UNION ALL SELECT g.id, placed.path || '/' || g.name FROM keycloak_group g JOIN placed ON placed.id = g.parent_group)
SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
  'id', u.id, 'username', u.username, 'enabled', u.enabled, 'email', u.email, 'emailVerified', u.email_verified,
  'firstName', u.first_name, 'lastName', u.last_name, 'createdTimestamp', u.created_timestamp,
  'notBefore', u.not_before,
  'attributes', (SELECT jsonb_object_agg(a.name, a.held) FROM (
    SELECT name, jsonb_agg(coalesce(long_value, value)) AS held FROM user_attribute
    WHERE user_id = u.id GROUP BY name) a),
  'requiredActions', (SELECT jsonb_agg(required_action) FROM user_required_action WHERE user_id = u.id),
  'credentials', (SELECT jsonb_agg(jsonb_build_object('id', c.id, 'type', c.type, 'userLabel', c.user_label,
    'createdDate', c.created_date, 'priority', c.priority, 'secretData', c.secret_data,
    'credentialData', c.credential_data) ORDER BY c.priority) FROM credential c WHERE c.user_id = u.id),
  'groups', (SELECT jsonb_agg(p.path ORDER BY p.path) FROM user_group_membership m
    JOIN placed p ON p.id = m.group_id WHERE m.user_id = u.id),
  'realmRoles', (SELECT jsonb_agg(k.name ORDER BY k.name) FROM user_role_mapping m
    JOIN keycloak_role k ON k.id = m.role_id WHERE m.user_id = u.id AND NOT k.client_role),
  'clientRoles', (SELECT jsonb_object_agg(c.client_id, c.held) FROM (
    SELECT c.client_id, jsonb_agg(k.name) AS held FROM user_role_mapping m
    JOIN keycloak_role k ON k.id = m.role_id AND k.client_role JOIN client c ON c.id = k.client
    WHERE m.user_id = u.id GROUP BY c.client_id) c))) ORDER BY u.username), '[]')
FROM user_entity u JOIN realm r ON r.id = u.realm_id
WHERE r.name = 'dicom' AND u.service_account_client_link IS NULL
"""
# Counted from the tables themselves: a person's name, how many hashes, groups and roles.
_COUNTED = """
SELECT coalesce(jsonb_object_agg(u.username, jsonb_build_array(
  (SELECT count(secret_data) FROM credential WHERE user_id = u.id),
  (SELECT count(*) FROM user_group_membership WHERE user_id = u.id),
  (SELECT count(*) FROM user_role_mapping WHERE user_id = u.id))), '{}')
FROM user_entity u WHERE u.realm_id IN (SELECT id FROM realm WHERE name = 'dicom')
AND u.service_account_client_link IS NULL
"""


class RealmError(Exception):
    """The people could not be exported, or not all of them; the text says who is missing."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What one person has: hashes of passwords and second factors, groups, roles."""

    credentials: int
    groups: int
    roles: int


def export(config: Config, programs: Programs) -> int:
    """Write everybody into a file that only the backup reads, and prove it; returns how many there are.

    Raises RealmError, and then the file before stays.
    """
    try:
        roles, groups, people, counted = dumps.ask(
            config, "keycloak", (_ROLES, _GROUPS, _PEOPLE, _COUNTED), programs, before=_SNAPSHOT
        )
        known = {name: Counts(*of) for name, of in json.loads(counted).items()}
        document = {
            "realm": REALM,
            "enabled": True,
            "roles": {"realm": json.loads(roles)},
            "groups": _tree(json.loads(groups)),
            "users": json.loads(people),
        }
        config.realm_dir.mkdir(mode=0o700, exist_ok=True)
        part = config.realm_dir / f"{NAME}.part"
        _write(part, json.dumps(document, indent=1))
        prove(part, known)
        part.rename(config.realm_dir / NAME)
        sync(config.realm_dir)
    except DumpError as error:
        raise RealmError(f"Keycloak's people could not be exported: {error}") from error
    except OSError as error:
        raise RealmError(
            f"Keycloak's people could not be exported into {config.realm_dir}: {error.strerror}"
        ) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RealmError(
            f"Keycloak's people could not be exported: its database is not as expected ({error})"
        ) from error
    return len(known)


def prove(path: Path, known: dict[str, Counts]) -> None:
    """Read an export and compare it with what the database counts of everybody; raises RealmError."""
    if not known:
        raise RealmError(f"Keycloak's database has nobody in the realm {REALM}: that cannot be")
    found = {}
    for person in json.loads(path.read_text())["users"]:
        hashes = [c for c in person.get("credentials", ()) if c.get("secretData")]
        roles = sum(len(names) for names in person.get("clientRoles", {}).values())
        roles += len(person.get("realmRoles", ()))
        found[person["username"]] = Counts(len(hashes), len(person.get("groups", ())), roles)
    lacking = sorted(name for name in known if found.get(name) != known[name])
    if lacking or found.keys() != known.keys():
        names = ", ".join(lacking[:_SHOWN]) or "of nobody"
        raise RealmError(
            f"the export of Keycloak's people is not whole: {len(lacking)} of {len(known)} are missing"
            f" or lack a password, group or role ({names}). The dump of the database has them; the export before stays"
        )


def _tree(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Put each group below its parent, as an import wants them."""
    made: dict[object, dict[str, object]] = {
        row["id"]: {k: v for k, v in row.items() if k != "parent"} | {"subGroups": []}
        for row in rows
    }
    top: list[dict[str, object]] = []
    for row in rows:
        above = made.get(row["parent"])
        below = above["subGroups"] if above else top
        if isinstance(below, list):
            below.append(made[row["id"]])
    return top


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
