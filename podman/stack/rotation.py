"""`make rotate`: one secret gets a new value; `make up` then brings both of its sides in step."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stack import certificate, credentials
from stack.shell import CommandError, attempt, say

if TYPE_CHECKING:
    from stack.settings import Settings

TLS_KEY = "tls_key"
DATABASES = ("orthanc", "keycloak", "monitoring")


def renew(settings: Settings, name: str, file: str) -> None:
    """Give one secret a new value; raises CommandError for one that cannot have it from here.

    What the operator gives is read from `file`, else asked for or taken from the standard input.
    """
    try:
        if name == TLS_KEY:
            certificate.renew(settings)
        else:
            given = name in credentials.GIVEN_BY_OPERATOR
            value = _read(name, file) if given else ""
            credentials.renew(settings.data_dir / "secrets", name, value)
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from error
    say(f"{name}: a new value; who reads it only when starting is started anew")


def _read(name: str, file: str) -> str:
    if file:
        return Path(file).read_text().strip()
    if not sys.stdin.isatty():
        return sys.stdin.read().strip()
    if name in credentials.OF_LINES:
        raise ValueError(f"{name} has lines: write them into a file, make rotate SECRET={name} F=…")
    return getpass.getpass(f"{name}: ").strip()


def tell_database(settings: Settings) -> None:
    """Give a running PostgreSQL's roles their new passwords; one that starts does so by itself.

    Whether they are new shows in its own copies, which stay those of its start.
    """
    container = settings.container("postgresql")
    for name in DATABASES:
        copy = f"{name}_db_password"
        password = (settings.data_dir / "secrets" / f"postgresql.{copy}").read_text()
        shown = attempt(["podman", "exec", container, "cat", f"/run/secrets/{copy}"])
        if shown.returncode or shown.stdout == password:
            continue
        # By the standard input, since another process's arguments can be read; and a failing statement is not logged.
        options = (
            "--quiet",
            "--no-psqlrc",
            "--dbname=postgres",
            "--file=/etc/postgresql/roles.sql",
        )
        quiet = "--env=PGOPTIONS=-c log_min_error_statement=panic"
        psql = ["podman", "exec", "-i", quiet, container, "psql", *options]
        told = attempt([*psql, f"--set=name={name}", "--set=secret=-"], stdin=password)
        if told.returncode:
            raise CommandError(
                f"PostgreSQL did not take a new password; run make up again: {told.stderr.strip()}"
            )
