"""The stack's secrets: made once, kept in files that only their reader can read."""

from __future__ import annotations

import json
import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

UIDS = {
    "nginx": 7101,
    "keycloak": 7102,
    "ohif": 7101,
    "orthanc": 7104,
    "postgresql": 7105,
    "importer": 7106,
    "realm": 7107,
}

# The value behind each secret, and who reads it in which form under which file name.
READERS = {
    "keycloak_db_password": {
        "postgresql": ("keycloak_db_password", "{}"),
        "keycloak": ("keycloak_db_password", "{}"),
    },
    "orthanc_db_password": {
        "postgresql": ("orthanc_db_password", "{}"),
        "orthanc": ("orthanc_pgpass", "postgresql:5432:orthanc:orthanc:{}\n"),
    },
    "realm_reconciler_secret": {
        "keycloak": ("realm_reconciler_secret", "{}"),
        "realm": ("realm_reconciler_secret", "{}"),
    },
    "orthanc_api_secret": {
        "importer": ("orthanc_api_secret", "{}"),
        "realm": ("orthanc_api_secret", "{}"),
    },
    "monitoring_secret": {"realm": ("monitoring_secret", "{}")},
    "grafana_secret": {"realm": ("grafana_secret", "{}")},
    "smtp_password": {"realm": ("smtp_password", "{}")},
}
GIVEN_BY_OPERATOR = {"smtp_password"}


def write_private(path: Path, text: str, uid: int, mode: int = 0o400) -> None:
    """Write a file durably that only `uid` can read; replaces an older one in one step."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        os.fchown(file.fileno(), uid, uid)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


def ensure_secrets(folder: Path) -> None:
    """Make every missing secret; what exists is kept, each reader's copy follows the value."""
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    values = folder / "values.json"
    known: dict[str, str] = json.loads(values.read_text()) if values.exists() else {}
    wanted = {
        name: known.get(name) or ("" if name in GIVEN_BY_OPERATOR else secrets.token_urlsafe(32))
        for name in READERS
    }
    if wanted != known:
        write_private(values, json.dumps(wanted, indent=1), 0)
    for name, readers in READERS.items():
        for service, (file, form) in readers.items():
            path = folder / f"{service}.{file}"
            if name in GIVEN_BY_OPERATOR and path.exists():
                os.chown(path, UIDS[service], UIDS[service])
                path.chmod(0o400)
            elif not path.exists() or path.read_text() != form.format(wanted[name]):
                write_private(path, form.format(wanted[name]), UIDS[service])
