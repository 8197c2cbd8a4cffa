"""QIDO-RS answers over one or several clinics: pages that, joined, equal the whole."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil
from typing import TypeAlias

from clinic_access.cache import ExpiringCache
from clinic_access.json_value import Json
from clinic_access.query import (
    INSTITUTION_NAME,
    STUDY_DATE,
    STUDY_TIME,
    Level,
    Query,
    dated_uri,
    find_body,
    rows_uri,
)

Row: TypeAlias = Mapping[str, Json]

MAX_MARKS = 100_000
MARK_LIFETIME_S = 3_600.0
# How far back the first look goes, and after how many days without enough the rest is looked at.
# Orthanc takes a third of a millisecond for every study that matches: most pages are filled
# without a look at the rest.
FIRST_DAYS, LAST_DAYS = 2, 1_400
# A look is made for this many times what is still missing, and for no more studies than this.
_SPARE, _MOST = 1.25, 100
# Orthanc answers one call at a time where its index has one connection: short ones let others in.
_CHUNK = 50


@dataclass(frozen=True, slots=True)
class Archive:
    """Orthanc from the inside: GET and POST return the parsed answer."""

    get: Callable[[str], Json]
    post: Callable[[str, Json], Json]


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page, and whether our own limit cut it short."""

    rows: list[Row]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """What places a resource in the order: UID and, for studies, date and time."""

    uid: str
    made: str


@dataclass(frozen=True, slots=True)
class Found:
    """A resource that matches: the clinic it was found for, and its place."""

    clinic: str | None
    mark: Mark


@dataclass(frozen=True, slots=True)
class Look:
    """A range of study dates (None: all there are), and whether few studies are expected in it."""

    dates: str | None
    is_short: bool


Marks: TypeAlias = ExpiringCache[str, Mark]


@dataclass(frozen=True, slots=True)
class Searcher:
    """Answers searches; today is asked anew for each."""

    archive: Archive
    marks: Marks
    today: Callable[[], date]

    def page(self, query: Query, clinics: Sequence[str] | None) -> Page:
        """Answer a query for these clinics (None: all), the newest study first.

        Orthanc's database cannot order, and limits without an order would make pages overlap:
        what matches is ordered here, and only the page's rows are asked for.
        """
        end = query.offset + query.limit
        ordered: dict[str, Found] = {}
        rows: dict[str, Row] = {}
        for look in looks(query, self.today(), ordered):
            found, rows_found = self._list(query, clinics, look) or (
                self._look(query, clinics, look.dates),
                {},
            )
            # What a look before found keeps its place.
            ordered |= found
            rows |= rows_found
            if len(ordered) > end:
                break
        page = list(ordered.values())[query.offset : end]
        for clinic in dict.fromkeys(found.clinic for found in page):
            uids = [found.mark.uid for found in page if found.clinic == clinic]
            for chunk in _chunks([uid for uid in uids if uid not in rows]):
                answer = self.archive.get(rows_uri(query, clinic, chunk))
                rows |= _rows(answer, query.level, clinic)
        uids = [found.mark.uid for found in page]
        return Page(
            [rows[uid] for uid in uids if uid in rows], query.is_capped and len(ordered) > end
        )

    def _list(
        self, query: Query, clinics: Sequence[str] | None, look: Look
    ) -> tuple[dict[str, Found], dict[str, Row]] | None:
        """Find few studies and their rows at once; None where there may be more, or it is not so.

        To Orthanc it is one question instead of two. Only of a list without conditions: the
        DICOMweb plugin compares otherwise than what finds the identifiers.
        """
        if not look.is_short or look.dates is None or query.matches or query.offset:
            return None
        owners: dict[str, str | None] = {}
        rows: dict[str, Row] = {}
        for clinic in _each(clinics):
            answer = self.archive.get(dated_uri(query, clinic, look.dates, _CHUNK))
            if not isinstance(answer, list) or len(answer) >= _CHUNK:
                return None
            found = _rows(answer, query.level, clinic)
            rows |= found
            owners |= dict.fromkeys(found, clinic)
        marks = [Mark(uid, _made(row)) for uid, row in rows.items()]
        return {mark.uid: Found(owners[mark.uid], mark) for mark in _newest_first(marks)}, rows

    def _look(
        self, query: Query, clinics: Sequence[str] | None, dates: str | None
    ) -> dict[str, Found]:
        """Find what matches within the dates, newest first, then by UID."""
        owners = {
            identifier: clinic
            for clinic in _each(clinics)
            for identifier in _texts(
                self.archive.post("/tools/find", find_body(query, clinic, dates))
            )
        }
        marks = self._places(query.level, list(owners))
        by_uid = {mark.uid: owners[identifier] for identifier, mark in marks.items()}
        return {m.uid: Found(by_uid[m.uid], m) for m in _newest_first(marks.values())}

    def _places(self, level: Level, identifiers: Sequence[str]) -> dict[str, Mark]:
        """Return the marks of those that exist; an identifier's mark hardly ever changes."""
        known = {i: mark for i in identifiers if (mark := self.marks.get(i))}
        for chunk in _chunks([i for i in identifiers if i not in known]):
            body: Json = {"Resources": chunk, "Level": level.name.title(), "Metadata": False}
            for identifier, mark in _marks(level, self.archive.post("/tools/bulk-content", body)):
                self.marks.put(identifier, mark, MARK_LIFETIME_S)
                known[identifier] = mark
        return known


