"""Clinics and people: one command each, acting on Keycloak and the inboxes together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from stack import files
from stack.compose import one_shot
from stack.shell import CommandError, say

if TYPE_CHECKING:
    from stack.settings import Settings


def realm(settings: Settings, *args: str, stdin: str = "") -> str:
    """Run `dicom-importer realm …` and return what it printed; raises CommandError with its message."""
    done = one_shot(settings, "realm", *args, stdin=stdin)
    if done.returncode:
        raise CommandError((done.stderr.strip() or done.stdout.strip()).splitlines()[-1])
    return done.stdout.strip()


def add_clinic(settings: Settings, clinic: str, name: str) -> None:
    """Make a clinic or give an existing one its name: a group in Keycloak, then its folders."""
    say(realm(settings, "clinic", "--id", clinic, "--name", name))
    say(f"clinic {clinic}: workstations export into {files.clinic_folders(settings, clinic)}")


def add_user(settings: Settings, name: str, clinics: str, role: str) -> None:
    """Make a person; prints the one-time password."""
    where = ("--clinic", clinics) if clinics else ()
    say(realm(settings, "user", "--name", name, *where, "--role", role))


def clinics(settings: Settings) -> list[str]:
    """Return the ids of the clinics that Keycloak knows."""
    listed = json.loads(realm(settings, "clinics"))
    return [str(item["id"]) for item in listed]
