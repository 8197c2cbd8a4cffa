"""Everything that counts itself is watched, a failure reaches the alerts, and nobody outside sees either."""

from __future__ import annotations

import json
import re
import secrets
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from harness.drop import drop_files
from harness.prometheus import query
from harness.wait import wait_until
from stack import status
from stack.settings import PODMAN_DIR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.people import People
    from harness.stack import Stack

METRIC = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b", re.IGNORECASE)
# What else in a rule has such a name: labels, one's value, functions.
NO_METRICS = {"clinic_id", "label_replace", "not_dicom", "predict_linear", "receiver_name"}
# Of the backup and of ways that alerts go out, which are not everywhere: tests/config and tests/faults have them.
ELSEWHERE = {
    "alertmanager_notifications_failed_total",
    *("dicom_backup_age_limit_seconds", "dicom_backup_age_seconds"),
    *("dicom_backup_check_age_seconds", "dicom_backup_check_failed", "dicom_backup_realm_failed"),
    *("dicom_backup_drill_age_limit_seconds", "dicom_backup_drill_age_seconds"),
    *("dicom_backup_dump_age_limit_seconds", "dicom_backup_dump_age_seconds"),
}
PROBED = {"archive", "login", "viewer"}
WATCHED = {
    *("alertmanager", "auditor", "dbmetrics", "hostmetrics", "importer", "keycloak"),
    *("nginxmetrics", "oauth2proxy", "orthanc", "prober", "prometheus", "victorialogs"),
    *("receiver", "victoriametrics"),
}
# Two scrapes and two evaluations, which are 30 s apart, and the time to group.
ALERT_TIMEOUT_S = 150


def amtool(stack: Stack, *args: str) -> str:
    """Run amtool on the stack's Alertmanager; returns what it printed."""
    url = "--alertmanager.url=http://alertmanager:9093"
    done = stack.exec("alertmanager", "amtool", "alert", *args, url)
    assert done.returncode == 0, done.stderr
    return done.stdout


def alerts(stack: Stack, name: str) -> list[dict[str, str]]:
    """Return the labels of the alerts of this name that Alertmanager holds."""
    found = json.loads(amtool(stack, "query", "-o", "json", f"alertname={name}"))
    return [alert["labels"] for alert in found]


@contextmanager
def posted(stack: Stack, summary: str, severity: str) -> Iterator[str]:
    """Hold an alert of a new name."""
    name = f"Test{secrets.token_hex(4)}"
    words = (name, f"severity={severity}", f"--annotation=summary={summary}")
    amtool(stack, "add", *words)
    yield name
    amtool(stack, "add", *words, f"--end={datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")


def test_every_target_is_up_within_a_minute(stack: Stack) -> None:
    wait_until(
        lambda: (
            {m["job"]: v for m, v in query(stack, 'up{job!="probe"}')}
            == dict.fromkeys(WATCHED, 1.0)
        ),
        60,
        "every target is up",
        lambda: f"{query(stack, 'up')}\n{stack.logs('prometheus')}",
    )


def test_what_people_need_is_there_as_seen_from_the_front_door(stack: Stack) -> None:
    wait_until(
        lambda: (
            {m["route"]: v for m, v in query(stack, "probe_success")} == dict.fromkeys(PROBED, 1.0)
        ),
        90,
        "every probe succeeds",
        lambda: f"{query(stack, 'probe_success')}\n{query(stack, 'probe_http_status_code')}",
    )
    ends = query(stack, "probe_ssl_earliest_cert_expiry - time()")
    assert {m["route"] for m, _ in ends} == PROBED
    assert all(left_s > 0 for _, left_s in ends)


def test_a_probe_is_no_access_that_the_audit_would_remember(stack: Stack) -> None:
    records = stack.podman_settings.data_dir / "audit" / "access"
    wait_until(lambda: query(stack, 'probe_success{route="archive"} == 1'), 90, "it was probed")
    text = "".join(path.read_text() for path in records.glob("*.jsonl"))
    # The control: what the auditor itself did is there.
    assert '"auditor"' in text
    assert "service-account-monitoring" not in text


