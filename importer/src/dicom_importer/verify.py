"""`dicom-importer verify`: compares what was imported, the originals in processed/ and the archive.

Each image that the journal knows as imported has to be in the archive, in its clinic's study, and
the archive has to read its bytes back from the disk. They have to be what was sent, made anew from
the original while that is kept, or else the same content (a duplicate is held as another file
brought it). Of an image whose original had its time only the archive's own MD5 is left to compare
with. Each file in processed/ has to be in the journal. What differs is named by its identifiers,
since a path may carry a patient's name.
"""

import contextlib
import dataclasses
import functools
import itertools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dicom_importer import files, instance, places, plan, scan, session, storing
from dicom_importer.archive import Archive, Study
from dicom_importer.config import Config
from dicom_importer.filing import Folders
from dicom_importer.instance import Limits, Prepared
from dicom_importer.journal import JOURNAL, Journal
from dicom_importer.reasons import REASONS, Failure, Unavailable
from dicom_importer.records import Row

STOPPED = 2
# A database that breaks may look like a damaged file for a moment.
ASK_AGAIN_AFTER_S = (1.0, 2.0)
_AT_ONCE = 256
_ADVICE = (
    "What cannot be read back is damaged or gone on the archive's disk. Restore the archive from a"
    " backup, then replay the days since that backup. Replay alone does not bring it back, because"
    " the archive's index still lists it."
)


@dataclass(slots=True)
class _Count:
    studies: int = 0
    compared: int = 0
    read_back: int = 0
    unread: int = 0
    files: int = 0
    differences: int = 0

    def __str__(self) -> str:
        return (
            f"{self.studies} studies: {self.compared} images compared with their originals,"
            f" {self.read_back} only read back; {self.files} files in processed/;"
            f" {self.differences} differences"
        )


@dataclass(frozen=True, slots=True)
class _Desk:
    archive: Archive
    journal: Journal
    folders: Folders
    limits: Limits
    state: Path
    pool: ThreadPoolExecutor


