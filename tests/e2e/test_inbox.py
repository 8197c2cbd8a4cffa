"""The page at /inbox/ in Chromium: a technician brings studies, a physician looks, and neither needs a mouse."""

from __future__ import annotations

import contextlib
import re
import secrets
from typing import TYPE_CHECKING

import pytest
from e2e.conftest import SCREENSHOTS
from harness.browser import Watch
from harness.drop import drop_files, put
from harness.own_importer import backend_url
from harness.people import service_token
from harness.phantom import Identity, ct
from harness.viewer import Viewer
from harness.wait import wait_until
from playwright.sync_api import Error as PageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.dicomweb import Reader
    from harness.people import People
    from harness.phantom import Study
    from harness.stack import Stack
    from playwright.sync_api import Browser, FileChooser, Locator, Page

SLICES = 500
TIMEOUT_MS = 60_000
FILED_S = 120
# Three parts in Base64, of which the first are JSON (RFC 7515 7.1).
TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")
PHONE = 360, 740


def enter(viewer: Viewer, people: People, name: str) -> Page:
    """Open the page and log in."""

    def is_open() -> bool:
        # Chromium gives up while a network of this machine comes or goes.
        with contextlib.suppress(PageError):
            viewer.open("/inbox/")
            return True
        return False

    wait_until(is_open, 30, "the page opens")
    viewer.log_in(name, people.passwords[name])
    viewer.await_element(viewer.page.locator("#arrived"))
    assert viewer.page.url == f"{viewer.url}/inbox/"
    return viewer.page


def folder_of(tmp_path: Path, study: Study) -> Path:
    """Write a study as a CD has it, two folders deep."""
    top = tmp_path / f"CD {secrets.token_hex(3)}"
    put(top / "DICOM" / "SE1", study.files)
    return top


def drop(page: Page, *paths: Path) -> None:
    """Drop files and folders as a desktop does."""
    box = page.locator("#drop").bounding_box()
    assert box
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "data": data, **at})


def asked(page: Page) -> list[FileChooser]:
    """Press Enter; returns the dialog for files, nothing where a busy browser did not open it."""
    with contextlib.suppress(PageError):
        with page.expect_file_chooser(timeout=10_000) as chooser:
            page.keyboard.press("Enter")
        return [chooser.value]
    return []


def group(page: Page, name: str) -> Locator:
    """Return what is told of a submission."""
    return page.locator("#groups > li", has=page.get_by_role("heading", name=name, exact=True))


def is_told(page: Page, name: str, text: str) -> None:
    """Wait until a submission's state is told in these words."""
    group(page, name).filter(has_text=text).first.wait_for(timeout=FILED_S * 1000)


