"""HTTP/2 against the specification, and floods of it: what is malformed is refused, and the front door stays up."""

from __future__ import annotations

import re
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness.http2 import Connection, Headers, connected, continued
from harness.wait import wait_until
from hyperframe.frame import (
    DataFrame,
    Frame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from security.scene import MULTIPART, Scene
from stack.settings import PODMAN_DIR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READER, STORER = "physician-a", "technician-a"
LIMITS = PODMAN_DIR / "nginx/includes/rate-limit.conf"
CANCEL = 8


def processes(scene: Scene) -> list[int]:
    """Return the processes of nginx: one that crashed would have been replaced.

    Of an appliance that the tests attached to nobody can say, and how it answers has to do.
    """
    if not scene.stack.settings:
        return []
    found = [scene.stack.main_process("nginx")]
    for process in found:
        children = Path(f"/proc/{process}/task/{process}/children").read_text()
        found.extend(int(child) for child in children.split())
    return found


@pytest.fixture(autouse=True)
def _stays_up(scene: Scene) -> Iterator[None]:
    """Assert that what a test does costs nobody else anything: the front door answers others as before."""
    before = processes(scene)
    assert len(before) > 2 or not scene.stack.settings
    yield

    def answers() -> bool:
        return scene.ask(READER, f"{scene.own.in_study}/metadata").status_code == 200

    wait_until(answers, 20, "a control request is answered")
    assert processes(scene) == before


def replaced(headers: Headers, **changes: str) -> Headers:
    """Change pseudo-headers by their names."""
    return [(name, changes.get(name[1:], value)) for name, value in headers]


Trick = tuple["Callable[[Headers], Headers]", set[str]]
REFUSED = {"400", "reset", "closed"}
# What a header that means nothing in HTTP/2 (RFC 9113 8.2.2) may become: nothing, or a refusal.
IGNORED = REFUSED | {"200"}
TRICKS: dict[str, Trick] = {
    "a space in the path": (lambda h: replaced(h, path="/dicom-web/studies HTTP/1.1"), REFUSED),
    "a line in the path": (lambda h: replaced(h, path="/ HTTP/1.1\r\nX: y"), REFUSED),
    "an empty path": (lambda h: replaced(h, path=""), REFUSED),
    "an absolute path": (lambda h: replaced(h, path="https://x/dicom-web/studies"), REFUSED),
    "a path without a slash": (lambda h: replaced(h, path="dicom-web/studies"), REFUSED),
    "a path of a star": (lambda h: replaced(h, path="*"), REFUSED),
    "no path": (lambda h: [pair for pair in h if pair[0] != ":path"], REFUSED),
    "two paths": (lambda h: [*h, (":path", "/")], REFUSED),
    "two methods": (lambda h: [(":method", "POST"), *h], REFUSED),
    "a space in the method": (lambda h: replaced(h, method="GET /x"), REFUSED),
    "another authority": (lambda h: replaced(h, authority="elsewhere.example"), {"307"}),
    "another authority than the host": (lambda h: [*h, ("host", "elsewhere.example")], REFUSED),
    "our host, another authority": (
        lambda h: [*replaced(h, authority="elsewhere.example"), ("host", h[2][1])],
        REFUSED,
    ),
    "no authority": (lambda h: [pair for pair in h if pair[0] != ":authority"], REFUSED),
    "a user in the authority": (lambda h: replaced(h, authority=f"a@{h[2][1]}"), {"307", *REFUSED}),
    "a space in the authority": (lambda h: replaced(h, authority=f"{h[2][1]} x"), REFUSED),
    "an unknown pseudo-header": (lambda h: [*h, (":x", "1")], REFUSED),
    "a tunnel": (lambda h: replaced(h, method="CONNECT"), {"405"}),
    "a WebSocket": (
        lambda h: [*replaced(h, method="CONNECT"), (":protocol", "websocket")],
        REFUSED,
    ),
    "an upper-case name": (lambda h: [*h, ("X-Big", "1")], REFUSED),
    "a line in a name": (lambda h: [*h, ("x\r\nhost", "1")], REFUSED),
    "a line in a value": (lambda h: [*h, ("x", "1\r\nHost: elsewhere")], REFUSED),
    "a null in a value": (lambda h: [*h, ("x", "1\0")], REFUSED),
    "a connection header": (lambda h: [*h, ("connection", "authorization")], IGNORED),
    "an upgrade": (lambda h: [*h, ("connection", "upgrade"), ("upgrade", "h2c")], IGNORED),
    "a transfer coding": (lambda h: [*h, ("transfer-encoding", "chunked")], {"413"}),
    "a length without a body": (lambda h: [*h, ("content-length", "5")], {"400", "413"}),
    "two lengths": (lambda h: [*h, ("content-length", "0"), ("content-length", "5")], REFUSED),
    "a negative length": (lambda h: [*h, ("content-length", "-1")], REFUSED),
}


def authorized(scene: Scene, opened: Connection, caller: str, path: str, method: str) -> Headers:
    """Return the headers of a request with a caller's token."""
    token = ("authorization", f"Bearer {scene.token(caller)}")
    return opened.asking(path, token, method=method)


@pytest.mark.parametrize("name", TRICKS)
def test_a_malformed_request_is_refused_and_reads_nothing_else(scene: Scene, name: str) -> None:
    trick, expected = TRICKS[name]
    other = scene.other.in_study
    for path, usual in ((f"{scene.own.in_study}/metadata", "200"), (f"{other}/metadata", "404")):
        with connected(scene.stack.url, scene.stack.ca_file) as opened:
            whole = authorized(scene, opened, READER, path, "GET")
            opened.send(opened.headers(1, whole))
            assert opened.listen([1]).outcome(1) == usual
            opened.send(opened.headers(3, trick(whole)))
            outcome = opened.listen([3]).outcome(3)
            allowed = {usual if word == "200" else word for word in expected}
            assert outcome in allowed


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ([("content-length", "3")], REFUSED),
        ([("content-length", "999999")], REFUSED),
        ([("transfer-encoding", "chunked")], {"400"}),
        ([("transfer-encoding", "chunked"), ("content-length", "3")], REFUSED),
        # nginx of stable does not know it, newer ones refuse it.
        ([("transfer-encoding", "identity, chunked")], {"400", "501"}),
    ],
    ids=lambda value: " ".join(f"{k}: {v}" for k, v in value) if isinstance(value, list) else "",
)
def test_no_second_request_is_smuggled_in_a_body(
    scene: Scene, more: Headers, expected: set[str]
) -> None:
    # What a server that believed the header would read as the end, and then as a request of its own.
    body = b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: importer\r\n\r\n"
    with connected(scene.stack.url, scene.stack.ca_file) as opened:
        asking = authorized(scene, opened, STORER, "/dicom-web/studies", "POST")
        typed = [*asking, ("content-type", MULTIPART), *more]
        opened.send(
            opened.headers(1, typed, "END_HEADERS"), DataFrame(1, body, flags=["END_STREAM"])
        )
        heard = opened.listen([1])
        assert heard.outcome(1) in expected
        assert b"# HELP" not in heard.body[1]
        # Who comes next over the connection behind gets an answer of their own.
        if not heard.is_closed:
            reading = authorized(scene, opened, READER, f"{scene.own.in_study}/metadata", "GET")
            opened.send(opened.headers(3, reading))
            assert opened.listen([3]).outcome(3) == "200"
            assert scene.own.study.encode() in opened.heard.body[3]


