"""QIDO-RS queries (PS3.18 8.3.4, 10.6), rebuilt from an allow-list of attributes.

Nothing of the client's query is handed on as it came, so that no spelling of InstitutionName,
which decides whose studies are found, can get through.
"""

import re
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import urlencode

from clinic_access.json_value import Json
from clinic_access.routes import Pairs, Route, is_uid

INSTITUTION_NAME = "00080080"
STUDY_DATE = "00080020"
MAX_ROWS = 1_000
_MAX_VALUE_CHARS = 1_024
_MAX_LIST = 100


class Level(IntEnum):
    """The level of what is searched for; a level may be searched by the ones above it."""

    STUDY = 0
    SERIES = 1
    INSTANCE = 2

    @property
    def plural(self) -> str:
        """The level's resource in a path."""
        return ("studies", "series", "instances")[self]

    @property
    def uid(self) -> str:
        """The tag of the level's UID."""
        return ("0020000D", "0020000E", "00080018")[self]


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that may be asked for; a list of its values means any of them."""

    keyword: str
    level: Level
    is_list: bool = False
    is_matched: bool = True


_S, _E, _I = Level.STUDY, Level.SERIES, Level.INSTANCE

# Only what Orthanc's database holds or counts: another attribute would read a file per result.
ATTRIBUTES = {
    "00080020": Attribute("StudyDate", _S),
    "00080030": Attribute("StudyTime", _S),
    "00080050": Attribute("AccessionNumber", _S),
    "00080061": Attribute("ModalitiesInStudy", _S, is_list=True),
    "00080062": Attribute("SOPClassesInStudy", _S, is_matched=False),
    "00080090": Attribute("ReferringPhysicianName", _S),
    "00081030": Attribute("StudyDescription", _S),
    "00100010": Attribute("PatientName", _S),
    "00100020": Attribute("PatientID", _S),
    "00100030": Attribute("PatientBirthDate", _S),
    "00100040": Attribute("PatientSex", _S),
    "0020000D": Attribute("StudyInstanceUID", _S, is_list=True),
    "00200010": Attribute("StudyID", _S),
    "00201206": Attribute("NumberOfStudyRelatedSeries", _S, is_matched=False),
    "00201208": Attribute("NumberOfStudyRelatedInstances", _S, is_matched=False),
    "00080060": Attribute("Modality", _E, is_list=True),
    "0008103E": Attribute("SeriesDescription", _E),
    "00180015": Attribute("BodyPartExamined", _E),
    "0020000E": Attribute("SeriesInstanceUID", _E, is_list=True),
    "00200011": Attribute("SeriesNumber", _E),
    "00201209": Attribute("NumberOfSeriesRelatedInstances", _E, is_matched=False),
    "00400244": Attribute("PerformedProcedureStepStartDate", _E),
    "00400245": Attribute("PerformedProcedureStepStartTime", _E),
    "00080018": Attribute("SOPInstanceUID", _I, is_list=True),
    "00200013": Attribute("InstanceNumber", _I),
}
_TAGS = {attribute.keyword: tag for tag, attribute in ATTRIBUTES.items()}
_UIDS = frozenset(level.uid for level in Level)
_SEPARATORS = re.compile(r"[,\\]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class BadQueryError(Exception):
    """The query cannot be answered; the message says why."""


@dataclass(frozen=True, slots=True)
class Query:
    """A search that is safe to run for a clinic: tags in upper case, values checked.

    is_capped: the client would take more rows than limit says, which is ours.
    """

    level: Level
    matches: dict[str, str]
    include: tuple[str, ...]
    offset: int
    limit: int
    is_capped: bool


def parse_query(level: Level, route: Route, pairs: Pairs) -> Query:
    """Rebuild a client's query; keys that are not on the list are dropped (PS3.18 8.3.4.1).

    Of repeated keys the last counts, includefield adds up. Raises BadQueryError.
    """
    matches: dict[str, str] = {}
    include: list[str] = []
    numbers = {"offset": 0, "limit": MAX_ROWS + 1}
    for key, value in pairs:
        if len(value) > _MAX_VALUE_CHARS or _CONTROL.search(value):
            raise BadQueryError(f"value of {key!r} not accepted")
        if key in numbers:
            numbers[key] = _number(key, value)
        elif key == "includefield":
            include += _fields(level, value)
        else:
            tag = _tag(level, key)
            if tag and ATTRIBUTES[tag].is_matched and value:
                matches[tag] = _value(tag, value)
    # What the path says holds, whatever the query says.
    path_uids = {Level.STUDY.uid: route.study, Level.SERIES.uid: route.series}
    matches |= {tag: uid for tag, uid in path_uids.items() if uid}
    return Query(
        level=level,
        matches=matches,
        include=tuple(dict.fromkeys((*include, *matches))),
        offset=numbers["offset"],
        limit=min(numbers["limit"], MAX_ROWS),
        is_capped=numbers["limit"] > MAX_ROWS,
    )


def find_body(query: Query, clinic: str | None, dates: str | None) -> Json:
    """Ask Orthanc's /tools/find for the identifiers of what matches in a clinic and time."""
    forced = {INSTITUTION_NAME: clinic, STUDY_DATE: dates}
    matches = query.matches | {tag: value for tag, value in forced.items() if value is not None}
    by_tag = {f"{tag[:4]},{tag[4:]}": value for tag, value in matches.items()}
    return {"Level": query.level.name.title(), "Query": by_tag, "Expand": False}


def rows_uri(query: Query, clinic: str | None, uids: list[str]) -> str:
    """Ask the DICOMweb plugin for the rows of the resources with these UIDs, in a clinic."""
    pairs = [(query.level.uid, ",".join(uids))]
    # Without its parents' UIDs each row would carry all their attributes too, counted anew.
    parents = (level.uid for level in Level if level < query.level)
    pairs += [(uid, query.matches[uid]) for uid in parents if is_uid(query.matches.get(uid, ""))]
    pairs += [("includefield", ",".join(query.include))] if query.include else []
    pairs += [] if clinic is None else [(INSTITUTION_NAME, clinic)]
    return f"/dicom-web/{query.level.plural}?{urlencode(pairs, safe=',')}"


def _tag(level: Level, name: str) -> str | None:
    """Turn a keyword or a tag in hexadecimal into a tag of this level or one above."""
    tag = _TAGS.get(name, name.upper())
    return tag if tag in ATTRIBUTES and ATTRIBUTES[tag].level <= level else None


def _fields(level: Level, value: str) -> list[str]:
    if value == "all":
        return [tag for tag, attribute in ATTRIBUTES.items() if attribute.level == level]
    return [tag for name in value.split(",") if (tag := _tag(level, name))]


def _number(key: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= len("999999999")):
        raise BadQueryError(f"{key} is not a number")
    return int(value)


def _value(tag: str, value: str) -> str:
    """Check a value to match; Orthanc takes a list with backslashes."""
    if not ATTRIBUTES[tag].is_list:
        # A backslash would be a list to Orthanc; no attribute here may contain one (PS3.5 6.2).
        return value.replace("\\", "")
    values = _SEPARATORS.split(value)
    if len(values) > _MAX_LIST:
        raise BadQueryError(f"more than {_MAX_LIST} values of {ATTRIBUTES[tag].keyword}")
    if tag in _UIDS and not all(map(is_uid, values)):
        raise BadQueryError(f"{ATTRIBUTES[tag].keyword} is not a list of UIDs")
    return "\\".join(values)
