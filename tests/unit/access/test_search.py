"""A search finds what the token's clinics hold, however spelled; pages join to the whole."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from clinic_access.query import (
    INSTITUTION_NAME,
    MAX_ROWS,
    BadQueryError,
    Level,
    find_body,
    parse_query,
    rows_uri,
)
from clinic_access.routes import Access, Route
from clinic_access.search import (
    FIRST_DAYS,
    LAST_DAYS,
    Archive,
    Page,
    Searcher,
    dump,
    looks,
    next_days,
)
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clinic_access.json_value import Json
    from clinic_access.query import Query
    from clinic_access.routes import Pairs

# What leads to Orthanc's own search, and to its plugin's rows.
CONDITIONS = ("", "PatientName=*&", "includefield=SOPClassesInStudy&")
TODAY = date(2026, 11, 24)
EVERYTHING = Route(Access.SEARCH)


def query(text: str = "", level: Level = Level.STUDY, route: Route = EVERYTHING) -> Query:
    """Parse a query string."""
    return parse_query(level, route, parse_qsl(text, keep_blank_values=True))


def conditions(body: Json) -> dict[str, str]:
    """Return what a body of /tools/find asks for."""
    assert isinstance(body, dict)
    return dict(body["Query"])


def test_the_viewers_query_is_understood() -> None:
    asked = query(
        "limit=101&offset=202&fuzzymatching=true&includefield=00081030,00080060"
        "&PatientName=*doe*&StudyDate=20250101-20251231&ModalitiesInStudy=CT,MR"
    )
    assert asked.matches == {
        "00100010": "*doe*",
        "00080020": "20250101-20251231",
        "00080061": "CT\\MR",
    }
    # Modality belongs to series: Orthanc would read a file of each study for it.
    assert asked.include == ("00081030", "00100010", "00080020", "00080061")
    assert (asked.limit, asked.offset, asked.is_capped) == (101, 202, False)


@pytest.mark.parametrize(
    "key",
    [
        "InstitutionName",
        "institutionname",
        "00080080",
        "0008,0080",
        "0008-0080",
        "InstitutionName ",
        "00080080\\00080080",
        "RequestAttributesSequence.00080080",
        "InstitutionalDepartmentName",
        "OtherPatientIDs",
        "includeField",
        "Limit",
        "_method",
        "",
    ],
)
def test_a_key_that_is_not_on_the_list_is_dropped(key: str) -> None:
    asked = parse_query(Level.INSTANCE, EVERYTHING, [(key, "clinic-b")])
    assert asked == parse_query(Level.INSTANCE, EVERYTHING, [])


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=8))
def test_whatever_is_asked_the_clinic_is_the_one_that_was_forced(pairs: Pairs) -> None:
    try:
        asked = parse_query(Level.SERIES, EVERYTHING, pairs)
    except BadQueryError:
        return
    assert conditions(find_body(asked, "clinic-a", None))["0008,0080"] == "clinic-a"
    given_keys = parse_qs(urlsplit(rows_uri(asked, "clinic-a", ["1.2"])).query)
    assert given_keys[INSTITUTION_NAME] == ["clinic-a"]
    assert not given_keys.keys() & {"InstitutionName", "limit", "offset", "fuzzymatching"}


def test_included_fields_are_limited_to_the_list_and_the_level() -> None:
    assert query("includefield=all").include == query("includefield=all&includefield=all").include
    assert "00201208" in query("includefield=all").include
    assert INSTITUTION_NAME not in query("includefield=all&includefield=InstitutionName").include
    assert query("includefield=00081030&includefield=PatientID").include == ("00081030", "00100020")
    assert query("includefield=7FE00010,00400275,00081030").include == ("00081030",)


def test_what_the_path_names_counts_whatever_the_query_says() -> None:
    route = Route(Access.SEARCH, study="1.2", series="1.3")
    asked = query("StudyInstanceUID=9.9&0020000E=9.8&0020000d=9.7", Level.INSTANCE, route)
    assert asked.matches == {"0020000D": "1.2", "0020000E": "1.3"}


@pytest.mark.parametrize(
    "text",
    [
        "limit=x",
        "limit=-1",
        "offset=1e3",
        "offset=%D9%A3",
        "limit=99999999999",
        "StudyInstanceUID=1.2.*",
        "StudyInstanceUID=1.2,",
        "0020000D=%5C",
        f"StudyInstanceUID={','.join(['1.2'] * 101)}",
        "PatientName=a%00b",
        "PatientName=a%0Ab",
        f"PatientName={'x' * 2000}",
    ],
)
def test_a_value_that_makes_no_sense_is_a_bad_query(text: str) -> None:
    with pytest.raises(BadQueryError):
        query(text)


def test_a_backslash_in_a_name_is_not_a_list() -> None:
    assert query("PatientName=a%5Cb").matches == {"00100010": "ab"}
    assert query("PatientName=Doe,Jane").matches == {"00100010": "Doe,Jane"}


def test_no_limit_means_ours_and_says_so() -> None:
    assert (query().limit, query().is_capped) == (MAX_ROWS, True)
    assert query("limit=5000").limit == MAX_ROWS
    assert not query(f"limit={MAX_ROWS}").is_capped
    assert query("limit=0").limit == 0


def _is_within(made: str, dates: str) -> bool:
    """Tell whether a date lies in a range of dates (PS3.4 C.2.2.2.5)."""
    first, _, last = dates.partition("-")
    return not dates or first <= made <= (last or "99999999")


@dataclass
class Reader:
    """What a search asks of the index."""

    newest: Callable[[Sequence[str] | None, str, str, int], list[tuple[str, str]]]
    newest_of: Callable[[str, Sequence[str]], list[tuple[str, str]]]
    studies: Callable[[Sequence[str]], list[str]]


@dataclass
class Shelf:
    """An archive that answers as Orthanc does, in an order of its own on each call."""

    studies: dict[str, tuple[str, str]]  # UID → clinic, date
    finds: list[Json] = field(default_factory=list)
    turn: int = 0
    lists: int = 0

    def post(self, _uri: str, body: Json) -> Json:
        """Answer /tools/find."""
        assert isinstance(body, dict)
        self.finds.append(body)
        clinic = body["Query"].get("0008,0080")
        dates = body["Query"].get("0008,0020", "")
        found = [
            f"id-{uid}"
            for uid, (owner, made) in self.studies.items()
            # Orthanc compares without case.
            if (clinic is None or owner.lower() == clinic) and _is_within(made, dates)
        ]
        self.turn += 1
        return found[self.turn % 3 :] + found[: self.turn % 3]

    def get(self, uri: str) -> Json:
        """Answer the DICOMweb plugin's QIDO-RS."""
        asked = dict(parse_qsl(urlsplit(uri).query))
        return [
            {
                "0020000D": {"vr": "UI", "Value": [uid]},
                "00080020": {"vr": "DA", "Value": [made]} if made else {"vr": "DA"},
                INSTITUTION_NAME: {"vr": "LO", "Value": [owner]},
            }
            for uid in reversed(asked["0020000D"].split(","))
            for owner, made in [self.studies[uid]]
            if INSTITUTION_NAME not in asked or owner.lower() == asked[INSTITUTION_NAME]
        ]

    def studies_of(self, uids: Sequence[str]) -> list[str]:
        """Tell what the index holds of studies."""
        return [
            json.dumps(
                {
                    "tags": {"0020000D": uid, "00080020": made, INSTITUTION_NAME: owner},
                    "modalities": ["CT"],
                    "series": 1,
                    "instances": 1,
                }
            )
            for uid in reversed(uids)
            for owner, made in [self.studies[uid]]
        ]

    def newest(
        self, clinics: Sequence[str] | None, first: str, last: str, count: int
    ) -> list[tuple[str, str]]:
        """List studies by the index."""
        self.lists += 1
        dates = f"{first}-{last}" if first or last else "-"
        found = [
            f"id-{uid}"
            for uid, (owner, made) in self.studies.items()
            if (clinics is None or owner in clinics)
            if dates == "-" or _is_within(made, dates)
        ]
        ordered = self.newest_of("0020000D", found)
        return [(uid, self.studies[uid][0]) for _, uid in ordered[:count]]

    def newest_of(self, uid_tag: str, identifiers: Sequence[str]) -> list[tuple[str, str]]:
        """Order studies by the index."""
        assert uid_tag == "0020000D"
        by_uid = sorted(identifiers)
        ordered = sorted(by_uid, key=lambda i: self.studies[i[3:]][1], reverse=True)
        return [(identifier, identifier.removeprefix("id-")) for identifier in ordered]

    def search(self, text: str, clinics: Sequence[str] | None) -> Page:
        """Search as the plugin does."""
        index = Reader(self.newest, self.newest_of, self.studies_of)
        archive = Archive(self.get, self.post, index, "https://pacs.example/dicom-web/studies")
        return Searcher(archive, lambda: TODAY).page(query(text), clinics)


