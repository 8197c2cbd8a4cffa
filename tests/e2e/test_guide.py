"""What docs/users.md tells people to do, done as it says; `make guide` puts the pictures that this takes into docs/."""

from __future__ import annotations

import io
import re
import secrets
from typing import TYPE_CHECKING

import pydicom
import pytest
from harness.drop import drop_files
from harness.phantom import Identity
from harness.stack import TESTS, TOP
from harness.viewer import TIMEOUT_MS
from harness.wait import wait_until
from playwright.sync_api import expect
from pydicom.data import get_testdata_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.people import People
    from harness.stack import Stack
    from harness.viewer import Viewer

PICTURES = TESTS / ".artifacts" / "guide"
# Real images that pydicom carries: a liver, a spine, a heart by ultrasound, a spine from the side.
REAL = ("examples_overlay.dcm", "CT_small.dcm", "examples_ybr_color.dcm", "MR_small.dcm")
CLINIC = f"clinic-{secrets.token_hex(4)}"
TAKEN = ("login", "study-list", "viewer", "measurement", "inbox")


@pytest.fixture(scope="module")
def clinic(stack: Stack, people: People) -> str:
    """Provide a clinic with a physician, a technician and real studies, which are the pictures' own."""
    people.clinic(CLINIC, "Clinic of the guide")
    people.person("guide-physician", "physician", CLINIC)
    people.person("guide-technician", "technician", CLINIC)
    for name in REAL:
        dataset = pydicom.dcmread(str(get_testdata_file(name)))
        identity = Identity()
        dataset.StudyInstanceUID = identity.uid("study")
        dataset.SeriesInstanceUID = identity.uid("series")
        dataset.SOPInstanceUID = identity.uid("instance")
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(content := io.BytesIO())
        outcome = drop_files(
            stack, CLINIC, {f"{dataset.Modality} export/{name}": content.getvalue()}
        )
        assert not outcome.failed, outcome.reasons
    PICTURES.mkdir(parents=True, exist_ok=True)
    return CLINIC


def test_the_guide_shows_the_pictures_that_are_taken_here() -> None:
    guide = (TOP / "docs" / "users.md").read_text()
    assert sorted(re.findall(r"\]\(([\w-]+)\.png\)", guide)) == sorted(TAKEN)
    assert all((TOP / "docs" / f"{name}.png").exists() for name in TAKEN)


def take(viewer: Viewer, name: str) -> None:
    assert name in TAKEN
    viewer.page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")


def test_a_physician_finds_a_study_reads_it_and_measures(
    people: People, clinic: str, new_window: Callable[[], Viewer]
) -> None:
    assert clinic
    viewer = new_window()
    page = viewer.page
    viewer.open()
    viewer.await_element(page.locator("#username"))
    take(viewer, "login")
    viewer.log_in("guide-physician", people.passwords["guide-physician"])
    rows = page.locator("tbody tr:not(:has(input))")
    expect(rows).to_have_count(len(REAL), timeout=TIMEOUT_MS)
    viewer.confirm_notice()
    rows.filter(has_text="MR").first.click()
    take(viewer, "study-list")

    rows.filter(has_text="liver").dblclick()
    wait_until(lambda: viewer.drawn().std() > 20, 60, "the image is drawn")
    take(viewer, "viewer")

    page.locator("[data-cy=MeasurementTools-split-button-primary]").click()
    box = page.locator("[data-cy=viewport-pane]").first.bounding_box()
    assert box
    # Across the lesion of the liver.
    x, y = box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.455
    page.mouse.move(x - 55, y)
    page.mouse.down()
    page.mouse.move(x, y + 5, steps=5)
    page.mouse.move(x + 55, y + 10, steps=5)
    page.mouse.up()
    page.locator("[data-cy=prompt-begin-tracking-yes-btn]").click()
    page.locator("[data-cy=trackedMeasurements-btn]").click()
    length = page.locator("[data-cy=data-row-details-primary]")
    expect(length).to_have_text(re.compile(r"^\d+(\.\d+)? mm$"), timeout=TIMEOUT_MS)
    take(viewer, "measurement")


def test_a_technician_sees_what_arrived(
    stack: Stack, people: People, clinic: str, new_window: Callable[[], Viewer]
) -> None:
    if stack.settings and stack.settings.values.get("INBOX_PAGE") != "yes":
        pytest.skip("the page at /inbox/ is off")
    drop_files(stack, clinic, {"CD from elsewhere/letter.dcm": b"no image" * 100})
    viewer = new_window()
    viewer.open("/inbox/")
    viewer.log_in("guide-technician", people.passwords["guide-technician"])
    page = viewer.page
    viewer.await_element(page.get_by_text("Send studies"))
    viewer.await_element(page.get_by_text("CD from elsewhere").first)
    take(viewer, "inbox")
