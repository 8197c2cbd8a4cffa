"""In another language a clinic is told the same: on the page, beside a failed file, and why something waits."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from dicom_importer import room, words
from dicom_importer.config import ConfigError, load
from dicom_importer.explain import because
from unit.importer.commanding import command, conf
from unit.importer.test_page import DROPS, SUBMISSIONS, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unit.importer.conftest import Importer
    from unit.importer.test_page import Client

GERMAN = words.load("de")


@pytest.fixture
def client(importer: Importer) -> Iterator[Client]:
    """Provide an importer that speaks German, in Vienna."""
    importer.config = replace(importer.config, language_tag="de")
    importer.restart()
    with serving(importer) as made:
        yield made


def test_a_failure_is_told_in_the_sites_language_on_the_page_and_beside_the_file(
    client: Client,
) -> None:
    client.importer.drop("clinic-a/export/notes.txt", b"no image")
    client.importer.run()
    (group,) = client.groups()
    (failure,) = group["failures"]
    reason = GERMAN.reasons["not_dicom"]
    assert (failure["found"], failure["advice"]) == (reason.found, reason.advice)
    (path,) = (client.importer.root / "failed").rglob("*.error.json")
    told = json.loads(path.read_text(encoding="utf-8"))
    assert (told["message"], told["action"]) == (reason.found, reason.advice)
    # Programs and operators know a reason by its name.
    assert told["reason"] == failure["reason"] == "not_dicom"


def test_an_operators_command_stays_english(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    importer = client.importer
    importer.drop("clinic-a/export/notes.txt", b"no image")
    importer.run()
    (path,) = (importer.root / "failed").rglob("notes.txt")
    _, said = command(importer, capsys, "explain", path)
    assert words.load("en").reasons["not_dicom"].found in said


def test_a_refusal_is_in_the_sites_language_with_what_it_is_about(client: Client) -> None:
    refused = {
        client.ask(DROPS, "POST", b"{}", "Bearer physician").body["error"],
        client.ask(f"{SUBMISSIONS}?days=0").body["error"],
        client.announce("a/x.part", 1).body["error"],
        client.announce("x.dcm", 1 << 40).body["error"],
        client.ask("/page/me", who="Bearer away").body["error"],
    }
    says = GERMAN.refusals
    assert {
        says["only_looks"],
        says["bad_days"].format(max=400),
        says["name_passing"],
        says["large_file"].format(gib="0.2"),
        says["who_unknown"],
    } <= refused


def test_every_refusal_is_filled_whole() -> None:
    for language in (GERMAN, words.load("en")):
        texts = [*language.refusals.values(), *language.causes.values()]
        assert not [text for text in texts if "{}" in text or text.count("{") != text.count("}")]


@pytest.mark.parametrize(
    ("cause", "name", "filled"),
    [
        ("no token: 503", "token", {"cause": "no token: 503"}),
        ("status 503", "archive", {"cause": "status 503"}),
        ("sending: EOF", "broken", {"cause": "sending: EOF"}),
        ("the archive is full", "archive_full", {}),
        (room.short("failed"), "room", {"place": "failed"}),
        ("OSError", "other", {"cause": "OSError"}),
    ],
)
def test_why_something_waits_is_said_in_the_language(
    cause: str, name: str, filled: dict[str, str]
) -> None:
    assert because(cause, GERMAN) == GERMAN.causes[name].format(**filled)
    assert because("refused", GERMAN) == GERMAN.reasons["refused"].found


def test_a_disk_that_is_short_is_told_in_the_language(client: Client) -> None:
    config = replace(client.importer.config, min_free_bytes=1 << 60, resume_free_bytes=1 << 61)
    warned = room.warnings(config, "de")
    assert warned
    assert all(one.startswith("Auf der Festplatte von ") for one in warned)
    assert room.warnings(config)[0].startswith("The disk of ")


def test_a_day_begins_at_midnight_of_the_site(client: Client) -> None:
    importer = client.importer
    # By UTC both came on the day before today.
    times = {"before": "2026-11-23T22:59:59Z", "after": "2026-11-23T23:00:00Z"}
    for name in times:
        importer.drop(f"clinic-a/{name}/one.txt", name.encode())
        importer.run()
    with importer.service.journal._table.transaction() as db:  # noqa: SLF001 - as if they had come then
        for name, time in times.items():
            db.execute("UPDATE file SET began_at = ? WHERE submission = ?", (time, name.encode()))
    today = client.ask(f"{SUBMISSIONS}?days=1").body["groups"]
    assert [group["name"] for group in today] == ["after"]
    both = client.ask(f"{SUBMISSIONS}?days=2").body["groups"]
    assert {group["name"] for group in both} == {"after", "before"}


def test_a_time_zone_is_one_that_there_is(importer: Importer) -> None:
    _, path = conf(importer)
    file = importer.root / path
    assert load(file, {"TIME_ZONE": "Asia/Tokyo"}).time_zone == ZoneInfo("Asia/Tokyo")
    for wrong in ("Vienna", "", ":/etc/localtime", "../etc/passwd"):
        with pytest.raises(ConfigError, match="TIME_ZONE"):
            load(file, {"TIME_ZONE": wrong})
