"""How far a restore has come: kept on the disk, so that a killed one goes on where it was."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dicom_backup.durable import write_json

FILE = "restore.json"
STEPS = ("files", "databases", "images", "originals", "replay")


@dataclass(slots=True)
class State:
    """Which run of the backup is brought back, and what of it is."""

    # The snapshot of the run's own record, its end, and when its dump of the databases began.
    run: str
    finished: str
    dumped: str
    # Steps and days of images that are done.
    steps: list[str] = field(default_factory=list)
    days: list[str] = field(default_factory=list)
    # What no snapshot could give, in words.
    lost: list[str] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """Whether everything is back."""
        return all(step in self.steps for step in STEPS)


def load(backup_dir: Path) -> State | None:
    """Read the state; None where no restore was begun. Raises ValueError."""
    path = backup_dir / FILE
    try:
        return State(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the state of a restore: move it away") from error


def save(backup_dir: Path, state: State) -> None:
    """Write the state durably, in one step."""
    backup_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(backup_dir / FILE, asdict(state))


def under_way(backup_dir: Path) -> bool:
    """Whether a restore has not ended: the archive lacks images, which no backup may take for the truth."""
    state = load(backup_dir)
    return state is not None and not state.is_done
