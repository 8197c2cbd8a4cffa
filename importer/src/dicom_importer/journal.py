"""What the importer must not forget: one row for each file that it has begun with."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_importer.files import Arrival, Seen
from dicom_importer.scan import submission

JOURNAL = "journal.sqlite"
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
_COLUMNS = (
    "id, clinic, path, size_bytes, mtime_ns, inode, state, began_at, coerced_at, patient_key,"
    " study_uid, series_uid, sop_uid, refusals, refused_at, status, reason, detail, decided_at,"
    " target"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a file says it is; the patient only as a digest."""

    patient_key: str = ""
    study_uid: str = ""
    series_uid: str = ""
    sop_uid: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a file: one of the metrics' statuses, and the reason of a failure."""

    status: str
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, when (UTC) it was given, and the file's new name below processed/ or failed/."""

    verdict: Verdict
    decided_at: str
    target: str


@dataclass(frozen=True, slots=True)
class Row:
    """One file's row; times are UTC, refused_at in seconds since the epoch."""

    id: int
    arrival: Arrival
    state: str
    began_at: str
    coerced_at: str
    identity: Identity
    refusals: int
    refused_at: float
    decision: Decision


@dataclass(frozen=True, slots=True)
class Report:
    """What was filed of one study of one submission with one outcome, to be audited."""

    ids: tuple[int, ...]
    clinic: str
    study_uid: str
    status: str
    reason: str


