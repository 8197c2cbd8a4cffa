"""The stack's secrets: made once, kept in files that only their reader can read, changed one by one."""

from __future__ import annotations

import argparse
import base64
import json
import os
import pwd
import re
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

UIDS = {
    "nginx": 7101,
    "keycloak": 7102,
    "ohif": 7101,
    "orthanc": 7104,
    "postgresql": 7105,
    "importer": 7106,
    "realm": 7107,
    "prometheus": 7108,
    "alertmanager": 7109,
    "loki": 7110,
    "grafana": 7111,
    "auditor": 7112,
    "backup": 7113,
    "hostmetrics": 7114,
    "dbmetrics": 7115,
    "nginxmetrics": 7116,
    "prober": 7117,
    "victorialogs": 7118,
    "shipper": 7119,
    "victoriametrics": 7120,
    "oauth2proxy": 7121,
    "receiver": 7122,
    # It becomes the user of the account that logs in.
    "sftp": 0,
    "smb": 0,
}

# The value behind each secret, and who reads it in which form under which file name; who must learn of a new one first
# comes first.
READERS = {
    "keycloak_db_password": {
        "postgresql": ("keycloak_db_password", "{}"),
        "keycloak": ("keycloak_db_password", "{}"),
        "backup": ("keycloak_pgpass", "postgresql:5432:keycloak:keycloak:{}\n"),
    },
    "orthanc_db_password": {
        "postgresql": ("orthanc_db_password", "{}"),
        "orthanc": ("orthanc_pgpass", "postgresql:5432:orthanc:orthanc:{}\n"),
        "backup": ("orthanc_pgpass", "postgresql:5432:orthanc:orthanc:{}\n"),
    },
    "monitoring_db_password": {
        "postgresql": ("monitoring_db_password", "{}"),
        "dbmetrics": ("monitoring_db_password", "{}"),
    },
    "realm_reconciler_secret": {
        "keycloak": ("realm_reconciler_secret", "{}"),
        "realm": ("realm_reconciler_secret", "{}"),
    },
    "orthanc_api_secret": {
        "realm": ("orthanc_api_secret", "{}"),
        "importer": ("orthanc_api_secret", "{}"),
    },
    "auditor_secret": {"realm": ("auditor_secret", "{}"), "auditor": ("auditor_secret", "{}")},
    "monitoring_secret": {
        "realm": ("monitoring_secret", "{}"),
        "prometheus": ("monitoring_secret", "{}"),
        "prober": ("monitoring_secret", "{}"),
    },
    "grafana_secret": {"realm": ("grafana_secret", "{}"), "grafana": ("grafana_secret", "{}")},
    "grafana_secret_key": {"grafana": ("grafana_secret_key", "{}")},
    "operator_pages_secret": {
        "realm": ("operator_pages_secret", "{}"),
        "oauth2proxy": ("operator_pages_secret", "{}"),
    },
    # A new one ends every session at the operator's pages.
    "operator_cookie_secret": {"oauth2proxy": ("operator_cookie_secret", "{}")},
    "smtp_password": {
        "realm": ("smtp_password", "{}"),
        "alertmanager": ("smtp_password", "{}"),
    },
    "alert_webhook_url": {"alertmanager": ("alert_webhook_url", "{}")},
    "alert_heartbeat_url": {"alertmanager": ("alert_heartbeat_url", "{}")},
    "telegram_token": {"alertmanager": ("telegram_token", "{}")},
    "sftp_host_key": {
        "sftp": ("sftp_host_key", "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n")
    },
    "backup_key": {"backup": ("backup_key", "{}")},
    "backup_ca": {"backup": ("backup_ca", "{}\n")},
    "backup_credentials": {"backup": ("backup_credentials", "{}\n")},
    "backup_ssh_key": {"backup": ("backup_ssh_key", "{}\n")},
}
# What has several lines is nothing to type.
OF_LINES = {"backup_ca", "backup_credentials", "backup_ssh_key"}
# Whoever knows such an address can post to it.
ADDRESSES = {"alert_webhook_url", "alert_heartbeat_url"}
GIVEN_BY_OPERATOR = {"smtp_password", "telegram_token", *ADDRESSES, *OF_LINES}
# Its value is in its reader's copy only, which no backup holds: beside what it opens it would guard nothing.
KEPT_APART = {"backup_key": "backup"}
# Who tells Keycloak of its own new value, and must be believed until then: its copy goes on with the values before it.
TELLS_ITSELF = ("realm", "realm_reconciler_secret")
FORMER_KEPT = 4
# Who reads a copy at a start only and need not start for a new value: Keycloak keeps the account that it made first.
READ_ONCE = {("keycloak", "realm_reconciler_secret")}
CANNOT_CHANGE = {
    "backup_key": "it is what the repository was made with",
    "grafana_secret_key": "Grafana could no longer read what it encrypted with it, and has no way to encrypt that anew",
}
# What an Ed25519 key of 32 random bytes begins with in PKCS #8 (RFC 8410, 7).
_ED25519 = bytes.fromhex("302e020100300506032b657004220420")


def readers(name: str) -> list[str]:
    """Return the services that must learn of a new value of a secret, in that order."""
    return [service for service in READERS[name] if (service, name) not in READ_ONCE]


