"""The daily digest: what was appended since the last one, chained, so that a change shows."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dicom_importer import audit

from access_audit.files import MONTH

DIGESTS = "digests.jsonl"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Day:
    """A day's line: of each file that grew how far it went and the digest of what was added."""

    day: str
    files: dict[str, tuple[int, str]]
    chain: str


def write(folder: Path, importer: Path, day: str) -> Day | None:
    """Add the line of a day (UTC) that is over, once; None when it is there already."""
    days = list(_read(folder))
    if days and days[-1].day >= day:
        return None
    ends = _ends(days)
    grown = {}
    for name, path in _files(folder, importer).items():
        start, end = ends.get(name, 0), path.stat().st_size
        if end > start:
            # Else a power cut might leave less of it than is told here.
            with path.open("rb") as file:
                os.fsync(file.fileno())
            grown[name] = (end, _sha256(path, start, end))
    made = Day(day, grown, _chain(days[-1].chain if days else "", day, grown))
    line: dict[str, object] = {"id": made.chain, "day": day, "files": grown, "chain": made.chain}
    audit.append(folder / DIGESTS, [line])
    return made


def check(folder: Path, importer: Path, first_kept: str) -> list[str]:
    """Compare files and digests; returns what is wrong. Months before `first_kept` may be gone."""
    wrong = []
    days = list(_read(folder))
    files = _files(folder, importer)
    ends: dict[str, int] = {}
    chain = ""
    for day in days:
        chain = _chain(chain, day.day, day.files)
        if chain != day.chain:
            wrong.append(f"{day.day}: the digests themselves were changed")
            chain = day.chain
        for name, (end, digest) in day.files.items():
            start = ends.get(name, 0)
            ends[name] = end
            path = files.get(name)
            if path is None:
                if not MONTH.fullmatch(name) or name >= first_kept:
                    wrong.append(f"{day.day}: {name} is missing")
            elif path.stat().st_size < end:
                wrong.append(f"{day.day}: {name} is shorter than it was")
            elif _sha256(path, start, end) != digest:
                wrong.append(f"{day.day}: {name} was changed")
    return wrong


def _files(folder: Path, importer: Path) -> dict[str, Path]:
    found = {p.name: p for p in sorted(folder.iterdir()) if MONTH.fullmatch(p.name)}
    return found | {f"importer/{p.name}": p for p in sorted(importer.glob("*.jsonl"))}


def _read(folder: Path) -> Iterator[Day]:
    path = folder / DIGESTS
    for line in path.read_text().splitlines() if path.exists() else []:
        # A kill may have torn one, which was then written again.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found = json.loads(line)
            files = {str(k): (int(end), str(sha)) for k, (end, sha) in found["files"].items()}
            yield Day(str(found["day"]), files, str(found["chain"]))


def _ends(days: list[Day]) -> dict[str, int]:
    return {name: end for day in days for name, (end, _) in day.files.items()}


def _chain(previous: str, day: str, files: Mapping[str, tuple[int, str]]) -> str:
    text = json.dumps([previous, day, sorted(files.items())])
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256(path: Path, start: int, end: int) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(start)
        while start < end and (chunk := file.read(min(_CHUNK_BYTES, end - start))):
            total.update(chunk)
            start += len(chunk)
    return total.hexdigest()
