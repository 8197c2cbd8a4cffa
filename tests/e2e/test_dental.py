"""Dental studies in the viewer: how they hang, and that what is measured in them is what is true."""

from __future__ import annotations

import io
import secrets
from typing import TYPE_CHECKING

import numpy as np
import pydicom
import pytest
from harness import dental, phantom
from harness.drop import drop_files
from harness.viewer import LOADING_TIMEOUT_S, TIMEOUT_MS, likeness, window
from harness.wait import wait_until
from PIL import Image
from playwright.sync_api import expect

from .conftest import SCREENSHOTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.dental.marks import Distance, Measured
    from harness.people import People
    from harness.phantom import Study
    from harness.stack import Stack
    from harness.viewer import Picture, Viewer
    from playwright.sync_api import Browser, FloatRect

Point = tuple[float, float]

HUNG = """() => {
  const { protocol, stage } = window.services.hangingProtocolService.getActiveProtocol();
  return [protocol.id, stage.name];
}"""
ACTIVE = "id => window.services.viewportGridService.getActiveViewportId() === id"
BUILDERS: dict[str, Callable[[phantom.Identity], Measured]] = {
    "panoramic": dental.panoramic,
    "cephalometric": dental.cephalometric,
    "mount": dental.mount,
    "slices": dental.slices,
    "volume": dental.volume,
}
# What is white in a photograph of the window: beads, and no bone.
WHITE = 200
# How far from where a bead should be one is looked for, in pixels of the screen.
REACH = 16


@pytest.fixture(scope="module")
def measured(stack: Stack, people: People) -> dict[str, Measured]:
    """Provide dental studies by their kind, dropped into clinic-a's inbox together."""
    assert people.passwords
    built = {
        kind: build(phantom.Identity(f"{kind}-{secrets.token_hex(4)}", f"Dental^{kind.title()}"))
        for kind, build in BUILDERS.items()
    }
    files = {
        f"{kind}/{name}": content
        for kind, one in built.items()
        for name, content in one.study.files.items()
    }
    outcome = drop_files(stack, "clinic-a", files)
    assert not outcome.failed, outcome.reasons
    return built


@pytest.fixture(scope="module")
def dentist(browser: Browser, stack: Stack, people: People) -> Iterator[Viewer]:
    """Provide the window of a physician of clinic-a."""
    viewer = window(browser, stack.url, SCREENSHOTS)
    viewer.open("/")
    viewer.log_in("physician-a", people.passwords["physician-a"])
    yield viewer
    viewer.page.context.close()


@pytest.fixture
def opened(
    dentist: Viewer, measured: dict[str, Measured], request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Viewer]]:
    """Open a dental study; what the test made of it is photographed."""

    def look(kind: str) -> Viewer:
        look_at(dentist, measured[kind].study)
        return dentist

    yield look
    dentist.keep_picture(request.node.name)
    assert dentist.watch.policy_violations() == []
    assert dentist.watch.elsewhere(dentist.url) == []


def look_at(viewer: Viewer, study: Study) -> None:
    viewer.open(f"/viewer?StudyInstanceUIDs={study.uid}")
    viewer.drawn()


def boxes(viewer: Viewer) -> list[FloatRect]:
    """Return where the viewports are, as they are read: by rows."""
    panes = viewer.page.locator("[data-cy=viewport-pane]").all()
    found = [box for box in (pane.bounding_box() for pane in panes) if box]
    return sorted(found, key=lambda box: (round(box["y"]), round(box["x"])))


def photograph(viewer: Viewer, box: FloatRect) -> Picture:
    shot = viewer.page.screenshot(clip=box, timeout=TIMEOUT_MS)
    return np.asarray(Image.open(io.BytesIO(shot)).convert("L"), np.float64)


def fitted(box: FloatRect, shape: tuple[int, int], pixel: tuple[int, ...]) -> Point:
    """Return where a pixel (row, column) of a picture is that fits into a viewport."""
    rows, columns = shape
    scale = min(box["height"] / rows, box["width"] / columns)
    return (
        box["x"] + box["width"] / 2 + (pixel[1] + 0.5 - columns / 2) * scale,
        box["y"] + box["height"] / 2 + (pixel[0] + 0.5 - rows / 2) * scale,
    )


