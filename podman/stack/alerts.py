"""Alertmanager's configuration: the file that ships, with the ways of this site by which alerts go out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from stack import alert_test
from stack.settings import PODMAN_DIR
from stack.shell import CommandError, say

if TYPE_CHECKING:
    from collections.abc import Collection

    from stack.settings import Settings

BASE = PODMAN_DIR / "alertmanager" / "alertmanager.json"
IMPLICIT_TLS_PORT = "465"


def test(settings: Settings) -> bool:
    """Send one alert through every way that is configured; returns whether each took it, raises CommandError."""
    try:
        return alert_test.run(f"http://{settings.prefix('BACKEND')}.18:9093", say)
    except OSError as error:
        raise CommandError(f"Alertmanager does not answer, run make up first: {error}") from error


def alertmanager_json(base: str, settings: Settings, given: Collection[str] = ()) -> str:
    """Return the text, with those ways only that have what they need; `given` are the secrets that hold a value.

    Each receiver has a second one for `make alert-test`, which sends the same way and never that a test is over.
    """
    config = json.loads(base)
    values = settings.values
    if values["ALERT_EMAIL"]:
        config["global"] |= {
            "smtp_auth_username": values["SMTP_USER"],
            "smtp_from": values["SMTP_FROM"],
            # There TLS begins with the first byte, and Alertmanager would ask for it once more inside.
            "smtp_require_tls": values["SMTP_PORT"] != IMPLICIT_TLS_PORT,
            "smtp_smarthost": f"{values['SMTP_HOST']}:{values['SMTP_PORT']}",
        }
    ways = {
        ("operator", "email_configs"): {"to": values["ALERT_EMAIL"]},
        ("operator", "telegram_configs"): {"chat_id": int(values["ALERT_TELEGRAM_CHAT"] or 0)},
        ("operator", "webhook_configs"): {},
        ("heartbeat", "webhook_configs"): {},
    }
    wanted = {
        ("operator", "email_configs"): values["ALERT_EMAIL"],
        ("operator", "telegram_configs"): values["ALERT_TELEGRAM_CHAT"],
        ("operator", "webhook_configs"): "alert_webhook_url" in given,
        ("heartbeat", "webhook_configs"): "alert_heartbeat_url" in given,
    }
    receivers = []
    for shipped in config["receivers"]:
        name = shipped["name"]
        kinds = {
            kind: [one | ways[name, kind] for one in shipped[kind]]
            for kind in shipped
            if kind != "name" and wanted[name, kind]
        }
        silent = {kind: [one | {"send_resolved": False} for one in kinds[kind]] for kind in kinds}
        receivers += [{"name": name} | kinds, {"name": f"test-{name}"} | silent]
    config["receivers"] = receivers
    return json.dumps(config, indent=2, sort_keys=True) + "\n"
