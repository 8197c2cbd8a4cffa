"""`dicom-importer verify`: compares journal, originals, the archive's index and its disk, both ways.

The index is listed whole, into a working file beside the journal. Every listed file is read from
the archive's disk and has to have its MD5, every file there has to be listed. Every image that the
journal knows has to be listed in its clinic's study, with the bytes that its original becomes while
that is kept, or else the same content (a duplicate is held as another file brought it); every
listed image and every file in processed/ has to be in the journal. What differs is asked for a
second time, since daily work goes on meanwhile, and named by its identifiers, since a path may
carry a patient's name. Told to repair, it stores anew what is lacking or damaged and an original is
kept of, and has files that are not listed moved aside. Killed, it goes on where it was.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from clinic_access.returning import MARKER

from dicom_importer import errand, listing, places, plan, scan, session
from dicom_importer.config import Config
from dicom_importer.journal import JOURNAL, Journal
from dicom_importer.ownership import Ownership
from dicom_importer.reasons import Unavailable
from dicom_importer.repair import Tools
from dicom_importer.verify import disk, images
from dicom_importer.verify.desk import Desk, Screen, Stopped, Wanted, tell_audit
from dicom_importer.verify.findings import ASIDE, HARMLESS
from dicom_importer.verify.notes import Notes
from dicom_importer.verify.pace import Progress, Throttle, duration

__all__ = ["Screen", "Wanted", "verify"]

STOPPED = 2
# Reading and its MD5 let other threads run, the rest does not.
_MAX_THREADS = 8
_NOTES, _LOCK = "verify.sqlite", "verify.lock"
# Of the notes: those of an older program are begun anew.
_FORMAT = 2


def verify(config: Config, wanted: Wanted, screen: Screen, now: Callable[[], datetime]) -> int:
    """Compare everything and name what differs; returns the exit status, 1 for differences."""
    try:
        with contextlib.ExitStack() as stack:
            return _verify(_desk(stack, config, wanted, screen, now))
    except Stopped as reason:
        screen.progress("")
        screen.say(str(reason))
        return STOPPED


def _verify(desk: Desk) -> int:
    began_s = time.monotonic()
    try:
        for finding in desk.notes.found():
            desk.tell(finding)
        _list(desk)
        disk.check(desk)
        images.check(desk)
        disk.make_anew(desk)
        images.check_unknown(desk)
        images.check_processed(desk)
    except Unavailable as absence:
        _say_end(desk, began_s, stopped=True)
        raise Stopped(
            f"Stopped: the archive does not answer ({absence.cause}). Run it again later: it goes on"
            " where it is."
        ) from absence
    finally:
        desk.tell_audit()
    left = _say_end(desk, began_s, stopped=False)
    desk.notes.note(ended=1)
    return 1 if left else 0


def _list(desk: Desk) -> None:
    """Note what the index lists, from where it was cut off."""
    if desk.notes.fact("listed", 0):
        return
    desk.progress.begin("files in the index", 0)
    for page in listing.pages(desk.archive, desk.notes.last()):
        desk.notes.list_all(page)
        desk.progress.total += len(page)
        desk.progress.step(len(page))
    desk.notes.note(listed=1)


def _say_end(desk: Desk, began_s: float, *, stopped: bool) -> int:
    """Say in words, or to programs, what was compared and found; returns the number of differences."""
    notes, kinds = desk.notes, desk.notes.kinds()
    aside = sum(kinds[kind][1] for kind in ASIDE if kind in kinds)
    repaired = sum(repaired for _, repaired in kinds.values()) - aside
    stays = {kind: count - repaired for kind, (count, repaired) in kinds.items()}
    harmless = sum(stays.pop(kind, 0) for kind in HARMLESS)
    left = sum(stays.values())
    counts = {
        name: notes.fact(name, 0)
        for name in ("read", "read_bytes", "compared", "by_index", "filed")
    }
    took_s = time.monotonic() - began_s
    desk.screen.progress("")
    if desk.wanted.as_json:
        of_kind = {kind: count for kind, (count, _) in kinds.items()}
        end = {"began": desk.began.isoformat(), "ended": not stopped, "took_s": round(took_s, 1)}
        end |= {**counts, "repaired": repaired, "set_aside": aside, "leftovers": harmless}
        end["differences"] = left
        desk.screen.say(json.dumps({"summary": {**end, "kinds": of_kind}}))
        return left
    desk.screen.say(
        f"{counts['read']:,} files of the archive read ({counts['read_bytes'] / 1e9:.1f} GB);"
        f" {counts['compared']:,} images compared with their originals, {counts['by_index']:,} by the"
        f" index alone; {counts['filed']:,} files in processed/; {duration(took_s)};"
        + (f" {repaired:,} repaired;" if repaired else "")
        + (f" {aside:,} moved aside;" if aside else "")
        + (f" {harmless:,} leftovers, which do no harm;" if harmless else "")
        + f" {left:,} differences."
    )
    return left


def _desk(
    stack: contextlib.ExitStack,
    config: Config,
    wanted: Wanted,
    screen: Screen,
    now: Callable[[], datetime],
) -> Desk:
    """Take all that is needed, or say why not: raises Stopped."""
    clinics = {*scan.clinics(config.inbox_dir), *scan.clinics(config.processed_dir)}
    if wanted.clinic and wanted.clinic not in clinics:
        raise Stopped(f"There is no clinic {wanted.clinic}.")
    try:
        journal = Journal(config.state_dir / JOURNAL, read_only=True)
    except sqlite3.Error:
        raise Stopped("The importer has not been running yet: there is no journal.") from None
    stack.enter_context(contextlib.closing(journal))
    if not stack.enter_context(alone(config.state_dir)):
        raise Stopped("Another verification is under way.")
    if (config.archive_dir / MARKER).exists():
        raise Stopped(
            "Images are being brought back from the backup: try again when the restore has ended."
        )
    if errand.read(config.state_dir):
        raise Stopped("A correction is under way: try again when it has ended.")
    if wanted.repaired_by:
        mine = stack.enter_context(plan.held(config.state_dir))
        if not mine or plan.read(config.state_dir):
            raise Stopped("A replacement or replay is under way: try again when it has ended.")
    notes = stack.enter_context(_notes(config, wanted, screen, now()))
    if not notes.fact("until", 0):
        notes.note(until=journal.past.last())
    threads = min(_MAX_THREADS, (os.cpu_count() or 1) + 2)
    archive = stack.enter_context(session.archive(config))
    # Each may have its own and the archive's version inflated.
    inflating = threading.Semaphore(2 * threads)
    limits = dataclasses.replace(session.limits(config, journal), inflating=inflating)
    return Desk(
        config,
        wanted,
        screen,
        Tools(archive, Ownership(archive, journal.past.stored, time.monotonic), limits),
        journal,
        places.folders(config),
        notes,
        stack.enter_context(ThreadPoolExecutor(threads)),
        Throttle(wanted.mb_per_s * 1e6, time.monotonic, time.sleep),
        Progress(screen.progress, screen.every_s, time.monotonic),
        now,
        datetime.fromisoformat(notes.fact("began", "")),
        notes.fact("until", 0),
    )


@contextlib.contextmanager
def alone(state: Path) -> Iterator[bool]:
    """Hold the right to verify, of one process at a time; False when another one has it."""
    with (state / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextlib.contextmanager
def _notes(config: Config, wanted: Wanted, screen: Screen, now: datetime) -> Iterator[Notes]:
    """Hold the notes of the run that was cut off, or new ones; those of a run that ended go."""
    path = config.state_dir / _NOTES
    # What was listed for one clinic, or left unrepaired, is of no use for another purpose.
    purpose = json.dumps([_FORMAT, wanted.clinic, bool(wanted.repaired_by)])
    notes = _open(path)
    began = notes.fact("began", "")
    if began and (wanted.again or notes.fact("purpose", "") != purpose):
        tell_audit(notes, notes.fact("by", ""), config.audit_file, now)
        notes.close()
        _remove(path)
        notes, began = Notes(path), ""
    if began:
        screen.progress("")
        if not wanted.as_json:
            screen.say(
                f"It goes on with what was begun at {began}; verify --again (make verify AGAIN=1)"
                " begins anew."
            )
    else:
        notes.note(began=now.isoformat(timespec="seconds"), purpose=purpose)
    notes.note(by=wanted.repaired_by)
    try:
        yield notes
    finally:
        has_ended = notes.fact("ended", 0)
        notes.close()
        if has_ended:
            _remove(path)


def _open(path: Path) -> Notes:
    """Open notes; those that a power cut left unreadable go."""
    try:
        return Notes(path)
    except sqlite3.DatabaseError:
        _remove(path)
        return Notes(path)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