def bead(viewer: Viewer, near: Point) -> Point:
    """Return where a bead is seen: the middle of what is white there."""
    corner = round(near[0]) - REACH, round(near[1]) - REACH
    box: FloatRect = {"x": corner[0], "y": corner[1], "width": 2 * REACH, "height": 2 * REACH}

    def middle() -> Point | None:
        rows, columns = np.nonzero(photograph(viewer, box) > WHITE)
        if not len(rows):
            return None
        return corner[0] + columns.mean() + 0.5, corner[1] + rows.mean() + 0.5

    found = wait_until(middle, LOADING_TIMEOUT_S, f"a bead is seen near {near}")
    assert found
    return found


def measure(viewer: Viewer, ends: tuple[Point, Point]) -> None:
    """Draw a length by mouse."""
    page = viewer.page
    page.locator("[data-cy=MeasurementTools-split-button-primary]").click()
    page.mouse.move(*ends[0])
    page.mouse.down()
    page.mouse.move((ends[0][0] + ends[1][0]) / 2, (ends[0][1] + ends[1][1]) / 2, steps=3)
    page.mouse.move(*ends[1], steps=3)
    page.mouse.up()


def lengths_mm(viewer: Viewer, count: int) -> list[float]:
    """Return the lengths that the list of measurements shows."""
    viewer.page.locator("[data-cy=trackedMeasurements-btn]").click()
    rows = viewer.page.locator("[data-cy=data-row-details-primary]")
    wait_until(lambda: rows.count() == count, 30, f"{count} measurements are listed")
    return [float(text.split(" mm")[0]) for text in rows.all_inner_texts()]


def saved_mm(viewer: Viewer) -> list[float]:
    """Save the measurements as a report; returns the lengths that the archive was sent."""
    viewer.page.get_by_role("button", name="Create SR").click()
    dialog = viewer.page.get_by_role("dialog")
    dialog.locator("[data-cy=dialog-input]").fill("Lengths")
    with viewer.page.expect_response(
        lambda answer: answer.request.method == "POST" and answer.url.endswith("/studies"),
        timeout=TIMEOUT_MS,
    ) as stored:
        dialog.get_by_role("button", name="Save").click()
    assert stored.value.status == 200, stored.value.text()
    body = stored.value.request.post_data_buffer or b""
    part = body[body.index(b"DICM") - 128 : body.rindex(b"\r\n--")]
    report = pydicom.dcmread(io.BytesIO(part))
    return [float(one.value) for one in report.iterall() if one.keyword == "NumericValue"]


def measure_radiograph(viewer: Viewer, study: Study, distance: Distance) -> float:
    (box,) = boxes(viewer)
    first, second = (
        fitted(box, study.pictures.shape[1:], end) for end in (distance.first, distance.second)
    )
    measure(viewer, (bead(viewer, first), bead(viewer, second)))
    viewer.page.locator("[data-cy=prompt-begin-tracking-yes-btn]").click()
    return lengths_mm(viewer, 1)[0]


@pytest.mark.parametrize("kind", ["panoramic", "cephalometric"])
def test_a_length_in_a_radiograph_is_true_within_a_pixel(
    kind: str, opened: Callable[[str], Viewer], measured: dict[str, Measured]
) -> None:
    viewer, study = opened(kind), measured[kind].study
    viewer.see(study.pictures, at_least=0.98)
    assert viewer.page.evaluate(HUNG)[0] == f"dental.{kind}"
    (distances,) = measured[kind].distances.values()
    truth = next(one for one in distances if one.name == "slanting")
    assert measure_radiograph(viewer, study, truth) == pytest.approx(truth.length_mm, abs=0.5)


