"""`dicom-importer explain`: where a file is and why, for a path of inbox, processed/ or failed/."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dicom_importer import delays, files, places, room, scan, words
from dicom_importer.config import Config
from dicom_importer.corrections import Correction
from dicom_importer.files import Place, Seen
from dicom_importer.filing import Folders
from dicom_importer.journal import JOURNAL, Journal
from dicom_importer.reasons import REASONS
from dicom_importer.records import Row
from dicom_importer.words import Words

# An operator's command speaks it.
ENGLISH = words.load()


@dataclass(frozen=True, slots=True)
class _Desk:
    config: Config
    journal: Journal
    folders: Folders


def explain(config: Config, path: Path) -> list[str]:
    """Answer in lines for people; nothing is changed."""
    try:
        journal = Journal(config.state_dir / JOURNAL, read_only=True)
    except sqlite3.Error:
        return ["The importer has not been running yet: there is no journal."]
    with contextlib.closing(journal):
        desk = _Desk(config, journal, places.folders(config))
        for root in (desk.folders.processed, desk.folders.failed, desk.folders.inbox):
            below = places.below(path, root)
            if below not in (None, "."):
                answer = _in_inbox if root == desk.folders.inbox else _elsewhere
                return list(answer(desk, Place(root, below or "")))
    return ["This path is in none of inbox, processed and failed."]


def _elsewhere(desk: _Desk, place: Place) -> Iterator[str]:
    """Tell of a path in processed/ or failed/."""
    failed = place.root == desk.folders.failed
    if (place.root / place.path).is_dir():
        names = scan.walk(place.root, place.path).files
        count = sum(not (failed and places.is_reason(_in(place, name))) for name in names)
        yield f"It is a folder with {count} files; name one of them to learn more."
        return
    if failed:
        place = places.of_reason(place)
    rows = [r for r in desk.journal.past.filed_as(place.path) if bool(_reason(r)) == failed]
    for row in rows:
        yield from _filed(desk, row)
    here = files.look(place)
    if not rows and here is None:
        yield from _went(desk, place) or ["No file is there, and the importer has put none there."]
    elif not rows and (gone := _went(desk, place)):
        yield from gone
    elif not rows:
        yield "There is no record of it: the importer did not put it there, or lost its journal."
        if reason := places.reason_beside(place) if failed else "":
            yield f"  {REASONS[reason].found}"
            yield f"  {REASONS[reason].advice}"
    elif here is None and rows[-1].state == "done":
        yield from _whither(desk, rows[-1])


def _in(folder: Place, name: str) -> Place:
    return Place(folder.root, f"{folder.path}/{name}")


def _whither(desk: _Desk, row: Row) -> Iterator[str]:
    """Tell what became of a file that is no longer where it was filed."""
    arrival = row.arrival
    later = [r for r in desk.journal.past.history(arrival.clinic, arrival.path) if r.id > row.id]
    source = desk.folders.source(arrival)
    if files.look(source) == arrival.seen or any(r.arrival.seen == arrival.seen for r in later):
        yield f"It was put back into the inbox, as {source.root / source.path}:"
        yield from _in_inbox(desk, source, after=row.id)
    elif _reason(row):
        yield "It is no longer there: somebody moved or deleted it."
    else:
        yield "It is no longer there: its time was over, or somebody moved it."


def _in_inbox(desk: _Desk, place: Place, after: int = 0) -> Iterator[str]:
    """Tell of a path in the inbox, from its rows after one on."""
    clinic, _, path = place.path.partition("/")
    if not scan.CLINIC.match(clinic) or not (place.root / clinic).is_dir():
        yield f"There is no clinic {clinic}: nothing is taken from a folder of that name."
        return
    if (place.root / place.path).is_dir():
        found = scan.scan(place.root, place.path)
        yield f"It is a folder in which {len(found)} files wait; name one of them to learn more."
        return
    rows = [row for row in desk.journal.past.history(clinic, path) if row.id > after]
    for row in rows:
        if row.state == "done":
            yield from _filed(desk, row)
        elif row.state == "gone":
            yield f"{row.began_at}: begun with; it went or changed before it was imported."
    here = files.look(place)
    if here is not None:
        yield from _waiting(desk, place, here, rows)
    else:
        yield from _missing(desk, place, rows)


def _went(desk: _Desk, place: Place) -> list[str]:
    """Tell what a correction did with the file that was at a place."""
    folder = "processed" if place.root == desk.folders.processed else "failed"
    folder = "inbox" if place.root == desk.folders.inbox else folder
    return [_told(one) for one in desk.journal.past.whither(folder, place.path)]


def _told(one: Correction) -> str:
    """Say what was done with a study, without the patient."""
    time = datetime.strptime(one.at, "%Y%m%d%H%M%S.%f%z")
    done = {"delete": "deleted", "move": f"moved to {one.to_clinic}", "correct": "corrected"}
    part = f"Series {one.series_uid} of study" if one.series_uid else "Study"
    again = "; it may be imported again" if one.lifted else ""
    by = f"by {one.who} on {time:%Y-%m-%dT%H:%M:%SZ}: {one.reason}"
    return f"{part} {one.study_uid} was {done[one.kind]} {by}{again}."


def _missing(desk: _Desk, place: Place, rows: list[Row]) -> Iterator[str]:
    """Tell why no file is at a place of the inbox."""
    if os.path.lexists(place.root / place.path):
        yield "It is neither a file nor a folder: links, pipes and devices are never taken."
    elif rows and rows[-1].state == "done":
        if files.look(desk.folders.target(rows[-1])) is None:
            yield from _whither(desk, rows[-1])
    elif rows and rows[-1].state == "filing":
        yield "It is being moved out of the inbox right now."
    elif not rows:
        yield from _went(desk, place) or ["No file is there, and none of this name was imported."]


def _waiting(desk: _Desk, place: Place, here: Seen, rows: list[Row]) -> Iterator[str]:
    """Tell why a file is still in the inbox."""
    clinic, _, path = place.path.partition("/")
    active = [r for r in rows if r.arrival.seen == here and r.state in ("sending", "filing")]
    row = active[-1] if active else None
    if scan.passing(place.name):
        yield "It waits for its final name: this one is of a copy in progress."
        return
    if row and row.state == "filing":
        yield f"It is about to be moved ({row.decision.verdict.status})."
        return
    if row:
        tries = f" It was refused {row.refusals} times so far." if row.refusals else ""
        yield f"It is being sent to the archive since {row.began_at}.{tries}"
    if error := _unreadable(place):
        yield f"It cannot be read: {error}. It is taken once it can."
    elif delay := delays.find(desk.config.state_dir / delays.DELAYS, clinic, path, here):
        yield (
            f"It was put off {delay.times} times, last at {delay.at} for {delay.delay_s:.0f} s:"
            f" {because(delay.cause)}"
        )
        yield from room.warnings(desk.config)
    elif row is None:
        yield from room.warnings(desk.config)
        cooldown_s, steady_s = desk.config.cooldown_s, desk.config.steady_traffic_s
        yield (
            f"It waits until nothing in its folder has changed for the cool-down of {cooldown_s:.0f} s"
            f" (if the folder never rests, {steady_s:.0f} s), and then for its turn. What is empty"
            " or cut off, and an index whose files have not all come, is given ten times as long."
        )


def _unreadable(place: Place) -> str:
    try:
        files.open_file(place).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def because(cause: str, language: Words = ENGLISH) -> str:
    """Say in words why a file was put off."""
    if cause in language.reasons:
        return language.reasons[cause].found
    if cause.startswith("no token"):
        name = "token"
    elif cause.startswith(("cannot connect", "asking", "reading back", "status", "an answer")):
        name = "archive"
    elif cause.startswith("sending"):
        name = "broken"
    elif cause == "the archive is full":
        name = "archive_full"
    elif short := room.SHORT.fullmatch(cause):
        return language.causes["room"].format(place=short[1])
    else:
        name = "other"
    return language.causes[name].format(cause=cause)


def _filed(desk: _Desk, row: Row) -> Iterator[str]:
    target, verdict = desk.folders.target(row), row.decision.verdict
    moved = "filed as" if row.state == "done" else "being moved to"
    yield f"{row.decision.decided_at}: {verdict.status}; {moved} {target.root / target.path}"
    if verdict.reason:
        reason = REASONS[verdict.reason]
        yield f"  {reason.found} {verdict.detail}".rstrip()
        yield f"  {reason.advice}"
    elif verdict.detail:
        yield f"  {verdict.detail}"
    if row.identity.study_uid:
        yield f"  study {row.identity.study_uid}, image {row.identity.sop_uid}"
    for one in desk.journal.past.corrections(row.identity.study_uid):
        yield f"  {_told(one)}"
    if not verdict.reason:
        same = desk.journal.past.imported(row.arrival.clinic, row.identity.study_uid)
        for other in same:
            later = other.id > row.id and other.identity.sop_uid == row.identity.sop_uid
            if later and other.decision.verdict.status == "success":
                yield f"  Another file took its place in the archive: {other.decision.target}"


def _reason(row: Row) -> str:
    return row.decision.verdict.reason
