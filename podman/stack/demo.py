"""`make demo`: two clinics, four people and a real study in each inbox, found in the archive."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from stack import people
from stack.credentials import write_private
from stack.shell import CommandError, say

if TYPE_CHECKING:
    from stack.settings import Settings

CLINICS = {"clinic-a": "Clinic A", "clinic-b": "Clinic B"}
ROLES = ("physician", "technician")
# Real images that pydicom carries: magnetic resonance of a liver, computed tomography of a spine.
STUDIES = {"clinic-a": "examples_overlay.dcm", "clinic-b": "CT_small.dcm"}
FOLDER = "demo-study"
ARRIVAL_TIMEOUT_S = 60


def run(settings: Settings) -> None:
    """Make the clinics and people, drop the studies and print how to look at them."""
    for clinic, name in CLINICS.items():
        people.add_clinic(settings, clinic, name)
    logins = _logins(settings)
    for user, password in logins.items():
        role, _, letter = user.partition("-")
        who = f"user --name {user} --clinic clinic-{letter} --role {role} --reset --password-stdin"
        people.realm(settings, *who.split(), stdin=password)
    for clinic, study in STUDIES.items():
        _drop(settings, clinic, study)
    for clinic, study in STUDIES.items():
        _wait_filed(settings, clinic, study)
    say("")
    say(f"Open {settings.public_url} and log in:")
    for user, password in logins.items():
        say(f"  {user:13} {password}")


def _logins(settings: Settings) -> dict[str, str]:
    """Return the demo people's passwords, made once and kept for root's eyes."""
    path = settings.data_dir / "secrets" / "demo-logins.json"
    if not path.exists():
        names = [f"{role}-{clinic.rpartition('-')[2]}" for clinic in CLINICS for role in ROLES]
        write_private(
            path, json.dumps({name: secrets.token_urlsafe(12) + "aA1!" for name in names}), 0
        )
    return dict(json.loads(path.read_text()))


def _drop(settings: Settings, clinic: str, study: str) -> None:
    import pydicom  # noqa: PLC0415 - only its sample files are wanted, and only here

    processed = settings.data_dir / "files" / "processed" / clinic
    if any(processed.glob(f"*/{FOLDER}/{study}")):
        say(f"{clinic}: the study was dropped before")
        return
    target = settings.data_dir / "inbox" / clinic / FOLDER
    say(f"dropping {study} into {target}")
    target.mkdir(exist_ok=True)
    samples = Path(pydicom.__file__).parent / "data" / "test_files"
    shutil.copyfile(samples / study, target / study)


def _wait_filed(settings: Settings, clinic: str, study: str) -> None:
    """Wait until the study lies in processed/: then the archive holds it, verified."""
    deadline = time.monotonic() + int(settings.values["COOLDOWN_S"]) + ARRIVAL_TIMEOUT_S
    files = settings.data_dir / "files"
    while not any((files / "processed" / clinic).glob(f"*/{FOLDER}/{study}")):
        if any((files / "failed" / clinic).glob(f"*/{FOLDER}/{study}")):
            raise CommandError(
                f"{study} failed; the reason lies beside it in {files}/failed/{clinic}"
            )
        if time.monotonic() > deadline:
            raise CommandError(
                f"{clinic}: {study} was not imported in time; see make logs S=importer"
            )
        time.sleep(1)
    say(f"{clinic}: {study} is in the archive, verified")