def keeps_no_token(viewer: Viewer) -> None:
    """Assert that a token was in no address and is in no storage, and that nothing was blocked or went elsewhere."""
    kept = viewer.page.evaluate("() => JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert kept == "[{},{}]"
    assert [url for url in viewer.watch.requests if TOKEN.search(url)] == []
    assert viewer.watch.policy_violations() == []
    assert viewer.watch.elsewhere(viewer.url) == []


def test_a_dropped_folder_of_500_slices_survives_a_lost_connection_and_is_searchable(
    people: People,
    reader: Callable[[str], Reader],
    new_window: Callable[[], Viewer],
    tmp_path: Path,
) -> None:
    study = ct(501, Identity("DROPPED", "Dropped^Folder"), slices=SLICES, size=64)
    top = folder_of(tmp_path, study)
    viewer = new_window()
    page = enter(viewer, people, "technician-a")
    drop(page, top)
    state = page.locator("#sending-state")
    done = re.compile(r"^([1-9]\d\d) of 500 files")
    state.filter(has_text=done).wait_for(timeout=TIMEOUT_MS)
    page.context.set_offline(offline=True)
    state.filter(has_text="The connection is lost").wait_for(timeout=TIMEOUT_MS)
    viewer.keep_picture("inbox-lost")
    page.context.set_offline(offline=False)
    outcome = page.locator("#outcome")
    outcome.filter(has_text="500 files sent").wait_for(timeout=TIMEOUT_MS)
    is_told(page, top.name, "500 files in the archive")
    assert "Filed" in group(page, top.name).inner_text()
    found = reader("physician-a").search(f"/dicom-web/studies?StudyInstanceUID={study.uid}")
    assert [one["00201208"]["Value"] for one in found] == [[SLICES]]
    assert reader("physician-b").search(f"/dicom-web/studies?StudyInstanceUID={study.uid}") == []
    keeps_no_token(viewer)


def test_an_upload_that_was_stopped_goes_on_in_another_browser(
    people: People, new_window: Callable[[], Viewer], tmp_path: Path
) -> None:
    study = ct(502, slices=60, size=63)
    top = folder_of(tmp_path, study)
    first = new_window()
    page = enter(first, people, "technician-a")
    # Over a slow line, so that there is a middle.
    line = {"offline": False, "latency": 200, "downloadThroughput": -1, "uploadThroughput": -1}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", line)
    page.locator("#folder").set_input_files(top)
    page.locator("#sending-state").filter(has_text=re.compile(r"^\d\d of 60")).wait_for(
        timeout=TIMEOUT_MS
    )
    page.get_by_role("button", name="Stop").click()
    page.locator("#outcome").filter(has_text="Stopped").wait_for(timeout=TIMEOUT_MS)
    second = new_window()
    page = enter(second, people, "technician-a")
    page.locator("#uploads li", has_text=top.name).wait_for(timeout=TIMEOUT_MS)
    here = int(
        page.locator("#uploads li", has_text=top.name).inner_text().split("\n")[-1].split()[0]
    )
    assert here >= 10
    page.locator("#folder").set_input_files(top)
    page.locator("#outcome").filter(has_text="60 files sent").wait_for(timeout=TIMEOUT_MS)
    is_told(page, top.name, "60 files in the archive")
    # What was there was announced, and not sent again.
    patched = [a for a in second.watch.answers("/uploads/") if a.request.method == "PATCH"]
    assert 0 < len(patched) <= 60 - here + 3


def test_a_failure_says_why_and_is_tried_again_with_the_keyboard_alone(
    stack: Stack,
    people: People,
    new_window: Callable[[], Viewer],
    tmp_path: Path,
) -> None:
    who = Identity("TWICE", "Twice^Brought")
    study, other = (ct(seed, who, slices=2, size=63) for seed in (503, 505))
    assert drop_files(stack, "clinic-a", other.files).failed == {}
    top = folder_of(tmp_path, study)
    viewer = new_window()
    page = enter(viewer, people, "technician-a")

    def tab_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            found = page.evaluate(
                "() => { const e = document.activeElement; const o = getComputedStyle(e);"
                " return [e.getAttribute('aria-label') ?? e.textContent, o.outlineStyle, o.outlineWidth] }"
            )
            if found[0] == name:
                # Whoever has no mouse sees where they are.
                assert found[1:] == ["solid", "3px"]
                return
        pytest.fail(f"no way to {name}")

    tab_to("Choose a folder")
    tab_to("Choose files")
    (dialog,) = wait_until(lambda: asked(page), 60, "the dialog opens")
    dialog.set_files(sorted(top.rglob("*.dcm")))
    name = "Uploaded files"
    is_told(page, name, "another version of this image")
    told = group(page, name).first.inner_text()
    assert "2 files failed" in told
    assert "What to do:" in told
    viewer.keep_picture("inbox-failed")
    forget(stack, study.uid)
    tab_to(f"Try again what failed of {name}")
    page.keyboard.press("Enter")
    said = page.locator("#said").filter(has_text="2 files will be tried again")
    said.wait_for(state="attached", timeout=TIMEOUT_MS)
    is_told(page, name, "2 files in the archive")
    assert "failed" not in group(page, name).first.inner_text()
    # A filter by keyboard too.
    tab_to("")
    keeps_no_token(viewer)


def forget(stack: Stack, study_uid: str) -> None:
    """Remove a study from the archive, as its administrator would."""
    token = service_token(stack, "orthanc-api")
    headers = {"Authorization": f"Bearer {token}"}
    archive = backend_url(stack, "orthanc")
    with stack.session() as session:
        found = session.post(f"{archive}/tools/lookup", data=study_uid, headers=headers).json()
        (study,) = [one["ID"] for one in found if one["Type"] == "Study"]
        assert session.delete(f"{archive}/studies/{study}", headers=headers).ok


def test_a_physician_sees_what_arrived_opens_it_and_cannot_upload(
    stack: Stack, people: People, new_window: Callable[[], Viewer]
) -> None:
    study = ct(504, slices=3)
    outcome = drop_files(stack, "clinic-a", study.files)
    (filed, *_) = outcome.processed.values()
    viewer = new_window()
    page = enter(viewer, people, "physician-a")
    assert not page.locator("#send").is_visible()
    is_told(page, filed.parent.name, "3 files in the archive")
    assert page.get_by_role("button", name="Try again").count() == 0
    page.locator("#search").fill("no such folder")
    page.get_by_text("Nothing fits this search.").wait_for(timeout=TIMEOUT_MS)
    page.locator("#search").fill(filed.parent.name)
    keeps_no_token(viewer)
    group(page, filed.parent.name).get_by_role("link", name="Open the study").click()
    page.wait_for_url(f"**/viewer?StudyInstanceUIDs={study.uid}", timeout=TIMEOUT_MS)
    viewer.see(study.pictures)


def test_on_a_phone_nothing_is_cut_off(stack: Stack, people: People, browser: Browser) -> None:
    long = f"Export_of_a_patient_whose_name_is_very_long_{secrets.token_hex(30)}"
    put(stack.inbox("clinic-a") / long, {f"{'y' * 80}.dcm": b"", "two.dcm": b"no image"})
    context = browser.new_context(
        viewport={"width": PHONE[0], "height": PHONE[1]},
        is_mobile=True,
        has_touch=True,
        device_scale_factor=2,
    )
    page = context.new_page()
    watch = Watch()
    watch.on(page)
    viewer = Viewer(stack.url, page, watch, SCREENSHOTS)
    enter(viewer, people, "technician-a")
    is_told(page, long, "2 files failed")
    viewer.keep_picture("inbox-phone")
    wide = page.evaluate(
        "() => [...document.querySelectorAll('body *')].filter(e => e.checkVisibility() &&"
        " !e.closest('.unseen, .skip') && e.getBoundingClientRect().right > innerWidth)"
        ".map(e => e.outerHTML.slice(0, 200))"
    )
    assert wide == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= PHONE[0]
    # A finger hits what is to be hit.
    small = page.evaluate(
        "() => [...document.querySelectorAll('button, select')].filter(e => e.checkVisibility() &&"
        " e.getBoundingClientRect().height < 40).map(e => e.id)"
    )
    assert small == []
    keeps_no_token(viewer)
    context.close()


def test_the_page_says_when_a_session_is_over_and_logs_in_again(
    stack: Stack, people: People, new_window: Callable[[], Viewer]
) -> None:
    viewer = new_window()
    page = enter(viewer, people, "technician-a")
    page.get_by_role("button", name="Log out").click()
    page.locator("#username").wait_for(timeout=TIMEOUT_MS)
    viewer.log_in("technician-a", people.passwords["technician-a"])
    page.locator("#arrived").wait_for(timeout=TIMEOUT_MS)
    with stack.session() as session:
        # In the middle of the work, from elsewhere.
        page.route("**/inbox/api/**", lambda route: route.fulfill(status=401, json={"error": "x"}))
        page.route("**/token", lambda route: route.fulfill(status=400, json={"error": "x"}))
        assert session.get(f"{stack.url}/inbox/").status_code == 200
    page.get_by_text("Your session has ended").wait_for(timeout=TIMEOUT_MS)
    page.unroute_all()
    page.get_by_role("button", name="Log in").click()
    page.locator("#arrived").wait_for(timeout=TIMEOUT_MS)
    wait_until(lambda: page.locator("#message").is_hidden(), 10, "the message has gone")
