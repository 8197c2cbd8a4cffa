"""Accounts for uploads: one a clinic, by key or a password of which only hashes are kept, in files that doors read."""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import secrets
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from stack.credentials import write_private
from stack.nt_hash import nt_hash

# From here on upwards, a number an account; no other user of the stack or of a host has them.
FIRST_UID = 7200
# The importer's: the group that inboxes belong to.
INBOX_GID = 7106
CLINIC = re.compile(r"[a-z0-9](-?[a-z0-9])*")
CLINIC_LENGTH = 32
# Users of the server itself.
SYSTEM = (
    "root:x:0:0::/nonexistent:{shell}\nsshd:x:7123:7123::/nonexistent:{shell}\n"
    # Samba wants one to call guests by, though none is let in.
    "nobody:x:65534:65534::/nonexistent:{shell}\n"
)
NO_SHELL = "/usr/sbin/nologin"
# As shadow(5) writes that no password opens an account.
NO_PASSWORD = "*"  # noqa: S105 - none
# smbpasswd(5), without the hash of LAN Manager, and with a time that says that the password was set.
SMBPASSWD = f"{{}}:{{}}:{'X' * 32}:{{}}:[U          ]:LCT-68000000:\n"
KEY = re.compile(
    r"(ssh-ed25519|sk-ssh-ed25519@openssh\.com|ecdsa-sha2-nistp(256|384|521)|ssh-rsa)"
    r" [A-Za-z0-9+/]{40,}=*( .*)?"
)


# Windows asks no other port.
WINDOWS_PORT = "445"


