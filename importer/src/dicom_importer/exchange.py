"""Carries a correction out, or takes it back: whoever finds its plan can do either again.

Everything old leaves the archive before anything new comes: a study under two patients nobody could
read, and one of two clinics would be read by both. The old bytes lie in the state directory
meanwhile. Each step looks at what is there first, since it may have been done before an
interruption.
"""

import contextlib
import dataclasses
import os
import time
from datetime import datetime

from dicom_importer import audit, errand, files, instance, places, plan, replacement, storing
from dicom_importer.coerce import Body
from dicom_importer.errand import Change, Errand, Filed
from dicom_importer.files import Place
from dicom_importer.reasons import Failure, Rejected, Unavailable
from dicom_importer.replacement import Desk
from dicom_importer.stow import Refused, SendingBroke

# The archive's gate remembers so long whose a study is: meanwhile it is nobody's.
FORGOTTEN_S = 11.0


def resume(desk: Desk) -> bool:
    """Finish what a killed command left; says whether there was something.

    Raises Failure when it was taken back, Unavailable and OSError when it has to be done again.
    """
    if not errand.read(desk.state):
        return False
    with plan.held(desk.state) as mine:
        # Read again: the command may have ended in between.
        found = errand.read(desk.state) if mine else None
        if found:
            carry_out(desk, found)
        return bool(found)


def carry_out(desk: Desk, todo: Errand) -> None:
    """Do all of it: archive, files, journal, audit; raises as resume does."""
    if not errand.exchanged(desk.state):
        try:
            _exchange(desk, todo)
        except (Failure, Refused, SendingBroke) as refusal:
            _take_back(desk, todo)
            code = "refused" if isinstance(refusal, SendingBroke) else refusal.code
            raise Rejected(code, "The archive holds what it held.") from refusal
        errand.note_exchanged(desk.state)
    for one in todo.filed:
        _file(desk, one)
    audit.write_study(
        desk.journal, desk.audit_file, todo.study_uid, lambda: datetime.fromisoformat(todo.time)
    )
    desk.journal.correct(todo)
    record = audit.corrected(todo.correction, len(todo.changes), len(todo.filed), todo.time)
    audit.append(desk.audit_file, [record])
    errand.end(desk.state)
    if todo.correction.kind != "delete":
        replacement.refresh(desk.archive, todo.study_uid)


def _exchange(desk: Desk, todo: Errand) -> None:
    archive = desk.archive
    for one in todo.changes:
        # What lost its file has no MD5, and goes as well.
        if todo.correction.kind == "delete" or archive.md5(one.old_id) == one.old_md5:
            archive.remove(one.old_id)
    if todo.correction.kind == "delete":
        return
    if todo.correction.kind == "move":
        time.sleep(FORGOTTEN_S)
    for one in todo.changes:
        _store(desk, todo, one)


def _store(desk: Desk, todo: Errand, one: Change) -> None:
    path = errand.old_file(desk.state, one.old_id)
    limits = dataclasses.replace(desk.limits, instance_bytes=path.stat().st_size)
    with (
        path.open("rb") as file,
        instance.corrected(file, todo.correction, limits) as ready,
    ):
        held = desk.archive.instances(one.sop_uid)
        storing.remove_doubtful(one.new_md5, held, desk.archive)
        header, descriptor = ready.opened.header, ready.source.fileno()
        desk.archive.store(header, ready.body, descriptor, lambda: None)
    if one.new_md5 not in _md5s(desk, one):
        raise Refused("not_held", "")


def _md5s(desk: Desk, one: Change) -> list[str | None]:
    return [desk.archive.md5(held) for held in desk.archive.instances(one.sop_uid)]


def _take_back(desk: Desk, todo: Errand) -> None:
    """Store the old version again; raises Unavailable, and then the plan stays."""
    archive = desk.archive
    for one in todo.changes:
        for held in archive.instances(one.sop_uid):
            if one.new_md5 != one.old_md5 and archive.md5(held) == one.new_md5:
                archive.remove(held)
    if todo.correction.kind == "move":
        time.sleep(FORGOTTEN_S)
    for one in todo.changes:
        if archive.md5(one.old_id) != one.old_md5:
            _store_old(desk, one)
    errand.end(desk.state)


def _store_old(desk: Desk, one: Change) -> None:
    with errand.old_file(desk.state, one.old_id).open("rb") as file:
        size = instance.size(file)
        limits = dataclasses.replace(desk.limits, instance_bytes=size)
        try:
            with instance.opened(file, limits) as old:
                desk.archive.store(old.header, Body(size, ()), file.fileno(), lambda: None)
        except (Failure, Refused, SendingBroke) as refusal:
            raise Unavailable("the old version could not be put back yet") from refusal
    if desk.archive.md5(one.old_id) != one.old_md5:
        raise Unavailable("the old version is not back yet")


def _file(desk: Desk, one: Filed) -> None:
    """Move a file, or delete it with the reason beside it; one that is no longer there stays so."""
    root = getattr(desk.folders, one.root)
    source = Place(root, one.source)
    if not files.holds(source, one.seen):
        return
    if one.target:
        if one.target != one.source:
            files.move(source, Place(root, one.target))
        return
    with contextlib.suppress(FileNotFoundError), files.parent(source) as folder:
        os.unlink(source.name, dir_fd=folder)
        os.fsync(folder)
    if one.root == "failed":
        places.forget_reason(source)