def uids(page: Page) -> list[str]:
    """Return the rows' StudyInstanceUIDs."""
    rows = json.loads(dump(page))
    return [row["0020000D"]["Value"][0] for row in rows]


def shelf(*, count: int = 60) -> Shelf:
    """Fill a shelf with studies of three clinics, over years, some without a date."""
    days = ("20261124", "20261120", "20261101", "20250606", "19991231", "")
    return Shelf(
        {
            f"1.{number}": (
                ("clinic-a", "clinic-b", "clinic-c")[number % 3],
                days[number % 5 + number % 2],
            )
            for number in range(count)
        }
    )


@pytest.mark.parametrize("clinics", [("clinic-a",), ("clinic-a", "clinic-b"), None])
@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_pages_joined_equal_the_whole(
    clinics: tuple[str, ...] | None, size: int, condition: str
) -> None:
    archive = shelf()
    whole = uids(archive.search(condition, clinics))
    expected = {
        u for u, (owner, _) in archive.studies.items() if clinics is None or owner in clinics
    }
    assert set(whole) == expected
    assert len(whole) == len(expected)
    pages = [
        uids(archive.search(f"{condition}limit={size}&offset={o}", clinics))
        for o in range(0, len(whole) + size, size)
    ]
    assert [uid for page in pages for uid in page] == whole


