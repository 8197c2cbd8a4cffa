"""Clinics and people: one command each, acting on Keycloak and the inboxes together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from stack import files
from stack.compose import one_shot
from stack.shell import CommandError, say

if TYPE_CHECKING:
    from stack.settings import Settings


# The state of a clinic that has an inbox, and the command that brings it there.
OPEN = "open"


def realm(settings: Settings, *args: str, stdin: str = "") -> str:
    """Run `dicom-importer realm …` and return what it printed; raises CommandError with its message."""
    done = one_shot(settings, "realm", *args, stdin=stdin)
    if done.returncode:
        raise CommandError((done.stderr.strip() or done.stdout.strip()).splitlines()[-1])
    return done.stdout.strip()


def add_clinic(settings: Settings, clinic: str, name: str) -> None:
    """Make a clinic or give an existing one its name: a group in Keycloak, then its folders."""
    said = realm(settings, "clinic", "--id", clinic, "--name", name)
    say(said)
    if said.endswith(f", {OPEN}"):
        _make_folders(settings, clinic)


def set_state(settings: Settings, clinic: str, state: str) -> None:
    """Open, close or archive a clinic: its inbox goes before nothing is taken in, and comes back after."""
    # Of one that is not known no folder is touched.
    realm(settings, "clinic-state", "--id", clinic)
    if state != OPEN:
        files.remove_inbox(settings, clinic)
    say(realm(settings, "clinic-state", "--id", clinic, "--set", state))
    if state == OPEN:
        _make_folders(settings, clinic)


def add_user(settings: Settings, name: str, clinics: str, role: str) -> None:
    """Make a person; prints the one-time password."""
    say(realm(settings, "user", *_who(name, clinics, role)))


def change_user(settings: Settings, name: str, clinics: str, role: str) -> None:
    """Give a person another role and other clinics."""
    say(realm(settings, "user-change", *_who(name, clinics, role)))


def show(settings: Settings) -> bool:
    """Print who there is, and the clinics; returns that all is well."""
    say(realm(settings, "users"))
    for clinic, name, state in clinics(settings):
        say(f"clinic {clinic} ({name}): {state}")
    return True


def clinics(settings: Settings) -> list[tuple[str, str, str]]:
    """Return id, name and state of the clinics that Keycloak knows."""
    listed = json.loads(realm(settings, "clinics"))
    return [(str(item["id"]), str(item["name"]), str(item["state"])) for item in listed]


def make_folders(settings: Settings) -> None:
    """Make the folders of every clinic that is open."""
    for clinic, _, state in clinics(settings):
        if state == OPEN:
            files.clinic_folders(settings, clinic)


def differences(settings: Settings) -> list[str]:
    """Say where the clinics in Keycloak and the inboxes do not fit together; raises CommandError."""
    inboxes = files.inboxes(settings)
    done = one_shot(settings, "realm", "check", *(f"--inbox={name}" for name in inboxes))
    if done.returncode and not done.stdout.strip():
        raise CommandError(done.stderr.strip().splitlines()[-1])
    return done.stdout.splitlines()


def _make_folders(settings: Settings, clinic: str) -> None:
    inbox = files.clinic_folders(settings, clinic)
    say(f"clinic {clinic}: workstations export into {inbox}")


def _who(name: str, clinics: str, role: str) -> tuple[str, ...]:
    where = ("--clinic", clinics) if clinics else ()
    return ("--name", name, *where, "--role", role)
