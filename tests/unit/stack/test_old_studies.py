"""Old studies go into a clinic's inbox part by part, each file once, also when that is killed; what failed is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness.wait import wait_until
from stack import old_studies

if TYPE_CHECKING:
    from collections.abc import Iterator

CLINIC = "clinic-a"
DAY = "2026-01-01"


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> old_studies.Task:
    """Provide 50 old files in parts of 10, and an inbox."""
    monkeypatch.setattr(old_studies, "PART_FILES", 10)
    monkeypatch.setattr(old_studies, "FREE_BYTES", 0)
    monkeypatch.setattr(old_studies, "POLL_INTERVAL_S", 0.01)
    for number in range(50):
        path = tmp_path / "old" / f"study-{number % 7}" / f"{number:03}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}")
    (tmp_path / "old" / "link.dcm").symlink_to(tmp_path / "old" / "study-0" / "000.dcm")
    for name in ("inbox", "processed", "failed"):
        (tmp_path / "files" / name / CLINIC).mkdir(parents=True)
    return old_studies.Task(
        tmp_path / "old", CLINIC, tmp_path / "files", tmp_path / "imports", os.getuid()
    )


class Importer(threading.Thread):
    """Files away what the inbox shows, as the importer does; what is named `bad` fails."""

    def __init__(self, files: Path) -> None:
        super().__init__()
        self.files, self.is_over, self.most = files, threading.Event(), 0
        self.taken: list[str] = []

    def run(self) -> None:
        """Go on until it is over."""
        inbox = self.files / "inbox" / CLINIC
        while not self.is_over.wait(0.02):
            found = [part for part in inbox.iterdir() if any(old_studies.walk(part))]
            self.most = max(self.most, len(found))
            for path in [path for part in found[:1] for path in old_studies.walk(part)]:
                self.take(path, path.relative_to(inbox))

    def take(self, path: Path, shown: Path) -> None:
        """File one away."""
        text = path.read_text()
        self.taken.append(text)
        where = "failed" if "bad" in text else "processed"
        target = self.files / where / CLINIC / DAY / shown
        target.parent.mkdir(parents=True, exist_ok=True)
        if where == "failed":
            reason = {"reason": "not_dicom"}
            target.with_name(f"{target.name}.error.json").write_text(json.dumps(reason))
        path.rename(target)


@contextmanager
def importing(task: old_studies.Task) -> Iterator[Importer]:
    """Let an importer run."""
    made = Importer(task.files)
    made.start()
    try:
        yield made
    finally:
        made.is_over.set()
        made.join()


def test_every_file_is_put_once_in_parts_that_do_not_pile_up_and_the_source_stays(
    task: old_studies.Task,
) -> None:
    said: list[str] = []
    with importing(task) as importer:
        assert old_studies.run(task, said.append)
    assert sorted(map(int, importer.taken)) == list(range(50))
    assert importer.most <= old_studies.PARTS_AT_ONCE
    assert len(list(old_studies.walk(task.source))) == 50
    assert list(task.inbox.iterdir()) == []
    assert said[0] == f"50 files in {task.source}, 0 of them put before"
    assert said[-1] == "50 of 50 files are imported, or kept in processed/ beside images"
    assert len([line for line in said if "files put, " in line]) == 5


def test_what_comes_before_the_last_that_was_put_is_told_and_brought_by_the_next_run(
    task: old_studies.Task,
) -> None:
    said: list[str] = []
    state = old_studies.State("1", 1, 11, "study-1/015.dcm")
    task.kept.mkdir()
    old_studies.save(task, state)
    (task.source / "study-0" / "late.dcm").write_text("99")
    with importing(task) as importer:
        assert not old_studies.run(task, said.append)
    assert "99" not in importer.taken
    assert "1 files more are in" in said[-2]
    with importing(task) as importer:
        assert old_studies.run(task, said.append)
    assert len(importer.taken) == 51


def test_what_fails_is_counted_by_reason_and_named(task: old_studies.Task) -> None:
    (task.source / "study-3" / "note.txt").write_text("bad")
    said: list[str] = []
    with importing(task):
        assert not old_studies.run(task, said.append)
    assert said[-3:-1] == [
        "50 of 51 files are imported, or kept in processed/ beside images",
        "1 failed: not_dicom",
    ]
    report = task.kept / f"{CLINIC}-{task.name}.failed.txt"
    assert str(report) in said[-1]
    reason, path = report.read_text().strip().split("\t")
    assert reason == "not_dicom"
    assert Path(path).name == "note.txt"
    assert Path(path).is_file()


@pytest.mark.parametrize("after", [1, 3])
def test_killed_it_goes_on_where_it_was(task: old_studies.Task, after: int) -> None:
    program = (
        "import sys; from stack import old_studies as o; o.PART_FILES = 10; o.FREE_BYTES = 0;"
        "o.POLL_INTERVAL_S = 0.01; sys.exit(o.main(sys.argv[1:]))"
    )
    words = [f"--source={task.source}", f"--clinic={CLINIC}", f"--files={task.files}"]
    words += [f"--kept={task.kept}", f"--owner={task.owner}"]
    inbox = task.inbox
    with subprocess.Popen([sys.executable, "-c", program, *words], text=True) as first:
        wait_until(lambda: len(list(inbox.iterdir())) >= after, 30, "parts are there")
        first.send_signal(signal.SIGKILL)
    with importing(task) as importer:
        assert old_studies.run(task, list[str]().append)
    # A part that was shown and not yet noted is not shown twice while it waits.
    assert sorted(map(int, importer.taken)) == list(range(50))
    assert not list(task.files.glob(".old-*"))


def test_daily_work_goes_first(task: old_studies.Task) -> None:
    daily = task.files / "inbox" / "clinic-b" / "today.dcm"
    daily.parent.mkdir()
    daily.write_text("now")
    done: list[bool] = []
    with importing(task):
        thread = threading.Thread(
            target=lambda: done.append(old_studies.run(task, list[str]().append))
        )
        thread.start()
        assert not threading.Event().wait(0.3)
        assert old_studies.load(task).put == 0
        daily.unlink()
        thread.join(timeout=30)
    assert done == [True]


@pytest.mark.parametrize("lacking", ["source", "inbox"])
def test_what_cannot_begin_is_said(task: old_studies.Task, lacking: str) -> None:
    place = {"source": task.source, "inbox": task.inbox}[lacking]
    place.rename(place.with_name("elsewhere"))
    words = {"source": "is no folder", "inbox": "has no inbox"}[lacking]
    with pytest.raises(old_studies.BeginError, match=words):
        old_studies.run(task, list[str]().append)
