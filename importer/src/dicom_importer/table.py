"""The journal's table in SQLite: made, checked, and turned into records and back."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dicom_importer.files import Arrival, Seen
from dicom_importer.records import Decision, Identity, Row, Verdict
from dicom_importer.scan import submission

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE file (
  id INTEGER PRIMARY KEY,
  clinic TEXT NOT NULL,
  path BLOB NOT NULL,
  submission BLOB NOT NULL,
  size_bytes INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,
  inode INTEGER NOT NULL,
  -- sending: it may be in the archive. filing: decided, target holds its new name. done. gone.
  state TEXT NOT NULL CHECK (state IN ('sending', 'filing', 'done', 'gone')),
  began_at TEXT NOT NULL,
  coerced_at TEXT NOT NULL DEFAULT '',
  patient_key TEXT NOT NULL DEFAULT '',
  study_uid TEXT NOT NULL DEFAULT '',
  series_uid TEXT NOT NULL DEFAULT '',
  sop_uid TEXT NOT NULL DEFAULT '',
  refusals INTEGER NOT NULL DEFAULT 0,
  refused_at REAL NOT NULL DEFAULT 0,
  status TEXT NOT NULL DEFAULT '',
  reason TEXT NOT NULL DEFAULT '',
  detail TEXT NOT NULL DEFAULT '',
  decided_at TEXT NOT NULL DEFAULT '',
  target BLOB NOT NULL DEFAULT '',
  audited INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX file_active ON file (clinic, path) WHERE state IN ('sending', 'filing');
CREATE INDEX file_path ON file (path);
CREATE INDEX file_study ON file (study_uid);
CREATE INDEX file_target ON file (target) WHERE target <> '';
CREATE INDEX file_unaudited ON file (clinic, submission) WHERE state = 'done' AND NOT audited;
"""
# Beside the files' table, which an older importer goes on reading: it knows nothing of these.
_CORRECTIONS = """
CREATE TABLE IF NOT EXISTS correction (
  study_uid TEXT NOT NULL,
  at TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('move', 'correct', 'delete')),
  clinic TEXT NOT NULL,
  who TEXT NOT NULL,
  reason TEXT NOT NULL,
  to_clinic TEXT NOT NULL,
  series_uid TEXT NOT NULL,
  -- What is set, by its operator's name, as JSON: the only patient's data of the journal.
  patient TEXT NOT NULL,
  lifted INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (study_uid, at, series_uid)
) WITHOUT ROWID;
-- Where a file of such a study was, as a digest, since a path may carry a name.
CREATE TABLE IF NOT EXISTS went (
  digest TEXT NOT NULL, study_uid TEXT NOT NULL, at TEXT NOT NULL,
  PRIMARY KEY (digest, study_uid, at)
) WITHOUT ROWID;
"""
_COLUMNS = (
    "id, clinic, path, size_bytes, mtime_ns, inode, state, began_at, coerced_at, patient_key,"
    " study_uid, series_uid, sop_uid, refusals, refused_at, status, reason, detail, decided_at,"
    " target"
)


class Table:
    """The SQLite file; a transaction is on disk when it has ended."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._lock = threading.Lock()
        mode = "ro" if read_only else "rwc"
        self._db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=10,
        )
        if read_only:
            return
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"{path} was written by a newer importer")
        if version == 0:
            self._db.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT"
            )
        self._db.executescript(_CORRECTIONS)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do all of it or nothing."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def query(self, question: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what SQLite answers: as the schema says, which no type checker reads."""
        with self._lock:
            return self._db.execute(question, values).fetchall()

    def select(self, where: str, *values: object) -> list[Row]:
        """Return the rows of which this is true; the condition is the importer's own text."""
        found = self.query(f"SELECT {_COLUMNS} FROM file WHERE {where}", *values)  # noqa: S608
        return [_row(row) for row in found]

    def check(self) -> None:
        """Prove that the file takes writes; raises sqlite3.Error."""
        with self.transaction() as db:
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def insert(
    db: sqlite3.Connection, arrival: Arrival, state: str, coerced_at: str, identity: Identity
) -> int:
    """Add a file's row, begun now; returns its id."""
    (rowid,) = db.execute(
        "INSERT INTO file (clinic, path, size_bytes, mtime_ns, inode, submission, state, began_at,"
        " coerced_at, patient_key, study_uid, series_uid, sop_uid)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, strftime('%Y-%m-%dT%H:%M:%SZ'), ?, ?, ?, ?, ?) RETURNING id",
        (
            *key(arrival),
            os.fsencode(submission(arrival.path)),
            state,
            coerced_at,
            identity.patient_key,
            identity.study_uid,
            identity.series_uid,
            identity.sop_uid,
        ),
    ).fetchone()
    return int(rowid)


def key(arrival: Arrival) -> tuple[str, bytes, int, int, int]:
    """Return the columns that tell one version of a file from another."""
    seen = arrival.seen
    # SQLite's integers are signed; an inode may use all 64 bits.
    inode = (seen.inode + 2**63) % 2**64 - 2**63
    return arrival.clinic, os.fsencode(arrival.path), seen.size_bytes, seen.mtime_ns, inode


def _row(row: tuple[Any, ...]) -> Row:
    rowid, clinic, path, size, mtime, inode, state, began, coerced, *identity = row[:13]
    refusals, refused_at, status, reason, detail, decided, target = row[13:]
    seen = Seen(size, mtime, inode % 2**64)
    return Row(
        rowid,
        Arrival(clinic, os.fsdecode(path), seen),
        state,
        began,
        coerced,
        Identity(*identity),
        refusals,
        refused_at,
        Decision(Verdict(status, reason, detail), decided, os.fsdecode(target)),
    )
