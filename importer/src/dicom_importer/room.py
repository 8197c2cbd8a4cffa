"""Watches the room on the disks: intake pauses before one is full and goes on by itself."""

import os
import re
import threading
from pathlib import Path

from dicom_importer import log, words
from dicom_importer.config import Config
from dicom_importer.metrics import Metrics
from dicom_importer.reasons import NoRoom

# Why a file waits that would use up the room of a disk.
SHORT = re.compile(r"the disk of (.+) is nearly full")


def short(place: str) -> str:
    """Give the cause that SHORT knows again."""
    return f"the disk of {place} is nearly full"


def free_bytes(config: Config) -> dict[str, int]:
    """Return what is free where imports take room; a place that is not there is left out."""
    places = {
        "archive": config.archive_dir,
        "processed": config.processed_dir,
        "failed": config.failed_dir,
        "state": config.state_dir,
    }
    found = ((name, _free_bytes(path)) for name, path in places.items())
    return {name: free for name, free in found if free is not None}


def _free_bytes(path: Path) -> int | None:
    try:
        status = os.statvfs(path)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize


def warnings(config: Config, language_tag: str = words.ENGLISH) -> list[str]:
    """Say in words where room is short."""
    low, high = config.min_free_bytes, config.resume_free_bytes
    text = words.load(language_tag).causes["short"]
    return [
        text.format(place=place, free=_gib(free), low=_gib(low), high=_gib(high))
        for place, free in free_bytes(config).items()
        if low and free < high
    ]


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.2f}"


class Room:
    """Remembers whether intake is paused: it goes on only from a higher mark than it paused at."""

    def __init__(self, config: Config, metrics: Metrics) -> None:
        self._config = config
        self._metrics = metrics
        self._lock = threading.Lock()
        self._short = ""

    @property
    def paused(self) -> bool:
        """Whether nothing is taken in."""
        return bool(self._short)

    def look(self) -> dict[str, int]:
        """Pause or go on by what is free now, which is returned."""
        found = free_bytes(self._config)
        with self._lock:
            mark = self._config.resume_free_bytes if self._short else self._config.min_free_bytes
            before, self._short = (
                self._short,
                min((n for n in found if found[n] < mark), default=""),
            )
            for place, free in found.items():
                self._metrics.free_bytes.labels(place).set(free)
            self._metrics.intake_paused.set(self.paused)
            if self.paused != bool(before):
                log.line("intake_paused" if self.paused else "intake_resumed", **found)
        return found

    def check(self, size_bytes: int) -> None:
        """Raise NoRoom while intake is paused, or when a file of this size would use up the room."""
        low = self._config.min_free_bytes
        found = free_bytes(self._config)
        if self._short or min(found.values(), default=low) < low:
            found = self.look()
        if short := self._short:
            raise NoRoom(short, paused=True)
        for place, free in found.items():
            if low and free - size_bytes < low:
                raise NoRoom(place, paused=False)
