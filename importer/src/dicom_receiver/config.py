"""The receiver's settings: those that it shares with the importer from importer.conf, its own from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dicom_importer import config

# Within inbox/, for a file that is whole is shown by a rename; no clinic's name begins with a dot.
SPOOL = ".dicom-receiver"
SENDERS_FILE = Path("/var/lib/dicom-receiver/senders.json")


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting.

    `this_host` is the address that this machine's own connections seem to come from; a certificate's
    key may be in the certificate's file.
    """

    ae_title: str
    certificate: Path | None
    certificate_key: Path | None
    client_authority: Path | None
    inbox_dir: Path
    listen_host: str
    listen_port: int
    metrics_host: str
    metrics_port: int
    min_free_bytes: int
    senders_file: Path
    this_host: str


def load(path: Path = config.CONFIG_FILE, environment: Mapping[str, str] | None = None) -> Config:
    """Read the settings; raises dicom_importer.config.ConfigError."""
    environment = os.environ if environment is None else environment
    shared = config.load(path, environment)
    return Config(
        ae_title=environment.get("DICOM_AET", ""),
        certificate=_path(environment, "TLS_FILE"),
        certificate_key=_path(environment, "TLS_KEY_FILE"),
        client_authority=_path(environment, "TLS_CLIENT_CA_FILE"),
        inbox_dir=shared.inbox_dir,
        listen_host=environment.get("DICOM_HOST", "0.0.0.0"),  # noqa: S104 - its container's network
        listen_port=int(environment.get("DICOM_LISTEN_PORT", "4242")),
        metrics_host=shared.listen_host,
        metrics_port=shared.listen_port,
        min_free_bytes=shared.min_free_bytes,
        senders_file=SENDERS_FILE,
        this_host=environment.get("THIS_HOST", ""),
    )


def _path(environment: Mapping[str, str], key: str) -> Path | None:
    value = environment.get(key, "")
    return Path(value) if value else None
