"""The copy of the importer's journal is one moment of it, and holds what was written last."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest
from dicom_backup import journal

if TYPE_CHECKING:
    from pathlib import Path


def opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE IF NOT EXISTS pairs (one INTEGER, other INTEGER)")
    return db


def rows(folder: Path) -> list[tuple[int, int]]:
    db = sqlite3.connect(folder / journal.NAME)
    found = db.execute("SELECT one, other FROM pairs").fetchall()
    db.close()
    return found


def test_what_is_only_in_the_log_is_copied_and_nothing_is_left_beside(tmp_path: Path) -> None:
    db = opened(tmp_path / "source")
    db.execute("INSERT INTO pairs VALUES (1, 1)")
    journal.copy(tmp_path / "source", tmp_path / "copy")
    assert rows(tmp_path / "copy") == [(1, 1)]
    assert [path.name for path in (tmp_path / "copy").iterdir()] == [journal.NAME]
    db.close()


def test_a_copy_while_it_is_written_is_whole(tmp_path: Path) -> None:
    db, stop = opened(tmp_path / "source"), threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            db.execute("BEGIN")
            db.execute("INSERT INTO pairs VALUES (?, ?)", (number, number))
            db.execute("UPDATE pairs SET other = one")
            db.execute("COMMIT")
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    sizes = []
    try:
        for _ in range(20):
            journal.copy(tmp_path / "source", tmp_path / "copy")
            found = rows(tmp_path / "copy")
            assert all(one == other for one, other in found)
            sizes.append(len(found))
    finally:
        stop.set()
        writer.join()
        db.close()
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[0]


def test_a_damaged_journal_is_said_and_the_copy_before_stays(tmp_path: Path) -> None:
    db = opened(tmp_path / "source")
    db.execute("INSERT INTO pairs VALUES (1, 1)")
    journal.copy(tmp_path / "source", tmp_path / "copy")
    db.close()
    (tmp_path / "source").write_bytes(b"no database at all" * 100)
    with pytest.raises(journal.JournalError, match="the copy before stays"):
        journal.copy(tmp_path / "source", tmp_path / "copy")
    assert rows(tmp_path / "copy") == [(1, 1)]
