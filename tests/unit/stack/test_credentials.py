"""Secrets and certificates are made once, readable by one service, and kept."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from stack.certificate import ensure_certificate, names_host
from stack.credentials import UIDS, ensure_secrets
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


def test_a_secret_that_the_operator_gives_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    ensure_secrets(folder)
    given = folder / "realm.smtp_password"
    given.chmod(0o600)
    given.write_text("from the mail provider")
    ensure_secrets(folder)
    assert given.read_text() == "from the mail provider"
    assert stat.S_IMODE(given.stat().st_mode) == 0o400


def test_the_own_authority_stays_while_the_certificate_follows_the_name(tmp_path: Path) -> None:
    env = tmp_path / "env"
    authorities = set()
    for name in ("localhost", "pacs.example.org", "192.0.2.7"):
        env.write_text(f"DATA_DIR={tmp_path}\nPUBLIC_URL=https://{name}\n")
        certificate = ensure_certificate(load(env))
        assert names_host(certificate.chain, name)
        assert not names_host(certificate.chain, "elsewhere.example.org")
        authorities.add((tmp_path / "tls" / "ca.crt").read_text())
        first = certificate.chain.read_text()
        assert ensure_certificate(load(env)).chain.read_text() == first
    assert len(authorities) == 1
