"""Secrets and certificates are made once, readable by one service, and kept."""

from __future__ import annotations

import json
import os
import pwd
import stat
from typing import TYPE_CHECKING

import pytest
from stack import certificate as certificates
from stack.certificate import belong_together, ensure_certificate, names_host
from stack.credentials import (
    CANNOT_CHANGE,
    FORMER_KEPT,
    GIVEN_BY_OPERATOR,
    READERS,
    UIDS,
    ensure_secrets,
    given,
    main,
    readers,
    renew,
)
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


def test_the_key_of_the_backup_is_made_once_and_lies_in_no_file_that_is_backed_up(
    tmp_path: Path,
) -> None:
    ensure_secrets(tmp_path)
    key = (tmp_path / "backup.backup_key").read_text()
    assert len(key) > 40
    ensure_secrets(tmp_path)
    assert (tmp_path / "backup.backup_key").read_text() == key
    assert [p.name for p in tmp_path.iterdir() if key in p.read_text()] == ["backup.backup_key"]


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


def test_secrets_and_certificates_are_on_the_disk_when_they_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk = set()
    sync = os.fsync

    def noted(descriptor: int) -> None:
        sync(descriptor)
        on_disk.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", noted)
    env = tmp_path / "env"
    env.write_text(f"DATA_DIR={tmp_path}/data\nPUBLIC_URL=https://localhost\n")
    ensure_certificate(load(env))
    ensure_secrets(tmp_path / "data" / "secrets")
    made = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert len(made) > 10
    for path in made:
        assert {path.stat().st_ino, path.parent.stat().st_ino} <= on_disk, path


def copies(folder: Path) -> dict[str, str]:
    """Return each reader's copy of each secret."""
    return {p.name: p.read_text() for p in folder.iterdir() if "." in p.name}


@pytest.mark.parametrize(
    "name", [n for n in READERS if n not in GIVEN_BY_OPERATOR | CANNOT_CHANGE.keys()]
)
def test_a_new_value_reaches_every_reader_of_that_secret_and_changes_no_other(
    tmp_path: Path, name: str
) -> None:
    ensure_secrets(tmp_path)
    before = copies(tmp_path)
    renew(tmp_path, name)
    # Cut off here, the next start of the stack goes on.
    ensure_secrets(tmp_path)
    after = copies(tmp_path)
    changed = {file for file in after if after[file] != before[file]}
    theirs = {f"{service}.{form[0]}" for service, form in READERS[name].items()}
    assert changed - {"values.json"} == theirs
    value = json.loads(after["values.json"])[name]
    assert all(value in after[file] for file in theirs)


def test_who_changes_its_own_secret_at_keycloak_knows_those_before_it_too(tmp_path: Path) -> None:
    values = []
    for _ in range(FORMER_KEPT + 3):
        renew(tmp_path, "realm_reconciler_secret")
        ensure_secrets(tmp_path)
        ensure_secrets(tmp_path)
        values.append(json.loads((tmp_path / "values.json").read_text())["realm_reconciler_secret"])
    known = (tmp_path / "realm.realm_reconciler_secret").read_text().split()
    assert known == values[::-1][: FORMER_KEPT + 1]
    assert (tmp_path / "keycloak.realm_reconciler_secret").read_text() == values[-1]
    assert readers("realm_reconciler_secret") == ["realm"]


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("no_such_secret", "", "there is no secret no_such_secret; the secrets are keycloak_db"),
        ("grafana_secret_key", "", "Grafana could no longer read"),
        ("backup_key", "", "it is what the repository was made with"),
        ("smtp_password", "", "smtp_password is yours to give"),
        ("orthanc_db_password", "password1", "orthanc_db_password is not yours to choose"),
        ("backup_ca", "nobody's", "backup_ca: expected certificates in PEM"),
        ("backup_credentials", "A_KEY=1\nsecret", "line 2 of backup_credentials: expected NAME="),
    ],
)
def test_a_secret_that_cannot_be_changed_stays_and_the_reason_is_said(
    tmp_path: Path, name: str, value: str, complaint: str
) -> None:
    ensure_secrets(tmp_path)
    before = copies(tmp_path)
    with pytest.raises(ValueError, match=complaint):
        renew(tmp_path, name, value)
    ensure_secrets(tmp_path)
    assert copies(tmp_path) == before


def test_where_systemd_runs_the_services_it_is_told_who_must_learn_of_a_new_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tmp_path), *(f"--owner={service}:root" for service in UIDS)]
    assert main(words) == 0
    assert capsys.readouterr().out == ""
    before = copies(tmp_path)
    # Keycloak's side first, else its client asks with what nobody knows yet.
    for name, told in (
        ("orthanc_api_secret", "realm importer"),
        ("orthanc_db_password", "postgresql orthanc backup"),
        ("realm_reconciler_secret", "realm"),
    ):
        assert main([*words, f"--rotate={name}"]) == 0
        assert capsys.readouterr().out.split() == told.split()
    assert copies(tmp_path)["orthanc.orthanc_pgpass"] != before["orthanc.orthanc_pgpass"]


def test_where_the_operators_file_has_the_value_rotating_hands_that_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "password"
    folder = tmp_path / "secrets"
    words = [str(folder), "--owner=importer:root", f"--value=orthanc_api_secret:{elsewhere}"]
    for value in ("first", "second"):
        elsewhere.write_text(value)
        assert main([*words, "--rotate=orthanc_api_secret"]) == 0
        assert (folder / "importer.orthanc_api_secret").read_text() == value
        assert capsys.readouterr().out == "importer\n"


def test_a_new_key_is_signed_by_the_same_authority(tmp_path: Path) -> None:
    env = tmp_path / "env"
    env.write_text(f"DATA_DIR={tmp_path}\nPUBLIC_URL=https://pacs.example.org\n")
    made = ensure_certificate(load(env)).path
    before, authority = made.read_text(), (tmp_path / "tls" / "ca.crt").read_text()
    certificates.renew(load(env))
    kept = made.read_text()
    assert kept != before
    assert belong_together(made, made)
    assert (tmp_path / "tls" / "ca.crt").read_text() == authority
    assert ensure_certificate(load(env)).path.read_text() == kept


def test_an_operators_own_key_is_the_operators_to_renew(tmp_path: Path) -> None:
    env = tmp_path / "env"
    env.write_text(
        f"DATA_DIR={tmp_path}\nTLS_CERTIFICATE=/etc/pacs/chain\nTLS_CERTIFICATE_KEY=/etc/pacs/key\n"
    )
    with pytest.raises(ValueError, match="renew /etc/pacs/key and its certificate"):
        certificates.renew(load(env))


@pytest.mark.parametrize("value", ["hooks.example.org", "ftp://x", "https://", "https://a b"])
def test_an_address_for_alerts_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ValueError, match="alert_webhook_url: expected an address"):
        renew(tmp_path, "alert_webhook_url", value)
    renew(tmp_path, "alert_webhook_url", "https://hooks.example.org/abc")
    assert (tmp_path / "alert_webhook_url").read_text() == "https://hooks.example.org/abc\n"
    assert given(tmp_path) == {"alert_webhook_url"}