def rapid_reset(opened: Connection) -> Iterator[Frame]:
    """Ask, and take it back, over and over."""
    for stream in range(1, 8001, 2):
        yield opened.headers(stream, opened.asking("/dicom-web/studies"))
        yield RstStreamFrame(stream, error_code=CANCEL)


def continuations(opened: Connection) -> Iterator[Frame]:
    """Send headers that have no end."""
    yield opened.headers(1, [], "END_STREAM")
    yield continued(1, opened.encoder.encode(opened.asking("/")))
    # One more literal field each, never indexed.
    field = b"\x10\x01x\x7f\x80\x7f" + b"a" * 16_255
    yield from (continued(1, field) for _ in range(300))


def empty_continuations(opened: Connection) -> Iterator[Frame]:
    """Send headers that have no end, and nothing in them."""
    yield opened.headers(1, opened.asking("/"), "END_STREAM")
    yield from (continued(1, b"") for _ in range(20_000))


def header_bomb(opened: Connection) -> Iterator[Frame]:
    """Put a long field into the table once (RFC 7541 6.2.1), and name it by one byte each time."""
    field = b"\x40\x01x\x7f\x81\x1e" + b"a" * 4_000
    yield opened.headers(1, [], "END_STREAM")
    block = opened.encoder.encode(opened.asking("/"))
    yield continued(1, block + field + b"\xbe" * 8_000, "END_HEADERS")


