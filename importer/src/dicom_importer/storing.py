"""Brings one instance into the archive: checks its owner, sends it, and verifies what is held."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from dicom_importer import compare, corrections
from dicom_importer.archive import Archive
from dicom_importer.claims import Claims
from dicom_importer.delays import Delays
from dicom_importer.files import Arrival
from dicom_importer.flow import Begin, Find, Flow, Own, Send
from dicom_importer.instance import Limits, Opened, Prepared, opened
from dicom_importer.journal import Journal
from dicom_importer.ownership import Ownership
from dicom_importer.reasons import Busy, Rejected
from dicom_importer.records import Row
from dicom_importer.stow import Refused, SendingBroke

# How often the archive may refuse one instance before that is taken for the instance's fault.
SURE_REFUSALS = 2
REFUSALS = 3
# A database that breaks again and again while others are stored says nothing of an instance either.
REFUSALS_S = 120.0
# Without another instance stored meanwhile, it may as well be the archive's fault.
LONELY_REFUSALS = 6
LONELY_REFUSALS_S = 900.0
# A connection that breaks while an instance is sent says even less of that instance.
BREAKS = 5
BREAKS_S = 600.0


@dataclass(frozen=True, slots=True)
class Context:
    """Who works together on each instance."""

    archive: Archive
    claims: Claims
    journal: Journal
    ownership: Ownership
    limits: Limits
    now: Callable[[], datetime]
    alive: Callable[[], None]
    last_success_s: Callable[[], float]
    replacing: Callable[[str], bool]
    delays: Delays


@dataclass(frozen=True, slots=True)
class Attempt:
    """A file to be stored, coerced as of a time (DICOM's DT, UTC).

    `row` tells of an earlier attempt, `absent` of studies and series that were not there when other
    files of the same batch asked.
    """

    arrival: Arrival
    row: Row | None
    time: str
    absent: set[tuple[str, str]]


def store(attempt: Attempt, ready: Prepared, context: Context) -> Flow[str]:
    """Bring an instance into the archive and return its status.

    Raises Rejected, Busy, Unavailable, Refused.
    """
    arrival, row, found = attempt.arrival, attempt.row, ready.opened
    context.claims.claim(arrival, found.identity)
    _stand_back(ready, context)
    corrections.check(ready.corrections, found.header, arrival.clinic)
    yield Own(lambda: _check_owner(attempt, found, context))
    find = Find(found.header.sop_uid, sent=False)
    yield find
    held = [one.id for one in find.held]
    if row and held:
        held = remove_doubtful(ready.md5, held, context.archive)
    if held:
        compare_held(arrival.clinic, ready, held, context.archive, context.limits)
        return "success" if row else "duplicate"
    _stand_back(ready, context)
    if row is None:
        # Whoever dropped it may have left it in the kernel's memory: a power cut would take the original
        # of what the archive holds. After a cool-down it mostly is on the disk, and this costs nothing.
        os.fsync(ready.original.fileno())
        begin = Begin(arrival, attempt.time, found.identity)
        yield begin
        row = begin.row
    assert row  # noqa: S101 - a flow goes on when it was answered
    try:
        return (yield from _send(arrival, ready, context))
    except (Refused, SendingBroke) as refusal:
        now_s = context.now().timestamp()
        row = context.journal.refused(row.id, now_s)
        if not _is_its_fault(row, refusal, now_s, context.last_success_s()):
            raise
        code = refusal.code if isinstance(refusal, Refused) else "refused"
        raise Rejected(code, str(refusal.args[-1])) from refusal


def _stand_back(ready: Prepared, context: Context) -> None:
    """Raise Busy while something of a study is exchanged, which seems absent for a moment, or since then."""
    study_uid = ready.opened.header.study_uid
    if context.replacing(study_uid):
        raise Busy
    if context.limits.corrections(study_uid) != ready.corrections:
        raise Busy


def _check_owner(attempt: Attempt, found: Opened, context: Context) -> None:
    """Check whose study it is.

    What was absent for one file of a batch is so for the next one of the same study: both hold
    claims to it, and nobody else stores it meanwhile.
    """
    key = found.header.study_uid, found.header.series_uid
    if key in attempt.absent:
        return
    if not context.ownership.check(found.header, attempt.arrival.clinic, found.identity):
        attempt.absent.add(key)


def _send(arrival: Arrival, ready: Prepared, context: Context) -> Flow[str]:
    """Send and verify: an answer of success alone proves nothing (PS3.18 10.5.3)."""
    found, archive = ready.opened, context.archive
    descriptor = ready.source.fileno()
    send = Send(lambda: archive.store(found.header, ready.body, descriptor, context.alive))
    yield send
    find = Find(found.header.sop_uid, sent=True)
    yield find
    if not find.held:
        raise Refused("not_held", "")
    whole = [one for one in find.held if one.md5 == send.md5]
    if not whole:
        held = [one.id for one in find.held]
        compare_held(arrival.clinic, ready, held, archive, context.limits)
        return "duplicate"
    if arrival.clinic not in [one.clinic for one in whole]:
        raise Rejected("not_held", "the archive reads another InstitutionName (0008,0080)")
    return "success"


def remove_doubtful(md5: str, held: list[str], archive: Archive) -> list[str]:
    """Remove what an earlier try may have left without its bytes; returns what else is held.

    When its connection to the database breaks at COMMIT, Orthanc takes the instance for refused and
    deletes its file, but the index may hold it. Then it goes on answering with the MD5, and from
    its cache even with the bytes, until it restarts. No question tells that apart from an instance
    that is whole, so what was sent without an answer of success is sent anew.
    """
    doubtful = [one for one in held if archive.md5(one) == md5]
    for one in doubtful:
        archive.remove(one)
    return [one for one in held if one not in doubtful]


def compare_held(
    clinic: str, ready: Prepared, held: list[str], archive: Archive, limits: Limits
) -> None:
    """Raise Rejected unless what the archive holds under this UID is this very instance."""
    for one in held:
        if one != ready.opened.archive_id:
            study = archive.instance_study(one)
            owner = archive.study_by_id(study) if study else None
            if owner and owner.clinic != clinic:
                raise Rejected("other_clinic", "SOPInstanceUID (0008,0018)")
        if archive.md5(one) == ready.md5:
            continue
        with (
            archive.copy(one, limits.spool) as copy,
            opened(copy, limits) as theirs,
        ):
            ours, own = ready.opened, corrections.overridden(ready.corrections)
            if not compare.same(ours.plain, ours.header, theirs.plain, theirs.header, own):
                raise Rejected("other_version")


def _is_its_fault(
    row: Row, refusal: Refused | SendingBroke, now_s: float, success_s: float
) -> bool:
    """Say whether the archive's refusals of one instance are that instance's own fault.

    A database that restarts makes the archive refuse everything for a while; only what is refused
    while others are stored goes to failed/.
    """
    others_pass = success_s > row.refused_at
    lasted_s = now_s - row.refused_at
    if isinstance(refusal, SendingBroke):
        return row.refusals >= BREAKS and lasted_s >= BREAKS_S and others_pass
    if refusal.code == "refused_unreadable":
        return row.refusals >= SURE_REFUSALS
    if row.refusals >= LONELY_REFUSALS and lasted_s >= LONELY_REFUSALS_S:
        return True
    return row.refusals >= REFUSALS and lasted_s >= REFUSALS_S and others_pass
