"""`dicom-importer verify`: compares what was imported, the originals in processed/ and the archive.

Each image that the journal knows as imported has to be in the archive, in its clinic's study: with
the MD5 that was sent, computed anew from its original while that is kept, or else with the same
content (a duplicate is held as another file brought it). Of an image whose original had its time it
is only asked whether it is there. Each file in processed/ has to be in the journal. What differs is
named by its identifiers, since a path may carry a patient's name.
"""

import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from dicom_importer import files, instance, places, plan, scan, session, storing
from dicom_importer.archive import Archive, Study
from dicom_importer.config import Config
from dicom_importer.filing import Folders
from dicom_importer.instance import Limits
from dicom_importer.journal import JOURNAL, Journal
from dicom_importer.reasons import REASONS, Failure, Unavailable
from dicom_importer.records import Row

STOPPED = 2


@dataclass(slots=True)
class _Count:
    studies: int = 0
    compared: int = 0
    looked_for: int = 0
    files: int = 0
    differences: int = 0

    def __str__(self) -> str:
        return (
            f"{self.studies} studies: {self.compared} images compared with their originals,"
            f" {self.looked_for} only looked for; {self.files} files in processed/;"
            f" {self.differences} differences"
        )


@dataclass(frozen=True, slots=True)
class _Desk:
    archive: Archive
    journal: Journal
    folders: Folders
    limits: Limits


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

    with contextlib.closing(journal), session.archive(config) as archive:
        desk = _Desk(archive, journal, places.folders(config), session.limits(config))
        try:
            for one in [clinic] if clinic else clinics:
                for study in journal.past.studies(one):
                    if not plan.concerns(config.state_dir, study):
                        _study(desk, one, study, count, differs)
                    progress(f"{one}: {count}")
                _processed(desk, one, count, differs)
                progress(f"{one}: {count}")
        except Unavailable as absence:
            say(f"Stopped: the archive does not answer ({absence.cause}). Until then: {count}.")
            return STOPPED
    say(f"{count}.")
    return 1 if count.differences else 0


def _study(
    desk: _Desk, clinic: str, uid: str, count: _Count, differs: Callable[[str], None]
) -> None:
    count.studies += 1
    rows = _latest(desk.journal.past.imported(clinic, uid))
    study = desk.archive.study(uid)
    if study is None or study.clinic != clinic:
        what = "is not in the archive" if study is None else "is not this clinic's in the archive"
        differs(f"{clinic}: study {uid} {what} ({len(rows)} images)")
        return
    for row in rows:
        if words := _image(desk, study, row, count):
            differs(f"{clinic}: study {uid}, image {row.identity.sop_uid} {words}")


def _latest(rows: list[Row]) -> list[Row]:
    """Return of each instance the row that tells what the archive should hold."""
    latest: dict[str, Row] = {}
    for row in rows:
        if row.decision.verdict.status == "success" or row.identity.sop_uid not in latest:
            latest[row.identity.sop_uid] = row
    return list(latest.values())


def _image(desk: _Desk, study: Study, row: Row, count: _Count) -> str:
    """Say in what an image differs from what was imported, nothing when in nothing."""
    place = desk.folders.target(row)
    if not files.holds(place, row.arrival.seen):
        count.looked_for += 1
        held = desk.archive.instances(row.identity.sop_uid)
        there = any(desk.archive.instance_study(one) == study.id for one in held)
        return "" if there else "is not in the archive"
    count.compared += 1
    try:
        with (
            files.open_file(place) as file,
            instance.prepared(file, study.clinic, row.coerced_at, desk.limits) as ready,
        ):
            if desk.archive.md5(ready.opened.archive_id) == ready.md5:
                return ""
            held = desk.archive.instances(row.identity.sop_uid)
            if not held:
                return "is not in the archive"
            storing.compare_held(study.clinic, ready, held, desk.archive, desk.limits)
    except Failure as failure:
        return f"differs: {REASONS[failure.code].found}"
    except OSError as error:
        return f"could not be compared: its original cannot be read ({error.strerror})"
    return ""


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