def test_each_of_18_images_hangs_at_its_place_and_can_be_enlarged(
    opened: Callable[[str], Viewer], measured: dict[str, Measured]
) -> None:
    viewer, study = opened("mount"), measured["mount"].study
    wait_until(lambda: len(boxes(viewer)) == len(study.pictures), 30, "the mount is laid out")
    places = boxes(viewer)
    cut = [picture[: 360 if up else 260, : 260 if up else 360] for picture, up in upright(study)]

    def is_mounted() -> bool:
        alike = [
            likeness(photograph(viewer, box), picture)
            for box, picture in zip(places, cut, strict=True)
        ]
        return min(alike) > 0.8

    wait_until(is_mounted, LOADING_TIMEOUT_S, "each image is at its place")
    viewer.keep_picture("mount-of-18")
    viewer.page.mouse.dblclick(places[9]["x"] + 60, places[9]["y"] + 60)
    wait_until(lambda: len(boxes(viewer)) == 1, 30, "one is enlarged")
    wait_until(lambda: likeness(viewer.drawn(), cut[9]) > 0.9, 30, "it is the one")
    viewer.page.mouse.dblclick(places[9]["x"], places[9]["y"])
    wait_until(lambda: boxes(viewer) == places and is_mounted(), 30, "the mount is back")


def upright(study: Study) -> Iterator[tuple[Picture, bool]]:
    """Return the pictures of a mount, and whether each stands."""
    for picture in study.pictures:
        yield picture, bool(picture[-1].any())


@pytest.mark.parametrize("kind", ["slices", "volume"])
def test_lengths_in_three_planes_of_a_cone_beam_ct_are_true_within_a_voxel_and_saved(
    kind: str, opened: Callable[[str], Viewer], measured: dict[str, Measured]
) -> None:
    viewer = opened(kind)
    wait_until(lambda: len(boxes(viewer)) == 3, 30, "three planes are shown")
    planes = dict(zip(("axial", "coronal", "sagittal"), boxes(viewer), strict=True))
    truth = measured[kind].distances["volume"]
    size = measured[kind].study.pictures.shape[0]
    across = {
        "axial": lambda at: (at[1], at[2]),
        "coronal": lambda at: (size - 1 - at[0], at[2]),
        "sagittal": lambda at: (size - 1 - at[0], at[1]),
    }
    for one in truth:
        box = planes[one.name]
        first, second = (
            bead(viewer, fitted(box, (size, size), across[one.name](end)))
            for end in (one.first, one.second)
        )
        if one.name != "axial":
            # In a viewport that is not the active one, the first click only makes it that.
            viewer.page.mouse.click(box["x"] + 30, box["y"] + box["height"] / 3)
            viewer.page.wait_for_function(ACTIVE, arg=f"mpr-{one.name}")
        measure(viewer, (first, second))
        if one.name == "axial":
            viewer.page.locator("[data-cy=prompt-begin-tracking-yes-btn]").click()
    shown = lengths_mm(viewer, len(truth))
    assert shown == pytest.approx([one.length_mm for one in truth], abs=1.6)
    # The viewer rounds what it shows.
    assert sorted(saved_mm(viewer)) == pytest.approx(sorted(shown), abs=0.06)


def test_bone_and_soft_tissue_are_a_key_away(opened: Callable[[str], Viewer]) -> None:
    viewer = opened("volume")
    pane = viewer.page.locator("[data-cy=viewport-pane]").first
    for key, shown in (("1", "W:2500L:480"), ("2", "W:400L:40")):
        viewer.page.keyboard.press(key)
        expect(pane).to_contain_text(shown, timeout=TIMEOUT_MS)


def test_an_ordinary_ct_is_a_stack_with_and_without_what_is_dental(
    dentist: Viewer, drop_study: Callable[[str, str, int], Study]
) -> None:
    study = drop_study("clinic-a", "ct", 12)
    look_at(dentist, study)
    dentist.see(study.pictures)
    assert dentist.page.evaluate(HUNG) == ["default", "default"]
    assert len(boxes(dentist)) == 1

    dentist.page.route("**/dental.js", lambda route: route.abort())
    dentist.page.reload()
    dentist.see(study.pictures)
    assert any("goes on without dental" in text for text in dentist.watch.complaints)
