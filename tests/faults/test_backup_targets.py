"""Backups to real servers elsewhere: by SFTP, to S3, and by REST where only adding is allowed."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from harness.drop import drop_files
from harness.phantom import ct
from harness.stack import TOP, make, temporary_copy
from harness.targets import Backup, Server, serving
from harness.wait import wait_until
from stack.credentials import write_private
from stack.shell import attempt, podman

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.people import People
    from harness.stack import Stack

CLINIC = "clinic-elsewhere"
ANOTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK2jcaGQpfpEu/MT3dquKTRoj10ysEcM5u2DVTb3UgEH"
# Nobody listens there.
AWAY = ("s3:http://127.0.0.1:7333/bucket", "rest:http://127.0.0.1:7000/")
OPEN = "from dicom_backup import config, restic; restic.repository(config.load()).identity()"
FORGET = """
from dicom_backup import config, restic
restic.repository(config.load()).remove("forget", "latest")
"""
# A process that begins a backup and is killed when it holds its lock.
KILLED = """
import subprocess, time
from dicom_backup import config, restic
made = restic.repository(config.load())
env = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "RESTIC_PASSWORD_FILE": str(made.key_file), **made.environment}
words = ["restic", "--repo", made.target, *made.options, "backup", "--stdin"]
held = subprocess.Popen(words, env=env, stdin=subprocess.PIPE)
while not made.locks():
    time.sleep(0.1)
