"""Settings are read from one file and refused with a sentence that names what to set."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from stack.settings import DEFAULTS, SettingsError, load, read_env

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, text: str) -> Path:
    """Write an env file."""
    path = folder / "env"
    path.write_text(text)
    return path


def test_an_absent_file_means_the_documented_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path / "absent")
    assert settings.values == read_env(DEFAULTS)
    assert settings.public_url.startswith("https://")


def test_own_settings_overlay_the_defaults_and_addresses_follow_the_subnets(tmp_path: Path) -> None:
    settings = load(
        write(tmp_path, "PUBLIC_URL=https://pacs.example.org:8443\nBACKEND_SUBNET=10.9.8.0/24\n")
    )
    assert settings.host_name == "pacs.example.org"
    assert settings.prefix("BACKEND") == "10.9.8"
    assert settings.dynamic_range("BACKEND") == "10.9.8.128/25"
    assert settings.prefix("FRONTEND") == "172.28.0"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("PUBLIC_URL=http://x", "PUBLIC_URL"),
        ("PUBLIC_URL=https://x/", "PUBLIC_URL"),
        ("HTTPS_PORT=0", "HTTPS_PORT"),
        ("HTTP_PORT=a", "HTTP_PORT"),
        ("SFTP_PORT=ssh", "SFTP_PORT"),
        ("SFTP_ADDRESS=nas", "SFTP_ADDRESS"),
        ("SMB_PORT=cifs\nSMB_ADDRESS=192.0.2.5", "SMB_PORT"),
        ("SMB_PORT=445", "set SMB_ADDRESS too"),
        ("SMB_PORT=445\nSMB_ADDRESS=0.0.0.0", "SMB_ADDRESS"),
        ("SMB_PORT=445\nSMB_ADDRESS=nas", "SMB_ADDRESS"),
        ("COOLDOWN_S=0", "COOLDOWN_S"),
        ("LANGUAGE_TAG=German", "LANGUAGE_TAG"),
        ("LANGUAGE_TAG=../en", "LANGUAGE_TAG"),
        ("SITE_NAME=", "SITE_NAME"),
        ("SITE_NAME=<b>North", "SITE_NAME"),
        ("SITE_NAME=${HOME}", "SITE_NAME"),
        ("TZ=Vienna", "TZ='Vienna': expected a time zone"),
        ("TZ=", "TZ"),
        ("DATA_DIR=relative", "DATA_DIR"),
        ("PROJECT=A b", "PROJECT"),
        ("BACKEND_SUBNET=10.0.0.1/8", "BACKEND_SUBNET"),
        ("BACKEND_SUBNET=10.0.0.0/28", "BACKEND_SUBNET"),
        ("ADMIN_NETWORKS=here", "ADMIN_NETWORKS"),
        ("TRUSTED_PROXIES=192.0.2.1/24", "TRUSTED_PROXIES"),
        ("OBSERVABILITY=loki", "OBSERVABILITY"),
        ("STUDY_RETENTION_YEARS=never", "STUDY_RETENTION_YEARS"),
        (
            "STUDY_RETENTION_YEARS=9",
            "before 10 years are over; .* set STUDY_RETENTION_MINIMUM_YEARS",
        ),
        ("STUDY_RETENTION_CLINICS=clinic-a", "STUDY_RETENTION_CLINICS"),
        ("STUDY_RETENTION_CLINICS=clinic-2=10, b=9", "before 10 years are over"),
        ("STUDY_RETENTION_MINORS_AGE=-1", "STUDY_RETENTION_MINORS_AGE"),
        ("LOGS_MB=1GB", "LOGS_MB"),
        ("LOGS_RETENTION_DAYS=0", "LOGS_RETENTION_DAYS"),
        ("BACKUP_TARGET=backup", "BACKUP_TARGET"),
        ("BACKUP_TARGET=/srv/dicom-stack/backup", "BACKUP_TARGET lies within DATA_DIR"),
        ("BACKUP_TARGET=sftp:backup@nas:stack", "set BACKUP_HOST_KEY to the line"),
        ("BACKUP_TARGET=rest:https://stack:word@nas/", "BACKUP_TARGET holds a password"),
        ("BACKUP_HOST_KEY=AAAAC3NzaC1lZDI1NTE5AAAA", "BACKUP_HOST_KEY"),
        ("BACKUP_PRUNE=never", "BACKUP_PRUNE"),
        ("TLS_CERTIFICATE=/x.crt", "TLS_CERTIFICATE"),
        ("DICOM_PORT=dicom", "DICOM_PORT"),
        ("DICOM_ADDRESS=here", "DICOM_ADDRESS"),
        ("DICOM_AET=../clinic-b", "DICOM_AET"),
        ("DICOM_AET=SEVENTEENLETTERSX", "DICOM_AET"),
        ("DICOM_TLS=1", "DICOM_TLS"),
        ("DICOM_CLIENT_CA=/ca.pem", "set DICOM_TLS=yes"),
        ("COLDOWN_S=5", "COLDOWN_S"),
        ("just words", "KEY=VALUE"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(
    tmp_path: Path, line: str, named: str
) -> None:
    with pytest.raises(SettingsError, match=named):
        load(write(tmp_path, line + "\n"))


def test_the_years_of_studies_may_be_fewer_where_the_minimum_is_set_lower(tmp_path: Path) -> None:
    lines = "STUDY_RETENTION_MINIMUM_YEARS=5\nSTUDY_RETENTION_YEARS=5\n"
    settings = load(write(tmp_path, lines + "STUDY_RETENTION_CLINICS=clinic-2=30, b=never\n"))
    assert settings.values["STUDY_RETENTION_CLINICS"] == "clinic-2=30, b=never"


def test_every_setting_that_compose_names_is_a_default_or_is_derived() -> None:
    text = "".join(path.read_text() for path in DEFAULTS.parent.glob("compose*.yml"))
    named = set(re.findall(r"\$\{([A-Z_]+)", text))
    derived = {
        n
        for n in named
        if n.startswith(("IMAGE_", "INPUTS_"))
        or n.endswith(("_PREFIX", "_RANGE", "_AUTHORITY", "_FOLDER"))
        or n in ("LOGS_BUFFER_BYTES", "LOGS_URL", "REALM_LOG_DRIVER")
        or n in ("DICOM_CLIENT_CA_FILE", "DICOM_PUBLISHED_ADDRESS", "DICOM_TLS_FILE")
    }
    assert named - derived <= read_env(DEFAULTS).keys()


def test_this_machine_is_podmans_bridge_too_where_networks_are_listed(tmp_path: Path) -> None:
    lines = "FRONTEND_SUBNET=172.28.0.0/16\nADMIN_NETWORKS=192.0.2.0/24\nTRUSTED_PROXIES=127.0.0.1, ::1\n"
    settings = load(write(tmp_path, lines))
    assert settings.networks("ADMIN_NETWORKS") == ["192.0.2.0/24"]
    assert settings.networks("TRUSTED_PROXIES") == ["127.0.0.1", "::1", "172.28.0.0/16"]
