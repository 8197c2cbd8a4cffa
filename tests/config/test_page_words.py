"""The page at /inbox/ in Chromium in each language, from its files alone, with what arrived made up, on a phone."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from harness.browser import chromium
from stack.settings import PODMAN_DIR
from stack.words import LANGUAGES, file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Route

PAGE = PODMAN_DIR / "nginx" / "inbox"
URL = "https://pacs.example.org"
PHONE = 360, 740
ZONE = "Europe/Vienna"
# In place of Keycloak: who opens the page is logged in.
LOGGED_IN = """
export class SessionOver extends Error {}
export const arrive = async () => true;
export const token = async () => 'x';
export const leave = () => {};
export const logOut = () => {};
export const refused = () => {};
"""
TYPES = {"css": "text/css", "html": "text/html", "js": "text/javascript"}
NOTHING = {"again": 0, "beside": 0, "failed": 0, "filed": 0, "waiting": 0}


def group(name: str, state: str, **more: object) -> dict[str, Any]:
    """Return what the importer tells of a submission; it came shortly before midnight by UTC."""
    counts = {key: more.pop(key) for key in NOTHING if key in more}
    return {
        "submission": name,
        "by": "inbox",
        "name": name,
        "day": "2026-07-01",
        "state": state,
        "first": "2026-07-01T22:30:00Z",
        "last": "2026-07-01T22:30:00Z",
        "due_s": 40.2,
        "cause": "",
        "studies": [],
        "failures": [],
        "files": NOTHING | counts,
        **more,
    }


def listing(language: str) -> dict[str, Any]:
    """Return one submission of each state, with each reason that there is."""
    reasons = json.loads(file(language).read_text())["reasons"]
    told = [
        {
            "reason": name,
            **reason,
            "detail": "the tags do not ascend at byte 1024",
            "files": 6,
            "examples": [f"{'y' * 80}.dcm"],
            "can_retry": len(name) % 2 == 0,
        }
        for name, reason in reasons.items()
    ]
    return {
        "now": "2026-07-01T22:31:00Z",
        "archive_up": False,
        "unfinished": 1,
        "warnings": [],
        "uploads": [{"folder": "", "files": 1, "open": 2}, {"folder": "CD", "files": 9, "open": 0}],
        "groups": [
            group("settles", "settling", waiting=1234),
            group("stores", "storing", waiting=1),
            group("waits", "storing", waiting=2, cause="HTTP 503"),
            group("is filed", "filed", filed=1, again=2, beside=3, studies=["1.2", "1.3"]),
            group("failed", "failed", failed=len(told) * 6, failures=told),
            group("", "filed", by="page", filed=1, studies=["1.2"]),
            group("", "filed", by="stow-rs", filed=1),
            group("new", "storing", waiting=1, first="", last=""),
        ],
    }


def answer(route: Route, language: str) -> None:
    """Answer as nginx and the importer do."""
    path = route.request.url.removeprefix(URL)
    if path == "/inbox/words.json":
        route.fulfill(json=json.loads(file(language).read_text()))
    elif path == "/inbox/login.js":
        route.fulfill(body=LOGGED_IN, content_type=TYPES["js"])
    elif path == "/inbox/api/me":
        person = {"name": "ann", "clinics": ["clinic-a", "clinic-b"], "time_zone": ZONE}
        route.fulfill(json={**person, "brings": True, "reads": True})
    elif "/submissions" in path:
        route.fulfill(json=listing(language))
    elif path.startswith("/inbox/"):
        name = path.removeprefix("/inbox/") or "index.html"
        said = json.loads(file(language).read_text())["front"]["no_script"]
        text = (PAGE / name).read_text().replace('<!--# echo var="language" -->', language)
        text = text.replace('<!--# echo var="words_no_script" -->', said)
        route.fulfill(body=text, content_type=TYPES[name.rpartition(".")[2]])
    else:
        route.fulfill(status=404)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Provide a browser."""
    with chromium(tmp_path_factory.mktemp("browser"), None) as result:
        yield result


@pytest.fixture(params=sorted(path.stem for path in LANGUAGES.glob("*.json")))
def language(request: pytest.FixtureRequest) -> str:
    """Provide each language."""
    return str(request.param)


@pytest.fixture
def page(browser: Browser, language: str) -> Iterator[Page]:
    """Provide the page on a phone whose owner lives elsewhere, with all that it can say of what arrived."""
    context = browser.new_context(
        viewport={"width": PHONE[0], "height": PHONE[1]},
        is_mobile=True,
        locale="ja-JP",
        timezone_id="America/New_York",
    )
    context.route("**/*", lambda route: answer(route, language))
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(f"{URL}/inbox/")
    opened.locator("#groups > li").nth(7).wait_for(timeout=10_000)
    yield opened
    context.close()
    assert errors == []


def test_the_page_speaks_one_language_and_shows_the_sites_time(page: Page, language: str) -> None:
    words = json.loads(file(language).read_text())["page"]
    assert page.locator("html").get_attribute("lang") == language
    assert page.title() == words["title"]
    assert page.get_by_role("button", name=words["choose_folder"]).is_visible()
    text = page.locator("body").inner_text()
    assert "undefined" not in text
    assert not re.search(r"\{\w+\}|NaN|Invalid Date", text)
    for name in ("state", "since", "arrived", "what_to_do", "lasting", "archive_away"):
        assert words[name] in text, name
    # Shortly after midnight, on the next day.
    times = {"de": "02.07.2026, 00:30", "en": "Jul 2, 2026, 00:30"}
    assert times.get(language, "00:30") in text
    numbers = {"de": "1.234 Dateien", "en": "1,234 files"}
    assert numbers.get(language, "") in text


def test_no_word_of_a_language_is_cut_off_on_a_phone(page: Page) -> None:
    page.evaluate("() => document.querySelectorAll('[hidden]').forEach(e => { e.hidden = false; })")
    wide = page.evaluate(
        "() => [...document.querySelectorAll('body *')].filter(e => e.checkVisibility() &&"
        " !e.closest('.unseen, .skip') && (e.getBoundingClientRect().right > innerWidth ||"
        " e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline'))"
        ".map(e => e.outerHTML.slice(0, 200))"
    )
    assert wide == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= PHONE[0]
