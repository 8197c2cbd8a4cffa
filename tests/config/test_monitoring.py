"""What is watched, who is told and when: accepted by the programs that read it, and each alert proven on numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from stack.alerts import BASE, alertmanager_json
from stack.prometheus import prometheus_yml
from stack.settings import PODMAN_DIR, TOP, load
from stack.shell import attempt
from stack.words import words_tmpl

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

PROMETHEUS = PODMAN_DIR / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
RULES_TESTS = sorted(Path(__file__).parent.glob("alerts*.yml"))
RUNBOOK = TOP / "docs" / "runbook.md"
MAIL = "SMTP_HOST=mail.example.org\nSMTP_FROM=pacs@example.org\nALERT_EMAIL=it@example.org\n"
# Clinics, programs and disks, by their own names; a label of anything else could be somebody's data.
LABELS = {"clinic_id", "device", "integration", "job", "route", "service"}


def rules() -> list[dict[str, Any]]:
    """Return every alert's rule."""
    groups = [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def run(
    tag: str, program: str, *args: str, mounts: dict[Path, str]
) -> subprocess.CompletedProcess[str]:
    """Run a program of an image on files, as the image's own user and without a network."""
    volumes = [f"--volume={source}:{target}:ro" for source, target in mounts.items()]
    options = ["--network=none", "--no-healthcheck", "--read-only", "--cap-drop=ALL"]
    return attempt(
        ["podman", "run", "--rm", *options, *volumes, f"--entrypoint={program}", tag, *args]
    )


@pytest.mark.parametrize(
    "check",
    [
        ("check", "config", "/etc/prometheus/prometheus.yml"),
        ("check", "rules", "--lint-fatal", *(f"/etc/prometheus/rules/{f.name}" for f in RULES)),
        *(("test", "rules", f"/{file.name}") for file in RULES_TESTS),
    ],
    ids=" ".join,
)
def test_prometheus_accepts_its_files_and_the_alerts_do_what_they_say(
    check: tuple[str, ...], image: Callable[[str], str], tmp_path: Path
) -> None:
    secret = tmp_path / "monitoring_secret"
    secret.touch()
    mounts = {
        PROMETHEUS / "prometheus.yml": "/etc/prometheus/prometheus.yml",
        PROMETHEUS / "rules": "/etc/prometheus/rules",
        **{file: f"/{file.name}" for file in RULES_TESTS},
        secret: "/run/secrets/monitoring_secret",
    }
    done = run(image("prometheus"), "promtool", *check, mounts=mounts)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("observability", ["", "embedded", "grafana"])
def test_prometheus_hands_on_a_copy_where_victoriametrics_is(
    observability: str, image: Callable[[str], str], tmp_path: Path
) -> None:
    (tmp_path / "monitoring_secret").touch()
    (tmp_path / "env").write_text(f"OBSERVABILITY={observability}\n")
    config = tmp_path / "prometheus.yml"
    config.write_text(prometheus_yml(load(tmp_path / "env")))
    mounts = {
        config: "/etc/prometheus/prometheus.yml",
        PROMETHEUS / "rules": "/etc/prometheus/rules",
        tmp_path / "monitoring_secret": "/run/secrets/monitoring_secret",
    }
    check = ("check", "config", "/etc/prometheus/prometheus.yml")
    done = run(image("prometheus"), "promtool", *check, mounts=mounts)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("remote_write" in yaml.safe_load(config.read_text())) is (observability == "embedded")


@pytest.mark.parametrize("name", sorted(f.stem for f in (PROMETHEUS / "scrape").glob("*.yml")))
@pytest.mark.parametrize("mistake", ["", "    metrics_paht: /\n"], ids=["as it is", "broken"])
def test_prometheus_reads_what_is_to_be_watched_where_it_is(
    name: str, mistake: str, image: Callable[[str], str], tmp_path: Path
) -> None:
    (tmp_path / "monitoring_secret").touch()
    scrape = tmp_path / f"{name}.yml"
    scrape.write_text((PROMETHEUS / "scrape" / f"{name}.yml").read_text() + mistake)
    mounts = {
        PROMETHEUS / "prometheus.yml": "/etc/prometheus/prometheus.yml",
        PROMETHEUS / "rules": "/etc/prometheus/rules",
        scrape: f"/etc/prometheus/scrape/{name}.yml",
        tmp_path / "monitoring_secret": "/run/secrets/monitoring_secret",
    }
    check = ("check", "config", "/etc/prometheus/prometheus.yml")
    done = run(image("prometheus"), "promtool", *check, mounts=mounts)
    assert (done.returncode == 0) is not bool(mistake), done.stdout + done.stderr


def test_every_alert_is_proven_to_fire_and_to_be_silent_before_and_after() -> None:
    proven: dict[str, list[bool]] = {}
    cases = [case for file in RULES_TESTS for case in yaml.safe_load(file.read_text())["tests"]]
    for case in cases:
        for at in case["alert_rule_test"]:
            proven.setdefault(at["alertname"], []).append("exp_alerts" in at)
    assert proven == {rule["alert"]: [False, True, False] for rule in rules()}
    assert len(proven) >= 20


def test_every_alert_has_a_severity_and_sentences_that_show_names_only() -> None:
    for rule in rules():
        severities = ("none",) if rule["alert"] == "Heartbeat" else ("critical", "warning")
        assert rule["labels"]["severity"] in severities, rule["alert"]
        assert rule["annotations"].keys() - {"value"} == {"description", "runbook", "summary"}
        text = f"{rule['annotations']['summary']} {rule['annotations']['description']}"
        assert text.endswith("."), rule["alert"]
        shown = {part.partition("}}")[0].strip() for part in text.split("$labels.")[1:]}
        assert shown <= LABELS, rule["alert"]


def test_the_runbook_says_of_every_alert_what_to_do_and_of_no_other() -> None:
    sections = re.findall(r"^### (\w+)\n\n\S", RUNBOOK.read_text(), re.MULTILINE)
    assert len(sections) == len(set(sections))
    assert {rule["alert"] for rule in rules()} == set(sections)
    for rule in rules():
        link = f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["annotations"]["runbook"] == link


@pytest.mark.parametrize(
    "mail",
    ["", MAIL, MAIL + "SMTP_USER=pacs\nALERT_TELEGRAM_CHAT=-1001\n"],
    ids=["none", "open", "user"],
)
def test_alertmanager_accepts_what_is_generated(
    mail: str, image: Callable[[str], str], tmp_path: Path
) -> None:
    (tmp_path / "env").write_text(mail)
    config = tmp_path / "alertmanager.json"
    given = {"alert_heartbeat_url", "alert_webhook_url", "telegram_token"} if mail else ()
    config.write_text(alertmanager_json(BASE.read_text(), load(tmp_path / "env"), given))
    done = run(
        image("alertmanager"), "amtool", "check-config", "/a.json", mounts={config: "/a.json"}
    )
    assert done.returncode == 0, done.stdout + done.stderr


# Over for two hours of a summer's day by UTC, as Alertmanager shows it to a template.
OVER = {
    "status": "resolved",
    "receiver": "operator",
    "groupLabels": {},
    "commonLabels": {},
    "commonAnnotations": {},
    "externalURL": "",
    "alerts": [
        {
            "status": "resolved",
            "labels": {"alertname": "ImportsStalled", "clinic_id": "clinic-a"},
            "annotations": {
                "summary": "Files of clinic clinic-a wait.",
                "description": "The oldest file has waited for 2h 3m 0s.",
                "runbook": "docs/runbook.md#importsstalled",
                "value": "2h 3m 0s",
            },
            "startsAt": "2026-07-01T10:00:00Z",
            "endsAt": "2026-07-01T12:00:00Z",
        }
    ],
}


@pytest.mark.parametrize(
    ("language", "lines"),
    [
        (
            "en",
            [
                "Over: Files of clinic clinic-a wait.",
                "Over: Files of clinic clinic-a wait.",
                "The oldest file has waited for 2h 3m 0s.",
                "More: docs/runbook.md#importsstalled",
                "Since 2026-07-01 12:00 CEST until 2026-07-01 14:00 CEST.",
            ],
        ),
        (
            "de",
            [
                *[
                    "Vorbei: Dateien der Klinik clinic-a warten seit mehr als einer halben Stunde im Eingang."
                ]
                * 2,
                "Die älteste Datei im Eingang der Klinik clinic-a wartet seit 2h 3m 0s. ",
                "Mehr: docs/runbook.md#importsstalled",
                "Von 01.07.2026, 12:00 CEST bis 01.07.2026, 14:00 CEST.",
            ],
        ),
    ],
)
def test_a_mail_is_in_the_sites_language_and_has_its_time(
    language: str, lines: list[str], image: Callable[[str], str], tmp_path: Path
) -> None:
    (tmp_path / "env").write_text(f"LANGUAGE_TAG={language}\n")
    (tmp_path / "words.tmpl").write_text(words_tmpl(load(tmp_path / "env")))
    (tmp_path / "data.json").write_text(json.dumps(OVER))
    (mail,) = json.loads(BASE.read_text())["receivers"][0]["email_configs"]
    asked = ("template", "render", "--template.glob=/words.tmpl", "--template.data=/data.json")
    mounts = {tmp_path / name: f"/{name}" for name in ("words.tmpl", "data.json")}
    texts = f"--template.text={mail['headers']['Subject']}\n{mail['text']}"
    tag = image("alertmanager")
    done = run(tag, "env", "TZ=Europe/Vienna", "amtool", *asked, texts, mounts=mounts)
    assert done.returncode == 0, done.stdout + done.stderr
    found = done.stdout.splitlines()
    assert [line[: len(want)] for line, want in zip(found, lines, strict=False)] == lines


def test_the_file_that_ships_names_no_site_and_no_secret() -> None:
    base = json.loads(BASE.read_text())
    assert base["global"] == {"smtp_auth_password_file": "/run/secrets/smtp_password"}
    assert "@" not in BASE.read_text()
