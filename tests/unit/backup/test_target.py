"""What targets elsewhere say, in words for people; what they said stands here as real servers did."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from dicom_backup import checking, config, restic, target
from dicom_backup.upkeep import repair, upkeep

if TYPE_CHECKING:
    from pathlib import Path

    from unit.backup.site import Site

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK2jcaGQpfpEu/MT3dquKTRoj10ysEcM5u2DVTb3UgEH"
SFTP, S3, REST = "sftp:nas@nas:stack", "s3:https://nas/stack", "rest:https://nas/"


@pytest.mark.parametrize(
    ("where", "said", "told"),
    [
        (SFTP, "SHA256:S8+3X.\nHost key verification failed.", "host key (SHA256:S8+3X) than BACK"),
        (SFTP, "nas@nas: Permission denied (publickey).", "secret backup_ssh_key must hold"),
        (SFTP, "ssh: connect to host nas port 22: Connection refused", "does not answer"),
        (SFTP, "ssh: Could not resolve hostname nas: Name or service not known", "does not answer"),
        (S3, "Stat: The request signature we calculated does not match the", "AWS_ACCESS_KEY_ID=…"),
        (S3, "The access key ID you provided does not exist in our records.", "AWS_SECRET_ACCESS"),
        (S3, "dial tcp: lookup nas on 10.72.0.1:53: no such host", "does not answer"),
        (REST, "unexpected HTTP response (401): 401 Unauthorized", "RESTIC_REST_PASSWORD=…"),
        (REST, "unexpected HTTP response (403): 403 Forbidden", "set BACKUP_PRUNE=no"),
        (
            REST,
            "tls: failed to verify certificate: x509: certificate signed by unknown authority",
            "secret backup_ca",
        ),
        (
            S3,
            "tls: failed to verify certificate: x509: certificate is valid for nas, not box",
            "not for that address",
        ),
        (REST, "dial tcp 10.73.0.203:8001: connect: connection refused", "does not answer"),
    ],
)
def test_what_a_server_says_is_told_with_what_to_do(where: str, said: str, told: str) -> None:
    assert told in target.why(where, said)
    assert where in target.why(where, said)
    assert target.why("/mnt/backup", said) == ""
    assert target.why(where, "pack 1234 is damaged") == ""


def test_a_bucket_that_is_not_there_is_no_server_that_is_away() -> None:
    assert target.has_no_bucket("Stat: The specified bucket does not exist")
    assert not target.has_no_bucket("Stat: connection refused")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"BACKUP_TARGET": SFTP}, "set BACKUP_HOST_KEY"),
        ({"BACKUP_TARGET": SFTP, "BACKUP_HOST_KEY": "yes"}, "ssh_host_ed25519_key.pub"),
        ({"BACKUP_TARGET": "rest:https://stack:word@nas/"}, "holds a password"),
    ],
)
def test_what_would_not_be_safe_is_refused(settings: dict[str, str], told: str) -> None:
    with pytest.raises(config.ConfigError, match=told):
        config.load(settings)
    assert config.load({"BACKUP_TARGET": "rest:https://stack@nas/"}).host_key == ""


def test_ssh_believes_the_host_key_of_the_settings_and_no_other(tmp_path: Path) -> None:
    given = {"BACKUP_TARGET": SFTP, "BACKUP_HOST_KEY": KEY, "BACKUP_DATA_DIR": str(tmp_path)}
    loaded = config.load(given)
    _, words = restic.repository(loaded).options
    assert "StrictHostKeyChecking=yes" in words
    assert "GlobalKnownHostsFile=/dev/null" in words
    assert f"UserKnownHostsFile={loaded.known_hosts_file}" in words
    assert loaded.known_hosts_file.read_text() == f"backup-target {KEY}\n"


def test_an_authority_of_the_site_is_believed_where_one_is_given(tmp_path: Path) -> None:
    loaded = config.load(
        {"BACKUP_TARGET": REST, "BACKUP_DATA_DIR": str(tmp_path), "SECRETS_DIR": str(tmp_path)}
    )
    assert restic.repository(loaded).options == ()
    loaded.ca_file.write_text("\n")
    assert restic.repository(loaded).options == ()
    loaded.ca_file.write_text("-----BEGIN CERTIFICATE-----\n")
    assert restic.repository(loaded).options == ("--cacert", str(loaded.ca_file))


def test_where_only_adding_is_allowed_damage_is_taken_out_there_and_healed_from_here(
    site: Site,
) -> None:
    site.tools = replace(site.tools, config=replace(site.config, prune=False))
    for _ in range(3):
        site.store(size_bytes=200_000)
    site.back_up()
    pack = site.packs()[0]
    pack.unlink()
    known = upkeep(site.tools, everything=True)
    assert pack.name[:8] in known.check_error
    (told,) = repair(site.tools)
    assert f"restic repair packs {pack.name}" in told
    assert "restic repair index" in told
    assert site.back_up().error == ""
    # Somebody does so on the server.
    env = {"RESTIC_PASSWORD_FILE": str(site.config.key_file), "PATH": "/usr/bin"}
    words = [*("repair", "index"), f"--repo={site.target}", f"--cache-dir={site.target}-cache"]
    program = shutil.which("restic")
    assert program
    subprocess.run([program, *words], check=True, env=env, capture_output=True)
    assert "restic repair" in " ".join(repair(site.tools))
    assert site.back_up().error == ""
    assert checking.check(site.tools.repository, 1, 1).errors == ()
