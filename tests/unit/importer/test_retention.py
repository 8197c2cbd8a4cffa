"""Which studies have had their time: by date and arrival, by clinic, by the patient's age; and what is never said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from dicom_importer import retention
from dicom_importer.config import ConfigError
from dicom_importer.retention import Aged, Rule, Verdict, after, before, judge
from hypothesis import given
from hypothesis import strategies as st
from unit.importer.conftest import settings

if TYPE_CHECKING:
    from pathlib import Path

TODAY = date(2026, 11, 24)
RULE = Rule(10, {"clinic-b": 30, "clinic-c": None}, 28)
DAY, BORN = date(2010, 3, 1), date(1950, 5, 6)
OLD = Aged("clinic-a", DAY, datetime(2010, 3, 2, 9, tzinfo=UTC), BORN)
DAYS = st.dates(date(1900, 1, 1), date(2030, 12, 31))


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, Verdict(goes=True, why="10 years were over on 2020-03-02")),
        # To the day: by its date, and by its arrival.
        ({"day": date(2016, 11, 25)}, None),
        (
            {"day": date(2016, 11, 24)},
            Verdict(goes=True, why="10 years were over on 2026-11-24"),
        ),
        (
            {"arrived": datetime(2016, 11, 25, tzinfo=UTC)},
            Verdict(goes=False, why="the last of it came on 2016-11-25: it stays until 2026-11-25"),
        ),
        (
            {"arrived": datetime(2016, 11, 24, 23, 59, tzinfo=UTC)},
            Verdict(goes=True, why="10 years were over on 2026-11-24"),
        ),
        ({"arrived": None}, Verdict(goes=False, why="the archive does not know when it came")),
        ({"day": None}, Verdict(goes=False, why="it has no date")),
        ({"day": date(2030, 1, 1)}, None),
        ({"clinic": ""}, Verdict(goes=False, why="it is no clinic's")),
        # Of clinics with years of their own.
        ({"clinic": "clinic-b"}, None),
        ({"clinic": "clinic-c"}, None),
        ({"clinic": "clinic-c", "day": None}, None),
        # Of who was a minor: to the birthday.
        (
            {"born": date(1998, 11, 25)},
            Verdict(goes=False, why="its patient was a minor: it stays until 2026"),
        ),
        ({"born": date(1998, 11, 24)}, Verdict(goes=True, why="10 years were over on 2020-03-02")),
        ({"born": date(1992, 3, 1)}, Verdict(goes=True, why="10 years were over on 2020-03-02")),
        (
            {"born": None},
            Verdict(
                goes=False,
                why="who has no date of birth may have been a minor: it stays until 2038",
            ),
        ),
        # Born after the picture was taken: that cannot be, and keeps it the longer.
        (
            {"born": date(2011, 1, 1)},
            Verdict(goes=False, why="its patient was a minor: it stays until 2039"),
        ),
    ],
)
def test_a_study_goes_when_nothing_holds_it(
    changes: dict[str, object], verdict: Verdict | None
) -> None:
    assert judge(replace(OLD, **changes), RULE, TODAY) == verdict  # type: ignore[arg-type]


def test_an_adult_at_eighteen_is_none_of_the_minors() -> None:
    rule = replace(RULE, minors_age=99)
    day_before = replace(OLD, born=date(1992, 3, 2))
    assert judge(day_before, rule, TODAY) == Verdict(
        goes=False, why="its patient was a minor: it stays until 2091"
    )
    assert judge(replace(OLD, born=date(1992, 3, 1)), rule, TODAY) == judge(OLD, rule, TODAY)


def test_minors_are_as_everybody_where_no_age_is_set() -> None:
    rule = replace(RULE, minors_age=0)
    assert judge(replace(OLD, born=None), rule, TODAY) == judge(OLD, RULE, TODAY)


def test_without_years_nothing_ever_goes() -> None:
    rule = Rule(None, {}, 28)
    assert rule.latest(TODAY) is None
    assert judge(OLD, rule, TODAY) is None
    assert judge(replace(OLD, day=None), rule, TODAY) is None


@given(DAYS, st.integers(1, 100))
def test_the_last_day_that_may_go_is_the_last_one(today: date, years: int) -> None:
    last = before(today, years)
    assert after(last, years) <= today < after(last + timedelta(days=1), years)


@given(DAYS, DAYS, DAYS, st.integers(1, 100), st.integers(0, 100))
def test_nothing_goes_before_its_years_are_over_whatever_its_dates(
    day: date, arrived: date, born: date, years: int, minors_age: int
) -> None:
    rule = Rule(years, {}, minors_age)
    study = Aged(
        "clinic-a", day, datetime(arrived.year, arrived.month, arrived.day, tzinfo=UTC), born
    )
    verdict = judge(study, rule, TODAY)
    late = max(day, arrived)
    if verdict and verdict.goes:
        assert (late.year + years, late.month, late.day) <= (TODAY.year, TODAY.month, TODAY.day)
        last = rule.latest(TODAY)
        assert last
        assert day <= last
        was_minor = (born.year + 18, born.month, born.day) > (day.year, day.month, day.day)
        age_over = (born.year + minors_age, born.month, born.day) <= (2026, 11, 24)
        assert age_over or not was_minor


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("20100301", DAY),
        *(
            (text, None)
            for text in ("", "2010", "2010.03.01", "20101301", "20100230", "\uff120100301")
        ),
    ],
)
def test_a_date_that_is_none_is_not_known(text: str, found: date | None) -> None:
    assert retention.read_date(text) == found


def test_the_settings_make_the_rule(tmp_path: Path) -> None:
    given_ = replace(
        settings(tmp_path, ""),
        study_retention_years="10",
        study_retention_clinics="clinic-b=30, clinic-c=never",
    )
    assert retention.rule(given_) == RULE
    assert RULE.latest(TODAY) == date(2016, 11, 24)
    assert retention.rule(replace(given_, study_retention_years="")).years is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"study_retention_years": "9"},
            "STUDY_RETENTION_YEARS=9: .*STUDY_RETENTION_MINIMUM_YEARS",
        ),
        ({"study_retention_clinics": "clinic-a=5"}, "clinic-a=5: .*before 10 years"),
        ({"study_retention_years": "0"}, "no whole number"),
        ({"study_retention_years": "ten"}, "no whole number"),
        ({"study_retention_years": "101"}, "no whole number"),
        ({"study_retention_clinics": "clinic-a"}, "no whole number"),
        ({"study_retention_clinics": "Clinic A=10"}, "clinic-a=15"),
        ({"study_retention_clinics": "clinic-a=10,clinic-a=never"}, "clinic-a=15"),
    ],
)
def test_a_setting_that_would_let_studies_go_too_soon_is_refused(
    tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    given_ = replace(settings(tmp_path, ""), **changes)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=said):
        retention.rule(given_)


def test_fewer_years_than_the_minimum_are_taken_where_that_is_lowered(tmp_path: Path) -> None:
    made = settings(tmp_path, "")
    lowered = replace(made, study_retention_years="5", study_retention_minimum_years=5)
    assert retention.rule(lowered).years == 5
