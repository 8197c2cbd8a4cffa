"""Secrets and certificates are made once, readable by one service, and kept."""

from __future__ import annotations

import pwd
import stat
from typing import TYPE_CHECKING

import pytest
from stack.certificate import ensure_certificate, names_host
from stack.credentials import UIDS, ensure_secrets, main
from stack.settings import load

if TYPE_CHECKING:
    from pathlib import Path


def test_secrets_are_kept_and_each_copy_belongs_to_its_reader(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    ensure_secrets(folder)
    before = {p.name: p.read_text() for p in folder.iterdir()}
    ensure_secrets(folder)
    assert {p.name: p.read_text() for p in folder.iterdir()} == before
    reader = folder / "orthanc.orthanc_pgpass"
    assert before["postgresql.orthanc_db_password"] in reader.read_text()
    assert stat.S_IMODE(reader.stat().st_mode) == 0o400
    assert reader.stat().st_uid == UIDS["orthanc"]
    assert len({len(v) for v in before.values()}) > 1


def test_a_secret_that_the_operator_gives_reaches_each_reader(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    ensure_secrets(folder)
    given = folder / "smtp_password"
    assert given.read_text() == ""
    given.chmod(0o644)
    for password in ("from the mail provider", "a later one"):
        given.write_text(password + "\n")
        ensure_secrets(folder)
        for reader in ("realm", "alertmanager"):
            copy = folder / f"{reader}.smtp_password"
            assert copy.read_text() == password
            assert copy.stat().st_uid == UIDS[reader]
        assert given.read_text() == password + "\n"
        assert stat.S_IMODE(given.stat().st_mode) == 0o600
    assert "smtp_password" not in (folder / "values.json").read_text()


def test_where_systemd_runs_the_services_copies_belong_to_their_users_by_name(
    tmp_path: Path,
) -> None:
    folder, elsewhere = tmp_path / "secrets", tmp_path / "password"
    elsewhere.write_text("of the operator\n")
    words = [str(folder), "--owner=postgresql:nobody", "--owner=realm:root"]
    given = [f"--value=orthanc_db_password:{elsewhere}"]
    assert main([*words, *given]) == 0
    copy = folder / "postgresql.orthanc_db_password"
    assert copy.read_text() == "of the operator"
    assert copy.stat().st_uid == pwd.getpwnam("nobody").pw_uid
    assert stat.S_IMODE(copy.stat().st_mode) == 0o400
    # Who has no user there gets no copy; a changed user gets the old one.
    assert not (folder / "orthanc.orthanc_pgpass").exists()
    assert main([str(folder), "--owner=postgresql:daemon", *given]) == 0
    assert copy.stat().st_uid == pwd.getpwnam("daemon").pw_uid


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("orthanc_db_password:/nowhere/password", "/nowhere/password"),
        ("orthanc_password:/etc/hostname", "there is no secret orthanc_password"),
        ("orthanc_db_password:/dev/null", "is empty"),
    ],
)
def test_a_secret_that_cannot_be_taken_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: str, complaint: str
) -> None:
    assert main([str(tmp_path), "--owner=postgresql:root", f"--value={value}"]) == 1
    assert complaint in capsys.readouterr().err
    assert not list(tmp_path.glob("postgresql.*"))


def test_the_own_authority_stays_while_the_certificate_follows_the_name(tmp_path: Path) -> None:
    env = tmp_path / "env"
    authorities = set()
    for name in ("localhost", "pacs.example.org", "192.0.2.7"):
        env.write_text(f"DATA_DIR={tmp_path}\nPUBLIC_URL=https://{name}\n")
        certificate = ensure_certificate(load(env))
        assert names_host(certificate.path, name)
        assert not names_host(certificate.path, "elsewhere.example.org")
        authorities.add((tmp_path / "tls" / "ca.crt").read_text())
        first = certificate.path.read_text()
        assert ensure_certificate(load(env)).path.read_text() == first
    assert len(authorities) == 1


def test_an_operators_certificate_is_trusted_where_this_machine_knows_its_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = tmp_path / "env"
    env.write_text(f"DATA_DIR={tmp_path}/ca\nPUBLIC_URL=https://pacs.example.org\n")
    made = ensure_certificate(load(env))
    assert not made.trusted
    env.write_text(
        f"DATA_DIR={tmp_path}/data\nPUBLIC_URL=https://pacs.example.org\n"
        f"TLS_CERTIFICATE={made.path}\nTLS_CERTIFICATE_KEY={made.path}\n"
    )
    assert not ensure_certificate(load(env)).trusted
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca/tls/ca.crt"))
    assert ensure_certificate(load(env)).trusted
