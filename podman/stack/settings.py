"""The settings of one stack: defaults.env overlaid by the operator's .env, checked and typed."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Callable

PODMAN_DIR = Path(__file__).resolve().parents[1]
TOP = PODMAN_DIR.parent
DEFAULTS = PODMAN_DIR / "defaults.env"
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - what is refused


class SettingsError(Exception):
    """A setting that cannot work; the text names it and says what to set."""


def read_env(path: Path) -> dict[str, str]:
    """Read KEY=VALUE lines; raises SettingsError with file and line for anything else."""
    values = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        key, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Z][A-Z0-9_]*", key):
            message = f"{path}:{number}: expected KEY=VALUE, found {text!r}"
            raise SettingsError(message)
        value = value.strip()
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
        values[key] = value[1:-1] if quoted else value
    return values


@dataclass(frozen=True, slots=True)
class Settings:
    """One stack's settings, `values` as strings for compose, with what is derived from them."""

    values: dict[str, str]
    env_file: Path
    public_url: str
    data_dir: Path

    @property
    def project(self) -> str:
        """Prefix of every container and network name."""
        return self.values["PROJECT"]

    @property
    def host_name(self) -> str:
        """Host name of the public address, without a port."""
        return urlsplit(self.public_url).hostname or "localhost"

    @property
    def public_authority(self) -> str:
        """Host and port of the public address, as a browser sends them."""
        return urlsplit(self.public_url).netloc

    @property
    def ports(self) -> tuple[int, int]:
        """Published HTTP and HTTPS port."""
        return int(self.values["HTTP_PORT"]), int(self.values["HTTPS_PORT"])

    def container(self, service: str) -> str:
        """Name of the container of a service."""
        return f"{self.project}-{service}"

    def prefix(self, network: str) -> str:
        """First three octets of a container network's first addresses (`FRONTEND`, …)."""
        address = ipaddress.ip_network(self.values[f"{network}_SUBNET"]).network_address
        return str(address).rpartition(".")[0]

    def dynamic_range(self, network: str) -> str:
        """Upper half of a network: for containers without a fixed address."""
        return str(list(ipaddress.ip_network(self.values[f"{network}_SUBNET"]).subnets())[1])

    def networks(self, key: str) -> list[str]:
        """Return the networks of a setting; this machine's own requests come from Podman's bridge."""
        own = ipaddress.ip_network(self.values["FRONTEND_SUBNET"])
        listed = [item.strip() for item in self.values[key].split(",") if item.strip()]
        is_own = any(ipaddress.ip_network(network).is_loopback for network in listed)
        return [*listed, str(own)] if is_own else listed


def default_public_url(https_port: int) -> str:
    """Return the machine's name as an address if others can resolve it, else localhost."""
    port = "" if https_port == 443 else f":{https_port}"  # noqa: PLR2004 - the port that https implies
    name = socket.getfqdn()
    try:
        found = {info[4][0] for info in socket.getaddrinfo(name, None)}
    except OSError:
        found = set()
    reachable = {a for a in found if not ipaddress.ip_address(str(a).partition("%")[0]).is_loopback}
    return f"https://{name}{port}" if "." in name and reachable else f"https://localhost{port}"


def load(env_file: Path) -> Settings:
    """Load and check the settings; raises SettingsError."""
    defaults = read_env(DEFAULTS)
    own = read_env(env_file) if env_file.exists() else {}
    if unknown := sorted(own.keys() - defaults.keys()):
        message = (
            f"{env_file}: unknown setting {', '.join(unknown)}; the known ones are in {DEFAULTS}"
        )
        raise SettingsError(message)
    values = defaults | own
    _check(values, env_file)
    given = values["PUBLIC_URL"].lower().removesuffix(":443")
    public_url = given or default_public_url(int(values["HTTPS_PORT"]))
    return Settings(values, env_file, public_url, Path(values["DATA_DIR"]))


def _matches(pattern: str) -> Callable[[str], bool]:
    return lambda value: re.fullmatch(pattern, value) is not None


def _is_port(value: str) -> bool:
    return value.isdecimal() and 0 < int(value) < 2**16


def _is_positive(value: str) -> bool:
    return value.isdecimal() and int(value) > 0


def _is_container_network(value: str) -> bool:
    # Fixed addresses end in the last octet and the upper half is dynamic: /24 is the smallest that works.
    return _is_network(value) and ipaddress.ip_network(value).prefixlen <= 24  # noqa: PLR2004


def _is_network(value: str) -> bool:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        return False
    return True


def _is_host(value: str) -> bool:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        return False
    return True


