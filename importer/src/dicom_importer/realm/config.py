"""What the realm's commands are told: environment, secrets and the realm file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CLIENT_SECRETS = {
    "auditor": "auditor_secret",
    "grafana": "grafana_secret",
    "monitoring": "monitoring_secret",
    "operator-pages": "operator_pages_secret",
    "orthanc-api": "orthanc_api_secret",
}


class ConfigError(ValueError):
    """A setting or a secret is missing."""


@dataclass(frozen=True, slots=True)
class Mail:
    """The mail server; without a user there is no authentication."""

    host: str
    port: str
    sender: str
    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that a command needs to know."""

    client_secrets: Mapping[str, str]
    keycloak_url: str
    mail: Mail | None
    placeholders: Mapping[str, str]
    ready_timeout_s: float
    realm_file: Path
    reconciler_secrets: tuple[str, ...]


def load(
    environment: Mapping[str, str] | None = None,
    secrets: Path = Path("/run/secrets"),
    realm_file: Path = Path("/etc/keycloak/realm.json"),
) -> Config:
    """Read environment and secrets; raises ConfigError."""
    env = os.environ if environment is None else environment
    public_url = env.get("PUBLIC_URL", "")
    if not public_url.startswith("https://") or public_url.endswith("/"):
        raise ConfigError(f"PUBLIC_URL must be https://… without a slash at its end: {public_url}")
    mail = None
    if host := env.get("SMTP_HOST"):
        mail = Mail(
            host=host,
            port=env.get("SMTP_PORT") or "587",
            sender=_required(env, "SMTP_FROM"),
            user=env.get("SMTP_USER", ""),
            password=_secret(secrets / "smtp_password") if env.get("SMTP_USER") else "",
        )
    return Config(
        client_secrets={client: _secret(secrets / name) for client, name in CLIENT_SECRETS.items()},
        keycloak_url="http://keycloak:8080/auth",
        mail=mail,
        placeholders={
            "LANGUAGE_TAG": env.get("LANGUAGE_TAG") or "en",
            "PUBLIC_URL": public_url,
            "SITE_NAME": env.get("SITE_NAME") or "DICOM Web Viewer",
        },
        ready_timeout_s=600,
        realm_file=realm_file,
        # The newest first, then those before it, which Keycloak believes until it is told.
        reconciler_secrets=tuple(_secret(secrets / "realm_reconciler_secret").split()),
    )


def _required(env: Mapping[str, str], name: str) -> str:
    if value := env.get(name):
        return value
    raise ConfigError(f"set {name}")


def _secret(path: Path) -> str:
    try:
        value = path.read_text().strip()
    except OSError as error:
        raise ConfigError(f"cannot read the secret {path}: {error.strerror}") from error
    if not value:
        raise ConfigError(f"the secret {path} is empty")
    return value
