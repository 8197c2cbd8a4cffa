"""The files that Podman writes the services' logs into do not grow for ever, and lose nothing that is not shipped."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from stack import log_files
from stack.settings import load

if TYPE_CHECKING:
    from pathlib import Path

    from stack.settings import Settings

LINE = b"2026-11-26T07:48:06.322629871+00:00 stdout F line %08d\n"
LENGTH = len(LINE % 0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Provide settings with a folder for logs, of a project that has no container."""
    env = tmp_path / "env"
    env.write_text(f"DATA_DIR={tmp_path}/data\nPROJECT=absent-{secrets.token_hex(4)}\n")
    (tmp_path / "data" / "logs").mkdir(parents=True)
    return load(env)


def said(settings: Settings, lines: int) -> Path:
    path = settings.data_dir / "logs" / "nginx.log"
    path.write_bytes(b"".join(LINE % number for number in range(lines)))
    return path


def test_of_a_file_beyond_twice_its_size_the_end_stays_in_whole_lines(settings: Settings) -> None:
    lines = 2 * log_files.MAX_BYTES // LENGTH + 1
    path = said(settings, lines)
    log_files.shorten(settings)
    kept = path.read_bytes()
    assert log_files.MAX_BYTES - LENGTH <= len(kept) <= log_files.MAX_BYTES
    assert kept.startswith(LINE % (lines - len(kept) // LENGTH))
    assert kept.endswith(LINE % (lines - 1))
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_smaller_file_is_left_as_it_is(settings: Settings) -> None:
    path = said(settings, 2 * log_files.MAX_BYTES // LENGTH - 1)
    before = path.stat()
    log_files.shorten(settings)
    assert (path.stat().st_ino, path.stat().st_size) == (before.st_ino, before.st_size)


def test_the_file_of_a_container_that_runs_is_left_to_podman(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = said(settings, 2 * log_files.MAX_BYTES // LENGTH + 1)
    running = {settings.container("nginx")}
    monkeypatch.setattr(log_files, "_runs", running.__contains__)
    before = path.stat().st_size
    log_files.shorten(settings)
    assert path.stat().st_size == before