def _is_time_zone(value: str) -> bool:
    try:
        ZoneInfo(value)
    except (KeyError, OSError, ValueError):
        return False
    return True


def _are_networks(value: str) -> bool:
    return all(_is_network(item.strip()) for item in value.split(",") if item.strip())


_MAILBOX = r'[^@\s,<>"]+@[^@\s,<>"]+'
_YEARS = r"([1-9][0-9]?|100)"
_CLINIC_YEARS = rf"[a-z0-9-]+=({_YEARS}|never)"
_PORT = (_is_port, "a port number")
_POSITIVE = (_is_positive, "a whole number above 0")
_NETWORK = (_is_container_network, "an IPv4 network of /24 or larger, such as 172.28.0.0/16")
_NETWORKS = (_are_networks, "networks such as 192.168.7.0/24, separated by commas")
_RULES: dict[str, tuple[Callable[[str], bool], str]] = {
    "LANGUAGE_TAG": (
        _matches(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*"),
        "the tag of a language, such as en or de",
    ),
    "SITE_NAME": (
        _matches(r"""[^"'&<>\\`$*{}\x00-\x1f]{1,60}"""),
        "a name of at most 60 characters, without quotes and any of & < > \\ ` $ * { }",
    ),
    "TZ": (_is_time_zone, "a time zone, such as Europe/Vienna or UTC"),
    "PUBLIC_URL": (
        _matches(r"|https://[A-Za-z0-9.-]+(:[0-9]{1,5})?"),
        "https://name or https://name:port, without a path or trailing slash",
    ),
    "DATA_DIR": (_matches(r"/[^:\s]*"), "an absolute path without spaces and colons"),
    "PROJECT": (_matches(r"[a-z0-9][a-z0-9-]*"), "lower-case letters, digits and hyphens"),
    "HTTP_PORT": _PORT,
    "HTTPS_PORT": _PORT,
    "SMTP_PORT": _PORT,
    "SFTP_PORT": (lambda value: not value or _is_port(value), "a port number, or nothing"),
    "SFTP_ADDRESS": (
        _matches(r"|\d{1,3}(\.\d{1,3}){3}"),
        "an IPv4 address of this machine, or nothing",
    ),
    "SMB_PORT": (lambda value: not value or _is_port(value), "a port number, or nothing"),
    "SMB_ADDRESS": (
        lambda value: not value or (_is_host(value) and value != ANY_ADDRESS),
        "the one IPv4 address of this machine in the network of those who upload",
    ),
    "ALERT_EMAIL": (
        _matches(rf"|{_MAILBOX}( *, *{_MAILBOX})*"),
        "mail addresses, separated by commas",
    ),
    "ALERT_TELEGRAM_CHAT": (_matches(r"|-?[0-9]+"), "the number of a chat, as -1001234567890"),
    "OBSERVABILITY": (
        _matches(r"|embedded|grafana"),
        "embedded (VictoriaLogs as well), grafana (Grafana and Loki as well) or nothing (neither)",
    ),
    "LOGS_BUFFER_MB": _POSITIVE,
    "LOGS_MB": _POSITIVE,
    "LOGS_RETENTION_DAYS": _POSITIVE,
    "METRICS_RETENTION_DAYS": _POSITIVE,
    "BACKUP_TARGET": (
        _matches(r"|/[^:\s]+|(sftp|s3|rest|azure|b2|gs|swift|rclone):\S+"),
        "a folder of another disk (/mnt/backup), or sftp:…, s3:…, rest:… as restic writes them",
    ),
    "BACKUP_HOST_KEY": (
        _matches(r"|(ssh-|ecdsa-|sk-)\S+ [A-Za-z0-9+/]+=*( .*)?"),
        "the line of the server's /etc/ssh/ssh_host_ed25519_key.pub: ssh-ed25519 AAAA…",
    ),
    "BACKUP_INTERVAL_MIN": _POSITIVE,
    "BACKUP_DUMP_INTERVAL_MIN": _POSITIVE,
    "BACKUP_KEEP_DAILY": _POSITIVE,
    "BACKUP_KEEP_WEEKLY": _POSITIVE,
    "BACKUP_KEEP_MONTHLY": _POSITIVE,
    "BACKUP_PRUNE": (_matches(r"yes|no"), "yes or no"),
    "DICOM_PORT": (lambda value: not value or _is_port(value), "a port number, or nothing"),
    "DICOM_ADDRESS": (
        lambda value: not value or _is_host(value),
        "an IPv4 address of this machine, or nothing (that of PUBLISH_ADDRESS)",
    ),
    "DICOM_AET": (
        _matches(r"[A-Za-z0-9_.+-]([A-Za-z0-9 _.+-]{0,14}[A-Za-z0-9_.+-])?"),
        "an AE title: 1 to 16 letters, digits, '_', '-', '.', '+' and spaces inside",
    ),
    "DICOM_TLS": (_matches(r"|yes"), "yes or nothing"),
    "COOLDOWN_S": _POSITIVE,
    "INBOX_PAGE": (_matches(r"|yes"), "yes or nothing"),
    "PROCESSED_RETENTION_DAYS": _POSITIVE,
    "STUDY_RETENTION_YEARS": (_matches(rf"|{_YEARS}"), "whole years, 1 to 100, or nothing (never)"),
    "STUDY_RETENTION_CLINICS": (
        _matches(rf"|{_CLINIC_YEARS}( *, *{_CLINIC_YEARS})*"),
        "years or never of clinics, such as clinic-a=15,clinic-b=never",
    ),
    "STUDY_RETENTION_MINIMUM_YEARS": (_matches(rf"0|{_YEARS}"), "whole years, 0 to 100"),
    "STUDY_RETENTION_MINORS_AGE": (_matches(rf"0|{_YEARS}"), "an age in years, or 0"),
    "AUDIT_RETENTION_YEARS": (_matches(_YEARS), "whole years, 1 to 100"),
    "FRONTEND_SUBNET": _NETWORK,
    "BACKEND_SUBNET": _NETWORK,
    "EGRESS_SUBNET": _NETWORK,
    "ADMIN_NETWORKS": _NETWORKS,
    "TRUSTED_PROXIES": _NETWORKS,
}


def _check(values: dict[str, str], env_file: Path) -> None:
    for key, (works, expected) in _RULES.items():
        if not works(values[key]):
            raise SettingsError(f"{env_file}: {key}={values[key]!r}: expected {expected}")
    if bool(values["TLS_CERTIFICATE"]) != bool(values["TLS_CERTIFICATE_KEY"]):
        raise SettingsError(
            f"{env_file}: set both TLS_CERTIFICATE and TLS_CERTIFICATE_KEY, or neither"
        )
    _check_years(values, env_file)
    if values["DICOM_CLIENT_CA"] and not values["DICOM_TLS"]:
        raise SettingsError(
            f"{env_file}: DICOM_CLIENT_CA asks devices for a certificate, which only TLS does: set DICOM_TLS=yes"
        )
    if values["SMB_PORT"] and not values["SMB_ADDRESS"]:
        raise SettingsError(
            f"{env_file}: SMB_PORT is set: set SMB_ADDRESS too, the one address of this machine that shares are seen at"
        )
    if Path(values["BACKUP_TARGET"] or "/").is_relative_to(values["DATA_DIR"]):
        raise SettingsError(
            f"{env_file}: BACKUP_TARGET lies within DATA_DIR: what is lost with it is no backup; name another disk"
        )
    if values["BACKUP_TARGET"].startswith("sftp:") and not values["BACKUP_HOST_KEY"]:
        raise SettingsError(
            f"{env_file}: whether the server of BACKUP_TARGET is the right one cannot be told: set BACKUP_HOST_KEY"
            " to the line that it has in /etc/ssh/ssh_host_ed25519_key.pub"
        )
    if re.search(r"//[^/@]*:[^/@]+@", values["BACKUP_TARGET"]):
        raise SettingsError(
            f"{env_file}: BACKUP_TARGET holds a password: put it into DATA_DIR/secrets/backup_credentials"
            " (RESTIC_REST_USERNAME=… and RESTIC_REST_PASSWORD=…, a line each)"
        )
    if values["ALERT_EMAIL"] and not (values["SMTP_HOST"] and values["SMTP_FROM"]):
        raise SettingsError(
            f"{env_file}: ALERT_EMAIL is set: set SMTP_HOST and SMTP_FROM too, by which its mail is sent"
        )


def _check_years(values: dict[str, str], env_file: Path) -> None:
    minimum = int(values["STUDY_RETENTION_MINIMUM_YEARS"])
    for key in ("STUDY_RETENTION_YEARS", "STUDY_RETENTION_CLINICS"):
        if any(int(years) < minimum for years in re.findall(r"(?:^|=)(\d+)", values[key])):
            raise SettingsError(
                f"{env_file}: {key}={values[key]!r}: studies would go before {minimum} years are over; where your law"
                " asks for less, set STUDY_RETENTION_MINIMUM_YEARS"
            )
