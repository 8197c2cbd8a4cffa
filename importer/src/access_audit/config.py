"""The auditor's settings and places, which are the same in both forms."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MAX_YEARS = 100


class ConfigError(ValueError):
    """A setting cannot be; the text says what to set."""


@dataclass(frozen=True, slots=True)
class Config:
    """Where requests are read from, where records go, and how long they stay."""

    access_dir: Path
    importer_dir: Path
    listen_host: str
    listen_port: int
    retention_years: int
    secret_file: Path
    spool_dir: Path
    state_dir: Path


def load(environment: Mapping[str, str] | None = None) -> Config:
    """Read the environment; raises ConfigError."""
    environment = os.environ if environment is None else environment
    years = environment.get("AUDIT_RETENTION_YEARS", "")
    if not years.isdecimal() or not 1 <= int(years) <= MAX_YEARS:
        raise ConfigError(f"AUDIT_RETENTION_YEARS={years}: set whole years, 1 to {MAX_YEARS}")
    return Config(
        access_dir=Path("/var/log/dicom-access"),
        importer_dir=Path("/var/log/dicom-audit"),
        listen_host=environment.get("LISTEN_HOST", "0.0.0.0"),  # noqa: S104 - its container's network
        listen_port=8080,
        retention_years=int(years),
        secret_file=Path("/run/secrets/auditor_secret"),
        spool_dir=Path("/var/log/nginx-audit"),
        state_dir=Path("/var/lib/dicom-auditor"),
    )
