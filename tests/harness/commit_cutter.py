"""A proxy before PostgreSQL that cuts Orthanc's connection at COMMIT, before that takes effect or after."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.own_importer import backend_url
from harness.people import service_token
from harness.wait import wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from harness.stack import Stack

PORT = 5432
RETURN_TIMEOUT_S = 30
BEFORE, AFTER = "before", "after"
# The proxy goes as a host does that loses its power: nobody is told.
VANISHED = "vanished"
# A transaction that only reads has nothing to lose; Orthanc says which it is when it begins one.
_BEGIN, _WRITING, _COMMIT = b"SET TRANSACTION", b"READ WRITE", b"COMMIT"
_CLONE_NEWNET = 0x40000000
_TCP_REPAIR = 19  # of linux/tcp.h: a socket that is closed so sends nothing


@dataclass(slots=True)
class Cutter:
    """Cuts a number of writing transactions at their COMMIT, each with a probability, and no more after them."""

    cuts: int
    probability: float
    rng: random.Random
    ways: tuple[str, ...] = (BEFORE, AFTER)
    done: Counter[str] = field(default_factory=Counter)
    passed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def finished(self) -> bool:
        """Whether every cut was made."""
        return self.done.total() >= self.cuts

    def judge(self) -> str:
        """Say how the COMMIT at hand is cut, empty when it is passed on."""
        with self._lock:
            if self.finished or self.rng.random() >= self.probability:
                self.passed += 1
                return ""
            way = self.rng.choice(self.ways)
            self.done[way] += 1
            return way


@contextlib.contextmanager
def cut_at_commit(stack: Stack, cutter: Cutter) -> Iterator[None]:
    """Lead what Orthanc says to PostgreSQL through a cutter; no setting of either is changed.

    In the network namespace of PostgreSQL's container its port is redirected to the proxy's, for
    Orthanc's address alone. The proxy itself speaks to PostgreSQL from the host.
    """
    namespace = Path(f"/proc/{stack.main_process('postgresql')}/ns/net")
    prefix = stack.podman_settings.prefix("BACKEND")
    iptables = ["nsenter", f"--net={namespace}", "iptables", "-w", "-t", "nat"]
    with _listener(namespace, f"{prefix}.14") as listener:
        rule = ["PREROUTING", "-s", f"{prefix}.13", "-p", "tcp", "--dport", str(PORT)]
        rule += ["-j", "REDIRECT", "--to-ports", str(listener.getsockname()[1])]
        subprocess.run([*iptables, "-A", *rule], check=True)
        try:
            # It ends before the redirection does: what says farewell needs the way back.
            with _served(listener, cutter):
                _drop_connections(stack)
                yield
        finally:
            subprocess.run([*iptables, "-D", *rule], check=True)
    # It connects anew when it is asked, and not before.
    wait_until(lambda: _answers(stack), RETURN_TIMEOUT_S, "Orthanc answers from its database")


def _answers(stack: Stack) -> bool:
    """Say whether Orthanc finds out that it holds no such thing."""
    headers = {"Authorization": f"Bearer {service_token(stack, 'orthanc-api')}"}
    with stack.session() as session:
        url = f"{backend_url(stack, 'orthanc')}/tools/lookup"
        return session.post(url, data="1.2.3", headers=headers).ok


def _drop_connections(stack: Stack) -> None:
    """Have Orthanc connect anew."""
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'orthanc'"
    done = stack.exec("postgresql", "psql", "-U", "postgres", "-qc", query)
    assert done.returncode == 0, done.stderr


def _listener(namespace: Path, address: str) -> socket.socket:
    """Listen in another network namespace: a socket stays in the one that it was made in."""

    def make() -> socket.socket:
        # It moves this thread alone, which ends with the pool.
        with namespace.open("rb") as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return socket.create_server((address, 0))

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(make).result()


@contextlib.contextmanager
def _served(listener: socket.socket, cutter: Cutter) -> Iterator[None]:
    """Serve connections until the end, and close what is open then."""
    server = (listener.getsockname()[0], PORT)
    connections: list[_Connection] = []

    def accept() -> None:
        with contextlib.suppress(OSError):  # it is shut down
            while True:
                client = listener.accept()[0]
                one = _Connection(client, socket.create_connection(server), cutter)
                connections.append(one)
                one.start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for one in connections:
            one.cut()


@dataclass(slots=True)
class _Connection:
    client: socket.socket
    server: socket.socket
    cutter: Cutter
    is_silent: bool = False

    def start(self) -> None:
        for end in (self.client, self.server):
            # Both say little at a time, and would wait for each other otherwise.
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for work in (self._ask, self._answer):
            threading.Thread(target=self._until_closed, args=(work,), daemon=True).start()

    def cut(self) -> None:
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):  # closed already
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _until_closed(self, work: Callable[[], None]) -> None:
        with contextlib.suppress(OSError, EOFError):
            work()
        self.cut()

    def _ask(self) -> None:
        """Pass on what Orthanc says, message by message (PostgreSQL's protocol 3)."""
        with self.client.makefile("rb") as said:
            self.server.sendall(_message(said, kind_bytes=0))
            writing = False
            while message := _message(said, kind_bytes=1):
                statement = _statement(message)
                if statement.startswith(_BEGIN):
                    writing = statement.endswith(_WRITING)
                way = self.cutter.judge() if writing and statement == _COMMIT else ""
                if way == VANISHED:
                    # What is not acknowledged would be sent again, and answered by nobody's being there.
                    self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                    self.client.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
                    self.client.close()  # it is, when what is read from is too
                if way in (BEFORE, VANISHED):
                    return
                self.is_silent = way == AFTER
                self.server.sendall(message)

    def _answer(self) -> None:
        """Pass on what PostgreSQL answers; the answer to a COMMIT proves that it took effect."""
        while (data := self.server.recv(1 << 16)) and not self.is_silent:
            self.client.sendall(data)


def _message(said: BinaryIO, *, kind_bytes: int) -> bytes:
    """Read one message: its kind, which the first of a connection lacks, its length, and its body."""
    head = said.read(kind_bytes + 4)
    if len(head) < kind_bytes + 4:
        raise EOFError
    return head + said.read(int.from_bytes(head[kind_bytes:]) - 4)


def _statement(message: bytes) -> bytes:
    """Return what a Query or a Parse says in SQL, else nothing."""
    strings = message[5:].split(b"\0")
    return {b"Q": strings[:1], b"P": strings[1:2]}.get(message[:1], [b""])[0]
