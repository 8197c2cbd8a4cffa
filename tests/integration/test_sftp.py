"""A clinic's workstation uploads by SFTP, with OpenSSH's own client: into its own inbox, and nothing else."""

from __future__ import annotations

import os
import re
import secrets
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from harness import sftp
from harness.drop import Outcome, drop_files, put, settled
from harness.phantom import Study, ct, panoramic
from harness.wait import wait_until
from stack.accounts import CLINIC as CLINIC_ID
from stack.accounts import read
from stack.shell import attempt, podman

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.dicomweb import Reader
    from harness.people import People
    from harness.sftp import Account
    from harness.stack import Stack

SLICES = 500
OPENED = {"clinic-key": sftp.by_key, "clinic-word": sftp.by_password}
PASSWORD = "clinic-word"  # noqa: S105 - a clinic
BYTES_AT_CUT = 2_000_000
RATE_KBIT = 32_000
# Lets itself in, guesses twelve times, and would let itself in again.
GUESSING = r"""
printf '#!/bin/sh\necho "$told"\n' >/tmp/ask
chmod 700 /tmp/ask
export SSH_ASKPASS=/tmp/ask SSH_ASKPASS_REQUIRE=force told
options=(-oStrictHostKeyChecking=accept-new -oUserKnownHostsFile=/tmp/known -oNumberOfPasswordPrompts=1)
try() { told=$1 sftp "${options[@]}" -P 2022 "$where" </dev/null >/dev/null; }
try "$right" && echo welcome || echo refused
for number in {1..12}; do try "wrong $number"; done
try "$right" && echo welcome || echo refused
"""


@pytest.fixture(scope="module")
def accounts(
    stack: Stack, people: People, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Account]:
    """Provide an account of each clinic."""
    assert stack.value("SFTP_PORT")
    for clinic in OPENED:
        people.clinic(clinic, f"Clinic of {clinic}")
        people.person(f"physician-{clinic}", "physician", clinic)
    folder = tmp_path_factory.mktemp("workstation")
    made = {clinic: give(stack, clinic, folder) for clinic, give in OPENED.items()}
    # The second one had the door started anew.
    account = made[PASSWORD]
    wait_until(lambda: account.upload("pwd").returncode == 0, 20, "the door is open", stack.logs)
    return made


def exported(study: Study, folder: Path) -> Path:
    """Write a study as a workstation's export; returns its folder, of a name of its own."""
    target = folder / f"export-{secrets.token_hex(4)}"
    put(target, study.files)
    return target


def sizes(folder: Path) -> dict[str, int]:
    """Return what lies in a folder of an inbox, with its bytes."""
    return {path.name: path.stat().st_size for path in folder.glob("*")}


def is_swept(stack: Stack, clinic: str) -> Outcome:
    """Have the importer take something else, dropped now; it has then looked at everything older, too."""
    outcome = drop_files(stack, clinic, ct(seed=7, slices=1, size=63).files)
    assert outcome.processed
    return outcome


@pytest.mark.parametrize("clinic", OPENED)
def test_a_study_of_500_slices_arrives_and_its_physician_finds_it(
    stack: Stack,
    accounts: dict[str, Account],
    reader: Callable[[str], Reader],
    tmp_path: Path,
    clinic: str,
) -> None:
    study = ct(seed=11, slices=SLICES, size=63)
    folder = exported(study, tmp_path)
    done = accounts[clinic].upload(f"put -R {folder}")
    assert done.returncode == 0, done.stderr
    outcome = settled(stack, clinic, folder.name, timeout_s=120)
    assert outcome.processed.keys() == study.files.keys(), outcome.reasons
    assert all(path.read_bytes() == study.files[n] for n, path in outcome.processed.items())
    mine = reader(f"physician-{clinic}")
    found = mine.search(f"/dicom-web/instances?StudyInstanceUID={study.uid}&limit=10000")
    assert len(found) == SLICES
    (other,) = OPENED.keys() - {clinic}
    assert study.uid not in reader(f"physician-{other}").study_uids()


