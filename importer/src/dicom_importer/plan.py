"""The plan of a replacement: on disk from before the old version goes until the new one is filed."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from dicom_importer import files
from dicom_importer.files import Arrival, Place, Seen

_FOLDER, _PLAN, _OLD, _LOCK = "replacement", "plan.json", "old.dcm", "replacement.lock"


@dataclass(frozen=True, slots=True)
class Plan:
    """What replaces what: a file of failed/ an instance of the archive, by its identifier there."""

    clinic: str
    path: str
    size_bytes: int
    mtime_ns: int
    inode: int
    source: str
    target: str
    coerced_at: str
    patient_key: str
    study_uid: str
    series_uid: str
    sop_uid: str
    old_id: str
    old_md5: str
    new_md5: str
    who: str
    time: str

    @property
    def arrival(self) -> Arrival:
        """The file as it came into the inbox."""
        return Arrival(self.clinic, self.path, Seen(self.size_bytes, self.mtime_ns, self.inode))


@contextlib.contextmanager
def held(state: Path) -> Iterator[bool]:
    """Hold the right to replace, of one process at a time; False when another one has it."""
    with (state / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def old_file(state: Path) -> Path:
    """Return where the bytes of the old version are kept meanwhile."""
    return state / _FOLDER / _OLD


def begin(state: Path) -> None:
    """Make room for the old version's bytes; what an interrupted beginning left there goes."""
    folder = state / _FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)


def commit(state: Path, plan: Plan) -> None:
    """Put the plan on disk: from here on it is carried out or taken back."""
    content = json.dumps(asdict(plan)).encode()  # a name that is not UTF-8 goes as escapes
    files.write(Place(state, f"{_FOLDER}/{_PLAN}"), content)


def read(state: Path) -> Plan | None:
    """Return the plan that is under way, if any."""
    try:
        return Plan(**json.loads((state / _FOLDER / _PLAN).read_bytes()))
    except FileNotFoundError:
        return None


def end(state: Path) -> None:
    """Forget the plan and, after it, the bytes of the old version."""
    (state / _FOLDER / _PLAN).unlink()
    descriptor = os.open(state / _FOLDER, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    shutil.rmtree(state / _FOLDER)


def concerns(state: Path, study_uid: str) -> bool:
    """Say whether an instance of this study is being replaced."""
    plan = read(state)
    return plan is not None and plan.study_uid == study_uid
