"""What the importer must not forget: one row for each file that it has begun with."""

import os
from pathlib import Path

from dicom_importer import table
from dicom_importer.files import Arrival
from dicom_importer.past import Past
from dicom_importer.records import Decision, Identity, Report, Row
from dicom_importer.table import Table

JOURNAL = "journal.sqlite"


class Journal:
    """Notes what is done with files; every method is on disk when it returns."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._table = Table(path, read_only=read_only)
        self.past = Past(self._table)

    def close(self) -> None:
        """Close the file."""
        self._table.close()

    def check(self) -> None:
        """Prove that the journal takes writes; raises sqlite3.Error."""
        self._table.check()

    def active(self) -> list[Row]:
        """Return what was begun and is not done."""
        return self._table.select("state IN ('sending', 'filing') ORDER BY id")

    def find(self, arrival: Arrival) -> Row | None:
        """Return the active row of this version of a file."""
        rows = self._table.select(
            "state IN ('sending', 'filing') AND clinic = ? AND path = ?"
            " AND size_bytes = ? AND mtime_ns = ? AND inode = ?",
            *table.key(arrival),
        )
        return rows[0] if rows else None

    def begin(self, arrival: Arrival, coerced_at: str, identity: Identity) -> Row:
        """Note that a file is about to be sent, coerced as of this time."""
        with self._table.transaction() as db:
            rowid = table.insert(db, arrival, "sending", coerced_at, identity)
        return self._table.select("id = ?", rowid)[0]

    def refused(self, rowid: int, now_s: float) -> Row:
        """Count an attempt that failed for this file's own sake."""
        with self._table.transaction() as db:
            db.execute(
                "UPDATE file SET refusals = refusals + 1,"
                " refused_at = CASE refusals WHEN 0 THEN ? ELSE refused_at END WHERE id = ?",
                (now_s, rowid),
            )
        return self._table.select("id = ?", rowid)[0]

    def decide(self, arrival: Arrival, identity: Identity, decision: Decision) -> Row:
        """Note what becomes of a file before it is moved."""
        row = self.find(arrival)
        with self._table.transaction() as db:
            rowid = row.id if row else table.insert(db, arrival, "filing", "", identity)
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
        return self._table.select("id = ?", rowid)[0]

    def finish(self, rowid: int, *, gone: bool = False) -> None:
        """Note that a file has left the inbox, by us or (gone) by somebody else."""
        with self._table.transaction() as db:
            db.execute(
                "UPDATE file SET state = ? WHERE id = ?", ("gone" if gone else "done", rowid)
            )

    def audited(self, report: Report) -> None:
        """Note that a report was written."""
        with self._table.transaction() as db:
            db.executemany("UPDATE file SET audited = 1 WHERE id = ?", [(i,) for i in report.ids])

    def prune(self, before: str) -> None:
        """Forget what was decided before a time and audited."""
        with self._table.transaction() as db:
            db.execute(
                "DELETE FROM file WHERE began_at < ? AND (state = 'gone' OR audited)", (before,)
            )
