"""What came from a clinic: the journal's files and those that wait, in groups as they were exported.

A group is a submission on a day: many a workstation exports into one folder for years. The names
of folders and files are those that the clinic itself gave them; nothing is read from within a file.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dicom_importer import received
from dicom_importer.retry import LASTING
from dicom_importer.scan import DELIVERED, UPLOADED
from dicom_importer.scan import submission as submission_of
from dicom_importer.table import Table
from dicom_importer.words import Words

# A listing asks the journal for no more than this many files.
MAX_FILES = 200_000
# So many names of a group's failures are shown.
_EXAMPLES = 5
_DONE = "FROM file WHERE id >= ? AND clinic = ? AND state = 'done'"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What lies in the inbox of a submission: one path, how many files, when they settle, why they wait."""

    path: str
    files: int
    due_s: float = 0.0
    cause: str = ""


@dataclass(slots=True)
class Failure:
    """Files of a group that failed alike, by their paths in the inbox and in failed/."""

    reason: str
    detail: str
    paths: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Group:
    """What came by one submission on one day; times are UTC."""

    submission: str
    day: str
    first: str = ""
    last: str = ""
    path: str = ""
    filed: int = 0
    again: int = 0
    beside: int = 0
    studies: tuple[str, ...] = ()
    failures: dict[str, Failure] = field(default_factory=dict)
    waiting: Waiting | None = None

    @property
    def state(self) -> str:
        """One word for the whole of it."""
        if self.waiting:
            return "settling" if self.waiting.due_s > 0 else "storing"
        return "failed" if self.failures else "filed"

    def as_json(self, language: Words, *, reads: bool) -> dict[str, object]:
        """Tell what the page shows; the studies only to who may read them."""
        waiting = self.waiting or Waiting(self.submission, 0)
        by, name = _named(self.submission, self.path or waiting.path)
        return {
            "submission": shown(self.submission),
            "by": by,
            "name": name,
            "day": self.day,
            "first": self.first,
            "last": self.last,
            "state": self.state,
            "files": {
                "waiting": waiting.files,
                "filed": self.filed,
                "again": self.again,
                "beside": self.beside,
                "failed": sum(len(one.paths) for one in self.failures.values()),
            },
            "due_s": waiting.due_s,
            "cause": waiting.cause,
            "studies": list(self.studies) if reads else [],
            "failures": [
                _told(one, language, is_made_up=by != "inbox") for one in self.failures.values()
            ],
        }


def shown(text: str) -> str:
    """Return a name as text that JSON has, whatever bytes the workstation gave it."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def _named(submission: str, path: str) -> tuple[str, str]:
    """Return by what door a submission came, and its name for people: none where a door made it up."""
    if submission.endswith(DELIVERED):
        return "stow-rs", ""
    if peer := received.peer(submission):
        return "dicom", peer.ae_title
    if submission.endswith(UPLOADED):
        _, folder, *rest = [*path.split("/"), ""]
        return "page", shown(folder) if any(rest) else ""
    return "inbox", shown(submission)


def _told(one: Failure, language: Words, *, is_made_up: bool) -> dict[str, object]:
    reason = language.reasons[one.reason]
    # The name that a door gave is nobody's to look for.
    names = [path.partition("/")[2] if is_made_up else path for path in one.paths[:_EXAMPLES]]
    return {
        "reason": one.reason,
        "found": reason.found,
        "advice": reason.advice,
        "detail": one.detail,
        "files": len(one.paths),
        "examples": [shown(name) for name in names],
        "can_retry": one.reason not in LASTING,
    }


def groups(  # noqa: PLR0913, PLR0917 - what a listing is made of
    table: Table, failed: Path, clinic: str, since: str, waiting: Iterable[Waiting], today: str
) -> list[Group]:
    """Return the groups since a time (UTC, as the journal writes it, or a day of it), the newest first."""
    first = _first(table, since)
    found: dict[tuple[str, str], Group] = {}

    def group(submission: bytes | str, day: str, time: str, last: str) -> Group:
        key = os.fsdecode(submission), day
        one = found.setdefault(key, Group(*key, time, last))
        one.first, one.last = min(one.first or time, time), max(one.last, last)
        return one

    for submission, day, status, count, began, decided, path, studies in _filed(
        table, first, clinic
    ):
        one = group(submission, day, began, decided)
        one.path = os.fsdecode(path)
        _count(one, status, count)
        one.studies = tuple(sorted({*one.studies, *filter(None, (studies or "").split(","))}))
    # What was tried again and failed again lies under the name that it had: the later word counts.
    for target, row in {row[0]: row[1:] for row in _failed(table, first, clinic)}.items():
        submission, day, reason, detail, path, began, decided = row
        if os.path.lexists(failed / os.fsdecode(target)):
            one = group(submission, day, began, decided)
            one.path = os.fsdecode(path)
            failure = one.failures.setdefault(reason, Failure(reason, detail))
            failure.paths.append(os.fsdecode(path))
            failure.targets.append(os.fsdecode(target))
    for lying in waiting:
        name = submission_of(lying.path)
        days = [day for other, day in found if other == name]
        group(name, max(days, default=today), "", "").waiting = lying
    return sorted(
        found.values(), key=lambda g: (g.waiting is not None, g.last or g.first), reverse=True
    )


def _count(one: Group, status: str, count: int) -> None:
    if status == "duplicate":
        one.again += count
    elif status == "kept":
        one.beside += count
    else:
        one.filed += count


def _filed(table: Table, first: int, clinic: str) -> list[tuple[Any, ...]]:
    return table.query(
        "SELECT submission, substr(began_at, 1, 10), status, count(*), min(began_at),"
        " max(decided_at), min(path),"
        " CASE WHEN count(DISTINCT study_uid) < 4 THEN group_concat(DISTINCT study_uid) END"
        f" {_DONE} AND reason = '' GROUP BY 1, 2, 3",
        first,
        clinic,
    )


def _failed(table: Table, first: int, clinic: str) -> list[tuple[Any, ...]]:
    return table.query(
        "SELECT target, submission, substr(began_at, 1, 10), reason, detail, path, began_at, decided_at"
        f" {_DONE} AND reason <> '' ORDER BY id",
        first,
        clinic,
    )


def _first(table: Table, since: str) -> int:
    """Return the first row of a day, by halves: rows are numbered as files come, and no index has their time."""
    ((low, high),) = table.query("SELECT coalesce(min(id), 0), coalesce(max(id), 0) + 1 FROM file")
    low = max(low, high - MAX_FILES)
    while low < high:
        middle = (low + high) // 2
        rows = table.query(
            "SELECT id, began_at FROM file WHERE id >= ? ORDER BY id LIMIT 1", middle
        )
        if rows and rows[0][1] < since:
            low = rows[0][0] + 1
        else:
            high = middle
    return int(low)
