"""Imports files in step: what several of them ask the archive or note in the journal goes in one piece."""

import sqlite3
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from dicom_importer import filing
from dicom_importer.archive import Archive, Held
from dicom_importer.files import Arrival
from dicom_importer.filing import Folders, Move
from dicom_importer.journal import Journal
from dicom_importer.reasons import Unavailable
from dicom_importer.records import Decision, Identity, Row


@dataclass(slots=True)
class Find:
    """Ask what the archive holds under a SOP Instance UID, before or after it was sent."""

    sop_uid: str
    sent: bool
    held: list[Held] = field(default_factory=list)


@dataclass(slots=True)
class Begin:
    """Note that a file is about to be sent, coerced as of this time."""

    arrival: Arrival
    coerced_at: str
    identity: Identity
    row: Row | None = None


@dataclass(slots=True)
class Own:
    """Check whose study an instance is of."""

    check: Callable[[], None]

    def do(self) -> None:
        """Ask the archive."""
        self.check()


@dataclass(slots=True)
class Send:
    """Send an instance; its MD5 comes back."""

    send: Callable[[], str]
    md5: str = ""

    def do(self) -> None:
        """Send to the archive."""
        self.md5 = self.send()


@dataclass(slots=True)
class Decide:
    """Note what becomes of a file before it is moved."""

    arrival: Arrival
    identity: Identity
    decision: Decision
    row: Row | None = None


@dataclass(slots=True)
class Finish:
    """Note that a file has left the inbox, by us or (gone) by somebody else."""

    rowid: int
    gone: bool


Request = Own | Find | Begin | Send | Decide | Move | Finish
_T = TypeVar("_T")
# One file's way through the importer; it goes on when what it yielded is answered.
Flow = Generator[Request, None, _T]
_Waiting = list[tuple[Flow[None], Request]]


def run(
    flows: Mapping[Arrival, Flow[None]],
    archive: Archive,
    journal: Journal,
    folders: Folders,
    begun: Callable[[Arrival], None],
) -> None:
    """Run flows to their ends; `begun` is told of each as soon as it waits for others.

    Who is behind goes first, so that all come to the same step. What fails for all is raised in
    each; when the archive goes away in the middle, those that did not speak to it yet do not try.
    """
    waiting: _Waiting = []
    for arrival, flow in flows.items():
        waiting += _advance(flow)
        begun(arrival)
    while waiting:
        step = min(_order(request) for _, request in waiting)
        now = [one for one in waiting if _order(one[1]) == step]
        waiting = [one for one in waiting if _order(one[1]) != step]
        if isinstance(now[0][1], Own | Send):
            waiting += _one_by_one(now)
        elif isinstance(now[0][1], Move):
            waiting += _moved(now, journal, folders)
        else:
            waiting += _together(now, archive, journal)


def _order(request: Request) -> int:
    if isinstance(request, Find):
        return 4 if request.sent else 1
    return _ORDER[type(request)]


_ORDER: dict[type, int] = {Own: 0, Begin: 2, Send: 3, Decide: 5, Move: 6, Finish: 7}


def _advance(flow: Flow[None], error: Exception | None = None) -> _Waiting:
    try:
        return [(flow, flow.throw(error) if error else next(flow))]
    except StopIteration:
        return []


def _one_by_one(now: _Waiting) -> _Waiting:
    waiting: _Waiting = []
    away: Unavailable | None = None
    for flow, request in now:
        error: Exception | None = away
        if away is None and isinstance(request, Own | Send):
            try:
                request.do()
            except Exception as problem:  # noqa: BLE001 - raised again in the file's own flow
                error = problem
                if isinstance(problem, Unavailable):
                    away = Unavailable(problem.cause, problem.retry_after_s, heard=True)
        waiting += _advance(flow, error)
    return waiting


def _moved(now: _Waiting, journal: Journal, folders: Folders) -> _Waiting:
    moves = [request for _, request in now if isinstance(request, Move)]
    filing.move_all(journal, folders, moves)
    pairs = zip(now, moves, strict=True)
    return [one for (flow, _), move in pairs for one in _advance(flow, move.error)]


def _together(now: _Waiting, archive: Archive, journal: Journal) -> _Waiting:
    error: Exception | None = None
    try:
        _do([request for _, request in now], archive, journal)
    except (OSError, sqlite3.Error, Unavailable) as problem:
        error = problem
    return [one for flow, _ in now for one in _advance(flow, error)]


def _do(requests: Iterable[Request], archive: Archive, journal: Journal) -> None:
    finds = [one for one in requests if isinstance(one, Find)]
    begins = [one for one in requests if isinstance(one, Begin)]
    decisions = [one for one in requests if isinstance(one, Decide)]
    ends = [one for one in requests if isinstance(one, Finish)]
    if finds:
        held = archive.held([one.sop_uid for one in finds])
        for find in finds:
            find.held = held[find.sop_uid]
    if begins:
        rows = journal.begin_all([(x.arrival, x.coerced_at, x.identity) for x in begins])
        for begin, row in zip(begins, rows, strict=True):
            begin.row = row
    if decisions:
        rows = journal.decide_all([(x.arrival, x.identity, x.decision) for x in decisions])
        for decide, row in zip(decisions, rows, strict=True):
            decide.row = row
    if ends:
        journal.finish_all([(one.rowid, one.gone) for one in ends])
