"""`dicom-importer replay`: what was imported since a day is offered to the archive again.

For an archive that was restored to an older state, or whose disk lost something. The originals are
read where they lie, in processed/, and coerced as they were, so that nothing is moved or filed a
second time: what the archive holds unchanged and reads back counts as there, what it lacks is
stored and verified, what it lists and cannot read is stored anew, and what it holds with other
content is named and left. Interrupted, it is run again and goes on with what is missing.
"""

import contextlib
import functools
import itertools
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime

from dicom_importer import (
    audit,
    exchange,
    files,
    instance,
    places,
    plan,
    repair,
    replacement,
    scan,
    session,
)
from dicom_importer.config import Config
from dicom_importer.files import Arrival, Place
from dicom_importer.journal import JOURNAL, Journal
from dicom_importer.ownership import Ownership
from dicom_importer.reasons import Failure, Unavailable
from dicom_importer.records import Decision, Row, Verdict
from dicom_importer.repair import Status, Tools
from dicom_importer.replacement import Desk

_AT_ONCE = 256
_UNREAD = (
    "The archive cannot read what it holds of this image, and lists it with other bytes than this"
    " file's. It is left: only a backup of the archive tells what it was."
)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Since which day of processed/ (UTC, inclusive), of which clinic (empty: of all), by whom."""

    since: date
    clinic: str
    who: str


@dataclass(frozen=True, slots=True)
class _Run:
    pool: ThreadPoolExecutor
    say: Callable[[str], None]
    now: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class _Work:
    desk: Desk
    tools: Tools
    # What was stored and repaired, for the audit, however it ends.
    changed: list[Status]


@dataclass(frozen=True, slots=True)
class _Original:
    """A file of processed/, its row, and when it was coerced (DICOM's DT), empty if nobody knows."""

    place: Place
    row: Row | None
    time: str


def replay(
    config: Config, wanted: Wanted, say: Callable[[str], None], now: Callable[[], datetime]
) -> int:
    """Offer the files again and say what came of it; returns the exit status."""
    if not (config.state_dir / JOURNAL).exists():
        say("The importer has not been running yet: there is no journal.")
        return 1
    clinics = scan.clinics(config.processed_dir)
    if wanted.clinic and wanted.clinic not in clinics:
        say(f"Nothing of a clinic {wanted.clinic} lies in {config.processed_dir}.")
        return 1
    with contextlib.ExitStack() as stack:
        archive = stack.enter_context(session.archive(config))
        journal = stack.enter_context(contextlib.closing(Journal(config.state_dir / JOURNAL)))
        limits, folders = session.limits(config, journal), places.folders(config)
        desk = Desk(archive, journal, folders, limits, config.state_dir, config.audit_file)
        try:
            with contextlib.suppress(Failure):  # then it was taken back
                replacement.resume(desk)
                exchange.resume(desk)
            if not stack.enter_context(plan.held(config.state_dir)):
                say("A replacement is under way: try again when it has ended.")
                return 1
            pool = stack.enter_context(ThreadPoolExecutor(config.connections))
            well = True
            for clinic in [wanted.clinic] if wanted.clinic else clinics:
                well &= _clinic(desk, replace(wanted, clinic=clinic), _Run(pool, say, now))
        except Unavailable as absence:
            say(f"Stopped: the archive does not answer ({absence.cause}). Run it again later:")
            say("it goes on with what is missing.")
            return 1
    return 0 if well else 1


def _clinic(desk: Desk, wanted: Wanted, run: _Run) -> bool:
    owner = Ownership(desk.archive, desk.journal.past.stored, time.monotonic)
    work = _Work(desk, Tools(desk.archive, owner, desk.limits), [])

    def offer(original: _Original, *, sure: bool = False) -> repair.Outcome:
        return repair.persist(lambda: _one(work, original, run.now(), sure=sure))

    mend = functools.partial(offer, sure=True)
    count: Counter[str] = Counter()
    found = _files(desk, wanted.clinic, wanted.since)
    try:
        while some := list(itertools.islice(found, _AT_ONCE)):
            outcomes = repair.looks(run.pool, offer, some)
            unread = (index for index, one in enumerate(outcomes) if one.unread)
            repair.look_again(run.pool, mend, some, outcomes, unread)
            for one, outcome in zip(some, outcomes, strict=True):
                words = _UNREAD if outcome.unread else outcome.words
                count["failed" if words else outcome.status] += 1
                if words:
                    run.say(f"{one.place.root / one.place.path}: {words}")
    finally:
        _tell_audit(desk, wanted, Counter(work.changed), audit.stamp(run.now()))
    run.say(
        f"{wanted.clinic}: {count['stored']} stored, {count['repaired']} repaired,"
        f" {count['held']} there, {count['failed']} failed."
    )
    return not count["failed"]


def _tell_audit(desk: Desk, wanted: Wanted, count: Counter[Status], at: str) -> None:
    clinic, since = wanted.clinic, wanted.since.isoformat()
    records = []
    if stored := count["stored"]:
        records.append(audit.replayed(wanted.who, clinic, since, stored, at))
    if repaired := count["repaired"]:
        records.append(audit.repaired(wanted.who, clinic, repaired, at))
    if records:
        audit.append(desk.audit_file, records)


def _files(desk: Desk, clinic: str, since: date) -> Iterator[_Original]:
    """Yield the originals of the days since, but for those that a later one replaced."""
    root = desk.folders.processed
    days = sorted(day.name for day in (root / clinic).iterdir() if _DAY.fullmatch(day.name))
    latest = functools.lru_cache(maxsize=16)(functools.partial(_latest, desk.journal, clinic))
    for day in days:
        if day < since.isoformat():
            continue
        for name in sorted(scan.walk(root, f"{clinic}/{day}").files):
            place = Place(root, f"{clinic}/{day}/{name}")
            row = places.record(desk.journal, place, failed=False)
            if row is None:
                yield _Original(place, None, "")
                continue
            if row.state == "filing":
                continue  # the service has it in hand
            if row.decision.verdict.status == "kept":
                continue  # it came beside images and is none
            stored = latest(row.identity.study_uid).get(row.identity.sop_uid)
            if stored and row.id < stored.id:
                continue
            # A duplicate is coerced as what the archive holds of it was: mostly they are the same.
            yield _Original(place, row, row.coerced_at or (stored.coerced_at if stored else ""))


def _latest(journal: Journal, clinic: str, study_uid: str) -> dict[str, Row]:
    """Return the last row of each instance that was stored anew, and not only recognised."""
    rows = journal.past.imported(clinic, study_uid)
    return {r.identity.sop_uid: r for r in rows if r.decision.verdict.status == "success"}


def _one(work: _Work, original: _Original, now: datetime, *, sure: bool) -> Status:
    """Offer an original to the archive; raises as repair.bring does, and OSError."""
    desk, place = work.desk, original.place
    clinic, _, path = place.path.split("/", 2)
    at = original.time or f"{now:%Y%m%d%H%M%S.%f}+0000"
    with files.open_file(place) as file:
        seen = files.seen(os.fstat(file.fileno()))
        with instance.prepared(file, clinic, at, desk.limits) as ready:
            status = repair.bring(work.tools, clinic, ready, sure=sure)
            identity = ready.opened.identity
    stored = status in ("stored", "repaired")
    if stored:
        work.changed.append(status)
    if original.row is None and (stored or status == "held"):
        # The journal may have been restored to an older state as well.
        arrival = Arrival(clinic, path, seen)
        if stored and desk.journal.find(arrival) is None:
            desk.journal.begin(arrival, at, identity)
        time_text = now.isoformat(timespec="seconds").replace("+00:00", "Z")
        decision = Decision(Verdict("success" if stored else "duplicate"), time_text, place.path)
        made = desk.journal.decide(arrival, identity, decision)
        desk.journal.finish(made.id)
    return status