def test_a_slow_upload_that_pauses_is_cut_and_is_resumed_arrives_whole(
    stack: Stack, accounts: dict[str, Account], tmp_path: Path
) -> None:
    study = panoramic(seed=12, rows=2001, columns=2003)
    folder = exported(study, tmp_path)
    (name,) = study.files
    there = stack.inbox(PASSWORD) / folder.name
    account = accounts[PASSWORD]
    batch = (f"mkdir {folder.name}", f"put {folder}/{name} {folder.name}/{name}.part")
    with account.uploading(*batch, rate_kbit=RATE_KBIT) as client:
        wait_until(
            lambda: there.is_dir() and sizes(there).get(f"{name}.part", 0) > BYTES_AT_CUT,
            60,
            "the upload is in its middle",
        )
        os.killpg(client.pid, signal.SIGSTOP)
        # Longer than the cool-down, for one that waits.
        is_swept(stack, PASSWORD)
        paused = sizes(there)
        os.killpg(client.pid, signal.SIGCONT)
        wait_until(lambda: sizes(there) != paused, 30, "the upload goes on")
        os.killpg(client.pid, signal.SIGKILL)
    is_swept(stack, PASSWORD)
    assert BYTES_AT_CUT < sizes(there)[f"{name}.part"] < len(study.files[name])
    before = sizes(there)[f"{name}.part"]
    resumed = account.upload(
        f"reput {folder}/{name} {folder.name}/{name}.part",
        f"rename {folder.name}/{name}.part {folder.name}/{name}",
    )
    assert resumed.returncode == 0, f"{resumed.stderr} {before}"
    outcome = settled(stack, PASSWORD, folder.name)
    assert {n: p.read_bytes() for n, p in outcome.processed.items()} == study.files


def test_what_was_cut_under_its_final_name_fails_with_that_reason_and_arrives_when_sent_again(
    stack: Stack, accounts: dict[str, Account], tmp_path: Path
) -> None:
    study = panoramic(seed=13, rows=2001, columns=2003)
    folder = exported(study, tmp_path)
    (name,) = study.files
    there = stack.inbox(PASSWORD) / folder.name
    put_it = f"put {folder}/{name} {folder.name}/{name}"
    with accounts[PASSWORD].uploading(f"mkdir {folder.name}", put_it, rate_kbit=RATE_KBIT):
        wait_until(
            lambda: there.is_dir() and sizes(there).get(name, 0) > BYTES_AT_CUT,
            60,
            "the upload is in its middle",
        )
    cut = settled(stack, PASSWORD, folder.name)
    assert cut.reasons[name]["reason"] == "truncated"
    again = accounts[PASSWORD].upload(put_it)
    assert again.returncode == 0, again.stderr
    whole = settled(stack, PASSWORD, folder.name)
    assert {n: p.read_bytes() for n, p in whole.processed.items()} == study.files


def test_an_account_sees_its_own_inbox_and_nothing_else(
    stack: Stack, accounts: dict[str, Account], tmp_path: Path
) -> None:
    mine, other = accounts[PASSWORD], "clinic-key"
    (tmp_path / "x.part").write_bytes(b"held")
    waiting = stack.inbox(other) / "waiting.part"
    waiting.write_bytes(b"another clinic's")
    # Made by somebody on the host; by the door none is.
    link = stack.inbox(PASSWORD) / "leads-out"
    link.symlink_to(waiting.parent)
    try:
        shown = mine.upload("pwd", "ls -1a /", "cd /../../..", "pwd")
        assert shown.returncode == 0, shown.stderr
        lines = [line for line in shown.stdout.splitlines() if not line.startswith("sftp>")]
        assert [line.strip() for line in lines if line.strip("./ ")] == [
            "Remote working directory: /inbox",
            "/inbox",
            "Remote working directory: /",
        ]
        ways = (
            f"../{other}",
            f"../../{other}/inbox",
            f"/srv/sftp/{other}/inbox",
            str(waiting.parent),
            f"/inbox/{link.name}",
            "/proc/1/root/srv",
        )
        asked = [
            f"-{a}"
            for w in ways
            for a in (f"ls {w}/", f"cd {w}", f"put {tmp_path}/x.part {w}/x.part")
        ]
        refused = mine.upload(*asked)
        reasons = re.findall(r"^.*(?:not found|No such file).*$", refused.stderr, re.MULTILINE)
        assert len(reasons) == len(asked), refused.stderr
        asked = ["-symlink / out", "-ln waiting.part out", f"-put {tmp_path}/x.part /x.part"]
        refused = mine.upload(*asked)
        # The last one is of a file system that cannot be written.
        reasons = re.findall(r"Permission denied|does not support|Failure", refused.stderr)
        assert len(reasons) == len(asked), refused.stderr
        assert not [path for path in stack.inbox(PASSWORD).iterdir() if path.name == "out"]
        assert [path.name for path in waiting.parent.glob("*.part")] == ["waiting.part"]
    finally:
        waiting.unlink()
        link.unlink()