def tiny_data(opened: Connection, data: bytes = b"x") -> Iterator[Frame]:
    """Send a body byte by byte."""
    yield opened.headers(1, opened.asking("/dicom-web/studies", method="POST"), "END_HEADERS")
    yield from (DataFrame(1, data) for _ in range(20_000))


def empty_data(opened: Connection) -> Iterator[Frame]:
    """Send a body of nothing that has no end."""
    return tiny_data(opened, b"")


def pings(_: Connection) -> Iterator[Frame]:
    """Ask for answers that nobody reads."""
    return (PingFrame(0, number.to_bytes(8, "big")) for number in range(20_000))


def settings(_: Connection) -> Iterator[Frame]:
    """Change every stream's window over and over."""
    size = SettingsFrame.INITIAL_WINDOW_SIZE
    return (SettingsFrame(0, settings={size: number}) for number in range(10_000))


def priorities(_: Connection) -> Iterator[Frame]:
    """Name streams that are not there."""
    return (PriorityFrame(n, depends_on=n + 2, stream_weight=1) for n in range(1, 40_001, 2))


def windows(_: Connection) -> Iterator[Frame]:
    """Open the window bit by bit, and then too far."""
    yield from (WindowUpdateFrame(0, window_increment=1) for _ in range(20_000))
    yield WindowUpdateFrame(0, window_increment=2**31 - 1)


# Those that would fill its memory, or have it work for nothing, must end the connection; the others cost the sender as
# much as the server.
ENDED = (rapid_reset, continuations, empty_continuations, header_bomb, windows)
SURVIVED = (tiny_data, empty_data, pings, settings, priorities)
# nginx counts the streams that it finds each time that it reads: a sender that it keeps up with is no flood.
AT_ONCE = 2000


@pytest.mark.parametrize("flood", [*ENDED, *SURVIVED])
def test_a_flood_ends_or_is_survived(
    scene: Scene, flood: Callable[[Connection], Iterator[Frame]]
) -> None:
    with connected(scene.stack.url, scene.stack.ca_file) as opened:
        frames = flood(opened)
        while batch := list(islice(frames, AT_ONCE)):
            if not opened.send(*batch):
                break
        is_ended = not opened.answered()
    assert is_ended or flood in SURVIVED


def test_who_reads_no_answers_does_not_hold_every_connection(scene: Scene) -> None:
    found = re.search(r"^limit_conn at_once (\d+);", LIMITS.read_text(), re.MULTILINE)
    assert found
    at_once = int(found[1])
    with ExitStack() as stack:
        statuses: list[str] = []
        for _ in range(at_once // 100 + 2):
            opened = stack.enter_context(
                connected(scene.stack.url, scene.stack.ca_file, INITIAL_WINDOW_SIZE=0)
            )
            streams = range(1, 201, 2)
            opened.send(*(opened.headers(n, opened.asking("/app-config.js")) for n in streams))
            heard = opened.heads(streams)
            statuses += [heard.status[stream] for stream in streams]
        assert statuses.count("200") == at_once
        assert statuses.count("429") == len(statuses) - at_once
        # Others, such as whoever comes to the other port, are not in their way.
        assert scene.plainly("nobody", "/healthz").status_code == 200
