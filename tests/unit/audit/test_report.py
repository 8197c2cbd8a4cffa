"""The report: who looked at a study, what a person looked at; and files that are kept and proven unchanged."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from access_audit import cli, digest, files
from access_audit.report import Wanted, as_csv, rows, table
from dicom_importer import audit
from unit.audit.building import ANNA, BERT, OTHER, START_S, STUDY, Desk, frame, line

if TYPE_CHECKING:
    from access_audit.report import Row

DAY_S = 86_400.0
FIRST, SECOND = "2025-11-24", "2025-11-25"


@pytest.fixture
def viewed(desk: Desk) -> Desk:
    """Provide two days on which two people looked at two studies, and one that was delivered."""
    time = "2025-11-24T08:00:00.000Z"
    delivered = audit.delivered("tina", "clinic-a", "stow/1", 2, time)
    replaced = audit.replaced("root", "clinic-a", (STUDY, "1.9"), ("a", "b"), time)
    audit.append(desk.top / "importer" / "import.jsonl", [delivered, replaced])
    desk.write(frame(1), frame(2, study=OTHER), frame(3, claims=BERT))
    desk.write(frame(4, START_S + DAY_S))
    desk.write(line(f"/dicom-web/studies/{STUDY}", status="401", session="401", claims=ANNA))
    desk.read()
    return desk


def find(desk: Desk, **wanted: str) -> list[Row]:
    return rows(desk.top / "access", desk.top / "importer", Wanted(**wanted))


def test_who_looked_at_a_study_is_answered_by_time_with_what_was_done_to_it(viewed: Desk) -> None:
    assert [(row.who, row.outcome) for row in find(viewed, study=STUDY)] == [
        ("root", "replaced, 1 instance"),
        ("anna", "viewed"),
        ("anna (unconfirmed)", "refused, not_logged_in"),
        ("bert", "viewed"),
        ("anna", "viewed"),
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"user": "anna"}, 4),
        ({"user": "5b0f-anna"}, 3),
        ({"user": "tina"}, 1),
        ({"user": "root"}, 1),
        ({"user": "ann"}, 0),
        ({"user": "anna", "last_day": FIRST}, 3),
        ({"user": "anna", "first_day": SECOND}, 1),
        ({"user": "anna", "first_day": SECOND, "last_day": SECOND}, 1),
        ({"user": "anna", "first_day": "2025-12-01"}, 0),
        ({"user": "anna", "study": OTHER}, 1),
    ],
)
def test_a_person_and_days_choose_the_records(
    viewed: Desk, wanted: dict[str, str], expected: int
) -> None:
    assert len(find(viewed, **wanted)) == expected


def test_the_table_has_columns_and_a_count(viewed: Desk) -> None:
    text = table(find(viewed, user="bert")).splitlines()
    assert text[0].split() == [
        *("time", "who", "roles", "client", "what", "study", "clinic", "outcome")
    ]
    assert "DICOM Instances Accessed" in text[1]
    assert text[2] == "1 record"
    assert table([]).splitlines()[-1] == "0 records"


def test_no_cell_of_the_csv_is_a_formula(desk: Desk) -> None:
    names = ["=1+1", "+1", "-1", "@SUM(A1)", 'a"b,c', "\t=1"]
    for name in names:
        desk.write(frame(1, claims={**ANNA, "sub": name, "preferred_username": name}))
    desk.read()
    (head, *cells) = csv.reader(io.StringIO(as_csv(find(desk, study=STUDY))))
    assert head[1] == "who"
    assert {row[1] for row in cells} == {"'=1+1", "'+1", "'-1", "'@SUM(A1)", 'a"b,c', "?=1"}


def test_a_torn_record_does_not_spoil_the_report(viewed: Desk) -> None:
    with (viewed.top / "access" / "2025-11.jsonl").open("a") as file:
        file.write('{"id": "x", "study_instance_u\n7\n')
    assert len(find(viewed, study=STUDY)) == 5


def test_asking_is_recorded_too(
    viewed: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("access_audit.config.load", lambda: viewed.config)
    assert cli.main(["report", "--study", OTHER, "--by", "it-person"]) == 0
    assert "1 record" in capsys.readouterr().out
    used = viewed.records()[-1]
    assert used["event"]["code"] == "110101"  # type: ignore[index]
    assert (used["who"]["name"], used["study_instance_uid"]) == ("it-person", OTHER)  # type: ignore[index]
    assert cli.main(["report", "--by", "it-person"]) == 2
    assert "--user NAME" in capsys.readouterr().err


def test_old_months_go_and_the_eldest_within_the_years_stays(desk: Desk) -> None:
    access = desk.top / "access"
    for name in ("2020-10.jsonl", "2020-11.jsonl", "2026-11.jsonl", "digests.jsonl"):
        (access / name).touch()
    gone = files.remove_old(access, 6, datetime(2026, 11, 25, tzinfo=UTC))
    assert gone == ["2020-10.jsonl"]
    assert len(list(access.iterdir())) == 3


def closed(desk: Desk) -> Desk:
    """Close three days, the last one without anything new."""
    for day in (FIRST, SECOND, "2025-11-26"):
        assert digest.write(desk.top / "access", desk.top / "importer", day)
        if day == FIRST:
            desk.write(frame(9, START_S + DAY_S, study="1.9"))
            desk.read()
    return desk


def wrong(desk: Desk, first_kept: str = "2019-11.jsonl") -> list[str]:
    return digest.check(desk.top / "access", desk.top / "importer", first_kept)


def test_a_day_is_closed_once_and_an_untouched_chain_is_whole(viewed: Desk) -> None:
    closed(viewed)
    assert digest.write(viewed.top / "access", viewed.top / "importer", SECOND) is None
    viewed.write(frame(11, study="1.11"))
    viewed.read()
    assert wrong(viewed) == []


def test_each_way_to_change_what_was_written_is_found(viewed: Desk) -> None:
    closed(viewed)
    month, imports = viewed.top / "access" / "2025-11.jsonl", viewed.top / "importer/import.jsonl"
    for path in (month, imports):
        text = path.read_bytes()
        for changed in (
            text.replace(b'"outcome": 0', b'"outcome": 4', 1),
            text[:-20],
            b"".join(text.splitlines(keepends=True)[1:]),
            b"".join(reversed(text.splitlines(keepends=True))),
        ):
            path.write_bytes(changed)
            assert wrong(viewed), changed
        path.unlink()
        assert any("missing" in line for line in wrong(viewed))
        path.write_bytes(text)
        assert wrong(viewed) == []


def test_a_digest_that_was_written_anew_is_found(viewed: Desk) -> None:
    closed(viewed)
    path = viewed.top / "access" / digest.DIGESTS
    lines = path.read_text().splitlines()
    for changed in (lines[1:], [lines[0].replace(FIRST, "2025-11-23"), *lines[1:]]):
        path.write_text("\n".join(changed) + "\n")
        assert wrong(viewed)


def test_a_month_that_has_served_is_not_missed(viewed: Desk) -> None:
    closed(viewed)
    (viewed.top / "access" / "2025-11.jsonl").unlink()
    assert wrong(viewed, first_kept="2025-12.jsonl") == []
    assert wrong(viewed, first_kept="2025-11.jsonl")


def test_the_upkeep_closes_the_day_before(viewed: Desk) -> None:
    viewed.now_s = START_S + DAY_S
    auditor = viewed.auditor()
    auditor.upkeep()
    auditor.upkeep()
    lines = (viewed.top / "access" / digest.DIGESTS).read_text().splitlines()
    assert [json.loads(line)["day"] for line in lines] == [FIRST]


def test_a_control_character_of_the_importers_record_reaches_no_terminal(desk: Desk) -> None:
    audit.append(
        desk.top / "importer" / "import.jsonl",
        [{"id": "1", "time": FIRST, "study_instance_uid": STUDY, "who": {"user": "a\x1b[2Jb"}}],
    )
    (row,) = find(desk, study=STUDY)
    assert row.who == "a?[2Jb"
