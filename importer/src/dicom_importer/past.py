"""What the journal tells of the past: what came, what was imported, what is to be audited."""

import hashlib
import json
import os
import sqlite3
from typing import Any

from dicom_importer.corrections import Correction
from dicom_importer.records import Identity, Report, Row
from dicom_importer.table import Table

_IMPORTED = "study_uid <> '' AND state = 'done' AND reason = '' AND (? = '' OR clinic = ?)"

_CORRECTION = "study_uid, at, kind, clinic, who, reason, to_clinic, series_uid, patient, lifted"


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

    def corrections(self, study_uid: str) -> tuple[Correction, ...]:
        """Return what was done with a study by hand, in its order."""
        return self._corrections("study_uid = ? ORDER BY at", study_uid)

    def whither(self, folder: str, path: str) -> tuple[Correction, ...]:
        """Return what took a file away from a path of inbox, processed or failed."""
        return self._corrections(
            "(study_uid, at) IN (SELECT study_uid, at FROM went WHERE digest = ?) ORDER BY at",
            digest(folder, path),
        )

    def _corrections(self, where: str, *values: object) -> tuple[Correction, ...]:
        try:
            rows = self._table.query(
                f"SELECT {_CORRECTION} FROM correction WHERE {where}",  # noqa: S608 - our own text
                *values,
            )
        except sqlite3.OperationalError:
            # A journal that is only read may be an older importer's.
            if self._table.query("SELECT 1 FROM sqlite_master WHERE name = 'correction'"):
                raise
            return ()
        return tuple(_correction(*row) for row in rows)

    def of_study(self, clinic: str, study_uid: str) -> list[Row]:
        """Return what is done with of a study of a clinic, also what failed."""
        return self._table.select(
            "study_uid = ? AND clinic = ? AND state = 'done' ORDER BY id", study_uid, clinic
        )

    def zips(self, clinic: str, stem: str) -> list[Row]:
        """Return the rows of zip files that were unpacked, by their path without its end."""
        first = os.fsencode(stem) + b"."
        rows = self._table.select(
            "clinic = ? AND path >= ? AND path < ? AND status = 'kept' AND state = 'done'",
            *(clinic, first, first[:-1] + b"/"),
        )
        return [row for row in rows if row.arrival.path[len(stem) :].lower() == ".zip"]

    def studies_below(self, clinic: str, folder: str) -> set[str]:
        """Return the studies of what came into a folder of an inbox, of the rest an empty one."""
        prefix = os.fsencode(folder)
        rows = self._table.query(
            "SELECT DISTINCT study_uid FROM file WHERE path >= ? AND path < ? AND clinic = ?",
            *(prefix + b"/", prefix + b"0", clinic),
        )
        return {study_uid for (study_uid,) in rows}


def _correction(*row: Any) -> Correction:  # noqa: ANN401 - as the schema says
    study_uid, at, kind, clinic, who, reason, to_clinic, series_uid, patient, lifted = row
    return Correction(
        study_uid,
        at,
        kind,
        clinic,
        who,
        reason,
        to_clinic=to_clinic,
        series_uid=series_uid,
        patient=json.loads(patient),
        lifted=bool(lifted),
    )


def digest(folder: str, path: str) -> str:
    """Return what is noted of a path (`processed`, `clinic-a/…`) whose file went."""
    return hashlib.sha256(os.fsencode(f"{folder}/{path}")).hexdigest()
