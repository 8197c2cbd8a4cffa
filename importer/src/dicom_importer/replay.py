"""`dicom-importer replay`: what was imported since a day is offered to the archive again.

For an archive that was restored to an older state. The originals are read where they lie, in
processed/, and coerced as they were, so that nothing is moved or filed a second time: what the
archive holds unchanged counts as there, what it lacks is stored and verified, and what it holds
with other content is named and left. Interrupted, it is run again and goes on with what is missing.
"""

import contextlib
import functools
import itertools
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime

from dicom_importer import (
    audit,
    files,
    instance,
    places,
    plan,
    replacement,
    scan,
    session,
    storing,
)
from dicom_importer.config import Config
from dicom_importer.files import Arrival, Place
from dicom_importer.instance import Prepared
from dicom_importer.journal import JOURNAL, Journal
from dicom_importer.ownership import Ownership
from dicom_importer.reasons import REASONS, Failure, Rejected, Unavailable
from dicom_importer.records import Decision, Row, Verdict
from dicom_importer.replacement import Desk
from dicom_importer.stow import Refused, SendingBroke

TRIES = 8
MAX_DELAY_S = 30.0
_AT_ONCE = 256
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Since which day of processed/ (UTC, inclusive), of which clinic (empty: of all), by whom."""

    since: date
    clinic: str
    who: str


@dataclass(frozen=True, slots=True)
class _Run:
    say: Callable[[str], None]
    now: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class _Replayed:
    place: Place
    status: str  # stored, held or failed
    words: str = ""


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
        limits, folders = session.limits(config), places.folders(config)
        desk = Desk(archive, journal, folders, limits, config.state_dir, config.audit_file)
        try:
            replacement.resume(desk)
            if not stack.enter_context(plan.held(config.state_dir)):
                say("A replacement is under way: try again when it has ended.")
                return 1
            pool = stack.enter_context(ThreadPoolExecutor(config.connections))
            well = True
            for clinic in [wanted.clinic] if wanted.clinic else clinics:
                well &= _clinic(desk, pool, replace(wanted, clinic=clinic), _Run(say, now))
        except Unavailable as absence:
            say(f"Stopped: the archive does not answer ({absence.cause}). Run it again later:")
            say("it goes on with what is missing.")
            return 1
    return 0 if well else 1


def _clinic(desk: Desk, pool: ThreadPoolExecutor, wanted: Wanted, run: _Run) -> bool:
    clinic, say, now = wanted.clinic, run.say, run.now
    owner = Ownership(desk.archive, desk.journal.past.stored, time.monotonic)
    work = functools.partial(_persist, desk, owner, now)
    count = {"stored": 0, "held": 0, "failed": 0}
    found = _files(desk, clinic, wanted.since)
    try:
        while some := list(itertools.islice(found, _AT_ONCE)):
            for one in pool.map(work, some):
                count[one.status] += 1
                if one.words:
                    say(f"{one.place.root / one.place.path}: {one.words}")
    finally:
        if count["stored"]:
            at = now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
            since = wanted.since.isoformat()
            record = audit.replayed(wanted.who, clinic, since, count["stored"], at)
            audit.append(desk.audit_file, [record])
    say(f"{clinic}: {count['stored']} stored, {count['held']} there, {count['failed']} failed.")
    return not count["failed"]


def _files(desk: Desk, clinic: str, since: date) -> Iterator[tuple[Place, Row | None]]:
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
            if row and row.state == "filing":
                continue  # the service has it in hand
            if row and row.decision.verdict.status == "kept":
                continue  # it came beside images and is none
            if row and row.id < latest(row.identity.study_uid).get(row.identity.sop_uid, 0):
                continue
            yield place, row


def _latest(journal: Journal, clinic: str, study_uid: str) -> dict[str, int]:
    """Return the last row of each instance that was stored anew, and not only recognised."""
    rows = journal.past.imported(clinic, study_uid)
    return {r.identity.sop_uid: r.id for r in rows if r.decision.verdict.status == "success"}


def _persist(
    desk: Desk, owner: Ownership, now: Callable[[], datetime], found: tuple[Place, Row | None]
) -> _Replayed:
    place, row = found
    for attempt in range(TRIES):
        try:
            return _Replayed(place, _one(desk, owner, place, row, now()))
        except FileNotFoundError:
            return _Replayed(place, "failed", "it is gone: its time was over.")
        except OSError as error:
            return _Replayed(place, "failed", error.strerror or type(error).__name__)
        except (Failure, Refused) as failure:
            words = f"{REASONS[failure.code].found} {failure.detail}".rstrip()
            return _Replayed(place, "failed", words)
        except Unavailable:
            if attempt == TRIES - 1:
                raise
            time.sleep(min(MAX_DELAY_S, float(1 << attempt)))
    raise AssertionError


def _one(desk: Desk, owner: Ownership, place: Place, row: Row | None, now: datetime) -> str:
    clinic, _, path = place.path.split("/", 2)
    at = (row.coerced_at if row else "") or f"{now:%Y%m%d%H%M%S.%f}+0000"
    with files.open_file(place) as file:
        seen = files.seen(os.fstat(file.fileno()))
        with instance.prepared(file, clinic, at, desk.limits) as ready:
            status = _bring(desk, owner, clinic, ready)
            identity = ready.opened.identity
    if row is None:
        # The journal may have been restored to an older state as well.
        verdict = Verdict("success" if status == "stored" else "duplicate")
        time_text = now.isoformat(timespec="seconds").replace("+00:00", "Z")
        decision = Decision(verdict, time_text, place.path)
        made = desk.journal.decide(Arrival(clinic, path, seen), identity, decision)
        desk.journal.finish(made.id)
    return status


def _bring(desk: Desk, owner: Ownership, clinic: str, ready: Prepared) -> str:
    """Store an instance unless the archive holds it; raises Failure, Refused, Unavailable."""
    archive, head = desk.archive, ready.opened.header
    known = owner.check(head, clinic, ready.opened.identity)
    if known and archive.md5(ready.opened.archive_id) == ready.md5:
        return "held"
    if held := archive.instances(head.sop_uid):
        storing.compare_held(clinic, ready, held, archive, desk.limits)
        return "held"
    try:
        md5 = archive.store(head, ready.body, ready.source.fileno(), lambda: None)
    except (Refused, SendingBroke):
        # The next try would take it for held.
        storing.remove_doubtful(ready.md5, archive.instances(head.sop_uid), archive)
        raise
    if md5 not in [archive.md5(one) for one in archive.instances(head.sop_uid)]:
        raise Rejected("not_held")
    study = owner.study(head.study_uid)
    if study is None or study.clinic != clinic:
        raise Rejected("not_held", "the archive reads another InstitutionName (0008,0080)")
    return "stored"