class Journal:
    """The SQLite file; every method is a transaction that is on disk when it returns."""

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

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _select(self, where: str, *values: object) -> list[Row]:
        with self._lock:
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM file WHERE {where}", values).fetchall()  # noqa: S608 - every text is of this file
        return [_row(row) for row in rows]

    def active(self) -> list[Row]:
        """Return what was begun and is not done."""
        return self._select("state IN ('sending', 'filing') ORDER BY id")

    def find(self, arrival: Arrival) -> Row | None:
        """Return the active row of this version of a file."""
        rows = self._select(
            "state IN ('sending', 'filing') AND clinic = ? AND path = ?"
            " AND size_bytes = ? AND mtime_ns = ? AND inode = ?",
            *_key(arrival),
        )
        return rows[0] if rows else None

    def begin(self, arrival: Arrival, coerced_at: str, identity: Identity) -> Row:
        """Note that a file is about to be sent, coerced as of this time."""
        with self._transaction() as db:
            (rowid,) = _insert(db, arrival, "sending", coerced_at, identity)
        return self._select("id = ?", rowid)[0]

    def refused(self, rowid: int, now_s: float) -> Row:
        """Count an attempt that failed for this file's own sake."""
        with self._transaction() as db:
            db.execute(
                "UPDATE file SET refusals = refusals + 1,"
                " refused_at = CASE refusals WHEN 0 THEN ? ELSE refused_at END WHERE id = ?",
                (now_s, rowid),
            )
        return self._select("id = ?", rowid)[0]

    def decide(self, arrival: Arrival, identity: Identity, decision: Decision) -> Row:
        """Note what becomes of a file before it is moved."""
        row = self.find(arrival)
        with self._transaction() as db:
            if row:
                rowid = row.id
            else:
                (rowid,) = _insert(db, arrival, "filing", "", identity)
            db.execute(
                "UPDATE file SET state = 'filing', status = ?, reason = ?, detail = ?,"
                " decided_at = ?, target = ? WHERE id = ?",
                (
                    decision.verdict.status,
                    decision.verdict.reason,
                    decision.verdict.detail,
                    decision.decided_at,
                    os.fsencode(decision.target),
                    rowid,
                ),
            )
        return self._select("id = ?", rowid)[0]

    def finish(self, rowid: int, *, gone: bool = False) -> None:
        """Note that a file has left the inbox, by us or (gone) by somebody else."""
        with self._transaction() as db:
            db.execute(
                "UPDATE file SET state = ? WHERE id = ?", ("gone" if gone else "done", rowid)
            )

    def stored(self, clinic: str, identity: Identity) -> bool:
        """Say whether an image of this study and patient went into the archive before."""
        rows = self._select(
            "study_uid = ? AND patient_key = ? AND clinic = ? AND state = 'done' AND reason = ''"
            " LIMIT 1",
            identity.study_uid,
            identity.patient_key,
            clinic,
        )
        return bool(rows)

    def came(self, clinic: str, folder: str) -> list[tuple[str, bool]]:
        """Return what came into a folder of an inbox in the last day, and whether it was an image.

        Every path below "a/" sorts from there on and before "a0".
        """
        prefix = os.fsencode(folder)
        first, end = (prefix + b"/", prefix + b"0") if folder else (b"", b"\xff")
        with self._lock:
            rows = self._db.execute(
                "SELECT path, sop_uid <> '' OR (status = 'rejected' AND reason <> 'dicomdir')"
                " FROM file WHERE path >= ? AND path < ? AND clinic = ? AND state <> 'gone'"
                " AND began_at >= strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-1 day')",
                (first, end, clinic),
            ).fetchall()
        return [(os.fsdecode(path), bool(image)) for path, image in rows]

    def reports(self) -> list[tuple[str, Report]]:
        """Return submissions with what was filed and not audited yet."""
        with self._lock:
            rows = self._db.execute(
                "SELECT submission, clinic, study_uid, status, reason, group_concat(id)"
                " FROM file WHERE state = 'done' AND NOT audited GROUP BY 1, 2, 3, 4, 5"
            ).fetchall()
        return [
            (os.fsdecode(row[0]), Report(tuple(sorted(map(int, row[5].split(",")))), *row[1:5]))
            for row in rows
        ]

    def audited(self, report: Report) -> None:
        """Note that a report was written."""
        with self._transaction() as db:
            db.executemany("UPDATE file SET audited = 1 WHERE id = ?", [(i,) for i in report.ids])

    def prune(self, before: str) -> None:
        """Forget what was decided before a time and audited."""
        with self._transaction() as db:
            db.execute(
                "DELETE FROM file WHERE began_at < ? AND (state = 'gone' OR audited)", (before,)
            )

    def check(self) -> None:
        """Prove that the journal takes writes; raises sqlite3.Error."""
        with self._transaction() as db:
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def history(self, clinic: str, path: str) -> list[Row]:
        """Return every row of a path in an inbox, oldest first."""
        return self._select("clinic = ? AND path = ? ORDER BY id", clinic, os.fsencode(path))

    def imported(self, clinic: str, study_uid: str) -> list[Row]:
        """Return what was imported of a study, oldest first."""
        return self._select(
            "study_uid = ? AND clinic = ? AND state = 'done' AND reason = '' ORDER BY id",
            study_uid,
            clinic,
        )

    def studies(self, clinic: str) -> list[str]:
        """Return the studies that something was imported of, in the order of their coming."""
        with self._lock:
            rows = self._db.execute(
                "SELECT study_uid FROM file WHERE clinic = ? AND state = 'done' AND reason = ''"
                " GROUP BY study_uid ORDER BY min(id)",
                (clinic,),
            ).fetchall()
        return [study for (study,) in rows]

    def filed_as(self, target: str) -> list[Row]:
        """Return the rows of files moved to this path."""
        return self._select("target = ? ORDER BY id", os.fsencode(target))


def _insert(
    db: sqlite3.Connection, arrival: Arrival, state: str, coerced_at: str, identity: Identity
) -> tuple[int]:
    found: tuple[int] = db.execute(
        "INSERT INTO file (clinic, path, size_bytes, mtime_ns, inode, submission, state, began_at,"
        " coerced_at, patient_key, study_uid, series_uid, sop_uid)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, strftime('%Y-%m-%dT%H:%M:%SZ'), ?, ?, ?, ?, ?) RETURNING id",
        (
            *_key(arrival),
            os.fsencode(submission(arrival.path)),
            state,
            coerced_at,
            identity.patient_key,
            identity.study_uid,
            identity.series_uid,
            identity.sop_uid,
        ),
    ).fetchone()
    return found


def _key(arrival: Arrival) -> tuple[str, bytes, int, int, int]:
    seen = arrival.seen
    # SQLite's integers are signed; an inode may use all 64 bits.
    inode = (seen.inode + 2**63) % 2**64 - 2**63
    return arrival.clinic, os.fsencode(arrival.path), seen.size_bytes, seen.mtime_ns, inode


def _row(row: tuple[Any, ...]) -> Row:
    # Any: what SQLite returns is as the schema above says, which no type checker reads.
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
