"""Servers that alerts go to: a mailbox by SMTP, and what takes posts over HTTP."""

from __future__ import annotations

import json
import secrets
import socket
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from stack.certificate import openssl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiosmtpd.smtp import SMTP, Envelope, Session

PASSWORD = secrets.token_hex(8)
# Of a chat at Telegram.
CHAT = -1001


# Without slots, which aiosmtpd cannot look into.
@dataclass
class Servers:
    """What arrived by each way; a webhook `is_broken` answers 500."""

    mails: list[str] = field(default_factory=list)
    posted: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    is_broken: bool = False

    async def handle_DATA(self, _: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - as aiosmtpd calls it
        """Keep a mail; it came by a login."""
        assert session.authenticated
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        text = mail.get_body().get_content()  # type: ignore[union-attr]
        self.mails.append("\n".join([str(mail["Subject"]), *text.splitlines()]))
        return "250 OK"

    def texts(self, path: str) -> list[str]:
        """Return what was posted to a path, as it came."""
        return [json.dumps(body) for where, body in self.posted if where == path]


def login(_: SMTP, __: Session, ___: Envelope, mechanism: str, data: object) -> AuthResult:
    """Let in who has the password."""
    assert mechanism == "PLAIN"
    assert isinstance(data, LoginPassword)
    # Not handled: the server itself says no.
    is_right = (data.login, data.password) == (b"pacs", PASSWORD.encode())
    return AuthResult(success=is_right, handled=False)


def free_port() -> int:
    """Return a port of this host that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def http(servers: Servers, address: str = "127.0.0.1") -> Iterator[int]:
    """Take what is posted, as a webhook or Telegram's API does; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            servers.posted.append((self.path, body))
            self.send_response(500 if servers.is_broken and self.path == "/hook" else 200)
            self.end_headers()
            answer = {"ok": True, "result": {"message_id": 1, "date": 1, "chat": {"id": CHAT}}}
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((address, 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


@contextmanager
def smtp(servers: Servers, folder: Path, address: str = "127.0.0.1") -> Iterator[int]:
    """Take mail, by a login within TLS, whose certificate is folder/mail.crt; yields the port."""
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 1 -subj /CN=localhost"
        " -addext subjectAltName=DNS:localhost,IP:{address} -keyout {key} -out {chain}",
        address=address,
        key=folder / "mail.key",
        chain=folder / "mail.crt",
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "mail.crt", folder / "mail.key")
    controller = Controller(
        servers,
        hostname=address,
        port=free_port(),
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        # Whose prompts Alertmanager does not know.
        auth_exclude_mechanism=["LOGIN"],
        authenticator=login,
    )
    controller.start()
    yield controller.port
    controller.stop()
