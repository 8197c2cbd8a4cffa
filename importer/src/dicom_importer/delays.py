"""Why files were put off, for `dicom-importer explain`: a help, which nothing else relies on.

A database of its own, made anew at each start and never waited for: the journal's safety costs time
that a note of no consequence is not worth.
"""

import contextlib
import os
import sqlite3
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from dicom_importer.files import Arrival, Seen

DELAYS = "delays.sqlite"
_KEPT = timedelta(days=1)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS delay (
  clinic TEXT, path BLOB, seen TEXT, cause TEXT, at TEXT, delay_s REAL, times INTEGER,
  PRIMARY KEY (clinic, path, seen)
)
"""


@dataclass(frozen=True, slots=True)
class Delay:
    """When (UTC) and why a file was put off last, for how long, and how often so far."""

    cause: str
    at: str
    delay_s: float
    times: int


class Delays:
    """The notes that the service makes; a disk that takes none is no reason to stop."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._noted: set[Arrival] = set()
        # A power cut may have left it unreadable.
        with contextlib.suppress(OSError):
            for name in (path, path.with_name(path.name + "-journal")):
                name.unlink(missing_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA synchronous = OFF")
            self._db.execute(_SCHEMA)

    def note(self, arrival: Arrival, cause: str, delay_s: float, now: datetime) -> None:
        """Note that a file is tried again after a delay."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._noted.add(arrival)
            self._db.execute("DELETE FROM delay WHERE at < ?", (_text(now - _KEPT),))
            self._db.execute(
                "INSERT INTO delay VALUES (?, ?, ?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET"
                " cause = excluded.cause, at = excluded.at, delay_s = excluded.delay_s,"
                " times = times + 1",
                (*_key(arrival.clinic, arrival.path, arrival.seen), cause, _text(now), delay_s),
            )

    def forget(self, arrival: Arrival) -> None:
        """Forget what was noted of a file: it has left the inbox."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            if arrival in self._noted:
                self._noted.remove(arrival)
                self._db.execute(
                    "DELETE FROM delay WHERE clinic = ? AND path = ? AND seen = ?",
                    _key(arrival.clinic, arrival.path, arrival.seen),
                )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


def find(path: Path, clinic: str, name: str, seen: Seen) -> Delay | None:
    """Return what was noted of this version of a file last."""
    with contextlib.suppress(sqlite3.Error):
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
        with contextlib.closing(db):
            row = db.execute(
                "SELECT cause, at, delay_s, times FROM delay"
                " WHERE clinic = ? AND path = ? AND seen = ?",
                _key(clinic, name, seen),
            ).fetchone()
            return Delay(*row) if row else None
    return None


def _key(clinic: str, path: str, seen: Seen) -> tuple[str, bytes, str]:
    version = f"{seen.size_bytes} {seen.mtime_ns} {seen.inode}"
    return clinic, os.fsencode(path), version


def _text(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
