"""`dicom-audit report`: who looked at a study, and what a person looked at."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from access_audit.files import MONTH

# A cell that begins so is a formula to a spreadsheet.
_FORMULA = re.compile(r"[=+\-@\t\r]")
_GAP = "  "


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records: of a study, of a person, or both; days (YYYY-MM-DD, UTC) inclusive."""

    study: str = ""
    user: str = ""
    first_day: str = ""
    last_day: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the report."""

    time: str
    who: str
    roles: str
    client: str
    what: str
    study: str
    clinic: str
    outcome: str


def rows(access: Path, importer: Path, wanted: Wanted) -> list[Row]:
    """Return the records that are wanted, by time, each once; raises OSError."""
    found: dict[str, Row] = {}
    for path in _files(access, importer, wanted):
        for record in _records(path):
            if _matches(record, wanted):
                found[_text(record, "id") or str(len(found))] = _row(record)
    return sorted(found.values(), key=astuple)


def table(found: list[Row]) -> str:
    """Lay the rows out in columns."""
    lines = [tuple(field.name for field in fields(Row)), *map(astuple, found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        _GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([*text, f"{len(found)} record{'' if len(found) == 1 else 's'}"])


def as_csv(found: list[Row]) -> str:
    """Write the rows as CSV (RFC 4180), of which no cell is a formula."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(field.name for field in fields(Row))
    for row in found:
        writer.writerow(f"'{cell}" if _FORMULA.match(cell) else cell for cell in astuple(row))
    return written.getvalue().rstrip("\r\n")


def _files(access: Path, importer: Path, wanted: Wanted) -> Iterator[Path]:
    for path in sorted(access.iterdir()):
        after = not wanted.last_day or path.stem <= wanted.last_day[:7]
        if MONTH.fullmatch(path.name) and after and path.stem >= wanted.first_day[:7]:
            yield path
    yield from sorted(importer.glob("*.jsonl"))


def _records(path: Path) -> Iterator[Mapping[str, object]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                continue  # torn by a kill, and written again
            if isinstance(record, dict):
                yield record


def _matches(record: Mapping[str, object], wanted: Wanted) -> bool:
    day = _text(record, "time")[:10]
    return (
        day >= wanted.first_day
        and (not wanted.last_day or day <= wanted.last_day)
        and (not wanted.study or _text(record, "study_instance_uid") == wanted.study)
        and (not wanted.user or wanted.user in _names(record))
    )


def _names(record: Mapping[str, object]) -> set[str]:
    who = _part(record, "who")
    return {_text(who, key) for key in ("name", "subject", "user", "operator")}


def _row(record: Mapping[str, object]) -> Row:
    who = _part(record, "who")
    name = next(
        (_text(who, k) for k in ("name", "user", "operator", "subject", "service") if who.get(k)),
        "",
    )
    # A name that somebody gave and nobody confirmed.
    doubtful = who.get("verified") is False and name
    kind = _part(record, "type") or _part(record, "event")
    count = record.get("instances")
    words = [_text(record, "status"), _text(record, "reason")]
    if isinstance(count, int):
        words.append(f"{count} instance{'' if count == 1 else 's'}")
    return Row(
        time=_text(record, "time"),
        who=f"{name} (unconfirmed)" if doubtful else name,
        roles=_list(who, "roles"),
        client=_text(record, "client") or _text(who, "source"),
        what=_text(kind, "meaning"),
        study=_text(record, "study_instance_uid") or _text(record, "object"),
        clinic=_text(record, "clinic_id") or _list(record, "clinic_ids"),
        outcome=", ".join(word for word in words if word),
    )


def _part(record: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def _text(record: Mapping[str, object], key: str) -> str:
    value = record.get(key)
    return "".join(c if c.isprintable() else "?" for c in value) if isinstance(value, str) else ""


def _list(record: Mapping[str, object], key: str) -> str:
    value = record.get(key)
    return " ".join(str(item) for item in value) if isinstance(value, list) else ""
