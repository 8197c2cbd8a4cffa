"""The socket's side of the receiver: how many may connect, how long a message may take and how large it may be.

pynetdicom reads whatever length a peer claims, for as long as it takes, before anybody knows who it is; and shakes
hands (TLS) in the thread that accepts. Both would let any stranger stop the receiver.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

# What we say that we take at once (PS3.8 D.1).
MAX_PDU_BYTES = 1 << 17
# An A-ASSOCIATE-RQ with 128 presentation contexts takes a tenth; a message other than a C-STORE-RQ much less.
MAX_MESSAGE_BYTES = 1 << 20
# A PDU that has begun must have ended, and a TLS handshake.
PDU_S, HANDSHAKE_S = 60.0, 10.0
# Connections at once: of devices that are known by their address, of one of these, and of all others together.
MAX_KNOWN, MAX_EACH, MAX_STRANGERS = 40, 20, 4
# How much of an object is written between two looks at what is left of the disk.
ROOM_BYTES = 1 << 26


class OverrunError(ConnectionAbortedError):
    """A peer sends what cannot be taken: the connection ends."""


class _Socket(AssociationSocket):
    """Reads a PDU within bounds of size and time."""

    written_bytes = 0

    def recv(self, nr_bytes: int) -> bytearray:
        """Return so many bytes, fewer when the peer ends; raises OverrunError and TimeoutError."""
        sock = self.socket
        if nr_bytes > MAX_MESSAGE_BYTES:
            raise OverrunError
        self._check_message(nr_bytes)
        data = bytearray(nr_bytes)
        view, got = memoryview(data), 0
        until = time.monotonic() + PDU_S
        while sock is not None and got < nr_bytes:
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            sock.settimeout(left_s)
            count = sock.recv_into(view[got:])
            if not count:
                break
            got += count
        if sock is not None:
            # For what is sent.
            sock.settimeout(PDU_S)
        return data[:got] if got < nr_bytes else data

    def _check_message(self, nr_bytes: int) -> None:
        """Raise OverrunError for a message that would fill the memory or the disk."""
        message = self.assoc.dimse.message
        if message is None:
            self.written_bytes = 0
            return
        held = message.encoded_command_set.tell()
        if message._data_set_file is None and message.data_set:  # noqa: SLF001 - pynetdicom shows it to nobody
            held += message.data_set.tell()
        if held > MAX_MESSAGE_BYTES:
            raise OverrunError
        self.written_bytes += nr_bytes
        if self.written_bytes > ROOM_BYTES:
            self.written_bytes = 0
            if not cast("Server", self.assoc._server).has_room():  # noqa: SLF001
                raise OverrunError


class _Handler(RequestHandler):
    def _create_association(self) -> Association:
        found = super()._create_association()
        # The first one's word that a peer is there; ours gives it again.
        found.dul.event_queue.get_nowait()
        found.dul.socket = _Socket(found, client_socket=cast("socket.socket", self.request))
        return found


class Server(ThreadedAssociationServer):
    """Accepts connections, each served in threads of its own."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        ae: ApplicationEntity,
        address: tuple[str, int],
        handlers: list[evt.EventHandlerType],
        *,
        is_known: Callable[[str], bool],
        has_room: Callable[[], bool],
        turned_away: Callable[[], None],
        tls: "Certificate | None",
    ) -> None:
        self._is_known = is_known
        self.has_room = has_room
        self._turned_away = turned_away
        self._tls = tls
        self._lock = threading.Lock()
        # By connection: the peer's address, and whether it is a known one.
        self._connected: dict[socket.socket, tuple[str, bool]] = {}
        super().__init__(
            ae,
            address,
            ae.ae_title,
            ae.supported_contexts,
            evt_handlers=handlers,
            request_handler=_Handler,
        )
        ae._servers.append(self)  # noqa: SLF001 - it is taken out there at the shutdown

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection; its handshake is left to the thread that serves it."""
        found, address = cast("socket.socket", self.socket).accept()
        # Else each answer could wait for an acknowledgement that the peer delays by 40 ms.
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found.settimeout(PDU_S)
        if self._tls:
            found = self._tls.context().wrap_socket(
                found, server_side=True, do_handshake_on_connect=False
            )
        return found, address

    def verify_request(self, request: object, client_address: object) -> bool:
        """Say whether there is room for one more connection from there."""
        found = cast("socket.socket", request)
        peer = str(cast("tuple[object, ...]", client_address)[0])
        known = self._is_known(peer)
        with self._lock:
            self._connected = {s: who for s, who in self._connected.items() if s.fileno() != -1}
            others = list(self._connected.values())
            like_it = sum(1 for _, is_known in others if is_known is known)
            of_it = sum(1 for address, _ in others if address == peer)
            free = like_it < MAX_KNOWN and of_it < MAX_EACH if known else like_it < MAX_STRANGERS
            if free:
                self._connected[found] = peer, known
        if not free:
            self._turned_away()
        return free

    def finish_request(self, request: object, client_address: object) -> None:
        """Shake hands where TLS is spoken, then hand over to an association."""
        found = cast("ssl.SSLSocket", request)
        if self._tls:
            found.settimeout(HANDSHAKE_S)
            found.do_handshake()
        super().finish_request(found, cast("tuple[str, int]", client_address))

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent: a handshake that fails is the peer's matter."""


class Certificate:
    """The certificate of TLS, read again when the file is another one; a client's is asked for with an authority."""

    def __init__(self, path: Path, key: Path | None, client_authority: Path | None) -> None:
        self._path, self._key, self._authority = path, key, client_authority
        self._mark: tuple[int, int] | None = None
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        """Return what the next handshake uses; an unreadable renewal leaves the former one in use."""
        try:
            found = self._path.stat()
            if (found.st_ino, found.st_mtime_ns) != self._mark:
                self._context = self._load()
        except (OSError, ssl.SSLError):
            pass
        return self._context

    def _load(self) -> ssl.SSLContext:
        found = self._path.stat()
        # TLS 1.2 at least (PS3.15 B.9).
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._path, self._key)
        if self._authority:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self._authority)
        self._mark = found.st_ino, found.st_mtime_ns
        return context
