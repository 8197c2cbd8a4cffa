"""Moves a file out of the inbox: to processed/, or to failed/ with its reason beside it."""

import json
import os
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from dicom_importer import files
from dicom_importer.files import Arrival, Place
from dicom_importer.journal import Journal
from dicom_importer.reasons import REASONS
from dicom_importer.records import Decision, Row, Verdict

ERROR_VERSION = 1
ERROR_SUFFIX = ".error.json"


@dataclass(frozen=True, slots=True)
class Folders:
    """The three folders, best on one file system: then nothing is copied."""

    inbox: Path
    processed: Path
    failed: Path

    def source(self, arrival: Arrival) -> Place:
        """Where a file lies in the inbox."""
        return Place(self.inbox, f"{arrival.clinic}/{arrival.path}")

    def target(self, row: Row) -> Place:
        """Where a decided file goes."""
        return Place(
            self.failed if row.decision.verdict.reason else self.processed, row.decision.target
        )


def decision(arrival: Arrival, verdict: Verdict, folders: Folders, now: datetime) -> Decision:
    """Choose a free name under the day's folder, to be journalled before anything is moved."""
    root = folders.failed if verdict.reason else folders.processed
    wanted = Place(root, f"{arrival.clinic}/{now:%Y-%m-%d}/{arrival.path}")
    target = files.free(wanted, ERROR_SUFFIX if verdict.reason else "")
    time = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    return Decision(verdict, time, target.path)


def file_away(journal: Journal, folders: Folders, row: Row) -> Row:
    """Move a file as was decided and note that it is; returns the row as filed."""
    row, gone = move(journal, folders, row)
    journal.finish(row.id, gone=gone)
    return row


def move(journal: Journal, folders: Folders, row: Row) -> tuple[Row, bool]:
    """Do what was decided, also where an interrupted run left off.

    Returns the row as filed, and whether its file is gone by somebody else's hand. When the name
    was taken meanwhile, another one is decided on.
    """
    source = folders.source(row.arrival)
    while True:
        target = folders.target(row)
        here = files.look(source)
        if here != row.arrival.seen:
            # Gone by our own hand before an interruption, or by somebody else's.
            return row, not files.holds(target, row.arrival.seen)
        if row.decision.verdict.reason:
            files.write(target.sibling(target.name + ERROR_SUFFIX), error_json(row))
        try:
            files.move(source, target)
        except FileExistsError:
            free = files.free(target, ERROR_SUFFIX if row.decision.verdict.reason else "")
            again = replace(row.decision, target=free.path)
            row = journal.decide(row.arrival, row.identity, again)
            continue
        return row, False


def error_json(row: Row) -> bytes:
    """Say why a file failed; the same row gives the same bytes."""
    reason = REASONS[row.decision.verdict.reason]
    content = {
        "version": ERROR_VERSION,
        "status": row.decision.verdict.status,
        "reason": row.decision.verdict.reason,
        "message": reason.found,
        "detail": row.decision.verdict.detail,
        "action": reason.advice,
        "clinic": row.arrival.clinic,
        "file": os.fsencode(row.arrival.path).decode("utf-8", "backslashreplace"),
        "size_bytes": row.arrival.seen.size_bytes,
        "study_instance_uid": row.identity.study_uid,
        "sop_instance_uid": row.identity.sop_uid,
        "time": row.decision.decided_at,
    }
    return json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"
