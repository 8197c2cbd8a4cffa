"""The importer's own HTTP: /health and /metrics, nothing else."""

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


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


def serve(
    host: str, port: int, health: Callable[[], Health], registry: CollectorRegistry
) -> ThreadingHTTPServer:
    """Answer in a thread of its own until the returned server is shut down."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds that a silent client may hold a thread

        def handle(self) -> None:
            # Whoever has seen the status line may hang up, as the health check does.
            with suppress(ConnectionError):
                super().handle()

        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/health":
                    now = health()
                    status = HTTPStatus.OK if now.well else HTTPStatus.SERVICE_UNAVAILABLE
                    body = json.dumps({"status": "ok" if now.well else "fail", **asdict(now)})
                    self._answer(status, "application/json", body.encode())
                case "/metrics":
                    self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry))
                case _:
                    self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"")

        def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay silent: requests of monitoring are no outcome."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server
