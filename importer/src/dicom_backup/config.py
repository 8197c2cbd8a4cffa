"""The backup's settings and places, which are the same in both forms; below DATA_DIR everything has one name."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# The name under which every snapshot stands, whatever the machine is called.
HOST = "dicom-stack"
DATABASES = ("orthanc", "keycloak")
# What holds secrets of the backup itself, which no snapshot has: the key lies apart, or it opens nothing.
OWN_SECRETS = (
    "secrets/backup.*",
    "secrets/backup_ca",
    "secrets/backup_credentials",
    "secrets/backup_ssh_key",
)
# A restore is practised once a quarter.
DRILL_STALE_AFTER_S = 100 * 86400

# user:password@ within an address, which settings and what is said of them would show.
_PASSWORD = re.compile(r"//[^/@]*:[^/@]+@")
HOST_KEY = re.compile(r"(ssh-|ecdsa-|sk-)\S+ [A-Za-z0-9+/]+=*( .*)?")


class ConfigError(ValueError):
    """A setting cannot be; the text says what to set."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How many snapshots stay: the newest of so many days, weeks and months."""

    daily: int
    weekly: int
    monthly: int


@dataclass(frozen=True, slots=True)
class Config:
    """Where everything lies, where it is backed up to, and how often."""

    data_dir: Path
    target: str
    interval_min: int
    dump_interval_min: int
    keep: Keep
    prune: bool
    secrets_dir: Path
    database_host: str
    listen_host: str
    listen_port: int
    # The site's settings where they are not below config/ already.
    settings_file: Path | None
    # What a server reached by SFTP must prove to be, as its ssh_host_ed25519_key.pub has it.
    host_key: str = ""

    @property
    def backup_dir(self) -> Path:
        """What the backup itself keeps: dumps, state, restic's cache."""
        return self.data_dir / "backup"

    @property
    def dumps_dir(self) -> Path:
        """The newest dumps of the databases, with their dump.json."""
        return self.backup_dir / "dumps"

    @property
    def journal_dir(self) -> Path:
        """The newest copy of the importer's journal."""
        return self.backup_dir / "journal"

    @property
    def realm_dir(self) -> Path:
        """The newest export of Keycloak's people."""
        return self.backup_dir / "realm"

    @property
    def state_file(self) -> Path:
        """What the last run and the last check came to."""
        return self.backup_dir / "state.json"

    @property
    def drill_file(self) -> Path:
        """Its time of change is that of the last drill."""
        return self.backup_dir / "drilled"

    @property
    def storage_dir(self) -> Path:
        """Orthanc's files."""
        return self.data_dir / "dicom"

    @property
    def files_dir(self) -> Path:
        """Inboxes, originals and failed files."""
        return self.data_dir / "files"

    @property
    def key_file(self) -> Path:
        """The repository's key."""
        return self.secrets_dir / "backup_key"

    @property
    def ca_file(self) -> Path:
        """The certificates of who signed that of a target by HTTPS, where it is none that everybody trusts."""
        return self.secrets_dir / "backup_ca"

    @property
    def credentials_file(self) -> Path:
        """Lines NAME=VALUE that restic gets as its environment."""
        return self.secrets_dir / "backup_credentials"

    @property
    def ssh_key_file(self) -> Path:
        """The key for a target by SFTP."""
        return self.secrets_dir / "backup_ssh_key"

    @property
    def known_hosts_file(self) -> Path:
        """The host key of a target by SFTP, as ssh reads it."""
        return self.backup_dir / "known_hosts"

    @property
    def stale_after_s(self) -> int:
        """Age from which the last backup is too old."""
        return 2 * 60 * self.interval_min

    @property
    def dump_stale_after_s(self) -> int:
        """Age from which the last dump is too old."""
        return 2 * 60 * self.dump_interval_min

    def drill_age_s(self, first_s: float, now_s: float) -> float:
        """Return how long ago a restore was practised, or the first backup begun if none ever was."""
        try:
            return now_s - self.drill_file.stat().st_mtime
        except FileNotFoundError:
            return now_s - first_s


def load(environment: Mapping[str, str] | None = None) -> Config:
    """Read the environment; raises ConfigError."""
    environment = os.environ if environment is None else environment
    target = environment.get("BACKUP_TARGET", "")
    if not target:
        raise ConfigError(
            "BACKUP_TARGET is empty: nothing is backed up; set a folder of another disk, or sftp:, s3: or rest:"
        )
    if _PASSWORD.search(target):
        raise ConfigError(
            "BACKUP_TARGET holds a password: put it into the secret backup_credentials"
            " (RESTIC_REST_USERNAME=… and RESTIC_REST_PASSWORD=…, a line each)"
        )
    host_key = environment.get("BACKUP_HOST_KEY", "").strip()
    if host_key and not HOST_KEY.fullmatch(host_key):
        raise ConfigError("BACKUP_HOST_KEY: set the line of the server's ssh_host_ed25519_key.pub")
    if target.startswith("sftp:") and not host_key:
        raise ConfigError(
            f"whether the server of {target} is the right one cannot be told: set BACKUP_HOST_KEY"
            " (HOST_KEY=… where this is a restore) to the line that the server has in"
            " /etc/ssh/ssh_host_ed25519_key.pub"
        )
    prune = environment.get("BACKUP_PRUNE", "yes")
    if prune not in ("yes", "no"):
        raise ConfigError(f"BACKUP_PRUNE={prune}: set yes or no")
    settings = environment.get("SETTINGS_FILE", "")
    return Config(
        data_dir=Path(environment.get("BACKUP_DATA_DIR", "/data")),
        target=target,
        interval_min=_whole(environment, "BACKUP_INTERVAL_MIN", 15),
        dump_interval_min=_whole(environment, "BACKUP_DUMP_INTERVAL_MIN", 60),
        keep=Keep(
            _whole(environment, "BACKUP_KEEP_DAILY", 7),
            _whole(environment, "BACKUP_KEEP_WEEKLY", 4),
            _whole(environment, "BACKUP_KEEP_MONTHLY", 12),
        ),
        prune=prune == "yes",
        secrets_dir=Path(environment.get("SECRETS_DIR", "/run/secrets")),
        database_host=environment.get("DATABASE_HOST", "postgresql"),
        listen_host=environment.get("LISTEN_HOST", "0.0.0.0"),  # noqa: S104 - its container's network
        listen_port=8080,
        settings_file=Path(settings) if settings else None,
        host_key=host_key,
    )


def credentials(path: Path) -> dict[str, str]:
    """Read the target's credentials, none where there is no file; raises ConfigError for what is no NAME=VALUE."""
    found = {}
    lines = path.read_text().splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        name, equals, value = line.strip().partition("=")
        if name.startswith("#") or not line.strip():
            continue
        # What it holds is not shown.
        if not equals or not name.isidentifier():
            raise ConfigError(f"{path}:{number}: expected NAME=VALUE, as AWS_ACCESS_KEY_ID=…")
        found[name] = value
    return found


def _whole(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name, str(default))
    if not value.isdecimal() or int(value) < 1:
        raise ConfigError(f"{name}={value}: set a whole number above 0")
    return int(value)
