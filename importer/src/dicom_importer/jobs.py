"""Hands settled files to the workers, so that no clinic holds back another."""

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dicom_importer.files import Arrival
from dicom_importer.scan import submission

# So many files share their questions to the archive; more of them gain little, and another clinic
# waits for no more than this.
BATCH_FILES = 16
BATCH_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Job:
    """A file that is ready since a time of the monotonic clock.

    Of one that is whole for certain nothing more is awaited.
    """

    arrival: Arrival
    ready_at: float
    whole: bool = False


class Queue:
    """Jobs of all clinics; the clinic that was given the fewest bytes is next."""

    def __init__(self, monotonic: Callable[[], float], takers: int = 1) -> None:
        self._monotonic = monotonic
        self._takers = takers
        self._changed = threading.Condition()
        self._ready: dict[str, deque[Job]] = {}
        self._served_bytes: dict[str, int] = {}
        self._later: list[tuple[float, int, Job]] = []
        self._order = itertools.count()
        self._known: set[Arrival] = set()
        self._paused_until = 0.0
        self._closed = False

    def offer(self, job: Job) -> bool:
        """Take in a job unless it is known already."""
        with self._changed:
            if job.arrival in self._known:
                return False
            self._known.add(job.arrival)
            self._append(job)
            self._changed.notify()
            return True

    def take(self, timeout_s: float) -> Job | None:
        """Return the next job, or None after the timeout or when closed."""
        deadline = self._monotonic() + timeout_s
        with self._changed:
            while not self._closed:
                now = self._monotonic()
                wake = deadline
                if now >= self._paused_until:
                    while self._later and self._later[0][0] <= now:
                        self._append(heapq.heappop(self._later)[2])
                    if self._ready:
                        return self._next()
                    if self._later:
                        wake = min(wake, self._later[0][0])
                else:
                    wake = min(wake, self._paused_until)
                if now >= deadline:
                    return None
                self._changed.wait(max(0.0, wake - now))
        return None

    def more(self, job: Job) -> list[Job]:
        """Return what goes along with a job just taken: of its clinic, as much as is worth while.

        Half of what waits for two takers, and so on, so that none of them is left with the rest.
        """
        found: list[Job] = []
        clinic, size_bytes = job.arrival.clinic, job.arrival.seen.size_bytes
        with self._changed:
            waiting = self._ready.get(clinic, deque())
            most = min(BATCH_FILES, -(-(len(waiting) + 1) // self._takers))
            while waiting and len(found) < most - 1:
                size_bytes += waiting[0].arrival.seen.size_bytes
                if size_bytes > BATCH_BYTES:
                    break
                found.append(self._pop(clinic))
        return found

    def _append(self, job: Job) -> None:
        clinic = job.arrival.clinic
        if clinic not in self._ready:
            # Whoever comes back from a pause has not saved up a right to all the rest.
            floor = min((self._served_bytes[other] for other in self._ready), default=0)
            self._served_bytes[clinic] = max(self._served_bytes.get(clinic, 0), floor)
            self._ready[clinic] = deque()
        self._ready[clinic].append(job)

    def _next(self) -> Job:
        return self._pop(min(self._ready, key=lambda name: (self._served_bytes[name], name)))

    def _pop(self, clinic: str) -> Job:
        job = self._ready[clinic].popleft()
        self._served_bytes[clinic] += job.arrival.seen.size_bytes + 1
        if not self._ready[clinic]:
            del self._ready[clinic]
        return job

    def defer(self, job: Job, delay_s: float) -> None:
        """Give a taken job back, not to be taken before the delay is over."""
        with self._changed:
            due = self._monotonic() + delay_s
            heapq.heappush(self._later, (due, next(self._order), job))
            self._changed.notify()

    def done(self, job: Job) -> None:
        """Forget a taken job."""
        with self._changed:
            self._known.discard(job.arrival)

    def are_done(self, arrivals: Iterable[Arrival]) -> bool:
        """Say whether none of them is known any more."""
        with self._changed:
            return self._known.isdisjoint(arrivals)

    def pause(self, delay_s: float) -> None:
        """Hand out nothing for a while: the archive is away."""
        with self._changed:
            self._paused_until = max(self._paused_until, self._monotonic() + delay_s)

    def close(self) -> None:
        """Hand out nothing any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def idle(self) -> bool:
        """Whether every job is done."""
        return not self._known

    @property
    def closed(self) -> bool:
        """Whether the service stops."""
        return self._closed

    def submissions(self) -> set[tuple[str, str]]:
        """Return clinic and submission of every job that is not done."""
        with self._changed:
            return {(one.clinic, submission(one.path)) for one in self._known}
