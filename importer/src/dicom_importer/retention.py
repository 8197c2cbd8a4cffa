"""Which studies have had their time: the years of each clinic, and what holds a study back all the same."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from dicom_importer.config import Config, ConfigError

NEVER = "never"
ADULT_AGE = 18
_YEARS = re.compile(r"[1-9][0-9]?|100", re.ASCII)
_CLINIC = re.compile(r"[a-z0-9](?:-?[a-z0-9])*", re.ASCII)
_DA = re.compile(r"\d{8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rule:
    """For how many years studies are kept, None for ever; `clinics` are those with years of their own.

    Of who was a minor nothing goes before the birthday of `minors_age`, 0 for no such rule.
    """

    years: int | None
    clinics: Mapping[str, int | None]
    minors_age: int

    def of(self, clinic: str) -> int | None:
        """Return the years of a clinic."""
        return self.clinics.get(clinic, self.years)

    def latest(self, today: date) -> date | None:
        """Return the last day of which a study of any clinic may have had its time; None: none ever has."""
        years = [one for one in (self.years, *self.clinics.values()) if one is not None]
        return before(today, min(years)) if years else None


@dataclass(frozen=True, slots=True)
class Aged:
    """A study's dates, None where they are not known; `arrived` (UTC) is when something of it last came."""

    clinic: str
    day: date | None
    arrived: datetime | None
    born: date | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a study goes, and why or why not, without a word of its patient."""

    goes: bool
    why: str


def judge(study: Aged, rule: Rule, today: date) -> Verdict | None:
    """Say whether a study has had its time; None where it is of its age that it stays."""
    years = rule.of(study.clinic)
    if years is None or (study.day and after(study.day, years) > today):
        return None
    for why in _holding(study, years, rule, today):
        return Verdict(goes=False, why=why)
    days = (study.day, study.arrived and study.arrived.date())
    over = after(max(filter(None, days)), years)
    return Verdict(goes=True, why=f"{years} years were over on {over}")


def _holding(study: Aged, years: int, rule: Rule, today: date) -> Iterator[str]:
    if study.day is None:
        yield "it has no date"
        return
    if not study.clinic:
        yield "it is no clinic's"
    if study.arrived is None:
        yield "the archive does not know when it came"
        return
    arrived = study.arrived.date()
    if after(arrived, years) > today:
        yield f"the last of it came on {arrived}: it stays until {after(arrived, years)}"
    # Who has no birthday may have been born that day.
    born = study.born or study.day
    if after(born, ADULT_AGE) > study.day and after(born, rule.minors_age) > today:
        who = "its patient was" if study.born else "who has no date of birth may have been"
        # The day would tell the birthday.
        yield f"{who} a minor: it stays until {after(born, rule.minors_age).year}"


def after(day: date, years: int) -> date:
    """Return the same day so many years later; that after 29 February is 1 March."""
    if day.year + years > date.max.year:
        return date.max
    return _in_year(day, day.year + years)


def before(day: date, years: int) -> date:
    """Return the last day of which `after` is not later than this one."""
    found = _in_year(day, max(day.year - years, 1))
    return found if after(found, years) <= day else date(found.year, 2, 28)


def _in_year(day: date, year: int) -> date:
    try:
        return day.replace(year=year)
    except ValueError:
        return date(year, 3, 1)


def read_date(text: str) -> date | None:
    """Read a date (DA, PS3.5 6.2), None for what is none."""
    try:
        return datetime.strptime(text, "%Y%m%d").date() if _DA.fullmatch(text) else None  # noqa: DTZ007 - a day
    except ValueError:
        return None


def rule(config: Config) -> Rule:
    """Read the settings; raises ConfigError, also for fewer years than the minimum."""
    clinics: dict[str, int | None] = {}
    for each in filter(None, map(str.strip, config.study_retention_clinics.split(","))):
        clinic, _, text = each.partition("=")
        if not _CLINIC.fullmatch(clinic) or clinic in clinics:
            raise ConfigError(f"STUDY_RETENTION_CLINICS: {each}: say clinic-a=15,clinic-b={NEVER}")
        clinics[clinic] = _years(text, f"STUDY_RETENTION_CLINICS: {each}", config)
    years = config.study_retention_years or NEVER
    default = _years(years, f"STUDY_RETENTION_YEARS={years}", config)
    return Rule(default, clinics, config.study_retention_minors_age)


def _years(text: str, named: str, config: Config) -> int | None:
    if text == NEVER:
        return None
    if not _YEARS.fullmatch(text):
        raise ConfigError(f"{named}: it is no whole number of years, 1 to 100")
    minimum = config.study_retention_minimum_years
    if int(text) < minimum:
        raise ConfigError(
            f"{named}: studies would go before {minimum} years are over. Where your law asks for"
            " less, set STUDY_RETENTION_MINIMUM_YEARS"
        )
    return int(text)
