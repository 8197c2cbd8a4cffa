"""The plan of a correction: on disk from before anything of the study changes until all of it has."""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from dicom_importer import files
from dicom_importer.corrections import Correction
from dicom_importer.files import Place, Seen

# Of replacements too: one of either at a time.
LOCK = "replacement.lock"
_FOLDER, _PLAN, _EXCHANGED = "errand", "plan.json", "exchanged"


@dataclass(frozen=True, slots=True)
class Change:
    """An instance by the archive's identifier, and the MD5s of what it holds and is to hold.

    The latter is empty for what is deleted.
    """

    old_id: str
    sop_uid: str
    old_md5: str
    new_md5: str


@dataclass(frozen=True, slots=True)
class Filed:
    """A file of processed/ or failed/ (root), by the path below that: where it is and is to be.

    Whither is empty for what is deleted; whence is the path in the inbox, of this clinic. `row` is
    the journal's.
    """

    row: int
    root: str
    source: str
    target: str
    whence: str
    size_bytes: int
    mtime_ns: int
    inode: int

    @property
    def seen(self) -> Seen:
        """Which version of the file it is."""
        return Seen(self.size_bytes, self.mtime_ns, self.inode)


@dataclass(frozen=True, slots=True)
class Errand:
    """A correction, and everything that it changes; `time` is that of its audit record.

    The patient is the digest that the journal has of the new one, empty where that stays.
    """

    correction: Correction
    time: str
    patient_key: str
    changes: tuple[Change, ...]
    filed: tuple[Filed, ...]

    @property
    def study_uid(self) -> str:
        """Whose it is."""
        return self.correction.study_uid


def old_file(state: Path, identifier: str) -> Path:
    """Return where the bytes of an instance are kept meanwhile."""
    return state / _FOLDER / f"{identifier}.dcm"


def begin(state: Path) -> None:
    """Make room for the old bytes; what an interrupted beginning left there goes."""
    forget(state)
    (state / _FOLDER).mkdir(mode=0o700)


def forget(state: Path) -> None:
    """Remove what was kept for a plan that was never committed."""
    shutil.rmtree(state / _FOLDER, ignore_errors=True)


def commit(state: Path, todo: Errand) -> None:
    """Put the plan on disk: from here on it is carried out or taken back."""
    files.write(Place(state, f"{_FOLDER}/{_PLAN}"), json.dumps(asdict(todo)).encode())


def read(state: Path) -> Errand | None:
    """Return what is under way, if anything."""
    path = state / _FOLDER / _PLAN
    # It is asked for with each file, and mostly not there.
    if not os.access(path, os.F_OK):
        return None
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return Errand(
        Correction(**found["correction"]),
        found["time"],
        found["patient_key"],
        tuple(Change(**one) for one in found["changes"]),
        tuple(Filed(**one) for one in found["filed"]),
    )


def exchanged(state: Path) -> bool:
    """Say whether the archive holds what it is to hold, which was verified."""
    return (state / _FOLDER / _EXCHANGED).exists()


def note_exchanged(state: Path) -> None:
    """Note on disk that it does."""
    files.write(Place(state, f"{_FOLDER}/{_EXCHANGED}"), b"")


def end(state: Path) -> None:
    """Forget the plan and, after it, the old bytes."""
    # First, so that nobody who finds no plan believes what was so before it.
    os.utime(state / LOCK)
    with files.folder(state, _FOLDER) as descriptor:
        os.unlink(_PLAN, dir_fd=descriptor)
        os.fsync(descriptor)
    shutil.rmtree(state / _FOLDER)
