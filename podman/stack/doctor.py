"""`make doctor`: what of this host and its surroundings hinders the stack, each finding with what to do.

It needs Python alone, since on NixOS it is run by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import ipaddress
import os
import shutil
import smtplib
import socket
import ssl
import stat
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIMEOUT_S = 10.0
DISK_FLOOR_BYTES, INODES_FLOOR_PERCENT = 5 * 2**30, 5
CERTIFICATE_LOW_DAYS = 14
SMTPS_PORT = 465
# Set group, and all to owner and group: what a workstation puts there, the importer can move.
INBOX_MODE = 0o2770
# adjtimex(2): nothing keeps the clock. The struct is larger than this on no machine.
_TIME_ERROR, _TIMEX_BYTES = 5, 1024


@dataclass(frozen=True, slots=True)
class Mail:
    """The mail server, and who logs in there with the password of which file; without a user nobody does."""

    host: str
    port: int
    user: str
    password_file: Path


@dataclass(frozen=True, slots=True)
class Site:
    """What is examined: the public name and port, the authority that is trusted beside the system's, and the data."""

    host: str
    port: int
    authority: Path
    data_dir: Path
    importer_uid: int
    mail: Mail | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found; where it is not well, the text says what to do."""

    text: str
    well: bool


def examine(site: Site, selinux: Path = Path("/sys/fs/selinux/enforce")) -> Iterator[Finding]:
    """Look at everything, one after the other; what takes longest takes TIMEOUT_S."""
    yield clock(_clock_state())
    yield name(site.host, _addresses(site.host))
    yield front_door(site)
    yield disk(site.data_dir)
    yield from inboxes(site.data_dir / "files" / "inbox", site.importer_uid)
    yield confinement(selinux, site.data_dir)
    if site.mail:
        yield mail(site.mail)


def clock(state: int) -> Finding:
    """Judge what adjtimex(2) says of the clock."""
    if state == _TIME_ERROR:
        return Finding(
            "clock: nothing keeps it right: install chrony or systemd-timesyncd; second factors, tokens and "
            "certificates depend on it, and so does the time in the audit",
            well=False,
        )
    return Finding("clock: kept by a time service", well=True)


def name(host: str, addresses: list[str]) -> Finding:
    """Judge what the public name leads to."""
    if not addresses:
        text = f"name: {host} leads nowhere: enter it into your DNS, or workstations will not find this host"
        return Finding(text, well=False)
    if host != "localhost" and all(ipaddress.ip_address(one).is_loopback for one in addresses):
        text = (
            f"name: {host} leads to this machine itself here; see that your DNS tells workstations its address in your "
            "network"
        )
        return Finding(text, well=True)
    return Finding(f"name: {host} leads to {', '.join(addresses)}", well=True)


def front_door(site: Site) -> Finding:
    """Go to the public address as a browser does; judges port, certificate and who signed it."""
    where = f"{site.host}:{site.port}"
    try:
        end_s, _ = _handshake(site, ssl.create_default_context())
        signed = "an authority that this machine trusts signed it"
    except ssl.SSLCertVerificationError as refusal:
        if not site.authority.is_file():
            return _bad_certificate(where, refusal)
        try:
            context = ssl.create_default_context(cafile=str(site.authority))
            end_s, _ = _handshake(site, context)
        except ssl.SSLError:
            return _bad_certificate(where, refusal)
        except OSError as error:
            return _closed(where, error)
        signed = f"browsers trust it once {site.authority} is installed there"
    except OSError as error:
        return _closed(where, error)
    days = (end_s - time.time()) / 86400
    if days < CERTIFICATE_LOW_DAYS:
        text = f"front door: the certificate of {where} ends in {days:.0f} days: renew it (README)"
        return Finding(text, well=False)
    text = f"front door: {where} answers; its certificate has {days:.0f} days left, and {signed}"
    return Finding(text, well=True)


def disk(folder: Path) -> Finding:
    """Judge room and inodes of the data's file system."""
    free, found = shutil.disk_usage(folder).free, os.statvfs(folder)
    if free < DISK_FLOOR_BYTES:
        text = f"disk: {folder} has {free / 2**30:.1f} GiB free: make room; imports wait before it is full"
        return Finding(text, well=False)
    # Btrfs counts none.
    if found.f_files and 100 * found.f_favail / found.f_files < INODES_FLOOR_PERCENT:
        text = f"disk: {folder} has {found.f_favail} inodes left, as many files fit: make room"
        return Finding(text, well=False)
    return Finding(f"disk: {folder} has {free / 2**30:.1f} GiB free", well=True)


