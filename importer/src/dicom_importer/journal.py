"""What the importer must not forget: one row for each file that it has begun with."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from dicom_importer import past, table
from dicom_importer.errand import Errand
from dicom_importer.files import Arrival
from dicom_importer.past import Past
from dicom_importer.records import Decision, Identity, Report, Row
from dicom_importer.table import Table

JOURNAL = "journal.sqlite"
# What came longer ago is forgotten.
JOURNAL_DAYS = 400


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
        return self.begin_all([(arrival, coerced_at, identity)])[0]

    def begin_all(self, files: Iterable[tuple[Arrival, str, Identity]]) -> list[Row]:
        """Note of each file that it is about to be sent."""
        with self._table.transaction() as db:
            ids = [table.insert(db, one, "sending", time, who) for one, time, who in files]
        return self._rows(ids)

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
        return self.decide_all([(arrival, identity, decision)])[0]

    def decide_all(self, files: Iterable[tuple[Arrival, Identity, Decision]]) -> list[Row]:
        """Note what becomes of each file."""
        known = [(self.find(arrival), arrival, who, made) for arrival, who, made in files]
        ids = []
        with self._table.transaction() as db:
            for row, arrival, identity, decision in known:
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
                ids.append(rowid)
        return self._rows(ids)

    def _rows(self, ids: Iterable[int]) -> list[Row]:
        return [self._table.select("id = ?", rowid)[0] for rowid in ids]

    def finish(self, rowid: int, *, gone: bool = False) -> None:
        """Note that a file has left the inbox, by us or (gone) by somebody else."""
        self.finish_all([(rowid, gone)])

    def finish_all(self, files: Iterable[tuple[int, bool]]) -> None:
        """Note of each row whether its file has left the inbox by us or (True) by somebody else."""
        with self._table.transaction() as db:
            db.executemany(
                "UPDATE file SET state = ? WHERE id = ?",
                [("gone" if gone else "done", rowid) for rowid, gone in files],
            )

    def correct(self, todo: Errand) -> None:
        """Note a correction as the rule of its study, and what it changes of the rows; once or again."""
        made = todo.correction
        with self._table.transaction() as db:
            if made.kind == "delete":
                db.executemany("DELETE FROM file WHERE id = ?", [(one.row,) for one in todo.filed])
                if not made.series_uid:
                    db.execute(
                        "DELETE FROM correction WHERE study_uid = ? AND kind <> 'delete'",
                        (made.study_uid,),
                    )
            if made.kind == "move":
                db.executemany(
                    "UPDATE file SET clinic = ?, target = ? WHERE id = ?",
                    [(made.to_clinic, os.fsencode(one.target), one.row) for one in todo.filed],
                )
            if todo.patient_key:
                db.execute(
                    "UPDATE file SET patient_key = ? WHERE study_uid = ? AND clinic = ?"
                    " AND state = 'done' AND reason = ''",
                    (todo.patient_key, made.study_uid, made.clinic),
                )
            patient = json.dumps(made.patient)
            db.execute(
                "INSERT OR REPLACE INTO correction (study_uid, at, kind, clinic, who, reason,"
                " to_clinic, series_uid, patient) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(made.study_uid, made.at, made.kind, made.clinic, made.who, made.reason),
                    *(made.to_clinic, made.series_uid, patient),
                ),
            )
            db.executemany(
                "INSERT OR IGNORE INTO went VALUES (?, ?, ?)",
                [
                    (name, made.study_uid, made.at)
                    for one in todo.filed
                    for name in (
                        past.digest(one.root, one.source),
                        past.digest("inbox", f"{made.clinic}/{one.whence}"),
                    )
                ],
            )

    def readmit(self, study_uid: str) -> None:
        """Note that what was deleted of a study is no longer refused."""
        with self._table.transaction() as db:
            db.execute("UPDATE correction SET lifted = 1 WHERE study_uid = ?", (study_uid,))

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
            db.execute("DELETE FROM went WHERE at < ?", (before[:10].replace("-", ""),))
