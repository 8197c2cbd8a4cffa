"""Whether a whole stack is what a load on it must come to, however often all of it was killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import tempfile
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_importer import instance
from dicom_importer.instance import Limits
from dicom_importer.verify.findings import HARMLESS
from harness.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faults.end_state import Archive
    from faults.load import Load
    from faults.submission import File, Submission
    from harness.stack import Stack

END_TIMEOUT_S = 240
_LIMITS = Limits(Path("/nonexistent"), 1 << 30)


@dataclass(frozen=True, slots=True)
class Row:
    """What the journal tells of a file."""

    clinic: str
    path: str
    state: str
    status: str
    coerced_at: str
    sop_uid: str
    study_uid: str
    target: str
    is_audited: int


def journal(data: Path, clinics: Iterable[str]) -> list[Row]:
    """Return the rows of clinics."""
    columns = "clinic, CAST(path AS TEXT), state, status, coerced_at, sop_uid, study_uid"
    columns += ", CAST(target AS TEXT), audited"
    with closing(sqlite3.connect(data / "importer" / "journal.sqlite")) as db:
        found = db.execute(f"SELECT {columns} FROM file ORDER BY id").fetchall()  # noqa: S608 - ours
    rows = [Row(*one) for one in found]
    return [row for row in rows if row.clinic in set(clinics)]


def records(data: Path) -> list[dict[str, object]]:
    """Return the importer's audit records that are whole."""
    path = data / "audit" / "importer" / "import.jsonl"
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


