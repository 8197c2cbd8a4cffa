"""The settings: KEY=VALUE lines of importer.conf, each overridden by the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from zoneinfo import ZoneInfo

CONFIG_FILE = Path("/etc/dicom-importer/importer.conf")


class ConfigError(ValueError):
    """A setting is missing, unknown or no number."""


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting, named as its key in lower case; importer.conf says what each one does."""

    archive_dir: Path
    audit_file: Path
    backup_target: str
    client_id: str
    client_secret_file: Path
    connections: int
    cooldown_s: float
    empty_folder_age_s: float
    failed_dir: Path
    inbox_dir: Path
    language_tag: str
    listen_host: str
    listen_port: int
    max_instance_bytes: int
    max_unpacked_bytes: int
    min_free_bytes: int
    orthanc_url: str
    processed_dir: Path
    processed_retention_days: int
    resume_free_bytes: int
    state_dir: Path
    steady_traffic_s: float
    study_retention_clinics: str
    study_retention_minimum_years: int
    study_retention_minors_age: int
    study_retention_years: str
    sweep_interval_s: float
    time_zone: ZoneInfo
    token_url: str


def load(path: Path = CONFIG_FILE, environment: Mapping[str, str] | None = None) -> Config:
    """Read the file, then let the environment override it; raises ConfigError."""
    environment = os.environ if environment is None else environment
    known = {field.name.upper() for field in fields(Config)}
    values = _parse(path)
    if unknown := sorted(values.keys() - known):
        raise ConfigError(f"{path}: there is no setting {', '.join(unknown)}")
    values |= {key: environment[key] for key in known & environment.keys()}
    if missing := sorted(known - values.keys()):
        raise ConfigError(f"{path}: set {', '.join(missing)}")
    if _whole(values, "RESUME_FREE_BYTES", 0) < _whole(values, "MIN_FREE_BYTES", 0):
        raise ConfigError("RESUME_FREE_BYTES must not be below MIN_FREE_BYTES")
    return Config(
        archive_dir=Path(values["ARCHIVE_DIR"]),
        audit_file=Path(values["AUDIT_FILE"]),
        backup_target=values["BACKUP_TARGET"],
        client_id=values["CLIENT_ID"],
        client_secret_file=Path(values["CLIENT_SECRET_FILE"]),
        connections=_whole(values, "CONNECTIONS", 1),
        cooldown_s=_seconds(values, "COOLDOWN_S"),
        empty_folder_age_s=_seconds(values, "EMPTY_FOLDER_AGE_S"),
        failed_dir=Path(values["FAILED_DIR"]),
        inbox_dir=Path(values["INBOX_DIR"]),
        language_tag=values["LANGUAGE_TAG"],
        listen_host=values["LISTEN_HOST"],
        listen_port=_whole(values, "LISTEN_PORT", 0),
        max_instance_bytes=_whole(values, "MAX_INSTANCE_BYTES", 1),
        max_unpacked_bytes=_whole(values, "MAX_UNPACKED_BYTES", 1),
        min_free_bytes=_whole(values, "MIN_FREE_BYTES", 0),
        orthanc_url=values["ORTHANC_URL"].rstrip("/"),
        processed_dir=Path(values["PROCESSED_DIR"]),
        processed_retention_days=_whole(values, "PROCESSED_RETENTION_DAYS", 1),
        resume_free_bytes=_whole(values, "RESUME_FREE_BYTES", 0),
        state_dir=Path(values["STATE_DIR"]),
        steady_traffic_s=_seconds(values, "STEADY_TRAFFIC_S"),
        study_retention_clinics=values["STUDY_RETENTION_CLINICS"],
        study_retention_minimum_years=_whole(values, "STUDY_RETENTION_MINIMUM_YEARS", 0),
        study_retention_minors_age=_whole(values, "STUDY_RETENTION_MINORS_AGE", 0),
        study_retention_years=values["STUDY_RETENTION_YEARS"],
        sweep_interval_s=_seconds(values, "SWEEP_INTERVAL_S"),
        time_zone=_zone(values, "TIME_ZONE"),
        token_url=values["TOKEN_URL"],
    )


def _parse(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    values = {}
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise ConfigError(f"{path}: {line!r} is no KEY=VALUE")
        values[key.strip()] = value.strip()
    return values


def _whole(values: Mapping[str, str], key: str, least: int) -> int:
    if not values[key].isdecimal() or int(values[key]) < least:
        raise ConfigError(f"{key}={values[key]} is no whole number of at least {least}")
    return int(values[key])


def _seconds(values: Mapping[str, str], key: str) -> float:
    try:
        seconds = float(values[key])
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"{key}={values[key]} is no number of seconds above 0")
    return seconds


def _zone(values: Mapping[str, str], key: str) -> ZoneInfo:
    try:
        return ZoneInfo(values[key])
    except (KeyError, OSError, ValueError):
        raise ConfigError(f"{key}={values[key]} is no time zone such as Europe/Vienna") from None
