"""Checks what a replacement would do, and keeps the old bytes: nothing is changed yet."""

import dataclasses
import hashlib
import os
import shutil
import time
from datetime import datetime
from typing import BinaryIO

from dicom_importer import compare, corrections, files, instance, places, plan
from dicom_importer.archive import Study
from dicom_importer.files import Place
from dicom_importer.instance import Prepared
from dicom_importer.ownership import Ownership
from dicom_importer.plan import Declined, Plan
from dicom_importer.reasons import Unavailable
from dicom_importer.records import Row
from dicom_importer.replacement import Desk


def image(desk: Desk, place: Place, who: str, now: datetime) -> Plan:
    """Prepare that a file takes the place of an instance.

    Raises Declined, Failure, Unavailable.
    """
    row = _record(desk, place, "other_version")
    at = f"{now:%Y%m%d%H%M%S.%f}+0000"
    with (
        files.open_file(place) as file,
        instance.prepared(file, row.arrival.clinic, at, desk.limits) as ready,
    ):
        head = ready.opened.header
        owner = Ownership(desk.archive, desk.journal.past.stored, time.monotonic)
        owner.check(head, row.arrival.clinic, ready.opened.identity)
        held = desk.archive.instances(head.sop_uid)
        if not held:
            raise Declined("the archive holds no version of it any more; use retry.")
        found = owner.study(head.study_uid)
        if len(held) > 1 or not found or desk.archive.instance_study(held[0]) != found.id:
            raise Declined("the archive holds this identifier elsewhere, or more than once.")
        made = _plan(desk, place, row, ready, (who, now))
        with desk.archive.copy(held[0], desk.limits.spool) as copy:
            _check_other(desk, copy, ready)
            plan.begin(desk.state)
            old_md5 = _keep(desk, held[0], copy)
        return dataclasses.replace(made, old_id=held[0], old_md5=old_md5)


def study(desk: Desk, found: list[Place], who: str, now: datetime) -> tuple[Plan, ...]:
    """Prepare that files take the place of a whole study, which another patient has; raises as image.

    They have to bring every instance that the archive holds of it: of what is missing nobody knows
    whose it is.
    """
    rows = [_record(desk, place, "other_patient") for place in found]
    uid, clinic = rows[0].identity.study_uid, rows[0].arrival.clinic
    held = desk.archive.study(uid)
    if held is None:
        raise Declined("the archive holds no image of it any more; use retry.")
    if held.clinic != clinic:
        raise Declined(
            "the archive holds it as another clinic's, or under two patient IDs already."
        )
    _check_quiet(desk, uid)
    old = desk.archive.study_instances(held.id)
    ids = {sop_uid: identifier for identifier, sop_uid in old.items()}
    room = os.statvfs(desk.state)
    if room.f_bavail * room.f_frsize < 2 * sum(row.arrival.seen.size_bytes for row in rows):
        raise Declined("there is no room in the state directory to keep the old study meanwhile.")
    made: dict[str, Plan] = {}
    for place, row in zip(found, rows, strict=True):
        with (
            files.open_file(place) as file,
            instance.prepared(file, clinic, f"{now:%Y%m%d%H%M%S.%f}+0000", desk.limits) as ready,
        ):
            _check_fits(desk, held, ready, {*old})
            sop_uid = ready.opened.header.sop_uid
            if sop_uid in made:
                raise Declined(
                    "two of the files are the same image; name the folder of one export."
                )
            made[sop_uid] = _plan(desk, place, row, ready, (who, now))
    if len({one.patient_key for one in made.values()}) > 1:
        raise Declined("the files are of several patients.")
    if missing := ids.keys() - made.keys():
        raise Declined(
            f"the archive holds {len(missing)} images of it that are not among these"
            f" {len(made)} files. Export the whole study again."
        )
    plan.begin(desk.state)
    md5s = {}
    for identifier in old:
        with desk.archive.copy(identifier, desk.limits.spool) as copy:
            md5s[identifier] = _keep(desk, identifier, copy)
    return tuple(
        dataclasses.replace(
            one,
            old_study=held.id,
            old_id=(identifier := ids.get(one.sop_uid, "")),
            old_md5=md5s.get(identifier, ""),
        )
        for one in made.values()
    )


