"""What hinders a stack is found on its host and said with what to do; beside each, the same when it is well."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from harness.receivers import PASSWORD, Servers, free_port, smtp
from stack import doctor
from stack.certificate import openssl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def site(folder: Path, port: int, authority: Path) -> doctor.Site:
    """Return a site of this machine's own."""
    return doctor.Site("localhost", port, authority, folder, os.getgid())


@contextmanager
def front_door(folder: Path, days: int) -> Iterator[tuple[int, Path]]:
    """Serve TLS with a certificate of its own; yields port and certificate."""
    key, chain = folder / "key", folder / "chain"
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days {days} -subj /CN=localhost"
        " -addext subjectAltName=DNS:localhost -keyout {key} -out {chain}",
        days=str(days),
        key=key,
        chain=chain,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listening.accept()
                    context.wrap_socket(plain, server_side=True).close()
                except ssl.SSLError:
                    continue
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listening.getsockname()[1]), chain
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_clock_that_nobody_keeps_is_said() -> None:
    assert doctor.clock(0).well
    found = doctor.clock(5)
    assert not found.well
    assert "install chrony" in found.text


def test_a_name_that_leads_nowhere_is_said() -> None:
    assert doctor.name("pacs.example.org", ["192.0.2.7"]).well
    assert "tells workstations" in doctor.name("pacs.example.org", ["127.0.1.1"]).text
    found = doctor.name("pacs.example.org", [])
    assert not found.well
    assert "enter it into your DNS" in found.text


def test_a_door_that_does_not_open_is_said(tmp_path: Path) -> None:
    found = doctor.front_door(site(tmp_path, free_port(), tmp_path / "none"))
    assert not found.well
    assert "cannot be reached from here (Connection refused)" in found.text


def test_a_certificate_counts_if_its_authority_is_known_and_its_time_not_over(
    tmp_path: Path,
) -> None:
    with front_door(tmp_path, days=60) as (port, chain):
        known = doctor.front_door(site(tmp_path, port, chain))
        assert known.well
        assert f"browsers trust it once {chain} is installed" in known.text
        unknown = doctor.front_door(site(tmp_path, port, tmp_path / "none"))
        assert not unknown.well
        assert "no browser takes the certificate" in unknown.text
    with front_door(tmp_path, days=3) as (port, chain):
        ending = doctor.front_door(site(tmp_path, port, chain))
        assert not ending.well
        assert "ends in 3 days: renew it" in ending.text


def test_a_disk_without_room_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISK_FLOOR_BYTES", 1)
    assert doctor.disk(tmp_path).well
    monkeypatch.setattr(doctor, "INODES_FLOOR_PERCENT", 101)
    assert "inodes left" in doctor.disk(tmp_path).text
    monkeypatch.setattr(doctor, "DISK_FLOOR_BYTES", 2**60)
    found = doctor.disk(tmp_path)
    assert not found.well
    assert "make room" in found.text


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o2700])
def test_an_inbox_from_which_may_not_be_taken_is_named_with_what_mends_it(
    tmp_path: Path, mode: int
) -> None:
    for name, wanted in (("clinic-a", 0o2775), ("clinic-b", mode), (".a-door", 0o700)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(wanted)
    (found,) = doctor.inboxes(tmp_path, os.getgid())
    assert not found.well
    assert f"chmod 2775 {tmp_path}/clinic-b" in found.text
    (tmp_path / "clinic-b").chmod(0o2775)
    assert [one.well for one in doctor.inboxes(tmp_path, os.getgid())] == [True]
    assert [one.well for one in doctor.inboxes(tmp_path, os.getgid() + 1)] == [False, False]


def test_an_inbox_that_is_away_is_said(tmp_path: Path) -> None:
    (found,) = doctor.inboxes(tmp_path / "inbox", os.getgid())
    assert not found.well
    assert "is its disk mounted?" in found.text


def test_selinux_is_said_where_it_enforces(tmp_path: Path) -> None:
    enforce = tmp_path / "enforce"
    assert doctor.confinement(enforce, tmp_path).well
    enforce.write_text("0")
    assert doctor.confinement(enforce, tmp_path).well
    enforce.write_text("1")
    found = doctor.confinement(enforce, tmp_path)
    assert not found.well
    assert f"chcon -Rt container_file_t {tmp_path}" in found.text


def test_the_mail_server_is_tried_by_tls_and_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text(f"{PASSWORD}\n")
    wrong.write_text("not the password")
    with smtp(Servers(), tmp_path) as port:
        unknown = doctor.mail(doctor.Mail("localhost", port, "pacs", right))
        assert not unknown.well
        assert "its certificate is not trusted (self-signed certificate)" in unknown.text
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "mail.crt"))
        taken = doctor.mail(doctor.Mail("localhost", port, "pacs", right))
        assert taken.well
        assert "takes the password of pacs" in taken.text
        refused = doctor.mail(doctor.Mail("localhost", port, "pacs", wrong))
        assert not refused.well
        assert "make rotate SECRET=smtp_password" in refused.text
    away = doctor.mail(doctor.Mail("localhost", free_port(), "", wrong))
    assert not away.well
    assert "does not answer as a mail server" in away.text


def test_each_finding_is_told_and_one_that_is_not_well_counts() -> None:
    said: list[str] = []
    well, ill = doctor.Finding("well", well=True), doctor.Finding("ill", well=False)
    assert doctor.tell(iter([well]), said.append)
    assert not doctor.tell(iter([ill, well]), said.append)
    assert said == ["  well", "! ill", "  well"]
