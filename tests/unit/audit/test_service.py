"""The auditor as a loop: it starts, works, survives what fails, tells how it is, and stops."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest
from access_audit import config, service, web
from harness.wait import wait_until
from unit.audit.building import Desk, frame
from urllib3 import PoolManager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from access_audit.service import Auditor


@pytest.fixture
def working(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Auditor]:
    """Provide an auditor in its loop; there is no nginx that it could ask."""
    monkeypatch.setattr(service, "HEARTBEAT_URL", "http://127.0.0.1:9/healthz")
    monkeypatch.setattr(service, "POLL_INTERVAL_S", 0.01)
    monkeypatch.setattr(service, "RETRY_S", 0.01)
    auditor = desk.auditor()
    thread = threading.Thread(target=auditor.loop)
    thread.start()
    yield auditor
    auditor.stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_it_records_its_start_what_comes_and_its_stop(desk: Desk, working: Auditor) -> None:
    desk.write(frame(1))
    wait_until(lambda: len(desk.records()) == 2, 10, "the view is recorded")
    working.stop.set()
    wait_until(lambda: len(desk.records()) == 3, 10, "the stop is recorded")
    kinds = [(r["event"]["code"], r.get("type", {}).get("code")) for r in desk.records()]  # type: ignore[attr-defined,index]
    assert kinds == [("110100", "110120"), ("110103", None), ("110100", "110121")]


def test_what_fails_is_tried_again(
    desk: Desk, working: Auditor, capsys: pytest.CaptureFixture[str]
) -> None:
    spool, away = desk.top / "spool", desk.top / "away"
    spool.rename(away)
    said = ""

    def failed() -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return '"cannot_work"' in said

    wait_until(failed, 10, "it says that it cannot work")
    away.rename(spool)
    desk.write(frame(1))
    wait_until(lambda: len(desk.records()) == 2, 10, "the view is recorded")
    assert working.healthy()


def test_a_service_that_is_away_is_told_of_once(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "HEARTBEAT_URL", "http://127.0.0.1:9/healthz")
    desk.store.away = True
    auditor = desk.auditor()
    for _ in range(3):
        auditor.tick()
        desk.now_s += service.HEARTBEAT_INTERVAL_S
    desk.store.away = False
    auditor.tick()
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = [(line["event"], line["service"]) for line in said if "service" in line]
    assert told == [("away", "keycloak"), ("away", "nginx"), ("back", "keycloak")]


def test_its_http_tells_health_and_numbers_and_nothing_else(desk: Desk) -> None:
    auditor = desk.auditor()
    server = web.serve(("127.0.0.1", 0), auditor.healthy, auditor.metrics.registry)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    with PoolManager() as http:
        assert http.request("GET", f"{url}/health").status == 200
        numbers = http.request("GET", f"{url}/metrics").data.decode()
        assert 'dicom_audit_records_total{event="Query"} 0.0' in numbers
        assert http.request("GET", f"{url}/records").status == 404
        desk.now_s += service.STUCK_S
        assert http.request("GET", f"{url}/health").status == 503
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("years", ["", "0", "-1", "six", "101", "1.5"])
def test_a_retention_that_cannot_be_is_refused(years: str) -> None:
    with pytest.raises(config.ConfigError, match="AUDIT_RETENTION_YEARS"):
        config.load({"AUDIT_RETENTION_YEARS": years})


def test_six_years_are_a_setting() -> None:
    assert config.load({"AUDIT_RETENTION_YEARS": "6"}).retention_years == 6
