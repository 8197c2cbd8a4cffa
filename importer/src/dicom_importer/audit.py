"""One audit record for each study of a submission and each outcome (DICOM PS3.15 A.5)."""

import hashlib
import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from dicom_importer.journal import Journal, Report

IMPORT = {"code": "110107", "system": "DCM", "meaning": "Import"}
# As PS3.15 A.5.2.1: 0 success, 4 minor failure. What changed nothing failed nothing either.
_OUTCOMES = {"success": 0, "duplicate": 0, "kept": 0, "not_dicom": 4, "rejected": 4}
_TAIL_BYTES = 1 << 16


def write_reports(
    journal: Journal, path: Path, busy: set[tuple[str, str]], now: Callable[[], datetime]
) -> int:
    """Append what was filed of submissions that are not busy; returns the number of records.

    A record may be written and not yet journalled as such when the importer is killed: its id
    tells, so the end of the file is read first.
    """
    reports = [r for submission, r in journal.reports() if (r.clinic, submission) not in busy]
    if not reports:
        return 0
    with path.open("ab+") as file:
        file.seek(max(0, file.tell() - _TAIL_BYTES))
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.write(b"\n")
        for report in reports:
            record = _record(report, now())
            if str(record["id"]).encode() not in tail:
                file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    for report in reports:
        journal.audited(report)
    return len(reports)


def _record(report: Report, now: datetime) -> dict[str, object]:
    ids = ",".join(map(str, report.ids))
    return {
        "id": hashlib.sha256(f"{report.clinic} {ids}".encode()).hexdigest()[:24],
        "time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "event": IMPORT,
        "action": "C",
        "outcome": _OUTCOMES[report.status],
        "who": {"service": "dicom-importer", "source": f"inbox/{report.clinic}"},
        "clinic_id": report.clinic,
        "study_instance_uid": report.study_uid,
        "status": report.status,
        "reason": report.reason,
        "instances": len(report.ids),
    }
