"""Bytes as an attacker sends them, past what an HTTP library would put right."""

from __future__ import annotations

import socket
import ssl
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography.x509 import load_pem_x509_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT_S = 20


@contextmanager
def connection(url: str, ca_file: Path | str | None) -> Iterator[ssl.SSLSocket]:
    """Open a TLS connection to an address."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    with (
        socket.create_connection((host, port), timeout=TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as connected,
    ):
        yield connected


def serial(url: str) -> str:
    """Return the serial number of the certificate that is served now, whoever signed it."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 443)
    text = ssl.get_server_certificate(address, timeout=TIMEOUT_S)
    return hex(load_pem_x509_certificate(text.encode()).serial_number)


def exchange(url: str, ca_file: Path | str | None, sent: bytes) -> bytes:
    """Send bytes and return all that comes until the other side closes."""
    with connection(url, ca_file) as connected:
        connected.sendall(sent)
        received = b""
        while piece := connected.recv(1 << 16):
            received += piece
    return received


def first(url: str, ca_file: Path | str | None, sent: bytes) -> tuple[int, bytes]:
    """Send bytes and return the status and body of the first answer, without waiting for an end."""
    with connection(url, ca_file) as connected:
        connected.sendall(sent)
        answer = HTTPResponse(connected)
        answer.begin()
        return answer.status, answer.read()


def request(
    url: str, line: str, *headers: str, body: bytes = b"", connection: str = "close"
) -> bytes:
    """Put a request together as it is given: its line, its headers, its body."""
    host = f"Host: {urlsplit(url).netloc}"
    head = "\r\n".join((f"{line} HTTP/1.1", host, f"Connection: {connection}", *headers))
    return f"{head}\r\n\r\n".encode("latin-1") + body


def statuses(received: bytes) -> list[int]:
    """Return the status of each answer."""
    return [
        int(line.split()[1]) for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")
    ]
