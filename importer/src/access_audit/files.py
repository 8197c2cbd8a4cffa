"""The files of records, a month each: written once, added to, and removed when they have served."""

import os
import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from dicom_importer import audit

from access_audit.record import Record, utc
from access_audit.state import sync_folder

MONTH = re.compile(r"\d{4}-\d{2}\.jsonl", re.ASCII)


def append(folder: Path, records: Iterable[Record]) -> None:
    """Append records durably to the files of their months; raises OSError.

    A record whose id is at a file's end was written before a kill and is not written twice.
    """
    months: dict[str, list[dict[str, object]]] = {}
    for record in records:
        months.setdefault(utc(record.time_s)[:7], []).append(record.as_json())
    for month, lines in months.items():
        path = folder / f"{month}.jsonl"
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            sync_folder(folder)
        audit.append(path, lines)


def remove_old(folder: Path, years: int, now: datetime) -> list[str]:
    """Remove the files of months that ended more than so many years ago; returns their names."""
    first = first_kept(years, now)
    old = sorted(p for p in folder.iterdir() if MONTH.fullmatch(p.name) and p.name < first)
    for path in old:
        path.unlink()
    return [path.name for path in old]


def first_kept(years: int, now: datetime) -> str:
    """Return the name of the eldest file that must be there."""
    return f"{now.year - years:04}-{now.month:02}.jsonl"
