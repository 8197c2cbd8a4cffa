"""Moves a file out of the inbox: to processed/, or to failed/ with its reason beside it."""

import json
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from dicom_importer import files, words
from dicom_importer.files import Arrival, Place
from dicom_importer.journal import Journal
from dicom_importer.records import Decision, Row, Verdict

ERROR_VERSION = 1
ERROR_SUFFIX = ".error.json"


@dataclass(frozen=True, slots=True)
class Folders:
    """The three folders, best on one file system: then nothing is copied; and the language of reasons in failed/."""

    inbox: Path
    processed: Path
    failed: Path
    language_tag: str = words.ENGLISH

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


@dataclass(slots=True)
class Move:
    """A decided file on its way out of the inbox.

    Afterwards the row is as filed; `gone` if the file went by somebody else's hand.
    """

    row: Row
    gone: bool = False
    error: Exception | None = None


def file_away(journal: Journal, folders: Folders, row: Row) -> Row:
    """Move a file as was decided and note that it is; returns the row as filed."""
    one = Move(row)
    move_all(journal, folders, [one])
    if one.error:
        raise one.error
    journal.finish(one.row.id, gone=one.gone)
    return one.row


def move_all(journal: Journal, folders: Folders, moves: Iterable[Move]) -> None:
    """Do what was decided, also where an interrupted run left off; each fails alone.

    When a name was taken meanwhile, another one is decided on.
    """
    waiting = list(moves)
    while waiting:
        here = [one for one in waiting if _explain(folders, one)]
        places = [(folders.source(one.row.arrival), folders.target(one.row)) for one in here]
        waiting = []
        for one, error in zip(here, files.move_all(places), strict=True):
            one.error = error
            if isinstance(error, FileExistsError) and _rename(journal, folders, one):
                waiting.append(one)


def _explain(folders: Folders, one: Move) -> bool:
    """Say whether a file is there to be moved, and put the reason of its failure where it goes."""
    row, target = one.row, folders.target(one.row)
    try:
        if files.look(folders.source(row.arrival)) != row.arrival.seen:
            # Gone by our own hand before an interruption, or by somebody else's.
            one.gone = not files.holds(target, row.arrival.seen)
            return False
        if row.decision.verdict.reason:
            files.write(
                target.sibling(target.name + ERROR_SUFFIX), error_json(row, folders.language_tag)
            )
    except OSError as error:
        one.error = error
        return False
    return True


def _rename(journal: Journal, folders: Folders, one: Move) -> bool:
    """Decide on another name; says whether that is journalled."""
    suffix = ERROR_SUFFIX if one.row.decision.verdict.reason else ""
    try:
        target = files.free(folders.target(one.row), suffix).path
        again = replace(one.row.decision, target=target)
        one.row = journal.decide(one.row.arrival, one.row.identity, again)
    except (OSError, sqlite3.Error) as error:
        one.error = error
        return False
    return True


def error_json(row: Row, language_tag: str) -> bytes:
    """Say why a file failed; the same row gives the same bytes."""
    reason = words.load(language_tag).reasons[row.decision.verdict.reason]
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
