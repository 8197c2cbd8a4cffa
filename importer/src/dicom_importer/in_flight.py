"""Bounds the bytes on their way to the archive, which holds each instance twice in memory while it stores it."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator

LOOK_S = 1.0


class InFlight:
    """So many bytes and no more are on their way at once; who came first goes first."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._turn = threading.Condition()
        self._waiting: deque[object] = deque()
        self._taken_bytes = 0

    @contextlib.contextmanager
    def taken(self, size_bytes: int, alive: Callable[[], None]) -> Iterator[None]:
        """Wait for room and hold it; what is larger than all of it goes alone. Raises what alive does."""
        ticket = object()
        with self._turn:
            self._waiting.append(ticket)
            try:
                while not self._fits(ticket, size_bytes):
                    alive()
                    self._turn.wait(LOOK_S)
                self._taken_bytes += size_bytes
            finally:
                self._waiting.remove(ticket)
                self._turn.notify_all()
        try:
            yield
        finally:
            with self._turn:
                self._taken_bytes -= size_bytes
                self._turn.notify_all()

    def _fits(self, ticket: object, size_bytes: int) -> bool:
        fits = self._taken_bytes + size_bytes <= self._limit_bytes
        return self._waiting[0] is ticket and (fits or not self._taken_bytes)