@pytest.mark.parametrize(
    "metric",
    [
        "alertmanager_alerts",
        "dicom_archive_requests_total",
        "dicom_audit_lag_seconds",
        "dicom_login_failures_total",
        "dicom_importer_archive_up",
        "jvm_memory_used_bytes",
        'nginx_connections_active{job="nginxmetrics"}',
        "nginx_http_requests_total",
        "nginx_up == 1",
        "node_filesystem_avail_bytes",
        "node_load1",
        "node_memory_MemAvailable_bytes",
        "node_timex_sync_status",
        "node_vmstat_oom_kill",
        "orthanc_up_time_s",
        'pg_database_size_bytes{datname="orthanc"} > 1e6',
        "pg_settings_max_connections == 60",
        'pg_stat_activity_count{datname="keycloak"}',
        "pg_up == 1",
        'syslogng_output_events_total{result="delivered"}',
        "vl_storage_rows",
        "prometheus_config_last_reload_successful",
    ],
)
def test_what_a_target_counts_arrives(stack: Stack, metric: str) -> None:
    wait_until(lambda: query(stack, metric), 60, f"{metric} is there")


def test_whatever_an_alert_is_about_is_counted(stack: Stack, people: People) -> None:
    # A rule about what nobody counts would be silent for ever.
    people.clinic("clinic-counted", "Clinic that is counted")
    text = "".join(path.read_text() for path in (PODMAN_DIR / "prometheus" / "rules").glob("*.yml"))
    rules = re.findall(r"expr: (.*?)\n +(?:for|labels):", text, re.DOTALL)
    named = {name for rule in rules for name in METRIC.findall(rule)} - NO_METRICS
    assert len(named) > 25
    every = f'count by (__name__) ({{__name__=~"{"|".join(sorted(named))}"}})'

    def missing() -> set[str]:
        return named - {metric["__name__"] for metric, _ in query(stack, every)}

    wait_until(lambda: missing() <= ELSEWHERE, 60, "every metric is there", lambda: str(missing()))
    for job in ("auditor", "importer", "keycloak"):
        assert query(stack, f'process_start_time_seconds{{job="{job}"}}'), job


@pytest.mark.parametrize("severity", ["critical", "warning"])
def test_an_alert_is_held_and_shown_to_the_operator_until_it_ends(
    stack: Stack, severity: str, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = f"Posted by a test {secrets.token_hex(4)}."
    with posted(stack, summary, severity) as name:
        wait_until(lambda: alerts(stack, name), 20, "the alert is there")
        status.show(stack.podman_settings)
        mark = "!" if severity == "critical" else " "
        assert f"\n{mark} alert: {summary}\n" in capsys.readouterr().out
    wait_until(lambda: not alerts(stack, name), 20, "the alert has ended")


def test_an_import_that_fails_is_reported_for_its_clinic(stack: Stack, people: People) -> None:
    clinic = f"clinic-{secrets.token_hex(4)}"
    people.clinic(clinic, "Clinic of the alert test")
    counted = f'dicom_imports_total{{clinic_id="{clinic}", status="not_dicom"}}'
    wait_until(lambda: query(stack, counted), 120, "Prometheus knows the clinic", stack.logs)
    outcome = drop_files(stack, clinic, {"note.dcm": b"no DICOM at all" * 20})
    reported = wait_until(
        lambda: [a for a in alerts(stack, "ImportFailed") if a["clinic_id"] == clinic],
        ALERT_TIMEOUT_S,
        "the alert is there",
        lambda: f"{query(stack, counted)}\n{stack.logs('prometheus')}",
    )
    assert reported == [{"alertname": "ImportFailed", "clinic_id": clinic, "severity": "warning"}]
    for path in outcome.failed.values():
        path.unlink()
        path.with_name(path.name + ".error.json").unlink()


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/-/ready", "/api/v1/targets", "/api/v2/alerts"],
)
def test_the_web_front_has_the_viewers_page_where_prometheus_has_its_own(
    stack: Stack, path: str
) -> None:
    with stack.session() as session:
        viewer = session.get(f"{stack.url}/")
        answer = session.get(stack.url + path)
    assert "ohif" in viewer.text.lower()
    assert answer.text == viewer.text
