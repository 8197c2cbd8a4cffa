"""Where there is nothing to see a physician reads a sentence and finds a way on; no blank page, no error for others."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from harness.realm_key import administering
from harness.viewer import TIMEOUT_MS
from harness.wait import wait_until
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.people import People
    from harness.phantom import Study
    from harness.stack import Stack
    from harness.viewer import Viewer
    from playwright.sync_api import Locator, Route

# Notes every text that the page ever shows, over all the pages of a login.
NOTE_TEXTS = """new MutationObserver(() => {
  const noted = sessionStorage.getItem('noted') ?? '';
  const text = document.body?.innerText ?? '';
  sessionStorage.setItem('noted', noted.includes(text) ? noted : noted + text);
}).observe(document, { childList: true, subtree: true });"""


@pytest.fixture(scope="module")
def study(drop_study: Callable[[str, str, int], Study]) -> Study:
    """Provide a CT of clinic-a."""
    return drop_study("clinic-a", "ct", 6)


@pytest.fixture
def viewer(people: People, new_window: Callable[[], Viewer]) -> Viewer:
    """Provide the study list of a physician of clinic-a."""
    window = new_window()
    window.page.add_init_script(NOTE_TEXTS)
    window.open()
    window.log_in("physician-a", people.passwords["physician-a"])
    window.await_element(window.page.get_by_text("Study List"))
    return window


def notice(viewer: Viewer, sentence: str) -> Locator:
    """Wait for a sentence over the page; returns what shows it."""
    shown = viewer.page.locator("#notice")
    expect(shown).to_contain_text(sentence, timeout=TIMEOUT_MS)
    viewer.keep_picture(f"notice-{sentence.partition('.')[0].replace(' ', '-')}")
    return shown


def test_a_person_of_no_clinic_is_told_so_and_can_log_out(
    people: People, new_window: Callable[[], Viewer]
) -> None:
    viewer = new_window()
    viewer.open()
    viewer.log_in("no-clinic", people.passwords["no-clinic"])
    shown = notice(viewer, "belongs to no clinic yet")
    viewer.page.keyboard.press("Escape")
    expect(shown).to_be_visible()
    shown.get_by_role("button", name="Log out").click()
    viewer.await_element(viewer.page.locator("#username"))


def test_a_technician_is_told_so_at_a_study_as_well(
    people: People, study: Study, new_window: Callable[[], Viewer]
) -> None:
    viewer = new_window()
    viewer.open(f"/viewer?StudyInstanceUIDs={study.uid}")
    viewer.log_in("technician-a", people.passwords["technician-a"])
    notice(viewer, "does not allow to look at studies")
    expect(viewer.page.locator("canvas")).to_have_count(0)


def test_an_address_without_a_page_leads_to_the_list_and_a_login_shows_no_error(
    viewer: Viewer,
) -> None:
    noted = str(viewer.page.evaluate("sessionStorage.getItem('noted')"))
    assert "Study List" in noted
    assert "404" not in noted
    viewer.open("/nowhere")
    notice(viewer, "There is nothing here").get_by_role("button", name="Study list").click()
    viewer.await_element(viewer.page.get_by_text("Study List"))
    viewer.page.wait_for_url(f"{viewer.url}/")


@pytest.mark.parametrize("status", [503, 504])
def test_where_the_archive_is_away_trying_again_opens_what_was_wanted(
    status: int, viewer: Viewer, study: Study
) -> None:
    def away(route: Route) -> None:
        route.fulfill(status=status, json={"status": status})

    viewer.page.route("**/dicom-web/**", away)
    viewer.open(f"/viewer?StudyInstanceUIDs={study.uid}")
    shown = notice(viewer, "The archive does not answer")
    viewer.page.unroute("**/dicom-web/**")
    shown.get_by_role("button", name="Try again").click()
    viewer.see(study.pictures)


def test_where_the_server_cannot_be_reached_an_open_study_stays(
    viewer: Viewer, study: Study
) -> None:
    viewer.page.route("**/frames/**", lambda route: route.abort("connectionfailed"))
    viewer.open(f"/viewer?StudyInstanceUIDs={study.uid}")
    shown = notice(viewer, "The server cannot be reached")
    shown.get_by_role("button", name="Close").click()
    expect(shown).to_have_count(0)
    expect(viewer.page.get_by_text(study.identity.description).first).to_be_visible()


def test_a_session_that_was_ended_is_said_to_be_and_the_way_back_is_a_login(
    stack: Stack, people: People, study: Study, viewer: Viewer
) -> None:
    if not (stack.data_dir / "secrets").exists():
        pytest.skip("the realm is set by its reconciler's secret, which is on another machine")
    family_name = study.identity.patient_name.partition("^")[0]
    with administering(stack) as (session, realm):
        asked = {"exact": "true", "username": "physician-a"}
        (person,) = session.get(f"{realm}/users", params=asked).json()
        assert session.post(f"{realm}/users/{person['id']}/logout").ok
    search = viewer.page.locator("tr input").first

    def refused() -> bool:
        # Each search is another one: the viewer keeps what it knows.
        search.fill(f"{family_name}{secrets.token_hex(2)}")
        viewer.page.wait_for_timeout(1000)
        return viewer.page.locator("#notice").is_visible()

    # A session is believed to be alive for ten seconds.
    wait_until(refused, 30, "the session is known to be over")
    notice(viewer, "Your session has ended").get_by_role("button", name="Log in again").click()
    viewer.log_in("physician-a", people.passwords["physician-a"])
    expect(viewer.search(family_name)).to_have_count(1)
