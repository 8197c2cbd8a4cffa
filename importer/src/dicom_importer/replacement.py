"""Carries a planned replacement out, or takes it back: whoever finds a plan can do either again.

The archive holds one instance of a SOP Instance UID, and a study of one patient only: with two,
nobody could read it. So everything old has to go before anything new comes. The old bytes lie in
the state directory meanwhile; new ones that the archive refuses are given up for them. Each step
looks at what is there first, since any of them may have been done before an interruption.
"""

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path

from dicom_importer import audit, files, filing, instance, places, plan, rename, storing
from dicom_importer.archive import Archive
from dicom_importer.coerce import Body
from dicom_importer.files import Place
from dicom_importer.filing import Folders
from dicom_importer.instance import Limits
from dicom_importer.journal import Journal
from dicom_importer.plan import Plan
from dicom_importer.reasons import Failure, Rejected, Unavailable
from dicom_importer.records import Decision, Identity, Verdict
from dicom_importer.stow import Refused, SendingBroke


@dataclass(frozen=True, slots=True)
class Desk:
    """What is worked with."""

    archive: Archive
    journal: Journal
    folders: Folders
    limits: Limits
    state: Path
    audit_file: Path


def resume(desk: Desk) -> bool:
    """Finish what a killed command left; says whether there was something.

    Raises Failure when it was taken back, Unavailable and OSError when it has to be done again.
    """
    if not plan.read(desk.state):
        return False
    with plan.held(desk.state) as mine:
        # Read again: the command may have ended in between.
        found = plan.read(desk.state) if mine else ()
        if found:
            carry_out(desk, found)
            refresh(desk.archive, found[0].study_uid)
        return bool(found)


def carry_out(desk: Desk, todo: tuple[Plan, ...]) -> None:
    """Put the new version in place of the old one and file it; raises as resume does."""
    sources = [Place(desk.folders.failed, one.source) for one in todo]
    all_lie = [files.look(one) for one in sources] == [one.arrival.seen for one in todo]
    # Once one is filed all were stored, and there is nothing left to send.
    if all_lie or not _is_done(desk.archive, todo):
        try:
            _replace(desk, todo)
        except (Failure, Refused, SendingBroke) as refusal:
            if _is_done(desk.archive, todo):
                # Perhaps without its bytes (see storing): it is sent anew.
                raise Unavailable("what was refused is held") from refusal
            _take_back(desk, todo)
            code = "refused" if isinstance(refusal, SendingBroke) else refusal.code
            raise Rejected(code, "The archive holds what it held.") from refusal
    audit.append(desk.audit_file, [_audit_record(one) for one in todo])
    for index in range(len(todo)):
        todo = _file(desk, todo, index)
    plan.end(desk.state)


def refresh(archive: Archive, study_uid: str) -> None:
    """Have a viewer see the new version's header at once; the archive's cache heals by itself."""
    with contextlib.suppress(Unavailable):
        if study := archive.study(study_uid):
            archive.refresh(study.id)


def _replace(desk: Desk, todo: tuple[Plan, ...]) -> None:
    archive = desk.archive
    for one in todo:
        if files.look(Place(desk.folders.failed, one.source)) != one.arrival.seen:
            raise Rejected("not_held", "The file has changed or gone.")
    for one in todo:
        if one.old_id and archive.md5(one.old_id) == one.old_md5:
            archive.remove(one.old_id)
    if _is_old_there(archive, todo):
        raise Rejected("other_patient", "Something came into the study meanwhile.")
    for one in todo:
        _store(desk, one)
    if _is_old_there(archive, todo):
        raise Rejected("other_patient", "Something came into the study meanwhile.")


def _store(desk: Desk, todo: Plan) -> None:
    with (
        files.open_file(Place(desk.folders.failed, todo.source)) as file,
        instance.prepared(file, todo.clinic, todo.coerced_at, desk.limits) as ready,
    ):
        held = desk.archive.instances(todo.sop_uid)
        storing.remove_doubtful(todo.new_md5, held, desk.archive)
        header, descriptor = ready.opened.header, ready.source.fileno()
        desk.archive.store(header, ready.body, descriptor, lambda: None)
    if not _stored(desk.archive, todo):
        raise Refused("not_held", "")


def _stored(archive: Archive, todo: Plan) -> bool:
    return todo.new_md5 in [archive.md5(one) for one in archive.instances(todo.sop_uid)]


def _is_done(archive: Archive, todo: tuple[Plan, ...]) -> bool:
    return not _is_old_there(archive, todo) and all(_stored(archive, one) for one in todo)


def _is_old_there(archive: Archive, todo: tuple[Plan, ...]) -> bool:
    """Say whether something is left of the study that has to go, or came into it meanwhile."""
    old = todo[0].old_study
    return bool(old) and archive.study_by_id(old) is not None


def _take_back(desk: Desk, todo: tuple[Plan, ...]) -> None:
    """Store the old version again; raises Unavailable, and then the plan stays."""
    archive = desk.archive
    for one in todo:
        for held in archive.instances(one.sop_uid):
            if archive.md5(held) == one.new_md5:
                archive.remove(held)
    for one in todo:
        if one.old_id and archive.md5(one.old_id) != one.old_md5:
            _store_old(desk, one)
    plan.end(desk.state)


def _store_old(desk: Desk, todo: Plan) -> None:
    with plan.old_file(desk.state, todo.old_id).open("rb") as file:
        size = instance.size(file)
        limits = dataclasses.replace(desk.limits, instance_bytes=size)
        try:
            with instance.opened(file, limits) as old:
                desk.archive.store(old.header, Body(size, ()), file.fileno(), lambda: None)
        except (Failure, Refused) as refusal:
            raise Unavailable("the old version could not be put back yet") from refusal
    if desk.archive.md5(todo.old_id) != todo.old_md5:
        raise Unavailable("the old version is not back yet")


def _file(desk: Desk, plans: tuple[Plan, ...], index: int) -> tuple[Plan, ...]:
    """Move a file to processed/ and journal it there, as the import that it is.

    Returns the plan, which changes where its new name was taken meanwhile.
    """
    todo = plans[index]
    source = Place(desk.folders.failed, todo.source)
    while files.look(source) == todo.arrival.seen:
        try:
            rename.rename(source, Place(desk.folders.processed, todo.target))
        except FileExistsError:
            free = files.free(Place(desk.folders.processed, todo.target))
            todo = dataclasses.replace(todo, target=free.path)
            plans = (*plans[:index], todo, *plans[index + 1 :])
            plan.commit(desk.state, plans)
    if not files.holds(Place(desk.folders.processed, todo.target), todo.arrival.seen):
        return plans  # somebody took it away
    places.forget_reason(source)
    row = places.record(desk.journal, Place(desk.folders.processed, todo.target), failed=False)
    if row and row.arrival == todo.arrival and row.state == "done":
        return plans
    identity = Identity(todo.patient_key, todo.study_uid, todo.series_uid, todo.sop_uid)
    if desk.journal.find(todo.arrival) is None:
        desk.journal.begin(todo.arrival, todo.coerced_at, identity)
    decision = Decision(Verdict("success"), todo.time, todo.target)
    row = desk.journal.decide(todo.arrival, identity, decision)
    filing.file_away(desk.journal, desk.folders, row)
    return plans


def _audit_record(todo: Plan) -> dict[str, object]:
    uids, md5s = (todo.study_uid, todo.sop_uid), (todo.old_md5, todo.new_md5)
    return audit.replaced(todo.who, todo.clinic, uids, md5s, todo.time)
