"""How fast a person may read: at the pace of someone who looks at images, not of a program that copies the archive."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

# A slice of a volume is a request, and a viewer that is refused one shows a hole. Ten volumes of 500 slices are there
# at once, a study of several series beside those before it; from then on one every ten seconds, all day.
READS_AT_ONCE = 5000
READS_PER_S = 50.0
# So long who was too fast gets nothing; nginx says it as Retry-After.
PAUSE_S = 5.0
MAX_PEOPLE = 10_000


class Pace:
    """A bucket for each person, whatever token or address they come with; clock is in seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # How much a person had read at a time and had not made up for, and until when they pause.
        self._people: OrderedDict[str, tuple[float, float, float]] = OrderedDict()
        self._lock = Lock()

    def take(self, person: str) -> bool:
        """Count a read; False: this one is too many."""
        with self._lock:
            now_s = self._clock()
            read, at_s, paused_s = self._people.pop(person, (0.0, now_s, now_s))
            read = max(0.0, read - (now_s - at_s) * READS_PER_S)
            if now_s >= paused_s:
                if read + 1 <= READS_AT_ONCE:
                    read += 1
                else:
                    paused_s = now_s + PAUSE_S
            self._people[person] = (read, now_s, paused_s)
            if len(self._people) > MAX_PEOPLE:
                self._people.popitem(last=False)
            return now_s >= paused_s

    def allows(self, person: str) -> bool:
        """Tell, without counting, whether a person does not pause."""
        with self._lock:
            now_s = self._clock()
            return now_s >= self._people.get(person, (0.0, now_s, now_s))[2]
