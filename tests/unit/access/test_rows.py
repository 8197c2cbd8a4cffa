"""The row of a study, made of what the index holds of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import pytest
from clinic_access.query import Level, parse_query
from clinic_access.routes import Access, Route
from clinic_access.rows import study_row, suffice

if TYPE_CHECKING:
    from clinic_access.query import Query
    from clinic_access.rows import Row

TAGS = {"0020000D": "1.2", "00080080": "clinic-a"}


def query(text: str = "", level: Level = Level.STUDY) -> Query:
    """Parse a query string."""
    return parse_query(level, Route(Access.SEARCH), parse_qsl(text))


def row(text: str = "", modalities: tuple[str, ...] = ("CT",), **tags: str) -> Row:
    """Make the row of a study with these tags, named by `t` and their number."""
    held = {"modalities": modalities, "series": 2, "instances": 30}
    held |= {"tags": TAGS | {name.removeprefix("t"): value for name, value in tags.items()}}
    return study_row(json.dumps(held), "https://pacs.example/studies", query(text))


@pytest.mark.parametrize(
    ("text", "level", "is_enough"),
    [
        ("", Level.STUDY, True),
        ("includefield=00081030,00080060&PatientName=doe&ModalitiesInStudy=CT", Level.STUDY, True),
        ("includefield=SOPClassesInStudy", Level.STUDY, False),
        ("includefield=all", Level.STUDY, False),
        ("", Level.SERIES, False),
        ("", Level.INSTANCE, False),
    ],
)
def test_the_index_suffices_for_studies_whose_files_nobody_asks_for(
    text: str, level: Level, *, is_enough: bool
) -> None:
    assert suffice(query(text, level)) is is_enough


def test_a_row_tells_its_address_and_counts_and_leaves_out_what_is_not_there() -> None:
    assert row(modalities=("CT", "SR")) == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080061": {"vr": "CS", "Value": ["CT", "SR"]},
        "00080080": {"vr": "LO", "Value": ["clinic-a"]},
        "00081190": {"vr": "UR", "Value": ["https://pacs.example/studies/1.2"]},
        "0020000D": {"vr": "UI", "Value": ["1.2"]},
        "00201206": {"vr": "IS", "Value": [2]},
        "00201208": {"vr": "IS", "Value": [30]},
    }


def test_what_is_empty_has_no_value() -> None:
    assert row(t00080020="")["00080020"] == {"vr": "DA"}
    assert row(modalities=())["00080061"] == {"vr": "CS"}


def test_a_name_has_its_groups_and_several_values_are_several() -> None:
    groups = "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060^\u305f\u308d\u3046"
    assert row(t00100010=groups)["00100010"] == {
        "vr": "PN",
        "Value": [
            dict(zip(("Alphabetic", "Ideographic", "Phonetic"), groups.split("="), strict=True))
        ],
    }
    assert row(t00080090="A^B\\=\u5c71\\")["00080090"] == {
        "vr": "PN",
        "Value": [{"Alphabetic": "A^B"}, {"Ideographic": "\u5c71"}, None],
    }


def test_a_description_is_for_who_asks_for_it() -> None:
    assert "00081030" not in row(t00081030="Head")
    for text in ("includefield=StudyDescription", "StudyDescription=Head"):
        assert row(text, t00081030="Head")["00081030"] == {"vr": "LO", "Value": ["Head"]}
