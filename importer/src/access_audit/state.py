"""What the auditor remembers: how far it has read, and which views and refusals are still open."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

# Of each kind the eldest is forgotten beyond this: its next request would be a record again.
MAX_OPEN = 10_000
MAX_NAMES = 2_000


@dataclass(slots=True)
class Cursor:
    """How far one of Keycloak's lists is read: its newest time, and the ids around it."""

    newest_ms: int = 0
    seen: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class State:
    """Times are seconds since 1970; the order of `views` and `recent` is that of their times."""

    # Bytes read of each file that nginx writes, by its name.
    offsets: dict[str, int] = field(default_factory=dict)
    # The last request of each open view.
    views: dict[str, float] = field(default_factory=dict)
    # The first of searches and refusals that count as one.
    recent: dict[str, float] = field(default_factory=dict)
    # Names of people by their subject: Keycloak's events of administration have none.
    names: dict[str, str] = field(default_factory=dict)
    logins: Cursor = field(default_factory=Cursor)
    changes: Cursor = field(default_factory=Cursor)

    def copy(self) -> "State":
        """Give a copy, to be kept once the records that go with it are written."""
        return State(
            dict(self.offsets),
            dict(self.views),
            dict(self.recent),
            dict(self.names),
            Cursor(self.logins.newest_ms, dict(self.logins.seen)),
            Cursor(self.changes.newest_ms, dict(self.changes.seen)),
        )


def remember(mapping: dict[str, float], key: str, time_s: float) -> None:
    """Note a time as the latest."""
    mapping.pop(key, None)
    mapping[key] = time_s
    if len(mapping) > MAX_OPEN:
        del mapping[next(iter(mapping))]


def load(path: Path) -> State:
    """Read the state, that of a first start where there is none; raises ValueError, OSError."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return State()
    try:
        logins, changes = (Cursor(**found.pop(key)) for key in ("logins", "changes"))
        return State(**found, logins=logins, changes=changes)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a state of the auditor: move it away") from error


def save(path: Path, state: State) -> None:
    """Write the state durably, in one step."""
    part = path.with_name(path.name + ".part")
    with part.open("w") as file:
        json.dump(asdict(state), file)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
