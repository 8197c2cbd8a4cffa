"""A bounded map whose entries expire by time, for many threads."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ExpiringCache(Generic[K, V]):
    """Keeps at most max_entries; the oldest go first. clock is in seconds, monotonic."""

    def __init__(self, max_entries: int, clock: Callable[[], float]) -> None:
        self._max_entries = max_entries
        self._clock = clock
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        """Return what was put, unless it has expired."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if entry[0] <= self._clock():
                del self._entries[key]
                return None
            return entry[1]

    def put(self, key: K, value: V, lifetime_s: float) -> None:
        """Keep a value for so many seconds."""
        with self._lock:
            self._entries.pop(key, None)
            self._entries[key] = (self._clock() + lifetime_s, value)
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)