def inboxes(folder: Path, importer_uid: int) -> Iterator[Finding]:
    """Judge each clinic's inbox: whose it is, and who may put something there."""
    if not folder.is_dir():
        yield Finding(f"inboxes: {folder} is not there: is its disk mounted?", well=False)
        return
    wrong = 0
    # A folder of no clinic, a door's, bears a dot before its name.
    there = (path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    for inbox in sorted(there):
        status = inbox.stat()
        mode = stat.S_IMODE(status.st_mode)
        if status.st_gid == importer_uid and mode & INBOX_MODE == INBOX_MODE:
            continue
        wrong += 1
        yield Finding(
            f"inboxes: {inbox} is of group {status.st_gid} with mode {mode:o}, so that what is put there may not be "
            f"taken: chgrp {importer_uid} {inbox} && chmod {INBOX_MODE | 0o005:o} {inbox}",
            well=False,
        )
    if not wrong:
        yield Finding("inboxes: each can be written by its group and taken from", well=True)


def confinement(selinux: Path, data_dir: Path) -> Finding:
    """Judge whether SELinux keeps containers out of their folders."""
    if selinux.exists() and selinux.read_text().strip() == "1":
        text = (
            f"SELinux is enforcing, with which this was never run: where a service may not read its folder, give it "
            f"the containers' label: chcon -Rt container_file_t {data_dir}"
        )
        return Finding(text, well=False)
    return Finding("SELinux: not enforcing", well=True)


def mail(server: Mail) -> Finding:
    """Log in at the mail server by TLS as a service does that sends mail, and send none."""
    where = f"mail: {server.host}:{server.port}"
    context = ssl.create_default_context()
    try:
        # Left as it is where something went wrong: a server that waits for TLS does not hear a farewell.
        with contextlib.closing(_connected(server, context)) as session:
            if server.user:
                session.login(server.user, server.password_file.read_text().strip())
            session.quit()
    except ssl.SSLCertVerificationError as refusal:
        return Finding(
            f"{where}: its certificate is not trusted ({refusal.verify_message})", well=False
        )
    except smtplib.SMTPAuthenticationError:
        text = (
            f"{where} does not take the password of {server.user}: make rotate SECRET=smtp_password"
        )
        return Finding(text, well=False)
    except smtplib.SMTPNotSupportedError as refusal:
        return Finding(f"{where} offers no TLS, or no login: {refusal}", well=False)
    except (OSError, smtplib.SMTPException) as error:
        return Finding(f"{where} does not answer as a mail server: {error}", well=False)
    who = f"takes the password of {server.user}" if server.user else "answers by TLS"
    return Finding(f"{where} {who}", well=True)


def _connected(server: Mail, context: ssl.SSLContext) -> smtplib.SMTP:
    if server.port == SMTPS_PORT:
        return smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT_S, context=context)
    session = smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_S)
    try:
        session.starttls(context=context)
    except (OSError, smtplib.SMTPException):
        session.close()
        raise
    return session


def _handshake(site: Site, context: ssl.SSLContext) -> tuple[float, str]:
    """Return when the certificate ends, in seconds since 1970, and the version of TLS; raises OSError."""
    with (
        socket.create_connection((site.host, site.port), timeout=TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=site.host) as wrapped,
    ):
        end = (wrapped.getpeercert() or {}).get("notAfter", "")
        return ssl.cert_time_to_seconds(str(end)), wrapped.version() or ""


def _bad_certificate(where: str, refusal: ssl.SSLCertVerificationError) -> Finding:
    text = f"front door: no browser takes the certificate of {where} ({refusal.verify_message}): renew it (README)"
    return Finding(text, well=False)


def _closed(where: str, error: OSError) -> Finding:
    text = (
        f"front door: {where} cannot be reached from here ({error.strerror or error}): see with status whether nginx "
        "runs, then the firewall and what the name leads to"
    )
    return Finding(text, well=False)


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(address[4][0]).partition("%")[0] for address in found})


def _clock_state() -> int:
    """Ask the kernel; nothing is set."""
    question = ctypes.create_string_buffer(_TIMEX_BYTES)
    return int(ctypes.CDLL(None).adjtimex(question))


def tell(findings: Iterator[Finding], say: Callable[[str], object]) -> bool:
    """Say each as it is found; returns whether all is well."""
    well = True
    for finding in findings:
        say(f"{' ' if finding.well else '!'} {finding.text}")
        well &= finding.well
    return well


def main(argv: list[str]) -> int:
    """Run by itself; returns the exit status."""
    parser = argparse.ArgumentParser(prog="doctor")
    for option in ("host", "data-dir", "importer-uid"):
        parser.add_argument(f"--{option}", required=True)
    for option in ("smtp-host", "smtp-user", "smtp-password-file"):
        parser.add_argument(f"--{option}", default="")
    parser.add_argument("--smtp-port", type=int, default=587)
    given = parser.parse_args(argv)
    server = Mail(given.smtp_host, given.smtp_port, given.smtp_user, Path(given.smtp_password_file))
    site = Site(
        given.host,
        443,
        Path("/nonexistent"),
        Path(given.data_dir),
        int(given.importer_uid),
        server if given.smtp_host else None,
    )
    return 0 if tell(examine(site), lambda text: sys.stdout.write(text + "\n")) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
