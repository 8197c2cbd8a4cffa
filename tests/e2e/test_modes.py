"""More than single pictures: three planes with crosshairs, a film of ultrasound, structures; and addresses."""

from __future__ import annotations

import io
import secrets
from typing import TYPE_CHECKING

import numpy as np
import pytest
from harness.drop import drop_files
from harness.objects import IMAGE, bundled, of_its_own, shown
from harness.phantom import Identity, ct, structures
from harness.viewer import TIMEOUT_MS
from harness.wait import wait_until
from PIL import Image
from playwright.sync_api import expect
from pydicom import dcmread

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.people import People
    from harness.phantom import Study
    from harness.stack import Stack
    from harness.viewer import Viewer
    from numpy.typing import NDArray
    from playwright.sync_api import Locator

SQUARE_MM = 6
# Where each pane's plane lies in the volume.
CENTRES = """() => window.cornerstone.getRenderingEngines()[0].getViewports()
  .filter(({ type }) => type === 'orthographic').map(viewport => viewport.getCamera().focalPoint.map(Math.round))"""


@pytest.fixture
def viewer(people: People, new_window: Callable[[], Viewer]) -> Viewer:
    """Provide a window at the study list of a physician of clinic-a."""
    result = new_window()
    result.open()
    result.log_in("physician-a", people.passwords["physician-a"])
    result.search("Nobody")
    return result


@pytest.fixture(scope="module")
def planned(stack: Stack, people: People) -> Study:
    """Provide a CT of 60 slices with structures that are drawn on it."""
    assert people.passwords
    study = ct(21, Identity(f"P-{secrets.token_hex(4)}"), slices=60, size=64)
    outcome = drop_files(stack, "clinic-a", {**study.files, **structures(study, SQUARE_MM)})
    assert not outcome.failed, outcome.reasons
    return study


def colours(pane: Locator) -> NDArray[np.int64]:
    """Photograph a viewport: red, green and blue."""
    shot = pane.screenshot(timeout=TIMEOUT_MS)
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), dtype=np.int64)


def coloured(pane: Locator) -> float:
    """Return the share of a viewport that is no grey."""
    middle = colours(pane)[80:-80, 20:-20]
    return float((np.ptp(middle, axis=-1) > 60).mean())


def test_three_planes_show_the_volume_and_crosshairs_move_them(
    planned: Study, viewer: Viewer
) -> None:
    assert shown(viewer, planned.uid) == IMAGE
    page, panes = viewer.page, viewer.page.locator("[data-cy=viewport-pane]")
    page.locator("[data-cy=Layout]").click()
    page.get_by_text("MPR", exact=True).click()
    expect(panes).to_have_count(3, timeout=TIMEOUT_MS)

    def drawn() -> bool:
        return all(colours(pane).std() > 30 for pane in panes.all())

    wait_until(drawn, 60, "the three planes are drawn")
    plain = [coloured(pane) for pane in panes.all()]
    page.locator("[data-cy=Crosshairs]").click()

    def crossed() -> bool:
        return all(
            coloured(pane) > share + 0.001 for pane, share in zip(panes.all(), plain, strict=True)
        )

    wait_until(crossed, 30, "crosshairs are drawn in each plane")

    before = page.evaluate(CENTRES)
    box = panes.first.bounding_box()
    assert box
    # Whichever tool is chosen, Shift takes the crosshairs up.
    page.keyboard.down("Shift")
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.55)
    page.keyboard.up("Shift")
    wait_until(lambda: page.evaluate(CENTRES)[1:] != before[1:], 30, "the other planes follow")
    assert viewer.watch.policy_violations() == []


def test_structures_are_drawn_over_their_ct(planned: Study, viewer: Viewer) -> None:
    assert shown(viewer, planned.uid) == IMAGE
    pane = viewer.page.locator("[data-cy=viewport-pane]").first
    assert coloured(pane) == 0
    viewer.page.locator("[data-cy=study-browser-thumbnail-no-image]").dblclick(timeout=TIMEOUT_MS)

    def red() -> tuple[int, int]:
        picture = colours(pane)
        rows, columns = np.nonzero((picture[..., 0] - picture[..., 1:].max(axis=-1) > 100)[80:-80])
        return (int(np.ptp(rows)), int(np.ptp(columns))) if rows.size > 200 else (0, 0)

    wait_until(lambda: min(red()) > 0, 60, "the contour is drawn", lambda: str(red()))
    # As large as it is: the image is 64 pixels of 0.4 mm and fills the height.
    height = colours(pane).shape[0]
    wanted = 2 * SQUARE_MM / (64 * 0.4) * height
    assert red() == pytest.approx((wanted, wanted), rel=0.05)
    assert viewer.watch.policy_violations() == []


def test_a_film_of_ultrasound_plays(stack: Stack, viewer: Viewer) -> None:
    path = bundled() / "test_files" / "examples_ybr_color.dcm"
    film = of_its_own("pydicom", path.name, path.read_bytes(), dcmread(path))
    outcome = drop_files(stack, "clinic-a", {path.name: film.content})
    assert not outcome.failed, outcome.reasons
    assert shown(viewer, film.study) == IMAGE
    pane = viewer.page.locator("[data-cy=viewport-pane]").first

    def frame() -> str:
        return viewer.page.locator("[data-cy=viewport-overlay-bottom-right]").first.inner_text()

    first, picture = frame(), colours(pane)
    viewer.page.locator("[data-cy=cine-player-play-pause]").click()
    wait_until(lambda: frame() != first, 30, "another frame is shown")
    wait_until(lambda: np.abs(colours(pane) - picture).max() > 50, 30, "another picture is drawn")


def test_an_address_without_a_study_leads_to_the_list(viewer: Viewer) -> None:
    for address in ("/viewer", "/viewer?StudyInstanceUIDs="):
        viewer.open(address)
        words = "One or more of the requested studies are not available"
        viewer.await_element(viewer.page.get_by_text(words))
    viewer.page.get_by_role("link", name="study list").click()
    viewer.await_element(viewer.page.locator("tr input").first)
