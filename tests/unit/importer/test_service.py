"""Settings, health, metrics, and what an operator is told."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from dicom_importer import cli, config, web
from dicom_importer.config import ConfigError
from unit.importer.building import instance

if TYPE_CHECKING:
    from unit.importer.conftest import Importer

SHIPPED = Path(__file__).parents[3] / "podman/importer/importer.conf"


def test_the_shipped_settings_are_complete_and_the_environment_overrides_them() -> None:
    found = config.load(SHIPPED, {"COOLDOWN_S": "2", "PATH": "/bin"})
    assert found.cooldown_s == 2
    assert found.orthanc_url == "http://orthanc:8042"
    assert found.inbox_dir == Path("/inbox")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"COOLDOWN_S": "soon"}, "COOLDOWN_S=soon"),
        ({"COOLDOWN_S": "0"}, "above 0"),
        ({"CONNECTIONS": "0"}, "at least 1"),
        ({"PROCESSED_RETENTION_DAYS": "-1"}, "at least 1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(environment: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config.load(SHIPPED, environment)


def test_unknown_and_missing_settings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "importer.conf"
    path.write_text("COOLDOWN=1\n")
    with pytest.raises(ConfigError, match="no setting COOLDOWN"):
        config.load(path, {})
    path.write_text("# nothing\n")
    with pytest.raises(ConfigError, match="set ARCHIVE_DIR, AUDIT_FILE, BACKUP_TARGET, CLIENT_ID"):
        config.load(path, {})


def test_every_status_is_exported_at_zero_from_the_start(importer: Importer) -> None:
    importer.service.sweep()
    get = importer.service.metrics.registry.get_sample_value
    for clinic in ("clinic-a", "clinic-b"):
        for status in importer.statuses():
            assert get("dicom_imports_total", {"clinic_id": clinic, "status": status}) == 0
        assert get("dicom_import_duration_seconds_count", {"clinic_id": clinic}) == 0
        assert get("dicom_import_searchable_seconds_count", {"clinic_id": clinic}) == 0
        assert get("dicom_pending_imports", {"clinic_id": clinic}) == 0


def test_pending_rises_with_a_drop_and_falls_with_filing(importer: Importer) -> None:
    get = importer.service.metrics.registry.get_sample_value
    importer.drop("clinic-a/one.dcm", instance())
    importer.settle()
    assert get("dicom_pending_imports", {"clinic_id": "clinic-a"}) == 1
    importer.work()
    assert get("dicom_pending_imports", {"clinic_id": "clinic-a"}) == 0
    assert get("dicom_import_duration_seconds_count", {"clinic_id": "clinic-a"}) == 1


def test_the_time_until_an_image_is_found_begins_with_its_lying_in_the_inbox(
    importer: Importer,
) -> None:
    get = importer.service.metrics.registry.get_sample_value
    importer.drop("clinic-a/one.dcm", instance())
    importer.drop("clinic-a/note.dcm", b"no DICOM at all" * 20)
    importer.run()
    label = {"clinic_id": "clinic-a"}
    # What is not in the archive is not found in it.
    assert get("dicom_import_duration_seconds_count", label) == 2
    assert get("dicom_import_searchable_seconds_count", label) == 1
    waited_s = get("dicom_import_searchable_seconds_sum", label)
    assert waited_s is not None
    assert waited_s >= importer.config.cooldown_s


def test_health_and_metrics_are_all_that_is_served(importer: Importer) -> None:
    service = importer.service
    service.sweep()
    server = web.serve(
        ("127.0.0.1", 0),
        service.health,
        service.metrics.registry,
        web.Doors(service.door.store, service.page.answer, service.words.refusals),
    )
    base = f"http://127.0.0.1:{server.server_port}"
    try:
        with urlopen(f"{base}/health", timeout=5) as answer:  # noqa: S310 - our own address
            assert json.load(answer)["status"] == "ok"
        with urlopen(f"{base}/metrics", timeout=5) as answer:  # noqa: S310
            assert b'dicom_imports_total{clinic_id="clinic-a",status="success"} 0.0' in (
                answer.read()
            )
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"{base}/inbox", timeout=5)  # noqa: S310
        importer.clock.now_s += 3600
        with pytest.raises(HTTPError, match="503"):
            urlopen(f"{base}/health", timeout=5)  # noqa: S310
    finally:
        server.shutdown()
        server.server_close()


def test_a_client_that_hangs_up_is_no_error(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = importer.service
    server = web.serve(
        ("127.0.0.1", 0),
        service.health,
        service.metrics.registry,
        web.Doors(service.door.store, service.page.answer, service.words.refusals),
    )
    ended, errors = threading.Event(), []
    monkeypatch.setattr(server, "handle_error", lambda *request: errors.append(request))

    def shut_down(request: socket.socket) -> None:
        request.close()
        ended.set()

    monkeypatch.setattr(server, "shutdown_request", shut_down)
    try:
        with socket.create_connection(("127.0.0.1", server.server_port)) as client:
            client.sendall(b"GET /health HTTP/1.0\r\n")
            at_once = struct.pack("ii", 1, 0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        assert ended.wait(timeout=10)
        assert errors == []
    finally:
        server.shutdown()
        server.server_close()


def test_an_inbox_that_is_away_is_unhealthy_and_forgets_nothing(importer: Importer) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.archive.script.append(lambda _: (500, b""))
    importer.settle()
    importer.work()
    inbox = importer.config.inbox_dir
    inbox.rename(inbox.with_name("away"))
    importer.service.sweep()
    health = importer.service.health()
    assert (health.inbox, health.well, health.pending) == (False, False, 1)
    assert len(importer.service.journal.active()) == 1
    inbox.with_name("away").rename(inbox)
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1}


def test_a_start_without_the_mount_forgets_nothing(importer: Importer) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.archive.script.append(lambda _: (500, b""))
    importer.settle()
    importer.work()
    inbox = importer.config.inbox_dir
    inbox.rename(inbox.with_name("away"))
    importer.restart()
    assert [row.state for row in importer.service.journal.active()] == ["sending"]
    inbox.with_name("away").rename(inbox)
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1}


def test_a_journal_that_fails_is_unhealthy(importer: Importer) -> None:
    importer.service.journal.close()
    importer.service.tend()
    assert not importer.service.health().journal


def test_retention_spares_failed(importer: Importer) -> None:
    for top in ("processed", "failed"):
        (importer.root / top / "clinic-a/2026-01-01").mkdir(parents=True)
    importer.service.tend()
    assert not (importer.root / "processed/clinic-a/2026-01-01").exists()
    assert (importer.root / "failed/clinic-a/2026-01-01").exists()


def test_status_counts_what_waits_and_what_failed(
    importer: Importer, conf: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    assert cli.main([*conf, "status"]) == 0
    importer.drop("clinic-a/two.dcm", b"2")
    importer.run()
    importer.drop("clinic-b/three.dcm", instance())
    capsys.readouterr()
    assert cli.main([*conf, "status"]) == 1
    assert capsys.readouterr().out == (
        "clinic-a: 0 waiting, 1 failed\nclinic-b: 1 waiting, 0 failed\n"
    )


def explained(capsys: pytest.CaptureFixture[str], conf: list[str], path: Path) -> str:
    capsys.readouterr()
    assert cli.main([*conf, "explain", str(path)]) == 0
    return capsys.readouterr().out


def test_explain_tells_where_a_file_is_and_why(
    importer: Importer, conf: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    one = importer.drop("clinic-a/one.dcm", instance())
    assert "cool-down" in explained(capsys, conf, one)
    importer.settle()
    importer.archive.script.append(lambda _: (400, b""))
    importer.work()
    assert "refused 1 times" in explained(capsys, conf, one)
    importer.run()
    assert "success; filed as" in explained(capsys, conf, one)
    filed = importer.root / "processed/clinic-a/2026-11-24/one.dcm"
    assert "success; filed as" in explained(capsys, conf, filed)
    cut = importer.drop("clinic-a/cut.dcm", instance()[:-3])
    importer.run()
    assert "cut off. 3 bytes" in explained(capsys, conf, cut)
    filed.unlink()
    assert "no longer there" in explained(capsys, conf, filed)
    assert "in none of" in explained(capsys, conf, Path("/etc/passwd"))
    part = importer.drop("clinic-a/two.part", b"")
    assert "final name" in explained(capsys, conf, part)


def test_explain_without_a_journal_says_so(
    importer: Importer, conf: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    importer.service.close()
    shutil.rmtree(importer.config.state_dir)
    assert "not been running" in explained(capsys, conf, importer.root / "inbox/clinic-a/x")
    importer.restart()


def test_a_missing_settings_file_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--config", "/nowhere/importer.conf", "status"]) == 2
    assert capsys.readouterr().err == (
        "dicom-importer: /nowhere/importer.conf: No such file or directory\n"
    )
