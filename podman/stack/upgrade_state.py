"""How far an upgrade or the way back has come: a file that outlives a kill, and what it forbids meanwhile."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from stack import version
from stack.credentials import write_private
from stack.settings import SettingsError
from stack.version import Version

if TYPE_CHECKING:
    from pathlib import Path

    from stack.settings import Settings

STATE = "backup/upgrade.json"
# Until people are stopped nothing has changed, and nothing is written.
PREPARING, UPGRADING, UPGRADED, GOING_BACK, BACK = (
    "preparing",
    "upgrading",
    "upgraded",
    "going back",
    "back",
)


@dataclass(slots=True)
class State:
    """One upgrade: from which version to which, its steps that are done, and what there was before."""

    before: Version
    after: Version
    postgresql: int
    phase: str = PREPARING
    steps: list[str] = field(default_factory=list)
    # Tags of the images of before, and of the program that dumps and restores.
    images: dict[str, str] = field(default_factory=dict)
    program: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    # When people were stopped, in seconds since 1970; and the UTC day of the dumps.
    stopped_s: float = 0.0
    day: str = ""
    # Where what the new version made lies after going back.
    aside: str = ""


def load(settings: Settings) -> State | None:
    """Return the last upgrade, None where there was none."""
    path = settings.data_dir / STATE
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    before, after = (Version(**found.pop(name)) for name in ("before", "after"))
    return State(before, after, **found)


def save(settings: Settings, state: State) -> None:
    """Write it durably."""
    write_private(settings.data_dir / STATE, json.dumps(asdict(state), indent=1) + "\n", 0, 0o600)


def note(settings: Settings, state: State, step: str) -> None:
    """Remember that a step is done."""
    if step not in state.steps:
        state.steps.append(step)
    save(settings, state)


def kept(settings: Settings, state: State) -> Path:
    """Return the folder with dumps, journal and settings of before."""
    return settings.data_dir / "backup" / f"before-{state.before.name}"


def sources(settings: Settings, state: State) -> Path:
    """Return where the sources of before lie."""
    return settings.data_dir / "versions" / state.before.name


def refuse_half_done(settings: Settings) -> None:
    """Raise SettingsError where only the upgrade, or the version of before, may go on."""
    state = load(settings)
    if state is None or state.phase == UPGRADED:
        return
    if state.phase == UPGRADING:
        raise SettingsError(
            f"an upgrade from {state.before.name} to {state.after.name} is under way:"
            " make upgrade goes on with it, make rollback goes back"
        )
    mine = version.of_sources()
    if mine and mine.name == state.before.name:
        return
    where = sources(settings, state)
    again = " (it has not ended: make rollback)" if state.phase == GOING_BACK else ""
    raise SettingsError(
        f"this stack went back to {state.before.name}{again}, and these sources are another version:"
        f" give its commands in {where}, or check {state.before.name} out here;"
        " make upgrade tries an upgrade again"
    )
