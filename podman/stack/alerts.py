"""Alertmanager's configuration: the file that ships, with the site's mail server and recipients."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from stack.settings import PODMAN_DIR

if TYPE_CHECKING:
    from stack.settings import Settings

BASE = PODMAN_DIR / "alertmanager" / "alertmanager.json"
IMPLICIT_TLS_PORT = "465"


def alertmanager_json(base: str, settings: Settings) -> str:
    """Return the text; without ALERT_EMAIL the receiver is left with no way to send."""
    config = json.loads(base)
    values = settings.values
    if not values["ALERT_EMAIL"]:
        for receiver in config["receivers"]:
            del receiver["email_configs"]
        return _text(config)
    config["global"] |= {
        "smtp_auth_username": values["SMTP_USER"],
        "smtp_from": values["SMTP_FROM"],
        # There TLS begins with the first byte, and Alertmanager would ask for it once more inside.
        "smtp_require_tls": values["SMTP_PORT"] != IMPLICIT_TLS_PORT,
        "smtp_smarthost": f"{values['SMTP_HOST']}:{values['SMTP_PORT']}",
    }
    for receiver in config["receivers"]:
        for mail in receiver["email_configs"]:
            mail["to"] = values["ALERT_EMAIL"]
    return _text(config)


def _text(config: object) -> str:
    return json.dumps(config, indent=2, sort_keys=True) + "\n"
