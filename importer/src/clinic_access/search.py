"""QIDO-RS answers over one or several clinics: pages that, joined, equal the whole."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TypeAlias

from clinic_access.cache import ExpiringCache
from clinic_access.json_value import Json
from clinic_access.query import INSTITUTION_NAME, STUDY_DATE, Level, Query, find_body, rows_uri

Row: TypeAlias = Mapping[str, Json]

MAX_MARKS = 100_000
MARK_LIFETIME_S = 3_600.0
# How far back one look goes, each beginning where the last one ended. Orthanc takes a quarter of
# a millisecond for every study that matches: most pages are filled without a look at the rest.
SPANS_DAYS = (4, 16, 64, 256, 1024)
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
        for dates in spans(query, self.today()):
            # What a span before found keeps its place.
            ordered |= self._look(query, clinics, dates)
            if len(ordered) > end:
                break
        page = list(ordered.values())[query.offset : end]
        rows: dict[str, Row] = {}
        for clinic in dict.fromkeys(found.clinic for found in page):
            uids = [found.mark.uid for found in page if found.clinic == clinic]
            for chunk in _chunks(uids):
                answer = self.archive.get(rows_uri(query, clinic, chunk))
                rows |= _rows(answer, query.level, clinic)
        uids = list(dict.fromkeys(found.mark.uid for found in page))
        return Page(
            [rows[uid] for uid in uids if uid in rows], query.is_capped and len(ordered) > end
        )

    def _look(
        self, query: Query, clinics: Sequence[str] | None, dates: str | None
    ) -> dict[str, Found]:
        """Find what matches within the dates, newest first, then by UID."""
        owners = {
            identifier: clinic
            for clinic in ((None,) if clinics is None else clinics)
            for identifier in _texts(
                self.archive.post("/tools/find", find_body(query, clinic, dates))
            )
        }
        marks = self._places(query.level, list(owners))
        by_uid = sorted(marks, key=lambda identifier: marks[identifier].uid)
        by_date = sorted(by_uid, key=lambda identifier: marks[identifier].made, reverse=True)
        return {i: Found(owners[i], marks[i]) for i in by_date}

    def _places(self, level: Level, identifiers: Sequence[str]) -> dict[str, Mark]:
        """Return the marks of those that exist; an identifier's mark hardly ever changes."""
        known = {i: mark for i in identifiers if (mark := self.marks.get(i))}
        for chunk in _chunks([i for i in identifiers if i not in known]):
            body: Json = {"Resources": chunk, "Level": level.name.title(), "Metadata": False}
            for identifier, mark in _marks(level, self.archive.post("/tools/bulk-content", body)):
                self.marks.put(identifier, mark, MARK_LIFETIME_S)
                known[identifier] = mark
        return known


def spans(query: Query, today: date) -> Iterator[str | None]:
    """Yield ranges of study dates to look in, the newest first, and None for all that is left."""
    if query.level is Level.STUDY and not query.matches.keys() & {STUDY_DATE, Level.STUDY.uid}:
        end = ""  # a workstation's clock may be ahead of ours
        for days in SPANS_DAYS:
            today -= timedelta(days=days)
            yield f"{today:%Y%m%d}-{end}"
            end = f"{today - timedelta(days=1):%Y%m%d}"
    yield None


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


def _chunks(items: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(items), _CHUNK):
        yield list(items[start : start + _CHUNK])


def _texts(answer: Json) -> list[str]:
    return [str(item) for item in answer] if isinstance(answer, list) else []
