"""What the journal tells of the past: what came, what was imported, what is to be audited."""

import os

from dicom_importer.records import Identity, Report, Row
from dicom_importer.table import Table

_IMPORTED = "study_uid <> '' AND state = 'done' AND reason = '' AND (? = '' OR clinic = ?)"


class Past:
    """Questions about files that were begun with; none changes anything."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def stored(self, clinic: str, identity: Identity) -> bool:
        """Say whether this patient is the study's, by the image that last went into the archive."""
        rows = self._table.select(
            "study_uid = ? AND clinic = ? AND state = 'done' AND reason = ''"
            " ORDER BY id DESC LIMIT 1",
            identity.study_uid,
            clinic,
        )
        return bool(rows) and rows[0].identity.patient_key == identity.patient_key

    def came(self, clinic: str, folder: str) -> list[tuple[str, bool]]:
        """Return what came into a folder of an inbox in the last day, and whether it was an image.

        Every path below "a/" sorts from there on and before "a0".
        """
        prefix = os.fsencode(folder)
        first, end = (prefix + b"/", prefix + b"0") if folder else (b"", b"\xff")
        rows = self._table.query(
            "SELECT path, sop_uid <> '' OR (status = 'rejected' AND reason <> 'dicomdir')"
            " FROM file WHERE path >= ? AND path < ? AND clinic = ? AND state <> 'gone'"
            " AND began_at >= strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-1 day')",
            first,
            end,
            clinic,
        )
        return [(os.fsdecode(path), bool(image)) for path, image in rows]

    def reports(self) -> list[tuple[str, Report]]:
        """Return submissions with what was filed and not audited yet."""
        rows = self._table.query(
            "SELECT submission, clinic, study_uid, status, reason, group_concat(id)"
            " FROM file WHERE state = 'done' AND NOT audited GROUP BY 1, 2, 3, 4, 5"
        )
        return [
            (os.fsdecode(row[0]), Report(tuple(sorted(map(int, row[5].split(",")))), *row[1:5]))
            for row in rows
        ]

    def history(self, clinic: str, path: str) -> list[Row]:
        """Return every row of a path in an inbox, oldest first."""
        return self._table.select("clinic = ? AND path = ? ORDER BY id", clinic, os.fsencode(path))

    def imported(self, clinic: str, study_uid: str) -> list[Row]:
        """Return what was imported of a study, oldest first."""
        return self._table.select(
            "study_uid = ? AND clinic = ? AND state = 'done' AND reason = '' ORDER BY id",
            study_uid,
            clinic,
        )

    def last(self) -> int:
        """Return the id of the last row."""
        return int(self._table.query("SELECT coalesce(max(id), 0) FROM file")[0][0])

    def count(self, clinic: str, until: int) -> int:
        """Count what was imported of a clinic (empty: of all), up to a row."""
        (found,) = self._table.query(
            f"SELECT count(*) FROM file WHERE {_IMPORTED} AND id <= ?",  # noqa: S608 - our own text
            *(clinic, clinic, until),
        )
        return int(found[0])

    def studies(self, clinic: str, after: str, count: int) -> list[str]:
        """Return so many studies that something was imported of, in the order of their UIDs."""
        rows = self._table.query(
            "SELECT DISTINCT study_uid FROM file"  # noqa: S608 - our own text
            f" WHERE {_IMPORTED} AND study_uid > ? ORDER BY study_uid LIMIT ?",
            *(clinic, clinic, after, count),
        )
        return [study for (study,) in rows]

    def clinics(self, study_uid: str) -> list[str]:
        """Return the clinics that imported something of a study."""
        rows = self._table.query(
            "SELECT DISTINCT clinic FROM file WHERE study_uid = ? AND state = 'done'"
            " AND reason = '' ORDER BY clinic",
            study_uid,
        )
        return [clinic for (clinic,) in rows]

    def instances(self, study_uid: str) -> set[str]:
        """Return the instances of a study that were begun with, whatever became of them."""
        rows = self._table.query("SELECT DISTINCT sop_uid FROM file WHERE study_uid = ?", study_uid)
        return {sop_uid for (sop_uid,) in rows}

    def filed_as(self, target: str) -> list[Row]:
        """Return the rows of files moved to this path."""
        # Without the second condition SQLite takes no index, which has no rows without a target.
        return self._table.select("target = ? AND target <> '' ORDER BY id", os.fsencode(target))
