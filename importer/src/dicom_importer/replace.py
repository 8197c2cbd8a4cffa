"""`dicom-importer replace`: a corrected export takes the place of what the archive holds.

For files in failed/ with the reason other_version. The old version leaves the archive only after
the new one was read and found to be the same clinic's, patient's and series', and after the old
one's bytes were copied and compared; if the archive then refuses the new one, the old one is put
back. A killed command is finished by the running service. When it is done the old version is gone
for good, but for its original in processed/. Who did it is in the audit.

A study under another patient ID (other_patient) is not replaced by this command.
"""

import contextlib
import functools
import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from dicom_importer import compare, files, instance, places, plan, replacement, session
from dicom_importer.config import Config
from dicom_importer.files import Place
from dicom_importer.journal import JOURNAL, Journal
from dicom_importer.ownership import Ownership
from dicom_importer.plan import Plan
from dicom_importer.reasons import REASONS, Failure, Unavailable
from dicom_importer.records import Row
from dicom_importer.replacement import Desk

TRIES = 4
FIRST_DELAY_S = 1.0


class Declined(Exception):  # noqa: N818 - nothing failed
    """Why a file does not replace anything, in words."""


def replace(
    config: Config,
    paths: list[Path],
    who: str,
    say: Callable[[str], None],
    now: Callable[[], datetime],
) -> int:
    """Let each file take the place of what the archive holds; returns the exit status."""
    if not (config.state_dir / JOURNAL).exists():
        say("The importer has not been running yet: there is no journal.")
        return 1
    folders = places.folders(config)
    missing = places.missing(folders.failed, paths, say)
    well = not missing
    with contextlib.ExitStack() as stack:
        archive = stack.enter_context(session.archive(config))
        journal = stack.enter_context(contextlib.closing(Journal(config.state_dir / JOURNAL)))
        if not stack.enter_context(plan.held(config.state_dir)):
            say("Another replacement is under way: try again when it has ended.")
            return 1
        limits = session.limits(config)
        desk = Desk(archive, journal, folders, limits, config.state_dir, config.audit_file)
        touched: set[str] = set()
        if left := plan.read(desk.state):
            well &= _told(left.source, say, functools.partial(_persist, desk, left, touched))
        tops = [places.below(path, folders.failed) or "" for path in paths if path not in missing]
        for top in tops:
            for place in places.failed_files(folders.failed, top):
                work = functools.partial(_one, desk, place, who, now, touched)
                well &= _told(place.path, say, work)
        for uid in sorted(touched):
            # Once for each study, since all of it is read.
            replacement.refresh(archive, uid)
    return 0 if well else 1


def _told(name: str, say: Callable[[str], None], work: Callable[[], None]) -> bool:
    """Do it and say what came of it."""
    try:
        work()
    except Declined as why:
        say(f"{name}: {why}")
    except Failure as failure:
        say(f"{name}: {REASONS[failure.code].found} {failure.detail}".rstrip())
    except Unavailable as absence:
        say(f"{name}: not done ({absence.cause}). What was begun, the importer goes on with.")
    except (OSError, sqlite3.Error) as error:
        say(f"{name}: not done ({error}). What was begun, the importer goes on with.")
    else:
        say(f"{name}: it is in the archive now, and the older version is not.")
        return True
    return False


def _one(
    desk: Desk, place: Place, who: str, now: Callable[[], datetime], touched: set[str]
) -> None:
    todo = prepare(desk, place, who, now())
    plan.commit(desk.state, todo)
    _persist(desk, todo, touched)


def _persist(desk: Desk, todo: Plan, touched: set[str]) -> None:
    for attempt in range(TRIES):
        try:
            replacement.carry_out(desk, todo)
            touched.add(todo.study_uid)
        except Unavailable:
            if attempt == TRIES - 1:
                raise
            time.sleep(FIRST_DELAY_S * (1 << attempt))
        else:
            return


def prepare(desk: Desk, place: Place, who: str, now: datetime) -> Plan:
    """Check everything that can be checked and keep the old version; nothing is changed yet.

    Raises Declined, Failure, Unavailable.
    """
    row = _record(desk, place)
    arrival = row.arrival
    coerced_at = f"{now:%Y%m%d%H%M%S.%f}+0000"
    with (
        files.open_file(place) as file,
        instance.prepared(file, arrival.clinic, coerced_at, desk.limits) as ready,
    ):
        found = ready.opened
        owner = Ownership(desk.archive, desk.journal.past.stored, time.monotonic)
        owner.check(found.header, arrival.clinic, found.identity)
        held = desk.archive.instances(found.header.sop_uid)
        if not held:
            raise Declined("the archive holds no version of it any more; use retry.")
        study = owner.study(found.header.study_uid)
        if len(held) > 1 or not study or desk.archive.instance_study(held[0]) != study.id:
            raise Declined("the archive holds this identifier elsewhere, or more than once.")
        old_md5 = _keep_old(desk, held[0], ready)
        time_text = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        wanted = Place(desk.folders.processed, f"{arrival.clinic}/{now:%Y-%m-%d}/{arrival.path}")
        identity = found.identity
        return Plan(
            clinic=arrival.clinic,
            path=arrival.path,
            size_bytes=arrival.seen.size_bytes,
            mtime_ns=arrival.seen.mtime_ns,
            inode=arrival.seen.inode,
            source=place.path,
            target=files.free(wanted).path,
            coerced_at=coerced_at,
            patient_key=identity.patient_key,
            study_uid=identity.study_uid,
            series_uid=identity.series_uid,
            sop_uid=identity.sop_uid,
            old_id=held[0],
            old_md5=old_md5,
            new_md5=ready.md5,
            who=who,
            time=time_text,
        )


def _record(desk: Desk, place: Place) -> Row:
    row = places.record(desk.journal, place, failed=True)
    if row is None:
        raise Declined("there is no record of it; use retry.")
    if row.state != "done":
        raise Declined("it is being moved there right now.")
    reason = row.decision.verdict.reason
    if reason == "other_patient":
        raise Declined(
            "the archive holds its study under another patient ID. A whole study cannot be replaced"
            " by this command; nothing was changed."
        )
    if reason != "other_version":
        raise Declined(f"it failed for another reason ({reason}); use retry.")
    if files.look(place) != row.arrival.seen:
        raise Declined("it has been changed since it failed; use retry.")
    return row


def _keep_old(desk: Desk, held: str, ready: instance.Prepared) -> str:
    """Copy the old version's bytes to the state directory and return their MD5."""
    ours = ready.opened
    with desk.archive.copy(held, desk.limits.spool) as copy:
        with instance.opened(copy, desk.limits) as theirs:
            if compare.same(ours.plain, ours.header, theirs.plain, theirs.header):
                raise Declined("the archive holds this very version; use retry.")
            if theirs.header.series_uid != ours.header.series_uid:
                raise Declined("the archive holds it in another series of this study.")
        copy.seek(0)
        plan.begin(desk.state)
        with plan.old_file(desk.state).open("wb") as file:
            shutil.copyfileobj(copy, file)
            file.flush()
            os.fsync(file.fileno())
    with plan.old_file(desk.state).open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    if md5 != desk.archive.md5(held):
        raise Unavailable("the old version could not be copied")
    return md5