# A file of an export: clinic, folder and name.
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Upload:
    """What a technician stored: how often at most, and whether they were told that it is there."""

    files: Submission
    attempts: int
    is_answered: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What must lie where in the end."""

    exports: dict[Key, File]
    uploads: list[Upload]
    # What a power cut left of files that their writers had not brought to disk: it fails.
    torn: dict[Key, tuple[bytes, File]] = field(default_factory=dict)


def keys(exports: Iterable[Submission]) -> dict[Key, File]:
    """Return the files of exports."""
    return {(one.clinic, one.folder, n): file for one in exports for n, file in one.files.items()}


def come_to_an_end(load: Load) -> None:
    """Wait until the inboxes are empty and all is audited."""
    data = load.stack.data_dir

    def left() -> int:
        rows = journal(data, load.clinics)
        active = [row for row in rows if row.state in ("sending", "filing")]
        untold = [row for row in rows if row.state == "done" and not row.is_audited]
        return len(load.in_inboxes()) + len(active) + len(untold)

    wait_until(lambda: not left(), END_TIMEOUT_S, "all is imported", load.stack.logs)


def faults(load: Load, wanted: Wanted, archive: Archive) -> list[str]:
    """Return what is wrong in the end."""
    data = load.stack.data_dir
    rows = journal(data, load.clinics)
    return [
        *load.wrong,
        *_tree_faults(load.stack, load.clinics, wanted),
        *_archive_faults(wanted, rows, archive),
        *_audit_faults(records(data), rows, load.clinics),
        *_told_faults(load.stack, load.clinics),
    ]


def _tree_faults(stack: Stack, clinics: Iterable[str], wanted: Wanted) -> list[str]:
    result = []
    found: Counter[Key] = Counter()
    uploaded: Counter[bytes] = Counter()
    for clinic in clinics:
        for path in (stack.files / "processed" / clinic).glob("*/*/*"):
            key, content = (clinic, path.parent.name, path.name), path.read_bytes()
            if path.parent.name.endswith(".stow"):
                uploaded[content] += 1
                continue
            found[key] += 1
            if key not in wanted.exports or wanted.exports[key].content != content:
                result.append(f"{path} is there with {len(content)} bytes, which nobody dropped")
        for path in (stack.files / "failed" / clinic).glob("*/*/*"):
            torn = wanted.torn.get((clinic, path.parent.name, path.name))
            is_reason = path.name.endswith(".error.json")
            if not is_reason and (torn is None or torn[0] != path.read_bytes()):
                why = path.with_name(path.name + ".error.json").read_text()
                result.append(f"{path} failed: {why}")
    result += [
        f"{key} is in processed/ {found[key]} times" for key in wanted.exports if found[key] != 1
    ]
    for one in wanted.uploads:
        for name, file in one.files.files.items():
            times = uploaded.pop(file.content, 0)
            if not one.is_answered <= times <= one.attempts:
                words = (
                    f"{name} of an upload of {one.attempts} attempts (answered: {one.is_answered})"
                )
                result.append(f"{words} is filed {times} times")
    return result + [f"{len(content)} bytes were filed that nobody stored" for content in uploaded]


def _archive_faults(wanted: Wanted, rows: list[Row], archive: Archive) -> list[str]:
    of_sop: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        of_sop[row.sop_uid].append(row)
    certain = [*wanted.exports.values()]
    doubtful: list[File] = []
    for one in wanted.uploads:
        (certain if one.is_answered else doubtful).extend(one.files.files.values())
    result = []
    studies: dict[str, set[str]] = defaultdict(set)
    for file in [*certain, *doubtful]:
        held = [archive.md5(one) for one in archive.lookup(file.sop_uid, "Instance")]
        here = of_sop[file.sop_uid]
        successes = [row.status for row in here if row.state == "done"].count("success")
        if not held and not successes and file in doubtful:
            continue
        studies[file.study_uid].add(file.sop_uid)
        sums = {_md5(file, row) for row in here if row.coerced_at}
        if len(held) != 1 or not sums.issuperset(held) or successes != 1:
            result.append(f"an instance is held as {held}, not as one of {sums}: {here}")
    for _, file in wanted.torn.values():
        if archive.lookup(file.sop_uid, "Instance"):
            result.append(f"an instance is held without its original: {of_sop[file.sop_uid]}")
    for uid, sops in studies.items():
        found = [archive.sop_uids(study) for study in archive.lookup(uid, "Study")]
        if found != [sorted(sops)]:
            result.append(f"study {uid} is held as {found}, not as {sorted(sops)}")
    return result


def _md5(file: File, row: Row) -> str:
    """Return the MD5 of a file as it is coerced as of the time that is journalled."""
    with tempfile.TemporaryFile() as source:
        source.write(file.content)
        source.seek(0)
        with instance.prepared(source, row.clinic, row.coerced_at, _LIMITS) as ready:
            chunks = ready.body.chunks(source.fileno())
            return hashlib.md5(b"".join(chunks), usedforsecurity=False).hexdigest()


def _audit_faults(
    told: list[dict[str, object]], rows: list[Row], clinics: Iterable[str]
) -> list[str]:
    result = [f"record {name} is there twice" for name, n in _ids(told).items() if n > 1]
    found: Counter[tuple[str, str, str]] = Counter()
    delivered: Counter[str] = Counter()
    for record in told:
        if str(record.get("clinic_id")) not in clinics:
            continue
        if record["status"] == "delivered":
            delivered[str(record["submission"])] += 1
            continue
        key = str(record["clinic_id"]), str(record["study_instance_uid"]), str(record["status"])
        found[key] += int(str(record["instances"]))
    expected = Counter(
        (row.clinic, row.study_uid, row.status) for row in rows if row.state == "done"
    )
    if found != expected:
        result.append(f"the audit tells {found - expected} too much, {expected - found} too little")
    taken = {row.path.partition("/")[0] for row in rows} - {""}
    return result + [
        f"the audit tells {delivered[one]} times of upload {one}"
        for one in taken
        if one.endswith(".stow") and delivered[one] != 1
    ]


def _told_faults(stack: Stack, clinics: Iterable[str]) -> list[str]:
    """Return what the operator's own commands find wrong, here or nobody's.

    Other tests of the same stack store past its importer, which is told too.
    """
    verified = stack.attempt("verify", JSON="1")
    *findings, last = [json.loads(line) for line in verified.stdout.splitlines()] or [{}]
    mine = {*clinics, "", None}
    told = [one for one in findings if one.get("clinic") in mine and one["kind"] not in HARMLESS]
    result = [f"verify finds {one}" for one in told]
    if not last.get("summary", {}).get("ended"):
        result.append(f"verify did not end: {verified.stdout}{verified.stderr}")
    audit = stack.attempt("audit-check")
    if "The audit is whole." not in audit.stdout:
        result.append(f"audit-check says: {audit.stdout}{audit.stderr}")
    return result


def _ids(told: list[dict[str, object]]) -> Counter[str]:
    return Counter(str(record["id"]) for record in told)