@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_newest_study_comes_first_and_one_without_a_date_last(condition: str) -> None:
    archive = shelf()
    dates = [archive.studies[uid][1] for uid in uids(archive.search(condition, None))]
    assert dates == sorted(dates, reverse=True)
    assert dates[0] == "20261124"
    assert dates[-1] == ""


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("", "", "99999999"),
        ("StudyDate=-", "", "99999999"),
        ("StudyDate=20261120", "20261120", "20261120"),
        ("StudyDate=20261120-", "20261120", "99999999"),
        ("StudyDate=-20261101", "", "20261101"),
        ("StudyDate=20250101-20261119", "20250101", "20261119"),
    ],
)
def test_studies_of_certain_dates_are_listed_by_the_index_alone(
    asked: str, first: str, last: str
) -> None:
    archive = shelf()
    expected = {uid for uid, (_, made) in archive.studies.items() if first <= made <= last}
    assert expected
    assert set(uids(archive.search(asked, None))) == expected
    assert archive.lists == 1
    assert not archive.finds


@pytest.mark.parametrize(
    "asked",
    ["PatientName=doe", "StudyDate=2026-", "StudyDate=2026*", "StudyDate=20261120&PatientID=1"],
)
def test_other_conditions_are_left_to_orthanc(asked: str) -> None:
    archive = shelf()
    archive.search(f"limit=25&{asked}", ("clinic-a",))
    assert not archive.lists
    assert archive.finds


def test_a_page_of_new_studies_does_not_look_at_old_ones() -> None:
    archive = shelf()
    archive.search("limit=1&PatientName=*", ("clinic-a",))
    assert [conditions(body)["0008,0020"] for body in archive.finds] == ["20261123-"]


def test_what_an_index_says_is_anothers_is_not_shown() -> None:
    archive = shelf()
    archive.newest = lambda *_: [("1.0", "clinic-a"), ("1.1", "clinic-a")]  # type: ignore[method-assign]
    assert archive.studies["1.1"][0] == "clinic-b"
    assert uids(archive.search("", ("clinic-a",))) == ["1.0"]


