"""Alerts go out by every way, to servers that speak its protocol: SMTP with TLS and a login, HTTP, Telegram's API."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import requests
from harness.receivers import CHAT, PASSWORD, Servers, free_port, http, smtp
from harness.wait import wait_until
from stack import alert_test
from stack.alerts import BASE, alertmanager_json
from stack.settings import load
from stack.shell import podman
from stack.words import words_tmpl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKEN = f"42:{secrets.token_hex(8)}"
GIVEN = {"alert_heartbeat_url", "alert_webhook_url", "telegram_token"}
SUBJECT = "This is a test of the alerts."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("alerts")


@pytest.fixture(scope="module")
def servers() -> Servers:
    return Servers()


@pytest.fixture(scope="module")
def url(servers: Servers, folder: Path, image: Callable[[str], str]) -> Iterator[str]:
    """Provide an Alertmanager of its own, with the file that ships and every way configured."""
    with http(servers) as http_port, smtp(servers, folder) as smtp_port:
        (folder / "env").write_text(
            f"SMTP_HOST=localhost\nSMTP_PORT={smtp_port}\nSMTP_FROM=pacs@example.org\nSMTP_USER=pacs\n"
            f"ALERT_EMAIL=it@example.org\nALERT_TELEGRAM_CHAT={CHAT}\n"
        )
        config = json.loads(alertmanager_json(BASE.read_text(), load(folder / "env"), GIVEN))
        # Telegram is where it is, and half a minute is long.
        config["global"]["telegram_api_url"] = f"http://127.0.0.1:{http_port}"
        config["route"]["group_wait"] = "1s"
        config["templates"] = ["/files/words.tmpl"]
        (folder / "words.tmpl").write_text(words_tmpl(load(folder / "env")))
        (folder / "alertmanager.json").write_text(json.dumps(config))
        values = {
            "alert_heartbeat_url": f"http://127.0.0.1:{http_port}/heartbeat",
            "alert_webhook_url": f"http://127.0.0.1:{http_port}/hook",
            "smtp_password": PASSWORD,
            "telegram_token": TOKEN,
        }
        (folder / "secrets").mkdir()
        for name, value in values.items():
            (folder / "secrets" / name).write_text(value)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        address, name = f"127.0.0.1:{free_port()}", f"alerts-alone-{secrets.token_hex(4)}"
        podman(
            *("run", "--detach", f"--name={name}", "--network=host", "--no-healthcheck"),
            *(
                "--read-only",
                "--cap-drop=ALL",
                "--tmpfs=/tmp",
                "--env=SSL_CERT_FILE=/files/mail.crt",
            ),
            *(f"--volume={folder}:/files:ro", f"--volume={folder}/secrets:/run/secrets:ro"),
            *(image("alertmanager"), "prometheus-alertmanager", "--cluster.listen-address="),
            *("--config.file=/files/alertmanager.json", "--storage.path=/tmp"),
            *("--enable-feature=receiver-name-in-metrics", f"--web.listen-address={address}"),
        )
        try:
            wait_until(lambda: is_ready(f"http://{address}"), 20, "Alertmanager answers")
            yield f"http://{address}"
        finally:
            podman("rm", "--force", "--time=1", name)


def is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/-/ready", timeout=5).ok
    except requests.ConnectionError:
        return False


def post(url: str, *alerts: dict[str, str]) -> None:
    """Hold alerts, each by its labels."""
    body = [
        {
            "labels": {"severity": "critical", **labels},
            "annotations": {
                "summary": f"Of {labels['alertname']}.",
                "description": "What it is.",
                "runbook": f"docs/runbook.md#{labels['alertname'].lower()}",
            },
            "startsAt": datetime.now(UTC).isoformat(),
        }
        for labels in alerts
    ]
    requests.post(f"{url}/api/v2/alerts", json=body, timeout=10).raise_for_status()


def test_one_command_sends_an_alert_by_every_way_and_says_so(url: str, servers: Servers) -> None:
    said: list[str] = []
    assert alert_test.run(url, said.append)
    ways = ("email", "heartbeat", "telegram", "webhook")
    assert sorted(said) == [f"{way}: delivered" for way in ways]
    (mail,) = servers.mails
    assert mail.startswith(f"{SUBJECT}\n{SUBJECT}\nSomebody gave the command alert-test.")
    (telegram,) = [body for path, body in servers.posted if path == f"/bot{TOKEN}/sendMessage"]
    assert str(telegram["chat_id"]) == str(CHAT)
    assert str(telegram["text"]).startswith(SUBJECT)
    assert [SUBJECT in text for text in servers.texts("/hook")] == [True]
    assert [SUBJECT in text for text in servers.texts("/heartbeat")] == [True]


def test_a_way_that_does_not_work_is_named_and_the_others_do(url: str, servers: Servers) -> None:
    said: list[str] = []
    servers.is_broken = True
    assert not alert_test.run(url, said.append)
    servers.is_broken = False
    assert f"webhook: {alert_test.WHY}" in said
    assert {"email: delivered", "heartbeat: delivered", "telegram: delivered"} <= set(said)
    # As the alert AlertsNotDelivered asks for it.
    counted = requests.get(f"{url}/metrics", timeout=10).text
    assert 'alertmanager_notifications_failed_total{integration="webhook"' in counted


def test_a_disk_that_fails_is_one_message_whatever_follows_from_it(
    url: str, servers: Servers
) -> None:
    servers.mails.clear()
    post(url, {"alertname": "DiskFails", "device": "/dev/sda1"})
    wait_until(lambda: servers.mails, 20, "the disk is told of")
    follows = ("ServiceDown", "ArchiveUnreachable", "ImportsStalled", "BackupTooOld", "ProbeFailed")
    post(
        url,
        *({"alertname": name, "clinic_id": "clinic-a", "job": "orthanc"} for name in follows),
        # The control: what does not follow from a disk is told of all the same.
        {"alertname": "LoginsFail", "job": "auditor"},
    )
    wait_until(lambda: len(servers.mails) > 1, 20, "the other alert is told of")
    subjects = [mail.splitlines()[0] for mail in servers.mails]
    assert subjects == ["Of DiskFails.", "Of LoginsFail."]
    assert "More: docs/runbook.md#diskfails" in servers.mails[0]


def test_the_heartbeat_goes_to_its_own_address_only(url: str, servers: Servers) -> None:
    servers.mails.clear()
    servers.posted.clear()
    post(url, {"alertname": "Heartbeat", "severity": "none", "job": "prometheus"})
    wait_until(lambda: servers.texts("/heartbeat"), 20, "it is called")
    assert not servers.mails
    assert {path for path, _ in servers.posted} == {"/heartbeat"}


def test_the_password_and_the_addresses_are_in_no_configuration(url: str, folder: Path) -> None:
    asked = requests.get(f"{url}/api/v2/status", timeout=10)
    shown = asked.text + (folder / "alertmanager.json").read_text()
    assert "it@example.org" in shown
    assert not [value for value in (PASSWORD, TOKEN, "/hook", "/heartbeat\\n") if value in shown]
