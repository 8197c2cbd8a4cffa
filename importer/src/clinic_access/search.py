"""QIDO-RS answers over one or several clinics: pages that, joined, equal the whole."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil
from typing import Protocol, TypeAlias

from clinic_access.json_value import Json
from clinic_access.query import INSTITUTION_NAME, STUDY_DATE, Level, Query, find_body, rows_uri
from clinic_access.rows import Row, study_row, suffice

# UIDs in their order, and the clinic that each was found for (None: it was not asked).
Found: TypeAlias = dict[str, str | None]

# How far back the first look goes, and after how many days without enough the rest is looked at.
# Orthanc takes a third of a millisecond for every study that matches: most pages are filled
# without a look at the rest.
FIRST_DAYS, LAST_DAYS = 2, 1_400
# A look is made for this many times what is still missing, and for no more studies than this.
_SPARE, _MOST = 1.25, 100
# Orthanc answers one call at a time where its index has one connection: short ones let others in.
_CHUNK = 20
# A day, or from one to another (PS3.4 C.2.2.2.5).
_DATES = re.compile(r"(?P<day>\d{8})|(?P<first>\d{8})?-(?P<last>\d{8})?", re.ASCII)


class Held(Protocol):
    """What is asked of Orthanc's index."""

    def newest(  # noqa: D102
        self, clinics: Sequence[str] | None, first: str, last: str, count: int
    ) -> list[tuple[str, str]]: ...
    def newest_of(self, uid_tag: str, identifiers: Sequence[str]) -> list[tuple[str, str]]: ...  # noqa: D102
    def studies(self, uids: Sequence[str]) -> list[str]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Archive:
    """Orthanc from the inside: GET and POST return the parsed answer; its index; its public address."""

    get: Callable[[str], Json]
    post: Callable[[str, Json], Json]
    index: Held
    studies_url: str


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page, and whether our own limit cut it short."""

    rows: list[Row]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Searcher:
    """Answers searches; today is asked anew for each."""

    archive: Archive
    today: Callable[[], date]

    def page(self, query: Query, clinics: Sequence[str] | None) -> Page:
        """Answer a query for these clinics (None: all), the newest study first.

        Orthanc cannot order, and limits without an order would make pages overlap: its index
        gives the order, and only the page's rows are asked for.
        """
        end = query.offset + query.limit
        found = self._list(query, clinics, end + 1)
        if found is None:
            found = self._find(query, clinics, end + 1)
        ordered = list(found.items())
        page = dict(ordered[query.offset : end])
        rows: dict[str, Row] = {}
        for clinic in dict.fromkeys(page.values()):
            uids = [uid for uid, owner in page.items() if owner == clinic]
            rows |= _exactly(self._rows(query, clinic, uids), query.level, clinic)
        return Page(
            [rows[uid] for uid in page if uid in rows], query.is_capped and len(ordered) > end
        )

    def _rows(self, query: Query, clinic: str | None, uids: list[str]) -> Iterator[Row]:
        """Yield the rows of these UIDs, in no order."""
        if suffice(query):
            for held in self.archive.index.studies(uids):
                yield study_row(held, self.archive.studies_url, query)
            return
        for start in range(0, len(uids), _CHUNK):
            answer = self.archive.get(rows_uri(query, clinic, uids[start : start + _CHUNK]))
            yield from answer if isinstance(answer, list) else ()

    def _list(self, query: Query, clinics: Sequence[str] | None, count: int) -> Found | None:
        """List so many studies by the index alone; None where there are conditions beside the date.

        Those are Orthanc's to compare.
        """
        dates = _DATES.fullmatch(query.matches.get(STUDY_DATE, "-"))
        if query.level is not Level.STUDY or query.matches.keys() - {STUDY_DATE} or not dates:
            return None
        first, last = dates["day"] or dates["first"] or "", dates["day"] or dates["last"] or ""
        found = self.archive.index.newest(clinics, first, last, count)
        return {uid: None if clinics is None else clinic for uid, clinic in found}

    def _find(self, query: Query, clinics: Sequence[str] | None, count: int) -> Found:
        """Find so many of what matches, if not all of it."""
        found: Found = {}
        for dates in looks(query, self.today(), found):
            # What a look before found keeps its place.
            found |= self._look(query, clinics, dates)
            if len(found) >= count:
                break
        return found

    def _look(self, query: Query, clinics: Sequence[str] | None, dates: str | None) -> Found:
        """Find all that matches within the dates."""
        owners = {
            identifier: clinic
            for clinic in _each(clinics)
            for identifier in _texts(
                self.archive.post("/tools/find", find_body(query, clinic, dates))
            )
        }
        ordered = self.archive.index.newest_of(query.level.uid, list(owners))
        return {uid: owners[identifier] for identifier, uid in ordered}


def looks(query: Query, today: date, found: Found) -> Iterator[str | None]:
    """Yield the dates of where to look, the newest studies first, and at last None: everywhere.

    Each look is as wide as what was found so far lets expect what is missing.
    """
    if query.level is Level.STUDY and not query.matches.keys() & {STUDY_DATE, Level.STUDY.uid}:
        last, until, days = today, "", 0  # a workstation's clock may be ahead of ours
        while days < LAST_DAYS:
            missing = query.offset + query.limit + 1 - len(found)
            step = next_days(days, len(found), missing)
            first = last - timedelta(days=step - 1)
            yield f"{first:%Y%m%d}-{until}"
            last, days = first - timedelta(days=1), days + step
            until = f"{last:%Y%m%d}"
    yield None


def next_days(days: int, found: int, missing: int) -> int:
    """Return how many days to look at, after so many in which this many studies were found."""
    if not found:
        return 3 * days or FIRST_DAYS
    return max(1, min(ceil(min(_SPARE * missing, _MOST) * days / found), 8 * days))


def dump(page: Page) -> bytes:
    """Write the rows as application/dicom+json (PS3.18 F.2)."""
    return json.dumps(page.rows, ensure_ascii=False, separators=(",", ":")).encode()


def _exactly(rows: Iterable[Row], level: Level, clinic: str | None) -> dict[str, Row]:
    """Key the rows by UID, without any that is not exactly this clinic's.

    Orthanc compares InstitutionName without case; this comparison is the last fence.
    """
    return {
        str(_first(row, level.uid)): row
        for row in rows
        if clinic is None or _first(row, INSTITUTION_NAME) == clinic
    }


def _first(row: Row, tag: str) -> Json:
    element = row.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return values[0] if isinstance(values, list) and values else None


def _each(clinics: Sequence[str] | None) -> Sequence[str | None]:
    return (None,) if clinics is None else clinics


def _texts(answer: Json) -> list[str]:
    return [str(item) for item in answer] if isinstance(answer, list) else []
