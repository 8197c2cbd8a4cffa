"""How fast a verification reads, how far it is, and when it will have ended."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

_MB = 1_000_000


class Throttle:
    """Lets so many bytes a second pass and no more, over all threads; 0 lets all pass."""

    def __init__(
        self,
        bytes_per_s: float,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._bytes_per_s = bytes_per_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, size_bytes: int) -> None:
        """Wait until as many bytes may be read."""
        if not self._bytes_per_s:
            return
        with self._lock:
            now = self._monotonic()
            start = max(now, self._free_at)
            self._free_at = start + size_bytes / self._bytes_per_s
        if start > now:
            self._sleep(start - now)


@dataclass(slots=True)
class Progress:
    """Shows how far a stage is, by bytes where there are any; at most once in `every_s`."""

    show: Callable[[str], None]
    every_s: float
    monotonic: Callable[[], float]
    what: str = ""
    total: int = 0
    total_bytes: int = 0
    done: int = 0
    done_bytes: int = 0
    _began_s: float = 0.0
    _shown_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _at_start: tuple[int, int] = (0, 0)

    def begin(self, what: str, total: int, total_bytes: int = 0) -> None:
        """Begin a stage of so many."""
        self.what, self.total, self.total_bytes = what, total, total_bytes
        self.done = self.done_bytes = 0
        self._at_start = (0, 0)
        self._began_s = self.monotonic()

    def skip(self, count: int, size_bytes: int = 0) -> None:
        """Count what an earlier run did: it says nothing of this one's rate."""
        self.done += count
        self.done_bytes += size_bytes
        self._at_start = self.done, self.done_bytes

    def step(self, count: int, size_bytes: int = 0) -> None:
        """Count what was done, from any thread."""
        with self._lock:
            self.done += count
            self.done_bytes += size_bytes
            now_s = self.monotonic()
            is_due = now_s - self._shown_s >= self.every_s
            if is_due:
                self._shown_s = now_s
        if is_due:
            self.show(self.text(now_s))

    def text(self, now_s: float) -> str:
        """Say it in words."""
        took_s = max(now_s - self._began_s, 1e-9)
        size = rate = ""
        if self.total_bytes:
            size = f" ({self.done_bytes / 1e9:.1f} of {self.total_bytes / 1e9:.1f} GB)"
            per_s = (self.done_bytes - self._at_start[1]) / took_s
            left_s = (self.total_bytes - self.done_bytes) / per_s if per_s else 0.0
            rate = f"{per_s / _MB:.0f} MB/s"
        else:
            per_s = (self.done - self._at_start[0]) / took_s
            left_s = (self.total - self.done) / per_s if per_s else 0.0
            rate = f"{per_s:,.0f}/s"
        end = f", {duration(left_s)} left" if per_s and left_s > 0 else ""
        return f"{self.what}: {self.done:,} of {self.total:,}{size}, {rate}{end}"


def duration(seconds: float) -> str:
    """Say how long something takes, to two units."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004 - seconds of a minute
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:  # noqa: PLR2004 - minutes of an hour
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