held.kill()
"""


@pytest.fixture(scope="module")
def sftp(stack: Stack) -> Iterator[Server]:
    """Provide an OpenSSH server."""
    with serving(stack, "sftp") as server:
        yield server


@pytest.fixture(scope="module")
def env_file(stack: Stack, sftp: Server) -> Iterator[Path]:
    """Provide settings of the stack that back it up by SFTP, up until the end of these tests."""
    data = stack.data_dir
    write_private(data / "secrets" / "backup_ssh_key", sftp.ssh_key, 0, 0o600)
    changes = {"BACKUP_TARGET": sftp.target, "BACKUP_HOST_KEY": sftp.host_key}
    made = temporary_copy(stack.podman_settings.env_file, **changes)
    try:
        make("up", made)
        yield made
    finally:
        write_private(data / "secrets" / "backup_ssh_key", "", 0, 0o600)
        make("up", stack.podman_settings.env_file)
        shutil.rmtree(data / "backup")
        shutil.rmtree(data / "dicom" / ".by-day")
        made.unlink()


@pytest.fixture(scope="module")
def by_sftp(stack: Stack, sftp: Server, people: People, env_file: Path) -> Backup:
    """Provide the backup that the stack makes by its settings."""
    del env_file
    people.clinic(CLINIC, "Clinic of the backup elsewhere")
    backup = Backup(stack, sftp)
    backup.prepare()
    return backup


@pytest.fixture(scope="module", params=["s3", "rest"])
def other(stack: Stack, by_sftp: Backup, request: pytest.FixtureRequest) -> Iterator[Backup]:
    """Provide backups of the same to another server."""
    del by_sftp
    with serving(stack, request.param) as server:
        backup = Backup(stack, server)
        backup.prepare()
        yield backup


def newest(backup: Backup) -> dict[str, Any]:
    """Return the record of the newest complete run."""
    return dict(json.loads(backup.restic("dump", "--tag=complete", "latest", "/run.json").stdout))


def add_study(stack: Stack, number: int) -> None:
    """Import one more study."""
    done = drop_files(stack, CLINIC, ct(number, slices=2).files)
    assert len(done.processed) == 2, done.reasons


def assert_all_is_there(backup: Backup) -> None:
    """Bring everything of the newest run back by restic, and compare it with what it was made of."""
    data = backup.stack.data_dir
    back = data / "backup" / "back"
    run = newest(backup)
    days = [part["snapshot"] for part in run["images"].values()]
    for snapshot in (run["service"]["snapshot"], *days):
        done = backup.restic("restore", snapshot, "--target=/data/backup/back")
        assert done.returncode == 0, done.stderr
    # Orthanc writes what it keeps beside a study when nothing comes any more.
    began_s = datetime.fromisoformat(run["began"]).timestamp() + 1  # whole seconds
    found = [p for p in (data / "dicom").glob("??/??/*") if p.stat().st_mtime < began_s]
    images = {path.name: path.read_bytes() for path in found}
    assert len(images) >= 4
    assert {name: (back / name).read_bytes() for name in images} == images
    for name in (
        "secrets/values.json",
        "tls/ca.key",
        "backup/dumps/orthanc.dump",
        "backup/dumps/keycloak.dump",
    ):
        assert (back / name).read_bytes() == (data / name).read_bytes(), name
    shutil.rmtree(back)


def status(env_file: Path) -> str:
    """Return what `make status` says of the backup."""
    done = attempt(["make", "-s", "-C", str(TOP), "status", f"ENV={env_file}"])
    return "\n".join(line for line in done.stdout.splitlines() if "backup" in line)


def test_by_sftp_everything_goes_there_and_comes_back(
    stack: Stack, by_sftp: Backup, env_file: Path
) -> None:
    add_study(stack, 51)
    said = make("backup", env_file)
    assert "! " not in said, said
    by_sftp.open_at_once()
    add_study(stack, 52)
    by_sftp.work("run")
    assert "found it whole" in make("backup-check", env_file)
    assert_all_is_there(by_sftp)
    shown = status(env_file)
    assert by_sftp.server.target in shown
    assert "! backup" not in shown


def test_a_server_with_another_host_key_gets_nothing(by_sftp: Backup) -> None:
    before = podman("exec", by_sftp.server.container, "sh", "-c", "find /home/nas | wc -l")
    said = by_sftp.fail("run", BACKUP_HOST_KEY=ANOTHER_KEY)
    assert "shows another host key (SHA256:" in said
    assert "set BACKUP_HOST_KEY to the line in its /etc/ssh/ssh_host_ed25519_key.pub" in said
    said = by_sftp.fail("run", BACKUP_HOST_KEY="")
    assert "whether the server of" in said
    after = podman("exec", by_sftp.server.container, "sh", "-c", "find /home/nas | wc -l")
    assert before == after
    by_sftp.work("run")


def test_a_key_that_the_server_does_not_know_is_said(by_sftp: Backup) -> None:
    make_key = 'rm -f /tmp/other*; ssh-keygen -q -t ed25519 -N "" -f /tmp/other && cat /tmp/other'
    try:
        for key in (podman("exec", by_sftp.server.container, "sh", "-c", make_key), "\n"):
            by_sftp.give("backup_ssh_key", key)
            said = by_sftp.fail("run")
            assert "does not let the backup in: the secret backup_ssh_key must hold" in said
    finally:
        by_sftp.give("backup_ssh_key", by_sftp.server.ssh_key)
    by_sftp.work("run")


def test_a_server_that_is_away_is_said_in_red_and_the_next_run_goes_on(
    stack: Stack, by_sftp: Backup, env_file: Path
) -> None:
    before = newest(by_sftp)
    podman("stop", "--time=1", by_sftp.server.container)
    try:
        add_study(stack, 53)
        assert "does not answer: is it on, is the address right" in by_sftp.fail("run")
        shown = status(env_file)
        assert "! backup: the server of" in shown
        assert "does not answer" in shown
    finally:
        podman("start", by_sftp.server.container)
    asked = ("cat", "config", "--no-lock")
    wait_until(lambda: not by_sftp.restic(*asked).returncode, 60, "the server is back")
    assert newest(by_sftp) == before
    by_sftp.work("run")
    assert_all_is_there(by_sftp)


def test_to_another_server_everything_goes_and_comes_back(stack: Stack, other: Backup) -> None:
    # Of S3 there is not even the bucket yet.
    prune = {"BACKUP_PRUNE": "no" if other.server.kind == "rest" else "yes"}
    other.work("run", "--dump", **prune)
    other.open_at_once()
    add_study(stack, 54)
    other.work("run", **prune)
    assert "found it whole" in other.work("check", "--everything", **prune)
    assert_all_is_there(other)
    assert other.restic("list", "locks", "--no-lock").stdout == ""


def test_wrong_credentials_and_servers_that_are_away_are_said(other: Backup) -> None:
    before = newest(other)
    names = {"s3": "AWS_ACCESS_KEY_ID=…", "rest": "RESTIC_REST_USERNAME=…"}
    # Each takes as long as restic tries: all of them at once.
    away = AWAY if other.server.kind == "s3" else ()
    try:
        with ThreadPoolExecutor() as together:
            waiting = [
                together.submit(other.call, "python3", "-c", OPEN, BACKUP_TARGET=target)
                for target in away
            ]
            other.give("backup_credentials", other.server.credentials.replace("=stack", "=nobody"))
            refused = other.fail("run")
            for tried in waiting:
                assert "does not answer: is it on, is the address right" in tried.result().stderr
        other.give("backup_credentials", "")
        for said in (refused, other.fail("run")):
            assert f"refuses the credentials: give {names[other.server.kind]}" in said
    finally:
        other.give("backup_credentials", other.server.credentials)
    assert newest(other) == before
    other.work("run", BACKUP_PRUNE="no")


def test_a_server_whose_certificate_nobody_known_signed_gets_nothing(other: Backup) -> None:
    before = newest(other)
    mine = (other.stack.podman_settings.data_dir / "tls" / "ca.crt").read_text()
    try:
        if not other.server.ca:
            # By plain HTTP nobody proves anything: what is not asked for does not hinder.
            other.give("backup_ca", mine)
            other.work("run", BACKUP_PRUNE="no")
            return
        for given in (mine, "\n"):
            other.give("backup_ca", given)
            said = other.fail("run", BACKUP_PRUNE="no")
            assert "nobody that is trusted signed the certificate" in said
            assert "in the secret backup_ca" in said
    finally:
        other.give("backup_ca", other.server.ca)
    assert newest(other) == before
    other.work("run", BACKUP_PRUNE="no")


def test_where_only_adding_is_allowed_nothing_can_be_removed_and_locks_do_not_pile_up(
    other: Backup,
) -> None:
    if other.server.kind != "rest":
        # The other server lets remove, which is its control.
        other.work("check", BACKUP_PRUNE="yes")
        return
    there = other.restic("list", "snapshots", "--no-lock").stdout
    address = other.server.target.replace("8000", "8001")
    with_rights = replace(other, server=replace(other.server, target=address))
    assert "set BACKUP_PRUNE=no" in other.call("python3", "-c", FORGET).stderr
    assert other.restic("list", "snapshots", "--no-lock").stdout == there
    assert "found it whole" in other.work("check", BACKUP_PRUNE="no")
    done = other.call("python3", "-c", KILLED)
    assert done.returncode == 0, done.stderr
    assert other.restic("list", "locks", "--no-lock").stdout != ""
    other.work("run", BACKUP_PRUNE="no")
    assert other.restic("list", "locks", "--no-lock").stdout == ""
    # As docs/backup.md has it done: where removing is allowed for as long as it takes.
    with_rights.work("check", BACKUP_PRUNE="yes")
    assert with_rights.call("python3", "-c", FORGET).returncode == 0
    assert_all_is_there(other)
