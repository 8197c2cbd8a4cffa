"""The importer's own HTTP: /health and /metrics, and the STOW-RS door that nginx shows to people."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qs, urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from dicom_importer import log
from dicom_importer.door import Refusal, Request

if TYPE_CHECKING:
    from io import BufferedReader

_STORE = re.compile(r"/dicom-web/studies(?:/([0-9.]{1,64}))?/?", re.ASCII)
CHUNK_BYTES = 1 << 18
MAX_LINE_BYTES = 1 << 12
# For so long a client may go on sending what was refused already, so that it hears the answer.
DRAIN_S = 5.0
_Store = Callable[[Request], tuple[int, dict[str, object]]]


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
        store: _Store,
    ) -> None:
        super().__init__(address, _Handler)
        self.health = health
        self.registry = registry
        self.store = store


def serve(
    address: tuple[str, int],
    health: Callable[[], Health],
    registry: CollectorRegistry,
    store: _Store,
) -> ThreadingHTTPServer:
    """Answer in threads of its own until the returned server is shut down."""
    server = _Server(address, health, registry, store)
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

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        route = _STORE.fullmatch(url.path)
        if route is None:
            return self._send(HTTPStatus.NOT_FOUND, "text/plain", b"")
        headers = {name.lower(): value for name, value in self.headers.items()}
        clinic = "".join(parse_qs(url.query).get("clinic", [""])[:1])
        request = Request(route[1] or "", clinic, headers, _Body(self).chunks())
        try:
            status, body = self.server.store(request)
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
        # A connection that is closed while something comes would take the answer with it.
        until = time.monotonic() + DRAIN_S
        with suppress(OSError, ValueError):
            self.wfile.flush()
            self.connection.settimeout(1)
            while time.monotonic() < until and self.rfile.read1(CHUNK_BYTES):
                pass

    def _answer(self, status: int, content_type: str, body: Mapping[str, object]) -> None:
        self._send(status, content_type, json.dumps(body).encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
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

    def chunks(self) -> Iterator[bytes]:
        """Yield the body; one that is cut off breaks the connection."""
        if self._coding == "chunked":
            while size := self._size():
                yield from self._exactly(size)
                self._line()
            while self._line():  # trailers
                pass
        elif self._coding or not self._length.isdecimal():
            raise Refusal(411, "Say how long the body is.")
        else:
            yield from self._exactly(int(self._length))

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
