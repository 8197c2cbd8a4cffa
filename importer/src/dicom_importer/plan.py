"""The plan of a replacement: on disk from before the old version goes until the new one is filed."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from dicom_importer import errand, files
from dicom_importer.files import Arrival, Place, Seen

_FOLDER, _PLAN, _LOCK = "replacement", "plan.json", errand.LOCK


class Declined(Exception):  # noqa: N818 - nothing failed
    """Why nothing is planned, in words."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What replaces what: a file of failed/ an instance of the archive, by its identifier there.

    Of a study that changes hands there is one for each file, in one go; old_id is empty for an
    instance that the archive did not hold.
    """

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
    old_study: str
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


def old_file(state: Path, identifier: str) -> Path:
    """Return where the bytes of an instance that is replaced are kept meanwhile."""
    return state / _FOLDER / f"{identifier}.dcm"


def begin(state: Path) -> None:
    """Make room for the old bytes; what an interrupted beginning left there goes."""
    folder = state / _FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)


def commit(state: Path, plans: tuple[Plan, ...]) -> None:
    """Put the plan on disk: from here on it is carried out or taken back."""
    # A name that is not UTF-8 goes as escapes.
    content = json.dumps([asdict(one) for one in plans]).encode()
    files.write(Place(state, f"{_FOLDER}/{_PLAN}"), content)


def read(state: Path) -> tuple[Plan, ...]:
    """Return what is under way, if anything."""
    path = state / _FOLDER / _PLAN
    # It is asked for twice with each file, and mostly not there.
    if not os.access(path, os.F_OK):
        return ()
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return ()
    return tuple(Plan(**one) for one in found)


def end(state: Path) -> None:
    """Forget the plan and, after it, the old bytes."""
    # First, so that nobody who finds no plan believes what was so before it.
    os.utime(state / _LOCK)
    (state / _FOLDER / _PLAN).unlink()
    descriptor = os.open(state / _FOLDER, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    shutil.rmtree(state / _FOLDER)


def concerns(state: Path, study_uid: str) -> bool:
    """Say whether something of this study is being replaced or corrected."""
    correction = errand.read(state)
    if correction and correction.study_uid == study_uid:
        return True
    return any(one.study_uid == study_uid for one in read(state))


def latest(state: Path) -> int:
    """Tell when a replacement or correction last ended (ns): what is remembered of owners may be wrong since."""
    try:
        return (state / _LOCK).stat().st_mtime_ns
    except FileNotFoundError:
        return 0
