"""Whether tree, archive and audit are what a submission must come to, however often it was interrupted."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_importer import instance
from dicom_importer.instance import Limits
from harness.own_importer import backend_url
from harness.people import service_token

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faults.submission import Submission
    from harness.own_importer import OwnImporter
    from harness.stack import Stack

TOKEN_S = 60


@dataclass(slots=True)
class Archive:
    """What the stack's archive answers the importer's own account."""

    stack: Stack
    token: str = ""
    token_until: float = 0.0

    def lookup(self, uid: str, level: str) -> list[str]:
        """Return the archive's identifiers of what has this UID."""
        found = json.loads(self._ask("POST", "/tools/lookup", uid))
        return [str(item["ID"]) for item in found if item["Type"] == level]

    def md5(self, identifier: str) -> str:
        """Return the MD5 that the archive gives an instance, having read what it stored."""
        self._ask("POST", f"/instances/{identifier}/attachments/dicom/verify-md5", "")
        return self._ask("GET", f"/instances/{identifier}/attachments/dicom/md5").strip()

    def sop_uids(self, study: str) -> list[str]:
        """Return the SOP Instance UIDs of a study."""
        found = json.loads(self._ask("GET", f"/studies/{study}/instances"))
        return sorted(str(item["MainDicomTags"]["SOPInstanceUID"]) for item in found)

    def _ask(self, method: str, path: str, body: str | None = None) -> str:
        if time.monotonic() > self.token_until:
            self.token = service_token(self.stack, "orthanc-api")
            self.token_until = time.monotonic() + TOKEN_S
        url = backend_url(self.stack, "orthanc") + path
        headers = {"Authorization": f"Bearer {self.token}"}
        with self.stack.session() as session:
            answer = session.request(method, url, data=body, headers=headers)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.text


def faults(importer: OwnImporter, dropped: Iterable[Submission], archive: Archive) -> list[str]:
    """Return what differs from the one state in which every interruption must end."""
    dropped = list(dropped)
    return _tree_faults(importer, dropped) or [
        *(fault for one in dropped for fault in _archive_faults(importer, one, archive)),
        *_audit_faults(importer, dropped),
    ]


def _tree_faults(importer: OwnImporter, dropped: list[Submission]) -> list[str]:
    expected: dict[str, bytes | str] = {}
    for one in dropped:
        for name, file in one.expected.items():
            place = "failed" if file.reason else "processed"
            expected[f"{place}/{one.clinic}/{one.folder}/{name}"] = file.content
            if file.reason:
                expected[f"failed/{one.clinic}/{one.folder}/{name}.error.json"] = file.reason
    found: dict[str, bytes | str] = {}
    result = []
    for place in ("inbox", "processed", "failed"):
        for path in (importer.files / place).rglob("*"):
            if path.is_dir():
                continue
            clinic, *rest = path.relative_to(importer.files / place).parts
            name = "/".join((place, clinic, *(rest[1:] if place != "inbox" else rest)))
            if name in found:
                result.append(f"{name} is there twice")
            content = path.read_bytes()
            is_reason = name.endswith(".error.json")
            found[name] = str(json.loads(content)["reason"]) if is_reason else content
    result += [f"{name} is missing" for name in expected.keys() - found.keys()]
    result += [f"{name} is there" for name in found.keys() - expected.keys()]
    both = expected.keys() & found.keys()
    return result + [f"{name} has changed" for name in both if found[name] != expected[name]]


def _archive_faults(importer: OwnImporter, one: Submission, archive: Archive) -> list[str]:
    result = []
    studies: dict[str, list[str]] = {}
    for name, file in one.expected.items():
        if file.status != "success":
            continue
        studies.setdefault(file.study_uid, []).append(file.sop_uid)
        held = archive.lookup(file.sop_uid, "Instance")
        wanted = _expected_md5(importer, one, name)
        if [archive.md5(identifier) for identifier in held] != [wanted]:
            result.append(f"{name} is not held once as it was sent: {held}")
    for uid, sop_uids in studies.items():
        held = archive.lookup(uid, "Study")
        if [archive.sop_uids(study) for study in held] != [sorted(sop_uids)]:
            result.append(f"study {uid} is not held once with its {len(sop_uids)} instances")
    return result


def _expected_md5(importer: OwnImporter, one: Submission, name: str) -> str:
    """Coerce the original as of the time that is journalled, which must be one time only."""
    path = f"{one.folder}/{name}".encode()
    with closing(sqlite3.connect(importer.root / "state" / "journal.sqlite")) as journal:
        times = journal.execute(
            "SELECT coerced_at FROM file WHERE clinic = ? AND path = ?", (one.clinic, path)
        ).fetchall()
    if len(times) != 1:
        return f"{len(times)} rows of the journal"
    (original,) = (importer.files / "processed" / one.clinic).glob(f"*/{one.folder}/{name}")
    limits = Limits(Path("/nonexistent"), 1 << 30)
    with original.open("rb") as file, instance.prepared(file, one.clinic, times[0][0], limits) as r:
        return hashlib.md5(
            b"".join(r.body.chunks(file.fileno())), usedforsecurity=False
        ).hexdigest()


def _audit_faults(importer: OwnImporter, dropped: list[Submission]) -> list[str]:
    expected = Counter(
        (one.clinic, one.folder, file.study_uid, file.status, file.reason)
        for one in dropped
        for file in one.expected.values()
    )
    wanted = sorted((*key[:1], *key[2:], number) for key, number in expected.items())
    keys = ("clinic_id", "study_instance_uid", "status", "reason", "instances")
    found = sorted(
        tuple(record[key] for key in keys)
        for record in importer.records()
        if record["status"] != "delivered"
    )
    return [] if found == wanted else [f"the audit tells of {found}, not of {wanted}"]
