"""state.json: what the last run and the last check came to, in words for people."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dicom_backup.durable import write_json
from dicom_backup.record import Part


@dataclass(frozen=True, slots=True)
class Day:
    """A day's newest snapshot, and the time of change (ns) of its folder when that was made."""

    part: Part
    folder_mtime_ns: int
    saved_s: float


@dataclass(slots=True)
class State:
    """Times are seconds since 1970, 0 for never; an error is empty when all was well."""

    first_s: float = 0.0
    # By target: a repository that was there once and is not is no reason to make another.
    repositories: dict[str, str] = field(default_factory=dict)
    target: str = ""
    tried_s: float = 0.0
    succeeded_s: float = 0.0
    duration_s: float = 0.0
    added_bytes: int = 0
    error: str = ""
    dumped_s: float = 0.0
    dump_error: str = ""
    realm_s: float = 0.0
    realm_people: int = 0
    realm_error: str = ""
    checked_s: float = 0.0
    check_error: str = ""
    check_part: int = 0
    damaged_packs: list[str] = field(default_factory=list)
    forgot_s: float = 0.0
    pruned_s: float = 0.0
    retention_error: str = ""
    # Read every file anew, since the repository has lost some of what it had.
    reread: bool = False
    days: dict[str, Day] = field(default_factory=dict)


def load(path: Path) -> State:
    """Read the state; that of a first start where there is none or it is of no use: it can be found anew."""
    try:
        found = json.loads(path.read_text())
        days = {day: Day(Part(**of.pop("part")), **of) for day, of in found.pop("days").items()}
        return State(**found, days=days)
    except (AttributeError, FileNotFoundError, KeyError, TypeError, ValueError):
        return State(first_s=time.time())


def save(path: Path, state: State) -> None:
    """Write the state durably, in one step."""
    write_json(path, asdict(state))
