"""Prepares a correction, checks that nothing came between, and has it carried out."""

import hashlib
import os
import shutil
import time
from datetime import datetime, timedelta
from typing import BinaryIO

from dicom_importer import audit, errand, exchange, files, instance
from dicom_importer.archive import Study
from dicom_importer.corrections import Correction
from dicom_importer.errand import Change, Errand, Filed
from dicom_importer.files import Place
from dicom_importer.plan import Declined
from dicom_importer.reasons import Unavailable
from dicom_importer.records import Row
from dicom_importer.replacement import Desk

TRIES = 4
FIRST_DELAY_S = 1.0
GRACE_S = 1.0
_DT = "%Y%m%d%H%M%S.%f+0000"


def find(desk: Desk, study_uid: str) -> Study:
    """Return a study of the archive; raises Declined."""
    held = desk.archive.study(study_uid)
    if held is None:
        raise Declined("the archive holds no such study.")
    if not held.clinic:
        raise Declined("the archive holds it under two patient IDs or as two clinics'.")
    return held


def stamp(desk: Desk, clinic: str, study_uid: str, now: datetime) -> str:
    """Return a time (DT) after all that was done with the study so far, whatever the clock says."""
    past = desk.journal.past
    known = [one.at for one in past.corrections(study_uid)]
    known += [row.coerced_at for row in past.imported(clinic, study_uid)]
    latest = max(filter(None, known), default="")
    if latest >= f"{now:{_DT}}":
        now = datetime.strptime(latest, "%Y%m%d%H%M%S.%f%z") + timedelta(microseconds=1)
    return f"{now:{_DT}}"


def apply(desk: Desk, held: Study, made: Correction, now: datetime) -> int:
    """Prepare, check and carry out; returns how many images it was about."""
    uid = made.study_uid
    check_quiet(desk, uid)
    rows = desk.journal.past.imported(held.clinic, uid)
    room = os.statvfs(desk.state)
    if room.f_bavail * room.f_frsize < 2 * sum(row.arrival.seen.size_bytes for row in rows):
        raise Declined("there is no room in the state directory to keep the old study meanwhile.")
    try:
        todo = _prepare(desk, held, made, rows, now)
    except BaseException:
        errand.forget(desk.state)
        raise
    carry_out(desk, todo, held)
    return len(todo.changes)


def _prepare(desk: Desk, held: Study, made: Correction, rows: list[Row], now: datetime) -> Errand:
    """Keep the old bytes, and tell what they become; nothing is changed yet."""
    errand.begin(desk.state)
    found = desk.archive.study_instances(held.id)
    changes, keys = [], {""}
    for identifier, sop_uid in found.items():
        with desk.archive.copy(identifier, desk.limits.spool) as copy:
            old_md5 = _keep(desk, identifier, copy)
            copy.seek(0)
            with instance.corrected(copy, made, desk.limits) as ready:
                changes.append(Change(identifier, sop_uid, old_md5, ready.md5))
                keys.add(ready.opened.identity.patient_key)
    if all(one.old_md5 == one.new_md5 for one in changes):
        raise Declined("it says all of that already.")
    key = max(keys) if "PATIENT_ID" in made.patient else ""
    filed = tuple(_moved(desk, row, made) for row in rows) if made.kind == "move" else ()
    return Errand(made, audit.stamp(now), key, tuple(changes), filed)


def carry_out(desk: Desk, todo: Errand, held: Study | None) -> None:
    """Commit a plan, unless something came in meanwhile, and persist; raises Declined, Unavailable."""
    errand.commit(desk.state, todo)
    # A worker that had not seen the plan may have begun to send something of this study.
    time.sleep(GRACE_S)
    try:
        _check_still(desk, todo, held)
    except BaseException:
        errand.end(desk.state)
        raise
    for attempt in range(TRIES):
        try:
            return exchange.carry_out(desk, todo)
        except Unavailable:
            if attempt == TRIES - 1:
                raise
            time.sleep(FIRST_DELAY_S * (1 << attempt))
    return None


def _check_still(desk: Desk, todo: Errand, held: Study | None) -> None:
    check_quiet(desk, todo.study_uid)
    there = {*desk.archive.study_instances(held.id)} if held else set()
    changed = {one.old_id for one in todo.changes}
    if not (changed <= there if todo.correction.series_uid else changed == there):
        raise Declined("something came into the study meanwhile; try again.")


def check_quiet(desk: Desk, study_uid: str) -> None:
    """Raise Declined while files of a study are on their way."""
    if any(row.identity.study_uid == study_uid for row in desk.journal.active()):
        raise Declined("files of it are on their way into the archive; try again later.")


def filed(row: Row, root: str, target: str) -> Filed:
    """Return what is planned for the file of a row."""
    seen = row.arrival.seen
    version = seen.size_bytes, seen.mtime_ns, seen.inode
    return Filed(row.id, root, row.decision.target, target, row.arrival.path, *version)


def _moved(desk: Desk, row: Row, made: Correction) -> Filed:
    _, _, rest = row.decision.target.partition("/")
    target = files.free(Place(desk.folders.processed, f"{made.to_clinic}/{rest}"))
    return filed(row, "processed", target.path)


def _keep(desk: Desk, identifier: str, copy: BinaryIO) -> str:
    """Bring the archive's copy to the state directory's disk and return its MD5."""
    with errand.old_file(desk.state, identifier).open("w+b") as file:
        shutil.copyfileobj(copy, file)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    if md5 != desk.archive.md5(identifier):
        raise Unavailable("the old version could not be copied")
    return md5
