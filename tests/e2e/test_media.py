"""Thumbnails, documents and videos reach the viewer with the token in a header, and with none in an address."""

from __future__ import annotations

import base64
import io
import re
import secrets
from typing import TYPE_CHECKING

import numpy as np
from harness.drop import drop_files
from harness.phantom import Identity, Study, document, video
from harness.viewer import TIMEOUT_MS
from harness.wait import wait_until
from PIL import Image
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.people import People
    from harness.stack import Stack
    from harness.viewer import Viewer
    from numpy.typing import NDArray
    from playwright.sync_api import Browser

# A JSON Web Token: two parts that are objects, and a signature (RFC 7519); or a parameter named so.
TOKEN = re.compile(r"eyJ[\w-]+\.eyJ|token=")
COLUMNS, ROWS, FRAMES = 320, 240, 25
# A second of red, as H.264.
RECORD = """async ([width, height, frames]) => {
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d');
  const recorder = new MediaRecorder(canvas.captureStream(25), { mimeType: 'video/mp4;codecs=avc1.64001f' });
  const parts = [];
  recorder.ondataavailable = event => parts.push(event.data);
  const whole = new Promise(done => { recorder.onstop = done; });
  recorder.start();
  for (let frame = 0; frame < frames; frame++) {
    context.fillStyle = `rgb(255, 0, ${frame % 2})`;
    context.fillRect(0, 0, width, height);
    await new Promise(done => setTimeout(done, 40));
  }
  recorder.stop();
  await whole;
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(''));
}"""


def pdf(text: str) -> bytes:
    """Write a document of one page (ISO 32000-1 7.5)."""
    content = f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET".encode()
    font = b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources %s >>"
        % font,
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
    )
    written, table = b"%PDF-1.4\n", b"0000000000 65535 f \n"
    for number, body in enumerate(objects, start=1):
        table += b"%010d 00000 n \n" % len(written)
        written += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    count = len(objects) + 1
    end = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (count, len(written))
    whole = written + b"xref\n0 %d\n%s" % (count, table) + end
    return whole + b"\n" * (len(whole) % 2)


def recorded(browser: Browser) -> bytes:
    """Have the browser record a video."""
    page = browser.new_context().new_page()
    mp4 = base64.b64decode(page.evaluate(RECORD, [COLUMNS, ROWS, FRAMES]))
    page.context.close()
    assert mp4[4:8] == b"ftyp"
    return mp4


def opened(stack: Stack, people: People, study: Study, new_window: Callable[[], Viewer]) -> Viewer:
    """Put a study into the archive and open it."""
    outcome = drop_files(stack, "clinic-a", study.files)
    assert not outcome.failed, outcome.reasons
    viewer = new_window()
    viewer.open(f"/viewer?StudyInstanceUIDs={study.uid}")
    viewer.log_in("physician-a", people.passwords["physician-a"])
    return viewer


def somebody() -> Identity:
    return Identity(f"P-{secrets.token_hex(4)}")


def colours(viewer: Viewer) -> NDArray[np.int64]:
    """Photograph the viewport: red, green and blue."""
    pane = viewer.page.locator("[data-cy=viewport-pane]").first
    shot = pane.screenshot(timeout=TIMEOUT_MS)
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), dtype=np.int64)


def tokens_are_in_headers_alone(viewer: Viewer) -> None:
    """Assert that whatever came from the archive was asked for so, and that no address held a token."""
    answers = viewer.watch.answers(f"{viewer.url}/dicom-web/")
    assert answers
    assert [a.url for a in answers if "authorization" not in a.request.headers] == []
    assert [a.url for a in answers if a.status != 200] == []
    token = viewer.access_token()
    leaks = [url for url in viewer.watch.requests if token in url or TOKEN.search(url)]
    assert leaks == []
    assert viewer.watch.policy_violations() == []
    assert viewer.watch.elsewhere(viewer.url) == []


def test_a_document_is_shown(
    stack: Stack, people: People, new_window: Callable[[], Viewer]
) -> None:
    content = pdf("Report of the phantom")
    viewer = opened(stack, people, document(content, somebody()), new_window)
    shown = viewer.page.locator('object[data^="blob:"]')
    viewer.await_element(shown)
    viewer.confirm_notice()
    read = viewer.page.evaluate(
        "async url => Array.from(new Uint8Array(await (await fetch(url)).arrayBuffer()))",
        shown.get_attribute("data"),
    )
    assert bytes(read) == content
    # Most of it is paper.
    wait_until(lambda: (colours(viewer).min(axis=-1) > 250).mean() > 0.3, 30, "it is drawn")
    tokens_are_in_headers_alone(viewer)


def test_a_video_is_shown(
    stack: Stack, people: People, browser: Browser, new_window: Callable[[], Viewer]
) -> None:
    study = video(recorded(browser), somebody(), rows=ROWS, columns=COLUMNS, frames=FRAMES)
    viewer = opened(stack, people, study, new_window)
    viewer.await_element(viewer.page.locator("[data-cy=viewport-pane] canvas").first)
    viewer.confirm_notice()

    def is_red() -> bool:
        red, green, blue = np.moveaxis(colours(viewer), -1, 0)
        return bool(((red > 200) & (green < 50) & (blue < 50)).mean() > 0.5)

    wait_until(is_red, 60, "it is drawn", lambda: str(viewer.watch.complaints))
    tokens_are_in_headers_alone(viewer)


def test_a_thumbnail_is_shown(
    people: People,
    drop_study: Callable[[str, str, int], Study],
    new_window: Callable[[], Viewer],
) -> None:
    study = drop_study("clinic-a", "ct", 11)
    viewer = new_window()
    viewer.open(f"/viewer?StudyInstanceUIDs={study.uid}")
    viewer.log_in("physician-a", people.passwords["physician-a"])
    thumbnail = viewer.page.locator("[data-cy=study-browser-thumbnail] img").first
    viewer.await_element(thumbnail)
    expect(thumbnail).to_have_js_property("complete", value=True)
    assert (thumbnail.get_attribute("src") or "").startswith(("blob:", "data:"))
    tokens_are_in_headers_alone(viewer)