def test_looks_neither_overlap_nor_leave_a_gap_and_end_with_everything() -> None:
    found: dict[str, str | None] = {}
    ranges = []
    for number, dates in enumerate(looks(query("limit=50"), TODAY, found)):
        ranges.append(dates)
        found |= {f"{number}.{i}": None for i in range(number % 3)}
    assert ranges[:2] == ["20261123-", "20261117-20261122"]
    assert ranges.pop() is None
    bounds = [str(one).split("-") for one in ranges]
    for (first, _), (_, last) in itertools.pairwise(bounds):
        assert date.fromisoformat(first) - date.fromisoformat(last) == timedelta(days=1)
    assert TODAY - date.fromisoformat(bounds[-1][0]) >= timedelta(days=LAST_DAYS - 1)
    assert len(ranges) < 20


def test_what_has_dates_of_its_own_or_none_is_looked_for_everywhere() -> None:
    for asked in (query("StudyDate=2026-"), query(level=Level.SERIES)):
        assert [*looks(asked, TODAY, {})] == [None]


def test_a_look_is_as_wide_as_what_was_found_lets_expect() -> None:
    assert next_days(0, 0, 26) == FIRST_DAYS
    assert next_days(8, 0, 26) == 24
    assert next_days(8, 16, 8) == 5
    assert next_days(2, 1, 1000) == 16  # a little tells little
    assert next_days(100, 1000, 5000) == 10  # Orthanc answers one call at a time


DATES = st.one_of(
    st.dates(date(2026, 11, 1), date(2026, 11, 26)),
    st.dates(date(2020, 1, 1), date(2026, 11, 26)),
    st.none(),
)
STUDIES = st.lists(
    st.tuples(st.sampled_from(["clinic-a", "clinic-b", "clinic-c"]), DATES), max_size=150
)
CALLERS = st.sampled_from([("clinic-a",), ("clinic-a", "clinic-b"), None])


@settings(max_examples=500)
@given(
    STUDIES,
    CALLERS,
    st.one_of(st.just(0), st.integers(0, 60)),
    st.integers(0, 60),
    st.sampled_from(CONDITIONS),
)
def test_a_page_is_that_part_of_everything_in_order(
    made: list[tuple[str, date | None]],
    clinics: tuple[str, ...] | None,
    offset: int,
    limit: int,
    condition: str,
) -> None:
    archive = Shelf(
        {f"1.{i}": (owner, f"{day:%Y%m%d}" if day else "") for i, (owner, day) in enumerate(made)}
    )
    mine = [
        uid for uid, (owner, _) in archive.studies.items() if clinics is None or owner in clinics
    ]
    whole = sorted(sorted(mine), key=lambda uid: archive.studies[uid][1], reverse=True)
    page = uids(archive.search(f"{condition}limit={limit}&offset={offset}", clinics))
    assert page == whole[offset : offset + limit]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_study_whose_clinic_differs_by_case_alone_is_not_shown(condition: str) -> None:
    archive = Shelf({"1.1": ("clinic-a", ""), "1.2": ("Clinic-A", ""), "1.3": ("", "")})
    assert uids(archive.search(condition, ("clinic-a",))) == ["1.1"]
    assert set(uids(archive.search(condition, None))) == {"1.1", "1.2", "1.3"}


def test_no_clinic_finds_nothing_and_asks_nothing() -> None:
    archive = shelf()
    assert archive.search("", ()) == Page([], is_cut=False)
    assert not archive.finds


def test_a_search_that_our_own_limit_cuts_says_so() -> None:
    archive = shelf(count=MAX_ROWS + 1)
    whole = archive.search("", None)
    assert (len(whole.rows), whole.is_cut) == (MAX_ROWS, True)
    assert not archive.search("limit=5", None).is_cut
    assert not shelf().search("", None).is_cut


def test_an_answer_is_a_json_array_with_names_as_they_are() -> None:
    assert dump(Page([], is_cut=False)) == b"[]"
    row: dict[str, Json] = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller"}]}}
    assert json.loads(dump(Page([row], is_cut=False))) == [row]
    assert "Müller".encode() in dump(Page([row], is_cut=False))
