"""Decides when a submission is whole: when nothing in it has changed for the cool-down."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dicom_importer.files import Seen
from dicom_importer.scan import submission


@dataclass(slots=True)
class _Submission:
    """The files, each with its version seen and since when, in seconds of our own monotonic clock."""

    changed_at: float
    unsettled_since: float
    files: dict[str, tuple[str, Seen, float]] = field(default_factory=dict)


class Settler:
    """What is known of one clinic's inbox between two sweeps."""

    def __init__(self, cooldown_s: float, steady_traffic_s: float) -> None:
        self._cooldown_s = cooldown_s
        self._steady_traffic_s = steady_traffic_s
        self._submissions: dict[str, _Submission] = {}
        # Of these nothing was ready when they were last looked at.
        self.unsettled: set[str] = set()

    def update(self, found: Mapping[str, Seen], now: float) -> list[tuple[str, Seen]]:
        """Take in a sweep; return every file that is ready, again each time until it is gone.

        A file that goes is no change: those that are ready go one by one by our own doing.
        """
        fresh: dict[str, _Submission] = {}
        for path, version in found.items():
            name = submission(path)
            old = self._submissions.get(name)
            new = fresh.get(name)
            if new is None:
                new = fresh[name] = _Submission(
                    old.changed_at if old else now, old.unsettled_since if old else now
                )
            known = old.files.get(path) if old else None
            if known and known[1] == version:
                new.files[path] = known
                continue
            if old and now - old.changed_at >= self._cooldown_s:
                new.unsettled_since = now
            new.changed_at = now
            new.files[path] = (path, version, now)
        self._submissions = fresh
        # In one order always: of two files that exclude each other, the same one wins.
        ready = {name: self._ready(one, now) for name, one in fresh.items()}
        self.unsettled = {name for name, files in ready.items() if not files}
        return sorted(item for files in ready.values() for item in files)

    def same(self, path: str, version: Seen) -> tuple[str, Seen]:
        """Return what is known already in place of its equal: of 100,000 files each is held once."""
        one = self._submissions.get(submission(path))
        known = one.files.get(path) if one else None
        return known[:2] if known and known[1] == version else (path, version)

    def _ready(self, one: _Submission, now: float) -> list[tuple[str, Seen]]:
        settled = now - one.changed_at >= self._cooldown_s
        steady = now - one.unsettled_since >= self._steady_traffic_s
        if not settled and not steady:
            return []
        return [
            (path, version)
            for path, version, since in one.files.values()
            if settled or now - since >= self._cooldown_s
        ]

    def due_in_s(self, now: float) -> float | None:
        """Seconds until something may settle that has not, if anything is left to settle."""
        waits = [
            one.changed_at + self._cooldown_s - now
            for one in self._submissions.values()
            if now - one.changed_at < self._cooldown_s
        ]
        return min(waits, default=None)

    def lying(self, now: float) -> list[tuple[str, Seen, int, float]]:
        """Tell of each submission one of its files, how many there are, and when it settles (s)."""
        return [
            (path, version, len(one.files), max(0.0, one.changed_at + self._cooldown_s - now))
            for one in self._submissions.values()
            if one.files
            for path, version, _ in [next(iter(one.files.values()))]
        ]

    def forget(self, path: str) -> float | None:
        """Drop a file that was filed away; returns since when it lay there as it was, if that was seen."""
        one = self._submissions.get(submission(path))
        known = one.files.pop(path, None) if one else None
        return known[2] if known else None

    @property
    def pending(self) -> int:
        """Files that lie in the inbox."""
        return sum(len(one.files) for one in self._submissions.values())

    def oldest_s(self, now: float) -> float:
        """For how long the file that waits longest has been seen; 0 without any."""
        times = (since for one in self._submissions.values() for _, _, since in one.files.values())
        return now - min(times, default=now)
