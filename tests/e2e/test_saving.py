"""What a physician saves from the viewer into a study of the own clinic, and reads back after a reload."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from harness.viewer import TIMEOUT_MS
from harness.wait import wait_until
from PIL import Image
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.dicomweb import Reader
    from harness.people import People
    from harness.phantom import Study
    from harness.viewer import Viewer
    from playwright.sync_api import Locator

ENHANCED_SR = "1.2.840.10008.5.1.4.1.1.88.22"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
# A square of the first slice: this mode of the viewer has no brush, so its own commands make the segmentation, and
# its own library paints.
PAINT = """async ([label, from, to]) => {
  const viewportId = window.services.viewportGridService.getActiveViewportId();
  const id = await window.commandsManager.runCommand(
    'createLabelmapForViewport', { viewportId, options: { label } });
  const { segmentation } = window.cornerstoneTools;
  const { imageIds } = segmentation.state.getSegmentation(id).representationData.Labelmap;
  const image = window.cornerstone.cache.getImage(imageIds[0]);
  const voxels = image.voxelManager.getScalarData();
  for (let row = from; row < to; row++) {
    voxels.fill(1, row * image.columns + from, row * image.columns + to);
  }
  segmentation.triggerSegmentationEvents.triggerSegmentationDataModified(id, [0], 1);
  return id;
}"""
# What is painted of the segmentations that are shown, in voxels.
PAINTED = """() => window.services.segmentationService.getSegmentations().map(({ segmentationId, label }) => {
  const held = window.cornerstoneTools.segmentation.state.getSegmentation(segmentationId);
  const images = held.representationData.Labelmap.imageIds.map(id => window.cornerstone.cache.getImage(id));
  const voxels = images.flatMap(image => Array.from(image.voxelManager.getScalarData()));
  return [label, voxels.filter(voxel => voxel).length];
})"""
FIRST, LAST = 60, 120


@pytest.fixture
def opened(
    people: People,
    drop_study: Callable[[str, str, int], Study],
    new_window: Callable[[], Viewer],
) -> tuple[Viewer, Study]:
    """Provide a CT of clinic-a, open in front of a physician of that clinic."""
    study = drop_study("clinic-a", "ct", 5)
    viewer = new_window()
    viewer.open(f"/viewer?StudyInstanceUIDs={study.uid}")
    viewer.log_in("physician-a", people.passwords["physician-a"])
    viewer.see(study.pictures)
    return viewer, study


def measure(viewer: Viewer) -> str:
    """Draw a line by mouse and have it tracked; returns the length that the viewer shows."""
    page = viewer.page
    page.locator("[data-cy=MeasurementTools-split-button-primary]").click()
    box = page.locator("[data-cy=viewport-pane]").first.bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 100, y)
    page.mouse.down()
    page.mouse.move(x, y + 10, steps=5)
    page.mouse.move(x + 100, y + 20, steps=5)
    page.mouse.up()
    page.locator("[data-cy=prompt-begin-tracking-yes-btn]").click()
    page.locator("[data-cy=trackedMeasurements-btn]").click()
    return shown_length(viewer)


def shown_length(viewer: Viewer) -> str:
    """Return the length in the list of measurements, once there is one."""
    return viewer.page.locator("[data-cy=data-row-details-primary]").inner_text(timeout=TIMEOUT_MS)


def listed(viewer: Viewer, name: str) -> Locator:
    """Return what the list of series shows of a report or a segmentation."""
    return viewer.page.locator("[data-cy=study-browser-thumbnail-no-image]", has_text=name)


def save(viewer: Viewer, name: str) -> list[str]:
    """Confirm the viewer's dialog under a name; returns the SOP Classes that the archive says it stored."""
    dialog = viewer.page.get_by_role("dialog")
    dialog.locator("[data-cy=dialog-input]").fill(name)
    with viewer.page.expect_response(
        lambda answer: (
            answer.request.method == "POST" and answer.url.endswith("/dicom-web/studies")
        ),
        timeout=TIMEOUT_MS,
    ) as stored:
        dialog.get_by_role("button", name="Save").click()
    answer = stored.value
    assert answer.status == 200, answer.text()
    expect(listed(viewer, name)).to_be_visible()
    return [item["00081150"]["Value"][0] for item in answer.json()["00081199"]["Value"]]


def open_saved(viewer: Viewer, study: Study, name: str) -> None:
    """Load the page anew and open what was saved from the list of series."""
    viewer.page.reload()
    viewer.see(study.pictures)
    listed(viewer, name).dblclick(timeout=TIMEOUT_MS)


def reddish(viewer: Viewer) -> float:
    """Return the share of the viewport that is neither grey nor black: red, as the first segment is painted."""
    shot = viewer.page.locator("[data-cy=viewport-pane]").first.screenshot(timeout=TIMEOUT_MS)
    red, green, _ = np.moveaxis(np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), int), -1, 0)
    return float((red - green > 30).mean())


def modalities(reader: Reader, study: Study) -> set[str]:
    """Return the modalities of a study's series as the archive lists them for a person."""
    answer = reader.get(f"/dicom-web/studies/{study.uid}/series")
    return {row["00080060"]["Value"][0] for row in answer.json()} if answer.ok else set()


def test_a_measured_length_is_saved_as_a_report_and_read_back(
    opened: tuple[Viewer, Study], reader: Callable[[str], Reader]
) -> None:
    viewer, study = opened
    length = float(measure(viewer).removesuffix(" mm"))
    assert length > 1
    viewer.page.get_by_role("button", name=re.compile("Create SR|Save")).first.click()
    assert save(viewer, "Jaw length") == [ENHANCED_SR]

    open_saved(viewer, study, "Jaw length")
    # What is tracked again is a measurement of the viewer's own, no longer what the report draws.
    viewer.page.get_by_role("button", name="Yes", exact=True).click(timeout=TIMEOUT_MS)
    viewer.page.locator("[data-cy=trackedMeasurements-btn]").click()
    assert float(shown_length(viewer).removesuffix(" mm")) == pytest.approx(length, abs=0.06)
    assert modalities(reader("physician-a"), study) == {"CT", "SR"}
    assert modalities(reader("physician-b"), study) == set()
    assert viewer.watch.policy_violations() == []
    assert viewer.watch.elsewhere(viewer.url) == []


def test_a_segmentation_is_saved_and_read_back(
    opened: tuple[Viewer, Study], reader: Callable[[str], Reader]
) -> None:
    viewer, study = opened
    page = viewer.page
    painted = (LAST - FIRST) ** 2
    segmentation = page.evaluate(PAINT, ["Lesion", FIRST, LAST])
    wait_until(lambda: reddish(viewer) > 0.02, 30, "the segment is drawn")
    page.evaluate(
        "id => void window.commandsManager.runCommand('storeSegmentation', { segmentationId: id })",
        segmentation,
    )
    assert save(viewer, "Lesion") == [LABEL_MAP]

    open_saved(viewer, study, "Lesion")
    page.get_by_role("button", name="LOAD").or_(page.get_by_text("LOAD", exact=True)).first.click(
        timeout=TIMEOUT_MS
    )
    wait_until(
        lambda: page.evaluate(PAINTED) == [["Lesion", painted]],
        60,
        "it is loaded",
        lambda: str(page.evaluate(PAINTED)),
    )
    wait_until(lambda: reddish(viewer) > 0.02, 30, "the segment is drawn")
    assert modalities(reader("physician-a"), study) == {"CT", "SEG"}
    assert modalities(reader("physician-b"), study) == set()
    assert viewer.watch.policy_violations() == []
    assert viewer.watch.elsewhere(viewer.url) == []
