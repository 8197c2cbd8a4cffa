"""What people see in their browsers: the dropped image, and nothing of another clinic."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from harness.phantom import KINDS
from harness.viewer import likeness
from harness.wait import wait_until
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.people import People
    from harness.phantom import Study
    from harness.stack import Stack
    from harness.viewer import Viewer

ALIKE = 0.95


@pytest.fixture(scope="module")
def study_a(drop_study: Callable[[str, str, int], Study]) -> Study:
    """Provide a CT of clinic-a."""
    return drop_study("clinic-a", "ct", 1)


@pytest.fixture(scope="module")
def study_b(drop_study: Callable[[str, str, int], Study]) -> Study:
    """Provide a CT of clinic-b."""
    return drop_study("clinic-b", "ct", 2)


def log_in(viewer: Viewer, people: People, name: str) -> None:
    viewer.log_in(name, people.passwords[name])


def family_name(study: Study) -> str:
    return study.identity.patient_name.partition("^")[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_physician_finds_the_dropped_study_and_sees_its_picture(
    kind: str,
    people: People,
    drop_study: Callable[[str, str, int], Study],
    new_window: Callable[[], Viewer],
) -> None:
    study = drop_study("clinic-a", kind, 3)
    viewer = new_window()
    viewer.open()
    log_in(viewer, people, "physician-a")
    viewer.open_study(family_name(study), study.uid)
    likenesses = viewer.see(study.pictures, at_least=ALIKE)
    assert sum(value >= ALIKE for value in likenesses) == 1, "one slice, and no other of the study"

    other = KINDS[kind](4)
    drawn = viewer.drawn()
    assert max(likeness(drawn, picture) for picture in other.pictures) < ALIKE
    assert max(likeness(drawn[:, ::-1], picture) for picture in study.pictures) < ALIKE
    assert viewer.watch.policy_violations() == []
    assert viewer.watch.elsewhere(viewer.url) == []


def test_a_link_to_a_study_opens_it_after_the_login(
    people: People, study_a: Study, new_window: Callable[[], Viewer]
) -> None:
    viewer = new_window()
    viewer.open(f"/viewer?StudyInstanceUIDs={study_a.uid}")
    log_in(viewer, people, "physician-a")
    viewer.see(study_a.pictures, at_least=ALIKE)


def test_a_physician_finds_only_studies_of_the_own_clinic(
    people: People, study_a: Study, study_b: Study, new_window: Callable[[], Viewer]
) -> None:
    viewer = new_window()
    viewer.open()
    log_in(viewer, people, "physician-b")
    expect(viewer.search(family_name(study_b))).to_have_count(1)
    expect(viewer.search(family_name(study_a))).to_have_count(0)
    expect(viewer.page.get_by_text("No studies available")).to_be_visible()


def test_a_link_to_another_clinics_study_shows_nothing_of_it(
    people: People, study_a: Study, new_window: Callable[[], Viewer]
) -> None:
    viewer = new_window()
    viewer.open(f"/viewer?StudyInstanceUIDs={study_a.uid}")
    log_in(viewer, people, "physician-b")
    expect(viewer.page.get_by_text("not available")).to_be_visible(timeout=30_000)
    expect(viewer.page.locator("canvas")).to_have_count(0)
    expect(viewer.page.get_by_text(family_name(study_a))).to_have_count(0)
    answers = [a for a in viewer.watch.answers(study_a.uid) if "/dicom-web/" in a.url]
    assert answers, "the viewer asked for the study"
    assert [a.url for a in answers if a.ok and a.json() != []] == []


def test_a_technician_can_log_in_and_gets_no_image(
    people: People, study_a: Study, new_window: Callable[[], Viewer]
) -> None:
    viewer = new_window()
    viewer.open()
    log_in(viewer, people, "technician-a")
    expect(viewer.page.locator("#notice")).to_contain_text(
        "Your account does not allow", timeout=30_000
    )
    expect(viewer.page.get_by_text(family_name(study_a))).to_have_count(0)

    viewer.open(f"/viewer?StudyInstanceUIDs={study_a.uid}")
    viewer.page.wait_for_load_state("networkidle")
    expect(viewer.page.locator("canvas")).to_have_count(0)
    answers = viewer.watch.answers("/dicom-web/")
    assert {answer.status for answer in answers} == {403}


def test_a_logout_ends_the_session_everywhere(
    stack: Stack, people: People, study_a: Study, new_window: Callable[[], Viewer]
) -> None:
    viewer = new_window()
    viewer.open(f"/viewer?StudyInstanceUIDs={study_a.uid}")
    log_in(viewer, people, "physician-a")
    viewer.see(study_a.pictures, at_least=ALIKE)
    token = viewer.access_token()
    with stack.session() as session:

        def ask() -> int:
            headers = {"Authorization": f"Bearer {token}"}
            return session.get(
                f"{stack.url}/dicom-web/studies?limit=1", headers=headers
            ).status_code

        assert ask() == 200
        viewer.log_out()
        viewer.page.wait_for_url(re.compile(r"/auth/realms/dicom/"), timeout=90_000)
        expect(viewer.page.locator("#username")).to_be_visible()
        wait_until(lambda: ask() == 401, 11, "the token is refused")
    viewer.open("/")
    expect(viewer.page.locator("#username")).to_be_visible(timeout=30_000)