def write_private(path: Path, text: str, uid: int, mode: int = 0o400) -> None:
    """Write a file durably that only `uid` can read; replaces an older one in one step."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        os.fchown(file.fileno(), uid, uid)
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def ensure_secrets(
    folder: Path, owners: Mapping[str, int] = UIDS, given: Mapping[str, Path] | None = None
) -> None:
    """Make every missing secret; what exists is kept, each reader's copy follows the value.

    What only the operator can give lies in a file of its own, which is empty until then.
    `owners` are the user ids of the services that get their copies, `given` the files of
    values that are kept elsewhere; raises OSError when one of these cannot be read and
    ValueError when it is empty or for no secret.
    """
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    values = folder / "values.json"
    known: dict[str, str] = json.loads(values.read_text()) if values.exists() else {}
    wanted = {
        name: known.get(name) or _made(name)
        for name in READERS
        if name not in GIVEN_BY_OPERATOR and name not in KEPT_APART
    }
    if wanted != known:
        write_private(values, json.dumps(wanted, indent=1), 0)
    wanted |= {name: _given(folder / name) for name in GIVEN_BY_OPERATOR}
    wanted |= {name: _kept_apart(folder / f"{KEPT_APART[name]}.{name}") for name in KEPT_APART}
    wanted |= {name: _kept_elsewhere(name, path) for name, path in (given or {}).items()}
    for name, readers in READERS.items():
        for service, (file, form) in readers.items():
            if service not in owners:
                continue
            path = folder / f"{service}.{file}"
            text, owner = form.format(wanted[name]), owners[service]
            if (service, name) == TELLS_ITSELF:
                text = _with_former(path, text)
            if not path.exists() or path.read_text() != text or path.stat().st_uid != owner:
                write_private(path, text, owner)


def renew(folder: Path, name: str, value: str = "") -> None:
    """Give a secret a new value, which its readers get by `ensure_secrets`; raises ValueError.

    The operator's own needs a value, the others are made. Whatever is cut off afterwards, the
    value is kept, and to hand it out once more does no harm.
    """
    if name not in READERS:
        raise ValueError(f"there is no secret {name}; the secrets are {', '.join(READERS)}")
    if name in CANNOT_CHANGE:
        raise ValueError(f"{name} cannot change: {CANNOT_CHANGE[name]}")
    if (name in GIVEN_BY_OPERATOR) != bool(value):
        raise ValueError(
            f"{name} is not yours to choose" if value else f"{name} is yours to give: it is empty"
        )
    if name == "backup_credentials":
        _refuse_malformed(value)
    if name == "backup_ca" and "-----BEGIN CERTIFICATE-----" not in value:
        raise ValueError("backup_ca: expected certificates in PEM (-----BEGIN CERTIFICATE-----)")
    if name in ADDRESSES and not re.fullmatch(r"https?://[^\s/]\S*", value):
        raise ValueError(f"{name}: expected an address, https://…")
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    if value:
        write_private(folder / name, value + "\n", 0, 0o600)
        return
    values = folder / "values.json"
    known: dict[str, str] = json.loads(values.read_text()) if values.exists() else {}
    known[name] = _made(name)
    write_private(values, json.dumps(known, indent=1), 0)


def given(folder: Path) -> set[str]:
    """Return which of the operator's own secrets hold a value."""
    files = {name: folder / name for name in GIVEN_BY_OPERATOR}
    return {name for name, file in files.items() if file.exists() and file.read_text().strip()}


def _made(name: str) -> str:
    if name == "sftp_host_key":
        return base64.b64encode(_ED25519 + secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(32)


def _refuse_malformed(lines: str) -> None:
    for number, line in enumerate(lines.splitlines(), start=1):
        name, equals, _ = line.strip().partition("=")
        if not name or name.startswith("#"):
            continue
        # What it holds is not shown.
        if not equals or not name.isidentifier():
            raise ValueError(
                f"line {number} of backup_credentials: expected NAME=VALUE, as AWS_ACCESS_KEY_ID=…"
            )


def _with_former(path: Path, value: str) -> str:
    before = path.read_text().split() if path.exists() else []
    return "\n".join(list(dict.fromkeys([value, *before]))[: 1 + FORMER_KEPT])


def _given(path: Path) -> str:
    if not path.exists():
        write_private(path, "", 0, 0o600)
    os.chown(path, 0, 0)
    path.chmod(0o600)
    return path.read_text().strip()


def _kept_apart(path: Path) -> str:
    return (path.read_text() if path.exists() else "") or secrets.token_urlsafe(32)


def _kept_elsewhere(name: str, path: Path) -> str:
    if name not in READERS:
        raise ValueError(f"there is no secret {name}; the secrets are {', '.join(READERS)}")
    value = path.read_text().strip()
    if not value:
        raise ValueError(f"{path}, the file of the secret {name}, is empty")
    return value


def main(argv: list[str]) -> int:
    """Make the secrets where systemd runs the services: by their users' names.

    A secret that is rotated gets a new value first, unless the operator's file has it already;
    who must learn of it is printed, in that order.
    """
    parser = argparse.ArgumentParser(prog="credentials", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--owner", action="append", default=[], metavar="SERVICE:USER")
    parser.add_argument("--value", action="append", default=[], metavar="SECRET:FILE")
    parser.add_argument("--rotate", choices=READERS, metavar="SECRET")
    words = parser.parse_args(argv)
    owners = dict(word.split(":", 1) for word in words.owner)
    given = dict(word.split(":", 1) for word in words.value)
    try:
        if words.rotate and words.rotate not in given:
            renew(words.folder, words.rotate)
        ensure_secrets(
            words.folder,
            {service: pwd.getpwnam(user).pw_uid for service, user in owners.items()},
            {name: Path(path) for name, path in given.items()},
        )
    except (OSError, ValueError) as error:
        sys.stderr.write(f"secrets: {error}\n")
        return 1
    if words.rotate:
        sys.stdout.write("".join(f"{s}\n" for s in readers(words.rotate) if s in owners))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
