"""One audit record for each study of a submission and each outcome (DICOM PS3.15 A.5)."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from dicom_importer import received
from dicom_importer.corrections import Correction
from dicom_importer.journal import Journal
from dicom_importer.records import Report
from dicom_importer.scan import DELIVERED, UPLOADED

IMPORT = {"code": "110107", "system": "DCM", "meaning": "Import"}
ACCESS = {"code": "110103", "system": "DCM", "meaning": "DICOM Instances Accessed"}
DELETED = {"code": "110105", "system": "DCM", "meaning": "DICOM Study Deleted"}
EXPORT = {"code": "110106", "system": "DCM", "meaning": "Export"}
_IMPORTED = {"event": IMPORT, "action": "C", "outcome": 0}
_UPDATED = {"event": ACCESS, "action": "U", "outcome": 0}
# As PS3.15 A.5.2.1: 0 success, 4 minor failure. What changed nothing failed nothing either.
_OUTCOMES = {"success": 0, "duplicate": 0, "kept": 0, "not_dicom": 4, "rejected": 4}
# A submission is named where its name is the door's; a workstation's folder may bear a patient's.
_DELIVERED = re.compile(
    rf"\d{{8}}-\d{{6}}-[0-9a-f]{{8}}({re.escape(DELIVERED)}|{re.escape(UPLOADED)})", re.ASCII
)
# By what door.
STOW, PAGE = "stow-rs", "inbox-page"
# What records torn by one kill after another may add.
_TORN_BYTES = 1 << 16


def write_reports(
    journal: Journal, path: Path, busy: set[tuple[str, str]], now: Callable[[], datetime]
) -> int:
    """Append what was filed of submissions that are not busy; returns the number of records.

    A record may be written and not yet journalled as such when the importer is killed: its id
    tells, so the end of the file, where these records would be, is read first.
    """
    reports = [
        (submission, report)
        for submission, report in journal.past.reports()
        if (report.clinic, submission) not in busy
    ]
    return _write(journal, path, reports, now)


def write_study(journal: Journal, path: Path, study_uid: str, now: Callable[[], datetime]) -> None:
    """Append what was filed of a study and is not audited yet, before its rows change."""
    reports = [each for each in journal.past.reports() if each[1].study_uid == study_uid]
    _write(journal, path, reports, now)


def _write(
    journal: Journal, path: Path, reports: list[tuple[str, Report]], now: Callable[[], datetime]
) -> int:
    if not reports:
        return 0
    records = [_reported(submission, report, now()) for submission, report in reports]
    append(path, [*_received(reports, now()), *records])
    for _, report in reports:
        journal.audited(report)
    return len(reports)


def append(path: Path, records: list[dict[str, object]]) -> None:
    """Append records that are not among the last ones, by their id; commands write here too."""
    lines = {str(record["id"]): json.dumps(record).encode() + b"\n" for record in records}
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not os.fstat(file.fileno()).st_size:
            _sync_folder(path.parent)
        size_bytes = sum(map(len, lines.values())) + _TORN_BYTES
        file.seek(max(0, file.seek(0, os.SEEK_END) - size_bytes))
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.write(b"\n")
        known = _ids(tail)
        for name, line in lines.items():
            if name not in known:
                file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Bring the name of a new file to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replaced(
    who: str, clinic: str, uids: tuple[str, str], md5s: tuple[str, str], time: str
) -> dict[str, object]:
    """Return the record of an instance (study and SOP UID) whose bytes gave way to others."""
    return _record(
        " ".join((time, *uids, *md5s)),
        time,
        _UPDATED,
        {"source": f"failed/{clinic}", "operator": who},
        clinic_id=clinic,
        study_instance_uid=uids[0],
        sop_instance_uid=uids[1],
        status="replaced",
        old_md5=md5s[0],
        new_md5=md5s[1],
        instances=1,
    )


def corrected(one: Correction, images: int, files: int, time: str) -> dict[str, object]:
    """Return the record of a study that was moved, corrected or deleted; it tells no patient."""
    status = {"move": "moved", "correct": "corrected", "delete": "deleted"}[one.kind]
    event = {"event": DELETED, "action": "D", "outcome": 0} if one.kind == "delete" else _UPDATED
    more = {"to_clinic_id": one.to_clinic, "series_instance_uid": one.series_uid}
    return _record(
        f"{time} {status} {one.study_uid} {one.series_uid}",
        time,
        event,
        {"operator": one.who},
        clinic_id=one.clinic,
        study_instance_uid=one.study_uid,
        status=status,
        reason=one.reason,
        instances=images,
        files=files,
        **{key: value for key, value in more.items() if value},
    )


def readmitted(one: Correction, time: str) -> dict[str, object]:
    """Return the record of a deleted study that may be imported again."""
    return _record(
        f"{time} readmitted {one.study_uid}",
        time,
        _UPDATED,
        {"operator": one.who},
        clinic_id=one.clinic,
        study_instance_uid=one.study_uid,
        status="readmitted",
        reason=one.reason,
    )


def exported(
    by: tuple[str, str], clinic: str, study_uid: str, count: int, time: str
) -> dict[str, object]:
    """Return the record of a study that leaves, written before its first byte does."""
    return _record(
        f"{time} exported {study_uid}",
        time,
        {"event": EXPORT, "action": "R", "outcome": 0},
        {"operator": by[0]},
        clinic_id=clinic,
        study_instance_uid=study_uid,
        status="exported",
        reason=by[1],
        instances=count,
    )


def delivered(  # noqa: PLR0913 - what the record says
    who: str, clinic: str, submission: str, count: int, time: str, *, source: str = STOW
) -> dict[str, object]:
    """Return the record of files that somebody sent whole over HTTP, before any is taken in.

    What became of them is in the records of the same submission; where there are none, nothing
    was imported: the importer was killed or its disk failed before it showed itself the files.
    """
    return _record(
        f"{clinic} {submission}",
        time,
        _IMPORTED,
        {"source": source, "user": who},
        clinic_id=clinic,
        submission=submission,
        status="delivered",
        instances=count,
    )


def refused(who: str, study_uid: str, submission: str, count: int, time: str) -> dict[str, object]:
    """Return the record of objects that somebody may not store; of their studies it names the first."""
    return _record(
        f"refused {submission}",
        time,
        _IMPORTED | {"outcome": _OUTCOMES["rejected"]},
        {"source": STOW, "user": who},
        study_instance_uid=study_uid,
        submission=submission,
        status="refused",
        reason="not_allowed",
        instances=count,
    )


def retried(  # noqa: PLR0913, PLR0917 - what the record says
    who: str, clinic: str, submission: str, reason: str, count: int, time: str
) -> dict[str, object]:
    """Return the record of failed files that somebody had tried again at the page."""
    return _record(
        f"{time} {clinic} {submission} {reason} {count}",
        time,
        _IMPORTED,
        {"source": PAGE, "user": who},
        clinic_id=clinic,
        status="retried",
        reason=reason,
        instances=count,
        **_named(submission),
    )


def replayed(who: str, clinic: str, since: str, stored: int, time: str) -> dict[str, object]:
    """Return the record of instances stored again from processed/."""
    return _record(
        f"{time} {clinic} {since} {stored}",
        time,
        _IMPORTED,
        {"source": f"processed/{clinic}", "operator": who},
        clinic_id=clinic,
        status="replayed",
        since=since,
        instances=stored,
    )


def repaired(who: str, clinic: str, count: int, time: str, which: str = "") -> dict[str, object]:
    """Return the record of instances whose bytes the archive had lost, stored anew as they were.

    `which` tells those from others of the same moment.
    """
    return _record(
        f"{time} {clinic} repaired {count} {which}".rstrip(),
        time,
        _UPDATED,
        {"source": f"processed/{clinic}", "operator": who},
        clinic_id=clinic,
        status="repaired",
        instances=count,
    )


def _received(reports: Iterable[tuple[str, Report]], now: datetime) -> Iterator[dict[str, object]]:
    """Yield who sent what is reported, where it came over DICOM: one record for each submission."""
    found: dict[tuple[str, str], list[int]] = {}
    for submission, report in reports:
        found.setdefault((report.clinic, submission), []).extend(report.ids)
    for (clinic, submission), ids in found.items():
        if sent := received.peer(submission):
            yield _record(
                f"delivered {clinic} {','.join(map(str, ids))}",
                stamp(now),
                _IMPORTED,
                {"source": "c-store", "user": sent.ae_title, "address": sent.address},
                clinic_id=clinic,
                submission=submission,
                status="delivered",
                instances=len(ids),
            )


def _reported(submission: str, report: Report, now: datetime) -> dict[str, object]:
    ids = ",".join(map(str, report.ids))
    return _record(
        f"{report.clinic} {ids}",
        stamp(now),
        _IMPORTED | {"outcome": _OUTCOMES[report.status]},
        {"source": f"inbox/{report.clinic}"},
        clinic_id=report.clinic,
        study_instance_uid=report.study_uid,
        status=report.status,
        reason=report.reason,
        instances=len(report.ids),
        **_named(submission),
    )


def _named(submission: str) -> dict[str, str]:
    ours = _DELIVERED.fullmatch(submission) or received.peer(submission)
    return {"submission": submission} if ours else {}


def _record(
    key: str, time: str, event: Mapping[str, object], who: dict[str, str], **rest: object
) -> dict[str, object]:
    """Return a record, with the same id for the same key."""
    return {
        "id": hashlib.sha256(key.encode()).hexdigest()[:24],
        "time": time,
        **event,
        "who": {"service": "dicom-importer", **who},
        **rest,
    }


def stamp(now: datetime) -> str:
    """Return a time (UTC) as records tell it."""
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ids(tail: bytes) -> set[str]:
    """Return the ids of the records that are whole: a kill may have torn one."""
    found = set()
    for line in tail.splitlines():
        with contextlib.suppress(ValueError, TypeError, KeyError):
            found.add(str(json.loads(line)["id"]))
    return found