@dataclass(frozen=True, slots=True)
class _Image:
    study: Study
    row: Row


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen of an image; words say in what it differs, none when in nothing."""

    compared: bool
    words: str = ""
    unread: bool = False


def verify(
    config: Config, clinic: str, say: Callable[[str], None], progress: Callable[[str], None]
) -> int:
    """Compare everything and name what differs; returns the exit status, 1 for differences."""
    clinics = sorted({*scan.clinics(config.inbox_dir), *scan.clinics(config.processed_dir)})
    if clinic and clinic not in clinics:
        say(f"There is no clinic {clinic}.")
        return STOPPED
    try:
        journal = Journal(config.state_dir / JOURNAL, read_only=True)
    except sqlite3.Error:
        say("The importer has not been running yet: there is no journal.")
        return STOPPED
    count = _Count()

    def differs(words: str) -> None:
        count.differences += 1
        say(words)

    with (
        contextlib.closing(journal),
        session.archive(config) as archive,
        ThreadPoolExecutor(config.connections) as pool,
    ):
        # Each may have its own and the archive's version inflated.
        inflating = threading.Semaphore(2 * config.connections)
        limits = dataclasses.replace(session.limits(config), inflating=inflating)
        desk = _Desk(archive, journal, places.folders(config), limits, config.state_dir, pool)
        try:
            for one in [clinic] if clinic else clinics:
                images = _images(desk, one, count)
                while some := list(itertools.islice(images, _AT_ONCE)):
                    _tell(desk, some, count, differs)
                    progress(f"{one}: {count}")
                _processed(desk, one, count, differs)
                progress(f"{one}: {count}")
        except Unavailable as absence:
            _advise(count, say)
            say(f"Stopped: the archive does not answer ({absence.cause}). Until then: {count}.")
            return STOPPED
    _advise(count, say)
    say(f"{count}.")
    return 1 if count.differences else 0


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
        study = desk.archive.study(uid)
        if study is None or study.clinic != clinic:
            what = (
                "is not in the archive" if study is None else "is not this clinic's in the archive"
            )
            yield f"{clinic}: study {uid} {what} ({len(rows)} images)"
        else:
            yield from (_Image(study, row) for row in rows)


def _latest(rows: list[Row]) -> list[Row]:
    """Return of each instance the row that tells what the archive should hold."""
    latest: dict[str, Row] = {}
    for row in rows:
        if row.decision.verdict.status == "success" or row.identity.sop_uid not in latest:
            latest[row.identity.sop_uid] = row
    return list(latest.values())


def _tell(
    desk: _Desk, some: list[_Image | str], count: _Count, differs: Callable[[str], None]
) -> None:
    """Look at several images at once, and name what differs in the order of the journal."""
    looks = _looks(desk, [one for one in some if isinstance(one, _Image)])
    for one in some:
        if isinstance(one, str):
            differs(one)
            continue
        look = next(looks)
        count.compared += look.compared
        count.read_back += not look.compared
        # A replacement may have begun meanwhile.
        if look.words and not plan.concerns(desk.state, one.study.uid):
            count.unread += look.unread
            sop_uid = one.row.identity.sop_uid
            differs(f"{one.study.clinic}: study {one.study.uid}, image {sop_uid} {look.words}")


def _looks(desk: _Desk, images: list[_Image]) -> Iterator[_Look]:
    work = functools.partial(_look, desk)
    looks = list(desk.pool.map(work, images))
    for delay_s in ASK_AGAIN_AFTER_S:
        unread = [index for index, look in enumerate(looks) if look.unread]
        if not unread:
            break
        time.sleep(delay_s)
        again = desk.pool.map(work, [images[index] for index in unread])
        for index, look in zip(unread, again, strict=True):
            looks[index] = look
    return iter(looks)


def _look(desk: _Desk, image: _Image) -> _Look:
    """Compare an image with its original, or have it read back when that is not kept."""
    row, place = image.row, desk.folders.target(image.row)
    lies = files.look(place) if files.holds(place, row.arrival.seen) else None
    if lies is None:
        return _without_original(desk, image)
    try:
        with (
            files.open_file(place) as file,
            instance.prepared(file, image.study.clinic, row.coerced_at, desk.limits) as ready,
        ):
            look = _with_original(desk, image, ready)
    except Failure as failure:
        return _Look(compared=True, words=f"differs: {REASONS[failure.code].found}")
    except OSError as error:
        words = f"could not be compared: its original cannot be read ({error.strerror})"
        return _Look(compared=True, words=words)
    if look.unread:
        day = place.root.joinpath(*place.path.split("/")[:2])
        words = f"{look.words}; its original: find {day} -inum {lies.inode}"
        return dataclasses.replace(look, words=words)
    return look


def _without_original(desk: _Desk, image: _Image) -> _Look:
    held = desk.archive.instances(image.row.identity.sop_uid)
    held = [one for one in held if desk.archive.instance_study(one) == image.study.id]
    if not held:
        return _Look(compared=False, words="is not in the archive")
    if not _all_read(desk, held, image.row):
        words = "cannot be read back; no original of it is kept"
        return _Look(compared=False, words=words, unread=True)
    return _Look(compared=False)


def _with_original(desk: _Desk, image: _Image, ready: Prepared) -> _Look:
    """Have the bytes read before they are compared; raises Failure when they are not the same."""
    archive, own = desk.archive, ready.opened.archive_id
    same = archive.md5(own) == ready.md5
    held = [own] if same else archive.instances(image.row.identity.sop_uid)
    if not held:
        return _Look(compared=True, words="is not in the archive")
    if not _all_read(desk, held, image.row):
        return _Look(compared=True, words="cannot be read back", unread=True)
    if not same:
        storing.compare_held(image.study.clinic, ready, held, archive, desk.limits)
    return _Look(compared=True)


def _all_read(desk: _Desk, held: list[str], row: Row) -> bool:
    return all(desk.archive.reads_back(one, row.arrival.seen.size_bytes) for one in held)


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
