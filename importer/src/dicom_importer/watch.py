"""Wakes the loop when the file system says that something came; missing an event costs a sweep."""

from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from dicom_importer import log

# Not what our own reading and filing cause, which would wake us for ever: a file that gets a second
# name counts as modified. Who writes into a file closes it in the end.
_EVENTS: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
]


def watch(inbox: Path, wake: Callable[[], None]) -> BaseObserver | None:
    """Call wake on each event until the observer is stopped; None when there are no events here."""

    class Handler(FileSystemEventHandler):
        def on_any_event(self, _event: FileSystemEvent) -> None:
            wake()

    observer = Observer()
    try:
        observer.schedule(Handler(), str(inbox.resolve()), recursive=True, event_filter=_EVENTS)
        observer.start()
    except OSError as error:
        log.line("no_events", error=error.strerror)
        return None
    return observer