class AccountError(Exception):
    """An account that cannot be made; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """A clinic's account: its user id, and what opens it (a password, or keys).

    `nt_hash` is what Samba knows the password by; it is empty where keys were given, or where the
    password was given before there were shares.
    """

    uid: int
    password_hash: str = NO_PASSWORD
    keys: tuple[str, ...] = ()
    nt_hash: str = ""

    @property
    def opened_by(self) -> str:
        """What opens it, in words."""
        if self.keys:
            return f"{len(self.keys)} key(s)"
        return (
            "a password" if self.nt_hash else "a password from before there were shares (SFTP only)"
        )


@dataclass(frozen=True, slots=True)
class Doors:
    """Where the doors are that accounts open; one without a port is closed.

    `host_key` is the file of sshd's private key; `smb_host` is what shares are asked for at.
    """

    host: str = ""
    sftp_port: str = ""
    host_key: Path = Path()
    smb_host: str = ""
    smb_port: str = ""

    def addresses(self, clinic: str) -> list[str]:
        """Return a line a door: where a clinic uploads to."""
        found = []
        if self.sftp_port:
            where = f"sftp://{clinic}@{self.host}:{self.sftp_port}"
            key = fingerprint(self.host_key)
            found.append(f"by SFTP into /inbox at {where}, whose host key is {key}")
        if self.smb_port:
            other = f", port {self.smb_port}" if self.smb_port != WINDOWS_PORT else ""
            share = rf"\\{self.smb_host}\{clinic}"
            found.append(f"into the network share {share}{other}, as user {clinic}")
        return found


def read(folder: Path) -> dict[str, Account]:
    """Return the accounts by clinic."""
    path = folder / "accounts.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    return {
        clinic: Account(
            one["uid"], one["password_hash"], tuple(one["keys"]), one.get("nt_hash", "")
        )
        for clinic, one in sorted(known.items())
    }


def ensure(folder: Path, shell: str = NO_SHELL) -> None:
    """Write what the doors read anew, where it is not as the accounts say."""
    _write(folder, read(folder), shell)


def give(folder: Path, inbox: Path, clinic: str, keys: str = "", shell: str = NO_SHELL) -> str:
    """Make or renew the account of a clinic, whose inbox must be there; returns the new password.

    With `keys`, the text of public keys, a line each, there is none; what opened it before no
    longer does. Raises AccountError.
    """
    accounts = read(folder)
    if not CLINIC.fullmatch(clinic) or len(clinic) > CLINIC_LENGTH or not (inbox / clinic).is_dir():
        raise AccountError(f"there is no clinic {clinic!r}: name one that has an inbox in {inbox}")
    if any(line.startswith(f"{clinic}:") for line in SYSTEM.splitlines()):
        raise AccountError(f"the server has a user {clinic} of its own: it can have no account")
    known = accounts.get(clinic)
    uid = known.uid if known else max([FIRST_UID - 1, *(a.uid for a in accounts.values())]) + 1
    password = "" if keys else secrets.token_urlsafe(18)
    accounts[clinic] = (
        Account(uid, keys=_keys(keys))
        if keys
        else Account(uid, _hashed(password), nt_hash=nt_hash(password))
    )
    _write(folder, accounts, shell)
    return password


def remove(folder: Path, clinic: str, shell: str = NO_SHELL) -> None:
    """Remove an account; raises AccountError when there is none."""
    accounts = read(folder)
    if clinic not in accounts:
        raise AccountError(
            f"clinic {clinic!r} has no account; those that have are listed by `accounts`"
        )
    del accounts[clinic]
    _write(folder, accounts, shell)


def fingerprint(host_key: Path) -> str:
    """Return the fingerprint of the server's key as clients show it (SHA256:…)."""
    blob = base64.b64decode(public_key(host_key).split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def public_key(host_key: Path) -> str:
    """Return the server's public key as a client's known_hosts has it (RFC 8709, 4)."""
    words = ["openssl", "pkey", "-in", str(host_key), "-pubout", "-outform", "DER"]
    public = subprocess.run(words, check=True, capture_output=True).stdout[-32:]  # noqa: S603 - no shell
    parts = (b"ssh-ed25519", public)
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def _keys(text: str) -> tuple[str, ...]:
    lines = [line.strip() for line in text.splitlines()]
    found = tuple(line for line in lines if line and not line.startswith("#"))
    for number, line in enumerate(found, start=1):
        # What is no public key may be a private one, and is not shown.
        if not KEY.fullmatch(line):
            raise AccountError(
                f"key {number}: expected public keys as in id_ed25519.pub, a line each: ssh-ed25519 AAAA…"
            )
    if not found:
        raise AccountError("the file holds no key")
    return found


def _hashed(password: str) -> str:
    words = ["openssl", "passwd", "-6", "-stdin"]
    done = subprocess.run(  # noqa: S603 - no shell
        words, check=True, capture_output=True, text=True, input=password + "\n"
    )
    return done.stdout.strip()


def _write(folder: Path, accounts: dict[str, Account], shell: str) -> None:
    (folder / "keys").mkdir(parents=True, exist_ok=True)
    for path in (folder, folder / "keys"):
        path.chmod(0o755)
    # The other files follow from this one: a cut between them is mended by the next start.
    known = json.dumps({clinic: asdict(account) for clinic, account in accounts.items()}, indent=1)
    _put(folder / "accounts.json", known + "\n", 0o600)
    home = f"{INBOX_GID}::/inbox:{shell}"
    users = "".join(f"{clinic}:x:{account.uid}:{home}\n" for clinic, account in accounts.items())
    _put(folder / "passwd", SYSTEM.format(shell=shell) + users, 0o644)
    groups = {"root": 0, "sshd": 7123, "nogroup": 65534, "inbox": INBOX_GID}
    _put(folder / "group", "".join(f"{n}:x:{gid}:\n" for n, gid in groups.items()), 0o644)
    hashes = dict.fromkeys(("root", "sshd", "nobody"), NO_PASSWORD)
    hashes |= {clinic: account.password_hash for clinic, account in accounts.items()}
    _put(folder / "shadow", "".join(f"{n}:{h}:::::::\n" for n, h in hashes.items()), 0o600)
    opened = [(clinic, a.uid, a.nt_hash) for clinic, a in accounts.items() if a.nt_hash]
    _put(folder / "smbpasswd", "".join(SMBPASSWD.format(*one) for one in opened), 0o600)
    for clinic, account in accounts.items():
        _put(folder / "keys" / clinic, "".join(f"{key}\n" for key in account.keys), 0o644)
    for path in (folder / "keys").iterdir():
        if path.name not in accounts:
            path.unlink()


def _put(path: Path, text: str, mode: int) -> None:
    if not path.exists() or path.read_text() != text:
        write_private(path, text, 0, mode)


def main(argv: list[str]) -> int:
    """Manage the accounts where systemd runs the services."""
    parser = argparse.ArgumentParser(prog="accounts", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shell", default=NO_SHELL)
    for option in ("host", "sftp-port", "smb-host", "smb-port"):
        parser.add_argument(f"--{option}", default="")
    parser.add_argument("--host-key", type=Path, default=Path())
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ensure")
    commands.add_parser("list")
    given = commands.add_parser("give")
    given.add_argument("--inbox", type=Path, required=True)
    given.add_argument("--clinic", required=True)
    given.add_argument("--key-file", type=Path)
    commands.add_parser("remove").add_argument("--clinic", required=True)
    words = parser.parse_args(argv)
    doors = Doors(words.host, words.sftp_port, words.host_key, words.smb_host, words.smb_port)
    try:
        if words.command == "give":
            keys = words.key_file.read_text() if words.key_file else ""
            if words.key_file and not keys.strip():
                raise AccountError(f"{words.key_file} holds no key")  # noqa: TRY301 - one way out
            password = give(words.folder, words.inbox, words.clinic, keys, words.shell)
            sys.stdout.write(told(words.clinic, password, doors))
        elif words.command == "remove":
            remove(words.folder, words.clinic, words.shell)
        elif words.command == "list":
            sys.stdout.write(listed(words.folder, doors))
        else:
            ensure(words.folder, words.shell)
    except (AccountError, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"accounts: {error}\n")
        return 1
    return 0


def told(clinic: str, password: str, doors: Doors) -> str:
    """Return what the operator is told of a new password, or of keys."""
    what = f"password {password} (shown this once)" if password else "the key that was given"
    lines = [f"account {clinic}: {what}; what opened it before no longer does"]
    lines += doors.addresses(clinic)
    if doors.smb_port and not password:
        lines.append("its share opens by a password only: with keys nobody can open it")
    return "".join(f"{line}\n" for line in lines)


def listed(folder: Path, doors: Doors) -> str:
    """Return a line an account, the clinic and what opens it, and a line a door."""
    known = [f"{clinic}: opened by {a.opened_by}" for clinic, a in read(folder).items()]
    lines = (known or ["no clinic has an account"]) + doors.addresses("CLINIC")
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
