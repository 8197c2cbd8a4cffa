"""`dicom-importer verify`: compares what was imported, the originals in processed/ and the archive.

Each image that the journal knows as imported has to be in the archive, in its clinic's study, and
the archive has to read its bytes back from the disk. They have to be what was sent, made anew from
the original while that is kept, or else the same content (a duplicate is held as another file
brought it). Of an image whose original had its time only the archive's own MD5 is left to compare
with. Each file in processed/ has to be in the journal. What differs is named by its identifiers,
since a path may carry a patient's name. Told to repair, it stores anew what the archive lacks or
cannot read and an original is kept of.
"""

import contextlib
import dataclasses
import functools
import itertools
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dicom_importer import audit, files, instance, places, plan, repair, scan, session
from dicom_importer.config import Config
from dicom_importer.filing import Folders
from dicom_importer.journal import JOURNAL, Journal
from dicom_importer.ownership import Ownership
from dicom_importer.reasons import REASONS, Failure, Unavailable
from dicom_importer.records import Row
from dicom_importer.repair import Outcome, State, Status, Tools

STOPPED = 2
_AT_ONCE = 256
_ADVICE = (
    "What cannot be read back is damaged or gone on the archive's disk. If that disk is in its"
    " place, verify --repair (make verify REPAIR=1) stores anew what has an original; only a backup"
    " of the archive brings back the rest."
)
_STATES: dict[State, str] = {
    "held": "",
    "lacking": "is not in the archive",
    "damaged": "cannot be read back",
    "unread": "cannot be read back, and is listed with other bytes than its original's",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of which clinic (empty: of all), and who lets it be repaired (empty: nobody does)."""

    clinic: str
    repaired_by: str


@dataclass(slots=True)
class _Count:
    studies: int = 0
    compared: int = 0
    read_back: int = 0
    unread: int = 0
    files: int = 0
    repaired: int = 0
    differences: int = 0

    def __str__(self) -> str:
        return (
            f"{self.studies} studies: {self.compared} images compared with their originals,"
            f" {self.read_back} only read back; {self.files} files in processed/;"
            + (f" {self.repaired} repaired;" if self.repaired else "")
            + f" {self.differences} differences"
        )


@dataclass(frozen=True, slots=True)
class _Desk:
    tools: Tools
    journal: Journal
    folders: Folders
    state: Path
    pool: ThreadPoolExecutor
    repairs: bool
    # The clinic of each image that was repaired.
    repaired: list[str]


@dataclass(frozen=True, slots=True)
class _Image:
    """An image by its row; study_id is empty when the archive does not hold its study."""

    clinic: str
    study_uid: str
    study_id: str
    row: Row


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen of an image; words say in what it differs, none when in nothing."""

    compared: bool
    words: str = ""
    more: str = ""
    unread: bool = False
    mendable: bool = False
    repaired: bool = False


def verify(
    config: Config,
    wanted: Wanted,
    say: Callable[[str], None],
    progress: Callable[[str], None],
    now: Callable[[], datetime],
) -> int:
    """Compare everything and name what differs; returns the exit status, 1 for differences."""
    clinics = sorted({*scan.clinics(config.inbox_dir), *scan.clinics(config.processed_dir)})
    if wanted.clinic and wanted.clinic not in clinics:
        say(f"There is no clinic {wanted.clinic}.")
        return STOPPED
    try:
        journal = Journal(config.state_dir / JOURNAL, read_only=True)
    except sqlite3.Error:
        say("The importer has not been running yet: there is no journal.")
        return STOPPED
    count = _Count()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(journal))
        if wanted.repaired_by:
            mine = stack.enter_context(plan.held(config.state_dir))
            if not mine or plan.read(config.state_dir):
                say("A replacement or replay is under way: try again when it has ended.")
                return STOPPED
        archive = stack.enter_context(session.archive(config))
        pool = stack.enter_context(ThreadPoolExecutor(config.connections))
        owner = Ownership(archive, journal.past.stored, time.monotonic)
        tools = Tools(archive, owner, session.limits(config))
        folders, repairs = places.folders(config), bool(wanted.repaired_by)
        desk = _Desk(tools, journal, folders, config.state_dir, pool, repairs, [])
        try:
            for one in [wanted.clinic] if wanted.clinic else clinics:
                _clinic(desk, one, count, say, progress)
        except Unavailable as absence:
            _advise(count, say)
            say(f"Stopped: the archive does not answer ({absence.cause}). Until then: {count}.")
            return STOPPED
        finally:
            _tell_audit(desk, wanted.repaired_by, config.audit_file, audit.stamp(now()))
    _advise(count, say)
    say(f"{count}.")
    return 1 if count.differences else 0


def _clinic(
    desk: _Desk,
    clinic: str,
    count: _Count,
    say: Callable[[str], None],
    progress: Callable[[str], None],
) -> None:
    def differs(words: str) -> None:
        count.differences += 1
        say(words)

    images = _images(desk, clinic, count)
    while some := list(itertools.islice(images, _AT_ONCE)):
        _tell(desk, some, count, say, differs)
        progress(f"{clinic}: {count}")
    _processed(desk, clinic, count, differs)
    progress(f"{clinic}: {count}")


def _tell_audit(desk: _Desk, who: str, path: Path, at: str) -> None:
    counts = Counter(desk.repaired)
    records = [audit.repaired(who, clinic, count, at) for clinic, count in counts.items()]
    if records:
        audit.append(path, records)


def _advise(count: _Count, say: Callable[[str], None]) -> None:
    if count.unread:
        say(_ADVICE)


