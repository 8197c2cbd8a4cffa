"""The operator's commands on a running stack: status, clinics, people, and what a repeated `make up` does."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from harness.drop import drop_files
from harness.people import form_action, open_login_form
from harness.raw import serial
from harness.stack import TOP, make, temporary_copy
from stack.certificate import ensure_certificate, served
from stack.compose import ONE_SHOT, services
from stack.settings import load
from stack.shell import environment, podman

if TYPE_CHECKING:
    from pathlib import Path

    from harness.people import People
    from harness.stack import Stack


def failing(stack: Stack, target: str, *words: str) -> str:
    """Run a target that must fail; returns what it said."""
    env = f"ENV={stack.podman_settings.env_file}"
    command = ["/usr/bin/make", "-s", "-C", str(TOP), target, env, *words]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=300, env=environment()
    )
    assert done.returncode != 0, done.stdout
    return done.stdout + done.stderr


def started(stack: Stack) -> dict[str, str]:
    """Return when each container was started."""
    own = f"label=io.podman.compose.project={stack.podman_settings.project}"
    names = podman("ps", "--format", "{{.Names}}", "--filter", own).split()
    return {
        n: json.loads(podman("container", "inspect", n))[0]["State"]["StartedAt"] for n in names
    }


def test_make_up_again_restarts_nothing(stack: Stack) -> None:
    before = started(stack)
    text = make("up", stack.podman_settings.env_file)
    settings = stack.podman_settings
    lasting = set(services(settings)) - set(ONE_SHOT)
    assert set(before) == {settings.container(name) for name in lasting}
    assert started(stack) == before
    assert stack.url in text


def test_a_renewed_certificate_is_served_and_nothing_is_restarted(
    stack: Stack, tmp_path: Path
) -> None:
    before, seen = started(stack), [serial(stack.url)]
    settings = stack.podman_settings
    elsewhere = temporary_copy(settings.env_file, DATA_DIR=str(tmp_path))
    given = ensure_certificate(load(elsewhere)).path
    files = {"TLS_CERTIFICATE": str(given), "TLS_CERTIFICATE_KEY": str(given)}
    operators = temporary_copy(settings.env_file, **files)
    try:
        make("up", operators)
        seen.append(serial(stack.url))
        given.unlink()
        ensure_certificate(load(elsewhere))
        make("up", operators)
        seen.append(serial(stack.url))
    finally:
        make("up", settings.env_file)
    seen.append(serial(stack.url))
    served(settings).unlink()
    make("up", settings.env_file)
    seen.append(serial(stack.url))
    assert len(set(seen)) == len(seen)
    assert started(stack) == before


def test_status_is_well_until_an_import_fails_and_says_which(stack: Stack, people: People) -> None:
    people.clinic("clinic-status", "Clinic of the status test")
    make("status", stack.podman_settings.env_file) if not _any_failed(stack) else None
    outcome = drop_files(stack, "clinic-status", {"report.dcm": b"no DICOM at all" * 20})
    text = failing(stack, "status")
    assert re.search(r"! clinic clinic-status: 0 files pending, 1 failed", text), text
    assert "certificate for localhost" in text
    assert "! backup: there is NONE: set BACKUP_TARGET" in text
    for path in outcome.failed.values():
        path.unlink()
        path.with_name(path.name + ".error.json").unlink()


def _any_failed(stack: Stack) -> bool:
    return any((stack.files / "failed").rglob("*.error.json"))


def test_a_new_person_logs_in_with_the_one_time_password_and_must_change_it(
    stack: Stack, people: People
) -> None:
    assert people.passwords
    text = make(
        "user", stack.podman_settings.env_file, NAME="jane", CLINIC="clinic-a", ROLE="physician"
    )
    password = re.search(r"password[^:]*: *(\S+)", text)
    assert password, text
    with stack.session() as session:
        page, _ = open_login_form(stack, session)
        answer = session.post(
            form_action(page.text), data={"username": "jane", "password": password[1]}
        )
    assert answer.status_code == 200
    assert 'name="password-new"' in answer.text


@pytest.mark.parametrize(
    ("target", "words", "said"),
    [
        ("clinic", ("ID=Clinic_C", "NAME=x"), "Clinic_C"),
        ("user", ("NAME=joe", "CLINIC=nowhere", "ROLE=physician"), "nowhere"),
        ("user", ("NAME=joe", "CLINIC=clinic-a", "ROLE=surgeon"), "surgeon"),
        ("logs", ("S=apache",), "apache"),
        ("backup", (), "set BACKUP_TARGET"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(
    stack: Stack, target: str, words: tuple[str, ...], said: str
) -> None:
    assert said in failing(stack, target, *words)


def test_a_new_clinic_has_an_inbox_at_once(stack: Stack) -> None:
    make("clinic", stack.podman_settings.env_file, ID="clinic-new", NAME="New clinic")
    assert stack.inbox("clinic-new").is_dir()
    outcome = drop_files(stack, "clinic-new", {"note.txt": b"hello"})
    assert outcome.failed.keys() == {"note.txt"}
    for path in outcome.failed.values():
        path.unlink()
        path.with_name(path.name + ".error.json").unlink()


def test_each_change_of_the_configuration_is_kept(stack: Stack) -> None:
    kept = sorted((stack.podman_settings.data_dir / "config" / "snapshots").glob("*.tar.gz"))
    assert kept
    make("up", stack.podman_settings.env_file)
    assert (
        sorted((stack.podman_settings.data_dir / "config" / "snapshots").glob("*.tar.gz")) == kept
    )