def test_what_was_uploaded_can_be_renamed_and_removed_and_not_read(
    stack: Stack, accounts: dict[str, Account], tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(b"what waits is nobody's to read")
    account, there = accounts[PASSWORD], stack.inbox(PASSWORD)
    name = f"held-{secrets.token_hex(4)}"
    done = account.upload(f"put {tmp_path}/x {name}.part", f"rename {name}.part {name}-2.part")
    assert done.returncode == 0, done.stderr
    mode = (there / f"{name}-2.part").stat()
    assert (mode.st_gid, mode.st_mode & 0o777) == (7106, 0o640)
    got = account.upload(f"get {name}-2.part {tmp_path}/got")
    assert "Permission denied" in got.stderr
    assert not (tmp_path / "got").exists() or not (tmp_path / "got").read_bytes()
    assert account.upload(f"rm {name}-2.part").returncode == 0
    assert not (there / f"{name}-2.part").exists()


@pytest.mark.parametrize("asked", ["-- id", "--", "-tt --", "-s -- shell"])
def test_there_is_no_shell_and_no_program(accounts: dict[str, Account], asked: str) -> None:
    refused = accounts[PASSWORD].ssh(asked)
    assert refused.returncode != 0
    assert "uid=" not in refused.stdout
    assert re.search(
        r"This service allows sftp connections only|subsystem request failed|PTY allocation",
        refused.stdout + refused.stderr,
    ), refused


def test_nothing_is_forwarded(accounts: dict[str, Account]) -> None:
    refused = accounts[PASSWORD].ssh("-W 127.0.0.1:2022 --")
    assert "administratively prohibited" in refused.stderr
    back = accounts[PASSWORD].ssh("-N -R 0:127.0.0.1:22 -oExitOnForwardFailure=yes --")
    assert "remote port forwarding failed" in back.stderr


@pytest.mark.parametrize("protocol", ["-s", "-O"])
def test_scp_reaches_the_inbox_at_most(
    stack: Stack, accounts: dict[str, Account], tmp_path: Path, protocol: str
) -> None:
    (tmp_path / "x.part").write_bytes(b"by scp")
    account = accounts[PASSWORD]
    call = ["scp", *account.options("-P"), protocol, f"{tmp_path}/x.part"]
    place = f"{account.clinic}@127.0.0.1:"
    outside = attempt([*call, f"{place}/etc/x.part"], env=account.environment())
    assert outside.returncode != 0
    within = attempt([*call, f"{place}by-scp.part"], env=account.environment())
    # By its old protocol it would run a program there.
    assert (within.returncode == 0) is (protocol == "-s"), within.stderr
    arrived = stack.inbox(PASSWORD) / "by-scp.part"
    assert arrived.exists() is (protocol == "-s")
    arrived.unlink(missing_ok=True)


def test_what_opens_one_account_opens_no_other(accounts: dict[str, Account]) -> None:
    for clinic, account in accounts.items():
        (other,) = OPENED.keys() - {clinic}
        assert account.upload("pwd").returncode == 0
        refused = replace(account, clinic=other).upload("pwd")
        assert "Permission denied (publickey,password)" in refused.stderr


def test_a_wrong_password_is_refused_and_told_of_without_it(
    stack: Stack, accounts: dict[str, Account]
) -> None:
    right = accounts[PASSWORD]
    wrong = replace(right, password=f"wrong-{secrets.token_hex(8)}")
    assert "Permission denied (publickey,password)" in wrong.upload("pwd").stderr
    assert right.upload("pwd").returncode == 0
    said = stack.logs("sftp", 10_000)
    assert f"Failed password for {PASSWORD} from " in said
    assert f"Accepted password for {PASSWORD} from " in said
    assert wrong.password not in said
    assert right.password not in said


def test_no_file_name_is_written_down(
    stack: Stack, accounts: dict[str, Account], tmp_path: Path
) -> None:
    patient = f"Doe^Jane-{secrets.token_hex(4)}.part"
    (tmp_path / patient).write_bytes(b"x")
    done = accounts[PASSWORD].upload(f'put "{tmp_path}/{patient}"', f'rm "{patient}"', "get absent")
    assert "not found" in done.stderr
    said = stack.logs("sftp", 10_000)
    assert f"Accepted password for {PASSWORD}" in said
    assert "Doe" not in said
    assert "absent" not in said


def test_a_renewed_account_opens_by_what_is_new_and_a_removed_one_by_nothing(
    stack: Stack, people: People, accounts: dict[str, Account], tmp_path: Path
) -> None:
    clinic = "clinic-gone"
    people.clinic(clinic, "Clinic that goes")
    first = sftp.by_password(stack, clinic, tmp_path)
    wait_until(lambda: first.upload("pwd").returncode == 0, 20, "the door is open", stack.logs)
    second = sftp.by_password(stack, clinic, tmp_path)
    assert second.upload("pwd").returncode == 0
    assert "Permission denied" in first.upload("pwd").stderr
    assert f"{clinic}: opened by a password" in stack.operate("accounts")
    stack.operate("account-remove", CLINIC=clinic)
    wait_until(
        lambda: accounts[PASSWORD].upload("pwd").returncode == 0, 20, "the door is open", stack.logs
    )
    assert "Permission denied" in second.upload("pwd").stderr
    assert clinic not in stack.operate("accounts")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"CLINIC": "clinic-nowhere"}, "there is no clinic 'clinic-nowhere'"),
        ({"CLINIC": "../clinic-word"}, "there is no clinic '../clinic-word'"),
        ({"CLINIC": PASSWORD, "KEY_FILE": "/nowhere/id.pub"}, "No such file"),
        ({"CLINIC": PASSWORD, "KEY_FILE": "/etc/hostname"}, "expected public keys"),
    ],
)
def test_an_account_that_cannot_be_is_refused_with_what_to_do(
    stack: Stack, accounts: dict[str, Account], given: dict[str, str], reason: str
) -> None:
    refused = stack.attempt("account", **given)
    assert refused.returncode != 0
    assert reason in refused.stderr
    assert accounts[PASSWORD].upload("pwd").returncode == 0