def check_still(desk: Desk, todo: tuple[Plan, ...]) -> None:
    """Raise Declined if something has come into the study since it was prepared."""
    _check_quiet(desk, todo[0].study_uid)
    if {*desk.archive.study_instances(todo[0].old_study)} != {one.old_id for one in todo} - {""}:
        raise Declined("something came into the study meanwhile; try again.")


def _check_quiet(desk: Desk, study_uid: str) -> None:
    if any(row.identity.study_uid == study_uid for row in desk.journal.active()):
        raise Declined("files of it are on their way into the archive; try again later.")


def _check_fits(desk: Desk, held: Study, ready: Prepared, old: set[str]) -> None:
    """Raise Declined if a file bears an identifier that belongs elsewhere, or the same patient."""
    head = ready.opened.header
    if head.patient_id == held.patient_id:
        raise Declined("the archive holds it under the patient ID of these files; use retry.")
    elsewhere = {*desk.archive.series_studies(head.series_uid)} - {held.id}
    if elsewhere or {*desk.archive.instances(head.sop_uid)} - old:
        raise Declined("the archive holds a series or an image of it elsewhere.")


def _check_other(desk: Desk, copy: BinaryIO, ready: Prepared) -> None:
    """Raise Declined unless the archive's copy is another version of the same image."""
    ours = ready.opened
    with instance.opened(copy, desk.limits) as theirs:
        own = corrections.overridden(ready.corrections)
        if compare.same(ours.plain, ours.header, theirs.plain, theirs.header, own):
            raise Declined("the archive holds this very version; use retry.")
        if theirs.header.series_uid != ours.header.series_uid:
            raise Declined("the archive holds it in another series of this study.")


def _keep(desk: Desk, identifier: str, copy: BinaryIO) -> str:
    """Bring the archive's copy to the state directory's disk and return its MD5."""
    copy.seek(0)
    with plan.old_file(desk.state, identifier).open("w+b") as file:
        shutil.copyfileobj(copy, file)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    if md5 != desk.archive.md5(identifier):
        raise Unavailable("the old version could not be copied")
    return md5


def _record(desk: Desk, place: Place, wanted: str) -> Row:
    row = places.record(desk.journal, place, failed=True)
    if row is None:
        raise Declined("there is no record of it; use retry.")
    if row.state != "done":
        raise Declined("it is being moved there right now.")
    reason = row.decision.verdict.reason
    if reason != wanted:
        raise Declined(f"it failed for another reason ({reason}); use retry.")
    if files.look(place) != row.arrival.seen:
        raise Declined("it has been changed since it failed; use retry.")
    return row


def _plan(desk: Desk, place: Place, row: Row, ready: Prepared, by: tuple[str, datetime]) -> Plan:
    """Plan that a file is stored and filed, without what it replaces."""
    (who, now), arrival, identity = by, row.arrival, ready.opened.identity
    wanted = Place(desk.folders.processed, f"{arrival.clinic}/{now:%Y-%m-%d}/{arrival.path}")
    return Plan(
        clinic=arrival.clinic,
        path=arrival.path,
        size_bytes=arrival.seen.size_bytes,
        mtime_ns=arrival.seen.mtime_ns,
        inode=arrival.seen.inode,
        source=place.path,
        target=files.free(wanted).path,
        coerced_at=f"{now:%Y%m%d%H%M%S.%f}+0000",
        patient_key=identity.patient_key,
        study_uid=identity.study_uid,
        series_uid=identity.series_uid,
        sop_uid=identity.sop_uid,
        old_study="",
        old_id="",
        old_md5="",
        new_md5=ready.md5,
        who=who,
        time=now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )
