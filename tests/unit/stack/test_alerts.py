"""Alertmanager's configuration follows the settings of the site."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from stack.alerts import BASE, alertmanager_json
from stack.preflight import problems
from stack.settings import SettingsError, load

if TYPE_CHECKING:
    from pathlib import Path

MAIL = "SMTP_HOST=mail.example.org\nSMTP_FROM=pacs@example.org\n"


def generated(folder: Path, text: str) -> str:
    """Return what is generated for the lines of an env file."""
    (folder / "env").write_text(text)
    return alertmanager_json(BASE.read_text(), load(folder / "env"))


def test_alerts_go_to_the_addresses_by_the_sites_mail_server(tmp_path: Path) -> None:
    config = json.loads(
        generated(
            tmp_path,
            MAIL + "SMTP_PORT=465\nSMTP_USER=pacs\nALERT_EMAIL=it@example.org, b@example.org\n",
        )
    )
    assert config["global"] == {
        "smtp_auth_password_file": "/run/secrets/smtp_password",
        "smtp_auth_username": "pacs",
        "smtp_from": "pacs@example.org",
        "smtp_require_tls": False,
        "smtp_smarthost": "mail.example.org:465",
    }
    receivers = {r["name"]: r for r in config["receivers"]}
    for name in ("operator", "test-operator"):
        mails = receivers[name]["email_configs"]
        assert [m["to"] for m in mails] == ["it@example.org, b@example.org"]
        assert receivers[name].keys() == {"name", "email_configs"}
    # Nobody is told that a test is over.
    assert not receivers["test-operator"]["email_configs"][0]["send_resolved"]


def test_each_way_is_there_when_it_has_what_it_needs_and_no_secret_is_shown(
    tmp_path: Path,
) -> None:
    (tmp_path / "env").write_text("ALERT_TELEGRAM_CHAT=-1001\n")
    settings = load(tmp_path / "env")
    given = {"alert_heartbeat_url", "alert_webhook_url", "telegram_token"}
    config = json.loads(alertmanager_json(BASE.read_text(), settings, given))
    ways = {r["name"]: r.keys() - {"name"} for r in config["receivers"]}
    assert ways["operator"] == {"telegram_configs", "webhook_configs"} == ways["test-operator"]
    assert ways["heartbeat"] == {"webhook_configs"} == ways["test-heartbeat"]
    (telegram,) = config["receivers"][0]["telegram_configs"]
    assert telegram["chat_id"] == -1001
    files = {"bot_token_file": "telegram_token", "url_file": "alert_webhook_url"}
    for key, name in files.items():
        assert f'"{key}": "/run/secrets/{name}"' in json.dumps(config)


def test_a_chat_without_the_token_of_a_bot_is_refused(tmp_path: Path) -> None:
    (tmp_path / "env").write_text(f"ALERT_TELEGRAM_CHAT=7\nDATA_DIR={tmp_path}\n")
    settings = load(tmp_path / "env")
    assert any("telegram_token" in problem for problem in problems(settings))
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "telegram_token").write_text("42:abc\n")
    assert not any("telegram_token" in problem for problem in problems(settings))


@pytest.mark.parametrize(("port", "starttls"), [("465", False), ("587", True), ("25", True)])
def test_mail_never_leaves_in_the_clear(tmp_path: Path, port: str, *, starttls: bool) -> None:
    lines = f"{MAIL}SMTP_PORT={port}\nALERT_EMAIL=it@example.org\n"
    # On port 465 Alertmanager speaks TLS from the first byte, whatever this says.
    assert json.loads(generated(tmp_path, lines))["global"]["smtp_require_tls"] is starttls


def test_without_a_recipient_nothing_is_sent_although_the_site_has_a_mail_server(
    tmp_path: Path,
) -> None:
    config = json.loads(generated(tmp_path, MAIL))
    names = ("operator", "test-operator", "heartbeat", "test-heartbeat")
    assert config["receivers"] == [{"name": name} for name in names]


def test_the_rest_is_what_ships(tmp_path: Path) -> None:
    shipped = json.loads(BASE.read_text())
    config = json.loads(generated(tmp_path, MAIL + "ALERT_EMAIL=it@example.org\n"))
    for part in ("inhibit_rules", "route"):
        assert config[part] == shipped[part]
    assert config.keys() == shipped.keys()


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("ALERT_EMAIL=somebody\n" + MAIL, "ALERT_EMAIL='somebody': expected mail addresses"),
        ("ALERT_EMAIL=a@example.org b@example.org\n" + MAIL, "ALERT_EMAIL"),
        ("ALERT_EMAIL=a@example.org,\n" + MAIL, "ALERT_EMAIL"),
        ("ALERT_EMAIL=a@example.org\n", "set SMTP_HOST and SMTP_FROM"),
        ("ALERT_EMAIL=a@example.org\nSMTP_HOST=mail\n", "set SMTP_HOST and SMTP_FROM"),
    ],
)
def test_a_recipient_who_cannot_be_reached_is_refused(
    tmp_path: Path, lines: str, named: str
) -> None:
    with pytest.raises(SettingsError, match=named):
        generated(tmp_path, lines)