def test_only_hashes_of_passwords_are_kept(stack: Stack, accounts: dict[str, Account]) -> None:
    folder = stack.data_dir / "secrets" / "accounts"
    kept = read(folder)
    assert all(CLINIC_ID.fullmatch(clinic) for clinic in kept)
    assert kept[PASSWORD].password_hash.startswith("$6$")
    texts = [path.read_text() for path in folder.rglob("*") if path.is_file()]
    assert any(kept[PASSWORD].password_hash in text for text in texts)
    assert not any(accounts[PASSWORD].password in text for text in texts)
    assert (folder / "shadow").stat().st_mode & 0o777 == 0o600


def test_an_address_that_guesses_is_shut_out_for_a_while_and_others_are_not(
    stack: Stack, accounts: dict[str, Account]
) -> None:
    settings = stack.podman_settings
    right = accounts[PASSWORD]
    image = podman("container", "inspect", "-f", "{{.ImageName}}", stack.container("sftp")).strip()
    address = f"{settings.prefix('FRONTEND')}.33"
    # From an address of its own, by the same client.
    words = ["podman", "run", "-i", "--rm", f"--network={settings.project}_frontend"]
    words += ["--no-healthcheck", "--entrypoint=bash", image, "-s"]
    guessing = [f"right={right.password} where={PASSWORD}@{address}", GUESSING]
    done = attempt(words, stdin="\n".join(guessing), timeout_s=90)
    assert done.stdout.split() == ["welcome", "refused"], done.stderr
    dropped = r"drop connection .* penalty: failed authentication"
    assert re.search(dropped, stack.logs("sftp", 10_000)), stack.logs("sftp")
    assert right.upload("pwd").returncode == 0
