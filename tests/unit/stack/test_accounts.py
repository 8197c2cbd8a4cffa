"""Accounts for uploads: what is written for sshd follows from who has one, and what is no key is not taken for one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from stack import accounts
from stack.accounts import NO_PASSWORD, AccountError
from stack.credentials import ensure_secrets
from stack.nt_hash import nt_hash
from stack.shell import attempt

if TYPE_CHECKING:
    from pathlib import Path

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK2jcaGQpfpEu/MT3dquKTRoj10ysEcM5u2DVTb3UgEH"


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Provide the inboxes of three clinics."""
    for clinic in ("clinic-a", "clinic-b", "root"):
        (tmp_path / "inbox" / clinic).mkdir(parents=True)
    return tmp_path / "inbox"


def test_each_account_has_a_number_of_its_own_for_good(tmp_path: Path, inbox: Path) -> None:
    accounts.give(tmp_path, inbox, "clinic-b")
    accounts.give(tmp_path, inbox, "clinic-a")
    before = {clinic: one.uid for clinic, one in accounts.read(tmp_path).items()}
    assert before == {"clinic-a": 7201, "clinic-b": 7200}
    accounts.give(tmp_path, inbox, "clinic-b", KEY)
    assert {clinic: one.uid for clinic, one in accounts.read(tmp_path).items()} == before
    users = (tmp_path / "passwd").read_text().splitlines()
    assert "clinic-b:x:7200:7106::/inbox:/usr/sbin/nologin" in users


def test_what_is_given_last_counts_alone(tmp_path: Path, inbox: Path) -> None:
    first = accounts.give(tmp_path, inbox, "clinic-a")
    second = accounts.give(tmp_path, inbox, "clinic-a")
    assert first != second
    assert (tmp_path / "keys" / "clinic-a").read_text() == ""
    shadow = (tmp_path / "shadow").read_text()
    salt = shadow.partition("clinic-a:$6$")[2].partition("$")[0]
    words = ["openssl", "passwd", "-6", "-salt", salt, "-stdin"]
    assert f"clinic-a:{attempt(words, stdin=second).stdout.strip()}:" in shadow
    assert not accounts.give(tmp_path, inbox, "clinic-a", f"# the NAS\n{KEY} nas\n")
    assert (tmp_path / "keys" / "clinic-a").read_text() == f"{KEY} nas\n"
    assert f"clinic-a:{NO_PASSWORD}:" in (tmp_path / "shadow").read_text()


def test_a_share_is_opened_by_the_password_and_not_by_keys(tmp_path: Path, inbox: Path) -> None:
    password = accounts.give(tmp_path, inbox, "clinic-a")
    accounts.give(tmp_path, inbox, "clinic-b", KEY)
    (line,) = (tmp_path / "smbpasswd").read_text().splitlines()
    name, uid, old, kept, flags, _, _ = line.split(":")
    assert (name, uid, old, kept) == ("clinic-a", "7200", "X" * 32, nt_hash(password))
    # As Samba reads it: a user's, in thirteen characters.
    assert (flags, len(flags)) == ("[U          ]", 13)
    assert (tmp_path / "smbpasswd").stat().st_mode & 0o777 == 0o600
    accounts.give(tmp_path, inbox, "clinic-a", KEY)
    assert (tmp_path / "smbpasswd").read_text() == ""


def test_an_account_from_before_there_were_shares_stays_and_says_so(
    tmp_path: Path, inbox: Path
) -> None:
    accounts.give(tmp_path, inbox, "clinic-a")
    assert accounts.listed(tmp_path, accounts.Doors()) == "clinic-a: opened by a password\n"
    file = tmp_path / "accounts.json"
    known = json.loads(file.read_text())
    del known["clinic-a"]["nt_hash"]
    file.write_text(json.dumps(known))
    accounts.ensure(tmp_path)
    assert "clinic-a:$6$" in (tmp_path / "shadow").read_text()
    assert (tmp_path / "smbpasswd").read_text() == ""
    assert "before there were shares (SFTP only)" in accounts.listed(tmp_path, accounts.Doors())


def test_who_is_given_an_account_is_told_where_it_opens_what(tmp_path: Path) -> None:
    ensure_secrets(tmp_path / "secrets", {"sftp": 0}, {})
    key = tmp_path / "secrets" / "sftp.sftp_host_key"
    doors = accounts.Doors("pacs.example.org", "2022", key, "192.0.2.5", "4450")
    (tmp_path / "known").write_text(accounts.public_key(key) + "\n")
    shown = attempt(["ssh-keygen", "-lf", str(tmp_path / "known")]).stdout.split()[1]
    there = (
        f"by SFTP into /inbox at sftp://clinic-a@pacs.example.org:2022, whose host key is {shown}\n"
        "into the network share \\\\192.0.2.5\\clinic-a, port 4450, as user clinic-a\n"
    )
    told = accounts.told("clinic-a", "word", doors)
    assert told.partition("\n")[2] == there
    assert accounts.told("clinic-a", "", doors).endswith(
        f"{there}its share opens by a password only: with keys nobody can open it\n"
    )
    usual = accounts.Doors(smb_host="192.0.2.5", smb_port="445")
    assert usual.addresses("x") == [r"into the network share \\192.0.2.5\x, as user x"]
    assert accounts.listed(tmp_path, usual).startswith("no clinic has an account\n")


def test_a_removed_account_is_in_no_file_and_a_lost_file_is_written_anew(
    tmp_path: Path, inbox: Path
) -> None:
    for clinic in ("clinic-a", "clinic-b"):
        accounts.give(tmp_path, inbox, clinic)
    accounts.remove(tmp_path, "clinic-a")
    (tmp_path / "passwd").unlink()
    accounts.ensure(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [p for p in files if "clinic-a" in p.read_text() or p.name == "clinic-a"]
    assert [p.name for p in files if "clinic-b" in p.read_text()]
    with pytest.raises(AccountError, match="has no account"):
        accounts.remove(tmp_path, "clinic-a")


@pytest.mark.parametrize("clinic", ["clinic-z", "..", "", "clinic-a/../clinic-b", "root", "a\nb"])
def test_who_is_no_clinic_gets_no_account(tmp_path: Path, inbox: Path, clinic: str) -> None:
    with pytest.raises(AccountError):
        accounts.give(tmp_path, inbox, clinic)
    assert not accounts.read(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n",
        "---- BEGIN SSH2 PUBLIC KEY ----\nAAAAC3NzaC1lZDI1NTE5AAAAIK2j\n",
        f'command="/bin/sh" {KEY}',
        "ssh-dss " + "A" * 80,
        "# nothing",
    ],
)
def test_what_is_no_public_key_is_refused_and_not_shown(
    tmp_path: Path, inbox: Path, text: str
) -> None:
    with pytest.raises(AccountError) as refused:
        accounts.give(tmp_path, inbox, "clinic-a", text)
    assert "AAAA" not in str(refused.value).replace("ssh-ed25519 AAAA…", "")
    assert "b3Bl" not in str(refused.value)


def test_the_servers_key_is_one_that_clients_know(tmp_path: Path) -> None:
    ensure_secrets(tmp_path, {"sftp": 0})
    made = tmp_path / "sftp.sftp_host_key"
    public = tmp_path / "host.pub"
    public.write_text(accounts.public_key(made) + "\n")
    shown = attempt(["ssh-keygen", "-l", "-f", str(public)])
    assert shown.stdout.split()[:2] == ["256", accounts.fingerprint(made)], shown.stderr
    before = made.read_text()
    ensure_secrets(tmp_path, {"sftp": 0})
    assert made.read_text() == before
