"""An importer with everything but its threads: folders, clock and archive are the test's."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from dicom_importer.config import Config
from dicom_importer.service import Service
from unit.importer.archiving import ScriptedArchive, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(slots=True)
class Clock:
    """A clock that moves when the test says so."""

    now_s: float = 1000.0

    def monotonic(self) -> float:
        """Seconds since some time."""
        return self.now_s

    def utc(self) -> datetime:
        """Tell the day's time."""
        return datetime(2026, 11, 24, 8, 0, tzinfo=UTC) + timedelta(seconds=self.now_s - 1000)


@dataclass(slots=True)
class Importer:
    """An importer whose loop and workers the test drives by hand."""

    root: Path
    clock: Clock
    archive: ScriptedArchive
    config: Config
    service: Service = field(init=False)

    def __post_init__(self) -> None:
        self.service = Service(self.config, self.clock.utc, self.clock.monotonic)
        self.service.worker.recover()

    def drop(self, path: str, content: bytes) -> Path:
        """Write a file into an inbox."""
        file = self.root / "inbox" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def settle(self) -> None:
        """Sweep before and after the cool-down."""
        self.service.sweep()
        self.clock.now_s += self.config.cooldown_s
        self.service.sweep()

    def work(self) -> int:
        """Handle what is due, as one worker would; returns the number of files handled."""
        handled = 0
        while job := self.service.queue.take(0):
            jobs = [job, *self.service.queue.more(job)]
            self.service.worker.handle(*jobs)
            handled += len(jobs)
        return handled

    def run(self) -> None:
        """Settle and handle everything, however often it is put off."""
        self.settle()
        for _ in range(40):
            self.work()
            self.clock.now_s += 60
        self.service.tend()

    def restart(self) -> None:
        """Start anew after a crash: only what is on disk is left."""
        self.service.journal.close()
        self.__post_init__()

    def tree(self) -> list[str]:
        """Return every file of the three folders."""
        return sorted(
            str(path.relative_to(self.root))
            for top in ("inbox", "processed", "failed")
            for path in (self.root / top).rglob("*")
            if path.is_file()
        )

    def counted(self, clinic: str) -> dict[str, float]:
        """Return what dicom_imports_total says, without zeros."""
        registry = self.service.metrics.registry
        labels = ({"clinic_id": clinic, "status": s} for s in self.statuses())
        values = {x["status"]: registry.get_sample_value("dicom_imports_total", x) for x in labels}
        return {status: value for status, value in values.items() if value}

    @staticmethod
    def statuses() -> tuple[str, ...]:
        """Return the statuses."""
        return ("success", "duplicate", "kept", "not_dicom", "rejected")


def settings(root: Path, url: str) -> Config:
    """Return settings for a folder of the test's own."""
    return Config(
        archive_dir=root / "archive",
        audit_file=root / "import.jsonl",
        backup_target="",
        client_id="orthanc-api",
        client_secret_file=root / "secret",
        connections=2,
        cooldown_s=60.0,
        empty_folder_age_s=86400.0,
        failed_dir=root / "failed",
        inbox_dir=root / "inbox",
        language_tag="en",
        listen_host="127.0.0.1",
        listen_port=0,
        max_instance_bytes=1 << 24,
        max_unpacked_bytes=1 << 28,
        min_free_bytes=0,
        orthanc_url=url,
        processed_dir=root / "processed",
        processed_retention_days=30,
        resume_free_bytes=0,
        state_dir=root / "state",
        steady_traffic_s=600.0,
        study_retention_clinics="",
        study_retention_minimum_years=10,
        study_retention_minors_age=28,
        study_retention_years="",
        sweep_interval_s=60.0,
        time_zone=ZoneInfo("Europe/Vienna"),
        token_url=f"{url}/token",
    )


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Provide the waits before the archive is asked again, none of which is waited."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


@pytest.fixture
def archive() -> Iterator[ScriptedArchive]:
    """Provide an empty archive that answers over HTTP."""
    made = ScriptedArchive()
    server = serve(made)
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def importer(tmp_path: Path, archive: ScriptedArchive) -> Iterator[Importer]:
    """Provide an importer with two clinics."""
    for top in ("inbox/clinic-a", "inbox/clinic-b", "processed", "failed"):
        (tmp_path / top).mkdir(parents=True)
    (tmp_path / "secret").write_text("s\n")
    archive.storage = tmp_path / "archive"
    made = Importer(tmp_path, Clock(), archive, settings(tmp_path, archive.url))
    yield made
    made.service.close()


@pytest.fixture
def conf(importer: Importer) -> list[str]:
    """Provide the option that names the importer's settings."""
    path = importer.root / "importer.conf"
    lines = [
        f"{name.upper()}={getattr(importer.config, name)}"
        for name in importer.config.__dataclass_fields__
    ]
    path.write_text("\n".join(lines))
    return ["--config", str(path)]