def looks(query: Query, today: date, found: Mapping[str, Found]) -> Iterator[Look]:
    """Yield where to look, the newest studies first, and at last everywhere.

    Each look is as wide as what was found so far lets expect what is missing.
    """
    if query.level is Level.STUDY and not query.matches.keys() & {STUDY_DATE, Level.STUDY.uid}:
        last, until, days = today, "", 0  # a workstation's clock may be ahead of ours
        while days < LAST_DAYS:
            missing = query.offset + query.limit + 1 - len(found)
            step = next_days(days, len(found), missing)
            first = last - timedelta(days=step - 1)
            is_short = bool(found) and len(found) * step < _CHUNK * days
            yield Look(f"{first:%Y%m%d}-{until}", is_short)
            last, days = first - timedelta(days=1), days + step
            until = f"{last:%Y%m%d}"
    yield Look(None, is_short=False)


def next_days(days: int, found: int, missing: int) -> int:
    """Return how many days to look at, after so many in which this many studies were found."""
    if not found:
        return 3 * days or FIRST_DAYS
    return max(1, min(ceil(min(_SPARE * missing, _MOST) * days / found), 8 * days))


def dump(page: Page) -> bytes:
    """Write the rows as application/dicom+json (PS3.18 F.2)."""
    return json.dumps(page.rows, ensure_ascii=False, separators=(",", ":")).encode()


def _marks(level: Level, answer: Json) -> Iterator[tuple[str, Mark]]:
    for item in answer if isinstance(answer, list) else ():
        tags = item["MainDicomTags"]
        made = f"{tags.get('StudyDate', '')}{tags.get('StudyTime', '')}"
        yield item["ID"], Mark(tags[level.uid_keyword], made)


def _rows(answer: Json, level: Level, clinic: str | None) -> dict[str, Row]:
    """Key the rows by UID, without any that is not exactly this clinic's.

    Orthanc compares InstitutionName without case; this comparison is the last fence.
    """
    rows = {}
    for row in answer if isinstance(answer, list) else ():
        if clinic is None or _first(row, INSTITUTION_NAME) == clinic:
            rows[str(_first(row, level.uid))] = row
    return rows


def _first(row: Row, tag: str) -> Json:
    element = row.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return values[0] if isinstance(values, list) and values else None


def _made(row: Row) -> str:
    """Return when a study was made, as its mark has it."""
    return "".join(str(_first(row, tag) or "") for tag in (STUDY_DATE, STUDY_TIME))


def _newest_first(marks: Iterable[Mark]) -> list[Mark]:
    by_uid = sorted(marks, key=lambda mark: mark.uid)
    return sorted(by_uid, key=lambda mark: mark.made, reverse=True)


def _each(clinics: Sequence[str] | None) -> Sequence[str | None]:
    return (None,) if clinics is None else clinics


def _chunks(items: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(items), _CHUNK):
        yield list(items[start : start + _CHUNK])


def _texts(answer: Json) -> list[str]:
    return [str(item) for item in answer] if isinstance(answer, list) else []
