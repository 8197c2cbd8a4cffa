"""The importer's own HTTP: /health and /metrics, and what nginx shows to people: the STOW-RS door and the page's."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qs, unquote, urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from dicom_importer import log
from dicom_importer.door import FULL, Refusal, Request
from dicom_importer.page import messages
from dicom_importer.reasons import Stopping

if TYPE_CHECKING:
    from io import BufferedReader

_STORE = re.compile(r"/dicom-web/studies(?:/([0-9.]{1,64}))?/?", re.ASCII)
CHUNK_BYTES = 1 << 18
MAX_LINE_BYTES = 1 << 12
# For so long a client may go on sending what was refused already, so that it hears the answer.
DRAIN_S = 5.0
# Below it the page asks.
_PAGE = "/page/"
_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Doors:
    """Who answers store requests, and the page's; in which words the page's are refused."""

    store: Callable[[Request], tuple[int, dict[str, object]]]
    page: Callable[[messages.Request], messages.Answer]
    refusals: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Health:
    """What /health says; an archive that is away or a full disk is told but is no fault of the importer."""

    archive: bool
    inbox: bool
    journal: bool
    loop: bool
    paused: bool
    pending: int

    @property
    def well(self) -> bool:
        """Whether files are looked for and remembered."""
        return self.inbox and self.journal and self.loop


class _Server(ThreadingHTTPServer):
    """What the handlers of requests ask."""

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        health: Callable[[], Health],
        registry: CollectorRegistry,
        doors: Doors,
    ) -> None:
        super().__init__(address, _Handler)
        self.health = health
        self.registry = registry
        self.doors = doors


def serve(
    address: tuple[str, int],
    health: Callable[[], Health],
    registry: CollectorRegistry,
    doors: Doors,
) -> ThreadingHTTPServer:
    """Answer in threads of its own until the returned server is shut down."""
    server = _Server(address, health, registry, doors)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    timeout = 60  # seconds that a silent client may hold a thread
    server: _Server

    def handle(self) -> None:
        # Whoever has seen the status line may hang up, as the health check does.
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        if self.path.startswith(_PAGE):
            return self._page()
        match self.path.partition("?")[0]:
            case "/health":
                now = self.server.health()
                status = HTTPStatus.OK if now.well else HTTPStatus.SERVICE_UNAVAILABLE
                body = {"status": "ok" if now.well else "fail", **asdict(now)}
                self._answer(status, "application/json", body)
            case "/metrics":
                self._send(
                    HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self.server.registry)
                )
            case _:
                self._send(HTTPStatus.NOT_FOUND, "text/plain", b"")
        return None

    def do_HEAD(self) -> None:
        self._page()

    def do_OPTIONS(self) -> None:
        self._page()

    def do_PATCH(self) -> None:
        self._page()

    def do_DELETE(self) -> None:
        self._page()

    def _page(self) -> None:
        """Answer a request of the page at /inbox/."""
        url = urlsplit(self.path)
        if not url.path.startswith(_PAGE):
            return self._send(HTTPStatus.NOT_FOUND, "text/plain", b"")
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        body = _Body(self)
        path = unquote(url.path.removeprefix(_PAGE[:-1]))
        says = self.server.doors.refusals
        try:
            answer = self.server.doors.page(
                messages.Request(self.command, path, query, headers, body.chunks())
            )
        except messages.Refused as refused:
            return self._refuse(refused.status, says[refused.name].format(**refused.values))
        except Stopping:
            return self._refuse(503, says["stopping"])
        except (ConnectionError, TimeoutError):
            return log.line("upload_broke_off")
        except Exception as error:  # noqa: BLE001 - the request's edge
            log.trace("page", error)
            is_full = isinstance(error, OSError) and error.errno in FULL
            return self._refuse(507 if is_full else 503, says["full" if is_full else "later"])
        content = b"" if answer.body is None else json.dumps(answer.body).encode()
        self._send(answer.status, "application/json", content, answer.headers)
        if not body.is_read:
            self._drain()
        return None

    def do_POST(self) -> None:
        if self.path.startswith(_PAGE):
            return self._page()
        url = urlsplit(self.path)
        route = _STORE.fullmatch(url.path)
        if route is None:
            return self._send(HTTPStatus.NOT_FOUND, "text/plain", b"")
        headers = {name.lower(): value for name, value in self.headers.items()}
        clinic = "".join(parse_qs(url.query).get("clinic", [""])[:1])
        request = Request(route[1] or "", clinic, headers, _Body(self).chunks())
        try:
            status, body = self.server.doors.store(request)
            return self._answer(status, "application/dicom+json", body)
        except Refusal as refusal:
            self._refuse(refusal.status, refusal.words)
        except (ConnectionError, TimeoutError):
            log.line("upload_broke_off")
        except Exception as error:  # noqa: BLE001 - the request's edge
            log.trace("upload", error)
            self._refuse(500, "Nothing is known to be stored; please try again.")
        return None

    def _refuse(self, status: int, words: str) -> None:
        self._answer(status, "application/json", {"status": status, "error": words})
        self._drain()

    def _drain(self) -> None:
        """Read on for a while: a connection that is closed while something comes would take the answer with it."""
        until = time.monotonic() + DRAIN_S
        with suppress(OSError, ValueError):
            self.wfile.flush()
            self.connection.settimeout(1)
            while time.monotonic() < until and self.rfile.read1(CHUNK_BYTES):
                pass

    def _answer(self, status: int, content_type: str, body: Mapping[str, object]) -> None:
        self._send(status, content_type, json.dumps(body).encode())

    def _send(
        self, status: int, content_type: str, body: bytes, headers: Mapping[str, str] = _NONE
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent: requests of monitoring are no outcome."""


class _Body:
    """A request's body, of known length or in chunks (RFC 9112 6)."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        # A socket makes one of these: what is there is taken, and not waited for until it is a chunk.
        self._file = cast("BufferedReader", handler.rfile)
        self._length = handler.headers.get("Content-Length", "")
        self._coding = handler.headers.get("Transfer-Encoding", "").lower()
        self.is_read = not self._coding and self._length in ("", "0")

    def chunks(self) -> Iterator[bytes]:
        """Yield the body; one that is cut off breaks the connection."""
        if self._coding == "chunked":
            while size := self._size():
                yield from self._exactly(size)
                self._line()
            while self._line():  # trailers
                pass
            self.is_read = True
        elif self._coding or not self._length.isdecimal():
            raise Refusal(411, "Say how long the body is.")
        else:
            yield from self._exactly(int(self._length))
            self.is_read = True

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            chunk = self._file.read1(min(CHUNK_BYTES, size))
            if not chunk:
                raise ConnectionAbortedError
            size -= len(chunk)
            yield chunk

    def _size(self) -> int:
        try:
            return int(self._line().partition(b";")[0], 16)
        except ValueError:
            raise Refusal(400, "The body's chunks are malformed.") from None

    def _line(self) -> bytes:
        line = self._file.readline(MAX_LINE_BYTES)
        if not line.endswith(b"\n"):
            raise ConnectionAbortedError
        return line.strip()
