"""`dicom-importer retention`: tells which studies have had their time, and deletes these when it is told to.

Each is judged when its turn comes, on what archive, journal and backup say then, and goes as
`delete` lets it go. Whoever is cut off gives the same command again: what is gone is not listed.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from dicom_backup import backed_up

from dicom_importer import amend, delete, retention
from dicom_importer.order import Order
from dicom_importer.plan import Declined
from dicom_importer.reasons import Failure, Unavailable
from dicom_importer.replacement import Desk
from dicom_importer.retention import Aged, Rule, Verdict

# Each study comes with the names of its files.
_PAGE = 50
_MB = 1_000_000
_COLUMNS = ("state", "clinic", "study_date", "size_bytes", "study_instance_uid", "why")
_FOR_EVER = "Every study stays for ever: STUDY_RETENTION_YEARS is not set."
_ONLY_SAID = "Nothing was deleted: this is what would go. To delete it say YES=1 REASON=… (--yes --reason …)."


@dataclass(frozen=True, slots=True)
class Kept:
    """By what a study is kept: the clinics' years, and a backup (empty: none) of the archive's files."""

    rule: Rule
    backup_target: str
    storage: Path


@dataclass(frozen=True, slots=True)
class Found:
    """A study of the archive; `number` is its place there, `images` Orthanc's identifiers, `files` their files."""

    number: int
    uid: str
    clinic: str
    day: date | None
    updated: datetime | None
    images: tuple[str, ...]
    files: tuple[str, ...]
    size_bytes: int


@dataclass(slots=True)
class Sum:
    """How many studies, and their bytes."""

    studies: int = 0
    size_bytes: int = 0


def run(desk: Desk, kept: Kept, order: Order, *, sure: bool, as_csv: bool) -> None:
    """Tell what would go and what is held back; if sure, delete the former. Raises Declined, Unavailable, Failure."""
    known = {*_folders(desk.folders.inbox), *_folders(desk.folders.processed)}
    if unknown := sorted(kept.rule.clinics.keys() - known):
        names = ", ".join(unknown)
        raise Declined(f"STUDY_RETENTION_CLINICS names {names}: there is no such clinic.")
    latest = kept.rule.latest(order.now().date())
    if latest is None:
        order.say(_FOR_EVER)
        return
    say = _row_of_csv if as_csv else _row
    sums = {True: Sum(), False: Sum()}
    if as_csv:
        order.say(",".join(_COLUMNS))
    # One by one, so that none is judged before the one before it is gone.
    for found in _studies(desk, latest, 1 if sure else _PAGE):
        verdict = _judge(desk, kept, found, order.now())
        if verdict is None:
            continue
        if verdict.goes and sure:
            verdict = _delete(desk, found, verdict, order)
        state = "held back" if not verdict.goes else "deleted" if sure else "goes"
        order.say(say(state, found, verdict.why))
        sums[verdict.goes].studies += 1
        sums[verdict.goes].size_bytes += found.size_bytes
    if not as_csv:
        gone, held = (f"{one.studies} ({one.size_bytes / _MB:.1f} MB)" for one in sums.values())
        order.say(f"{gone} studies {'were deleted' if sure else 'would go'}, {held} are held back.")
        if sums[True].studies and not sure:
            order.say(_ONLY_SAID)


def _folders(root: Path) -> Iterator[str]:
    return (path.name for path in root.iterdir() if path.is_dir())


def _studies(desk: Desk, latest: date, count: int) -> Iterator[Found]:
    """Yield every study up to a day, and those without a date."""
    number, before = 0, int(f"{latest + timedelta(days=1):%Y%m%d}")
    while page := desk.archive.ask("/clinic-access/aged", [number, before, count]):
        for one in page:
            images, files, sizes = zip(*one["images"], strict=True) if one["images"] else ((),) * 3
            yield Found(
                number=int(one["number"]),
                uid=str(one["uid"]),
                clinic=str(one["clinic"]),
                day=retention.read_date(str(one["date"])),
                updated=_time(str(one["updated"]), "%Y%m%dT%H%M%S"),
                images=images,
                files=files,
                size_bytes=sum(sizes),
            )
        number = int(page[-1]["number"])


def _time(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form).replace(tzinfo=UTC)
    except ValueError:
        return None


def _judge(desk: Desk, kept: Kept, found: Found, now: datetime) -> Verdict | None:
    """Judge by what is at hand, then by what must be asked for."""
    study = Aged(found.clinic, found.day, _arrived(desk, found), None)
    # Who is no minor whatever the birthday needs none.
    plain = replace(kept.rule, minors_age=0)
    verdict = retention.judge(study, plain, now.date())
    if verdict is None or not verdict.goes:
        return verdict
    study = replace(study, born=_born(desk, found))
    verdict = retention.judge(study, kept.rule, now.date())
    if verdict and verdict.goes and (why := _hindered(desk, kept, found, now)):
        return Verdict(goes=False, why=why)
    return verdict


def _arrived(desk: Desk, found: Found) -> datetime | None:
    """Return when something of it last came, also what failed or was a duplicate."""
    if found.updated is None:
        return None
    rows = desk.journal.past.of_study(found.clinic, found.uid)
    came = [_time(row.began_at, "%Y-%m-%dT%H:%M:%SZ") for row in rows]
    return max(filter(None, [found.updated, *came]))


def _born(desk: Desk, found: Found) -> date | None:
    """Read the birthday from an image: the archive's own record of a patient may be another clinic's."""
    if not found.images:
        return None
    return retention.read_date(str(desk.archive.tags(found.images[0]).get("PatientBirthDate", "")))


def _hindered(desk: Desk, kept: Kept, found: Found, now: datetime) -> str:
    """Say what else holds a study back, empty for nothing."""
    try:
        amend.find(desk, found.uid)
        amend.check_quiet(desk, found.uid)
    except Declined as why:
        return str(why)
    return _not_backed_up(kept, found, now) if kept.backup_target else ""


def _not_backed_up(kept: Kept, found: Found, now: datetime) -> str:
    known = backed_up.read(kept.storage)
    if why := backed_up.doubt(known, kept.backup_target, now.timestamp()):
        return why
    # Of the second in which the archive last took something in.
    if not known or not found.updated or known.dumped_s <= found.updated.timestamp() + 1:
        return "it changed after the last dump of the databases was made"
    count = backed_up.lacking(kept.storage, known, found.files)
    return f"{count} of its {len(found.files)} files are not in the last backup" if count else ""


def _delete(desk: Desk, found: Found, verdict: Verdict, order: Order) -> Verdict:
    quiet = replace(order, reason=f"retention: {order.reason}", say=lambda _: None)
    try:
        delete.delete(desk, (found.uid, ""), quiet, sure=True)
    except Declined as why:
        return Verdict(goes=False, why=str(why))
    except (Failure, Unavailable, OSError):
        order.say(
            f"It ends at study {found.uid} of {found.clinic}. Give the command again to go on."
        )
        raise
    return verdict


def _row(state: str, found: Found, why: str) -> str:
    day, size = str(found.day or ""), f"{found.size_bytes / _MB:.1f} MB"
    return f"{state:<9}  {found.clinic:<16}  {day:<10}  {size:>10}  {found.uid}  {why}"


def _row_of_csv(state: str, found: Found, why: str) -> str:
    written = io.StringIO()
    row = (state, found.clinic, found.day or "", found.size_bytes, found.uid, why)
    csv.writer(written, lineterminator="").writerow(row)
    return written.getvalue()
