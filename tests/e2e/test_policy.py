"""What the content security policy holds back in a real browser: scripts that somebody slips in, and other origins."""

from __future__ import annotations

import functools
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from harness.drop import drop_files
from harness.phantom import Identity, ct
from harness.viewer import TIMEOUT_MS
from harness.wait import wait_until
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.people import People
    from harness.phantom import Study
    from harness.stack import Stack
    from harness.viewer import Viewer
    from playwright.sync_api import Browser, Page

POLICY = "Content Security Policy"
# Each way of a script into a page.
INJECTIONS = {
    "inline": "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)",
    "handler": "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"window.ran = 1\">')",
    "eval": "eval('window.ran = 1')",
    "timer": "setTimeout('window.ran = 1')",
    "constructor": "new Function('window.ran = 1')()",
    "data": "const s = document.createElement('script'); s.src = 'data:,window.ran=1'; document.body.append(s)",
    "blob": "const s = document.createElement('script');"
    " s.src = URL.createObjectURL(new Blob(['window.ran = 1'])); document.body.append(s)",
    "link": "location.href = 'javascript:void(window.ran = 1)'",
    "frame": "const f = document.createElement('iframe'); f.srcdoc = '<script>top.ran = 1</script>';"
    " document.body.append(f)",
}
# Each way of a page to another origin, but for leaving for it, which no policy forbids.
CONNECTIONS = {
    "fetch": "fetch(there, { mode: 'no-cors' })",
    "request": "const x = new XMLHttpRequest(); x.open('GET', there); x.send()",
    "beacon": "navigator.sendBeacon(there, 'x')",
    "socket": "new WebSocket(there.replace('http', 'ws'))",
    "events": "new EventSource(there)",
    "script": "const s = document.createElement('script'); s.src = there; document.body.append(s)",
    "image": "new Image().src = there",
    "style": "const l = document.createElement('link'); l.rel = 'stylesheet'; l.href = there; document.body.append(l)",
    "font": "const f = new FontFace('x', `url(${there})`); document.fonts.add(f); f.load()",
    "media": "new Audio(there).load()",
    "frame": "const f = document.createElement('iframe'); f.src = there; document.body.append(f)",
    "object": "const o = document.createElement('object'); o.data = there; document.body.append(o)",
    "form": "const f = document.createElement('form'); f.method = 'post'; f.action = there; document.body.append(f);"
    " f.submit()",
}
MARKUP = '<img src="data:," onerror="window.ran=1">'


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """Listen at another origin of this machine; yields its address and the paths that are asked for."""
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.path)
            # Whoever came to leave for here stays where they are.
            self.send_response(204)
            self.end_headers()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def run(page: Page, code: str, there: str = "") -> None:
    """Have a page run code of its own: by a timer, since what a debugger runs is let pass."""
    page.evaluate(f"there => {{ window.ran = 0; setTimeout(() => {{ {code} }}); }}", there)


def has_run(page: Page) -> bool:
    return bool(page.evaluate("() => window.ran"))


@pytest.fixture
def unguarded(browser: Browser) -> Iterator[Page]:
    """Provide a page without any policy, to see that what is tried works where it may."""
    page = browser.new_context().new_page()
    yield page
    page.context.close()


@pytest.fixture
def viewing(
    people: People,
    drop_study: Callable[[str, str, int], Study],
    new_window: Callable[[], Viewer],
) -> Viewer:
    """Provide a viewer that shows a study."""
    study = drop_study("clinic-a", "ct", 6)
    viewer = new_window()
    viewer.open(f"/viewer?StudyInstanceUIDs={study.uid}")
    viewer.log_in("physician-a", people.passwords["physician-a"])
    viewer.see(study.pictures)
    assert viewer.watch.policy_violations() == []
    return viewer


def is_blocked(viewer: Viewer, way: str, code: str, there: str = "") -> None:
    """Try a way in a viewer, and wait until its console says that the policy blocked it."""

    def complaints() -> int:
        # Asking the page lets its messages come in.
        viewer.page.evaluate("0")
        return sum(POLICY in text for text in viewer.watch.complaints)

    before = complaints()
    run(viewer.page, code, there)
    told = viewer.watch.complaints
    wait_until(lambda: complaints() > before, 10, f"{way} is blocked", lambda: str(told))


def test_a_script_that_is_slipped_into_the_viewer_does_not_run(
    viewing: Viewer, unguarded: Page
) -> None:
    for way, code in INJECTIONS.items():
        run(unguarded, code)
        wait_until(lambda: has_run(unguarded), 10, f"{way} runs without a policy")
        is_blocked(viewing, way, code)
        assert not has_run(viewing.page), way


def test_the_viewer_reaches_no_other_origin(viewing: Viewer, unguarded: Page) -> None:
    with listening() as (there, heard):
        for way, code in CONNECTIONS.items():
            run(unguarded, code, f"{there}/{way}")
            is_heard = functools.partial(heard.count, f"/{way}")
            wait_until(is_heard, 10, f"{way} is heard without a policy")
        heard.clear()
        for way, code in CONNECTIONS.items():
            is_blocked(viewing, way, code, f"{there}/{way}")
        # Whoever was to come before this one has.
        run(unguarded, CONNECTIONS["fetch"], f"{there}/last")
        wait_until(lambda: "/last" in heard, 10, "the last one is heard")
        assert heard == ["/last"]


def test_markup_in_a_study_is_text_to_the_viewer(
    stack: Stack, people: People, new_window: Callable[[], Viewer]
) -> None:
    study = ct(7, Identity("P-MARKUP", f"Markup^{MARKUP}", description=MARKUP))
    outcome = drop_files(stack, "clinic-a", study.files)
    assert not outcome.failed, outcome.reasons
    viewer = new_window()
    viewer.open()
    viewer.log_in("physician-a", people.passwords["physician-a"])
    expect(viewer.search("Markup").first).to_contain_text(MARKUP)
    viewer.open(f"/viewer?StudyInstanceUIDs={study.uid}")
    viewer.see(study.pictures)
    expect(viewer.page.get_by_text(MARKUP).first).to_be_visible(timeout=TIMEOUT_MS)
    assert not has_run(viewer.page)
    assert viewer.watch.policy_violations() == []