def _images(desk: _Desk, clinic: str, count: _Count) -> Iterator[_Image | str]:
    """Yield what is to be looked at, and in its place what a study as a whole differs in."""
    for uid in desk.journal.past.studies(clinic):
        if plan.concerns(desk.state, uid):
            continue
        count.studies += 1
        rows = _latest(desk.journal.past.imported(clinic, uid))
        study = desk.tools.archive.study(uid)
        if (study is None and not desk.repairs) or (study and study.clinic != clinic):
            what = (
                "is not in the archive" if study is None else "is not this clinic's in the archive"
            )
            yield f"{clinic}: study {uid} {what} ({len(rows)} images)"
        else:
            study_id = study.id if study else ""
            yield from (_Image(clinic, uid, study_id, row) for row in rows)


def _latest(rows: list[Row]) -> list[Row]:
    """Return of each instance the row that tells what the archive should hold."""
    latest: dict[str, Row] = {}
    for row in rows:
        if row.decision.verdict.status == "success" or row.identity.sop_uid not in latest:
            latest[row.identity.sop_uid] = row
    return list(latest.values())


def _tell(
    desk: _Desk,
    some: list[_Image | str],
    count: _Count,
    say: Callable[[str], None],
    differs: Callable[[str], None],
) -> None:
    """Look at several images at once, and name what differs in the order of the journal."""
    looks = iter(_looks(desk, [one for one in some if isinstance(one, _Image)]))
    for one in some:
        if isinstance(one, str):
            differs(one)
            continue
        look = next(looks)
        count.compared += look.compared
        count.read_back += not look.compared
        image = f"study {one.study_uid}, image {one.row.identity.sop_uid}"
        words = f"{one.clinic}: {image} {look.words}; {look.more}".removesuffix("; ")
        if look.repaired:
            count.repaired += 1
            say(words)
        # A replacement may have begun meanwhile.
        elif look.words and not plan.concerns(desk.state, one.study_uid):
            count.unread += look.unread
            differs(words)


def _looks(desk: _Desk, images: list[_Image]) -> list[_Look]:
    looks = repair.looks(desk.pool, functools.partial(_look, desk), images)
    chosen = [i for i, look in enumerate(looks) if look.mendable] if desk.repairs else []
    mended = desk.pool.map(functools.partial(_mended, desk), [images[i] for i in chosen])
    for index, outcome in zip(chosen, mended, strict=True):
        looks[index] = _after(looks[index], outcome)
    return looks


def _after(look: _Look, outcome: Outcome) -> _Look:
    if outcome.status == "held":
        return _Look(compared=True)
    if outcome.status == "repaired":
        return dataclasses.replace(look, more="repaired", unread=False, repaired=True)
    more = f"{look.more}; not repaired: {outcome.words}".removeprefix("; ")
    return dataclasses.replace(look, more=more)


def _mended(desk: _Desk, image: _Image) -> Outcome:
    return repair.persist(lambda: _repair(desk, image))


def _repair(desk: _Desk, image: _Image) -> Status:
    row, place = image.row, desk.folders.target(image.row)
    with (
        files.open_file(place) as file,
        instance.prepared(file, image.clinic, row.coerced_at, desk.tools.limits) as ready,
    ):
        status = repair.bring(desk.tools, image.clinic, ready, sure=True)
    if status == "repaired":
        desk.repaired.append(image.clinic)
    return status


def _look(desk: _Desk, image: _Image) -> _Look:
    """Compare an image with its original, or have it read back when that is not kept."""
    row, place = image.row, desk.folders.target(image.row)
    lies = files.look(place) if files.holds(place, row.arrival.seen) else None
    if lies is None:
        return _without_original(desk, image)
    try:
        with (
            files.open_file(place) as file,
            instance.prepared(file, image.clinic, row.coerced_at, desk.tools.limits) as ready,
        ):
            state = repair.state(desk.tools, image.clinic, ready)
    except Failure as failure:
        return _Look(compared=True, words=f"differs: {REASONS[failure.code].found}")
    except OSError as error:
        words = f"could not be compared: its original cannot be read ({error.strerror})"
        return _Look(compared=True, words=words)
    day = place.root.joinpath(*place.path.split("/")[:2])
    unread = state in ("damaged", "unread")
    return _Look(
        compared=True,
        words=_STATES[state],
        more=f"its original: find {day} -inum {lies.inode}" if unread else "",
        unread=unread,
        mendable=state in ("lacking", "damaged"),
    )


def _without_original(desk: _Desk, image: _Image) -> _Look:
    archive, size_bytes = desk.tools.archive, image.row.arrival.seen.size_bytes
    held = archive.instances(image.row.identity.sop_uid)
    held = [one for one in held if archive.instance_study(one) == image.study_id]
    if not held:
        return _Look(compared=False, words=_STATES["lacking"])
    if not all(archive.reads_back(one, size_bytes) for one in held):
        more = "no original of it is kept"
        return _Look(compared=False, words=_STATES["damaged"], more=more, unread=True)
    return _Look(compared=False)


def _processed(desk: _Desk, clinic: str, count: _Count, differs: Callable[[str], None]) -> None:
    root = desk.folders.processed
    with contextlib.suppress(FileNotFoundError):
        for name, seen in scan.walk(root, clinic).files.items():
            count.files += 1
            rows = desk.journal.past.filed_as(f"{clinic}/{name}")
            if all(row.decision.verdict.reason for row in rows):
                day = name.partition("/")[0]
                differs(
                    f"{clinic}: a file in {root}/{clinic}/{day} is not in the journal"
                    f" (find {root}/{clinic} -inum {seen.inode})"
                )
