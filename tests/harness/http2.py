"""HTTP/2 as an attacker speaks it: frames put together by hand, past what a library would put right (RFC 9113)."""

from __future__ import annotations

import socket
import ssl
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
TIMEOUT_S = 20
FRAME_HEAD_BYTES = 9
Headers = list[tuple[str, str]]


@dataclass(slots=True)
class Heard:
    """What the server said: a status and a body by stream, which streams it reset, and whether it left."""

    status: dict[int, str] = field(default_factory=dict)
    body: dict[int, bytes] = field(default_factory=lambda: defaultdict(bytes))
    reset: set[int] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)
    is_closed: bool = False

    def outcome(self, stream: int) -> str:
        """Return a stream's status, or how else it ended."""
        if stream in self.status:
            return self.status[stream]
        return "reset" if stream in self.reset else "closed" if self.is_closed else "nothing"


@dataclass(slots=True)
class Connection:
    """A connection whose frames are sent as they are given."""

    socket: ssl.SSLSocket
    authority: str
    heard: Heard = field(default_factory=Heard)
    encoder: Encoder = field(default_factory=Encoder)
    _decoder: Decoder = field(default_factory=Decoder)
    _unread: bytes = b""

    def asking(self, path: str, *more: tuple[str, str], method: str = "GET") -> Headers:
        """Return the headers of an ordinary request, and more."""
        return [
            (":method", method),
            (":scheme", "https"),
            (":authority", self.authority),
            (":path", path),
            *more,
        ]

    def send(self, *frames: Frame) -> bool:
        """Send frames; False where the server has left."""
        try:
            self.socket.sendall(b"".join(frame.serialize() for frame in frames))
        except OSError:
            self.heard.is_closed = True
        return not self.heard.is_closed

    def headers(self, stream: int, headers: Headers, *flags: str) -> Frame:
        """Make a frame of headers; without flags it is a whole request."""
        # Field by field, since hpack would put pseudo-headers in order.
        block = b"".join(self.encoder.encode([pair]) for pair in headers)
        return HeadersFrame(stream, block, flags=flags or ("END_HEADERS", "END_STREAM"))

    def listen(self, streams: Iterable[int]) -> Heard:
        """Read until these streams have ended or the server has left."""
        awaited = set(streams)
        while not self.heard.is_closed and awaited - self.heard.ended - self.heard.reset:
            try:
                piece = self.socket.recv(1 << 16)
            except OSError:
                piece = b""
            self.heard.is_closed = not piece
            self._take(piece)
        return self.heard

    def heads(self, streams: Iterable[int]) -> Heard:
        """Read until these streams have a status; their bodies may never come."""
        awaited = set(streams)
        while not self.heard.is_closed and awaited - self.heard.reset - self.heard.status.keys():
            piece = self.socket.recv(1 << 16)
            self.heard.is_closed = not piece
            self._take(piece)
        return self.heard

    def answered(self) -> bool:
        """Tell whether the server answers a ping, after all that was sent before it."""
        self.send(PingFrame(0, b"are you?"))
        while not self.heard.is_closed:
            try:
                piece = self.socket.recv(1 << 16)
            except OSError:
                piece = b""
            self.heard.is_closed = not piece
            if self._take(piece):
                return True
        return False

    def _take(self, piece: bytes) -> bool:
        """Read what frames are whole; True where one answers a ping."""
        self._unread += piece
        is_pong = False
        while len(self._unread) >= FRAME_HEAD_BYTES:
            frame, length = Frame.parse_frame_header(memoryview(self._unread[:FRAME_HEAD_BYTES]))
            if len(self._unread) < FRAME_HEAD_BYTES + length:
                break
            body = memoryview(self._unread[FRAME_HEAD_BYTES : FRAME_HEAD_BYTES + length])
            frame.parse_body(body)
            self._unread = self._unread[FRAME_HEAD_BYTES + length :]
            is_pong |= isinstance(frame, PingFrame) and "ACK" in frame.flags
            self._hear(frame)
        return is_pong

    def _hear(self, frame: Frame) -> None:
        if isinstance(frame, HeadersFrame):
            named = dict(self._decoder.decode(frame.data, raw=True))
            self.heard.status.setdefault(frame.stream_id, named[b":status"].decode())
        elif isinstance(frame, DataFrame):
            self.heard.body[frame.stream_id] += frame.data
        elif isinstance(frame, RstStreamFrame):
            self.heard.reset.add(frame.stream_id)
        elif isinstance(frame, GoAwayFrame):
            self.heard.is_closed = True
        if "END_STREAM" in frame.flags:
            self.heard.ended.add(frame.stream_id)


@contextmanager
def connected(url: str, ca_file: Path | None, **settings: int) -> Iterator[Connection]:
    """Open a connection, with settings of the client by their names in RFC 9113."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, port), timeout=TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        assert secured.selected_alpn_protocol() == "h2"
        opened = Connection(secured, parts.netloc)
        chosen = {getattr(SettingsFrame, name): value for name, value in settings.items()}
        secured.sendall(PREFACE + SettingsFrame(0, settings=chosen).serialize())
        yield opened


def continued(stream: int, piece: bytes, *flags: str) -> Frame:
    """Make a frame that continues headers."""
    return ContinuationFrame(stream, piece, flags=flags)
