"""The journal against the archive's index, both ways, and the originals in processed/ against both."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from dicom_importer import errand, files, instance, listing, plan, scan, storing
from dicom_importer.journal import JOURNAL_DAYS
from dicom_importer.listing import Listed
from dicom_importer.reasons import REASONS, Busy, Failure
from dicom_importer.records import Row
from dicom_importer.verify import originals
from dicom_importer.verify.desk import Desk
from dicom_importer.verify.findings import Finding

_STUDIES = 50
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class _Image:
    """An image of the journal, and what the index lists under its identifiers."""

    row: Row
    listed: list[Listed]


@dataclass(frozen=True, slots=True)
class _Look:
    """Whether an image was compared with its original, and the kind of finding that it is."""

    compared: bool
    kind: str = ""
    detail: str = ""


def check(desk: Desk) -> None:
    """Compare every image that the journal knows with the archive; raises Unavailable."""
    past, clinic = desk.journal.past, desk.wanted.clinic
    desk.progress.begin("images of the journal", past.count(clinic, desk.until))
    after = desk.notes.fact("images", "")
    desk.progress.skip(desk.notes.fact("rows", 0))
    while uids := past.studies(clinic, after, _STUDIES):
        for uid in uids:
            _study(desk, uid)
        after = uids[-1]


def _study(desk: Desk, uid: str) -> None:
    rows_done = compared = known = 0
    if not plan.concerns(desk.config.state_dir, uid):
        listed = desk.notes.of_study(uid)
        for clinic in desk.journal.past.clinics(uid):
            rows = [r for r in desk.journal.past.imported(clinic, uid) if r.id <= desk.until]
            if clinic not in (desk.wanted.clinic or clinic):
                continue
            rows_done += len(rows)
            _lost_originals(desk, rows)
            looks = _compare(desk, clinic, uid, rows, listed)
            compared += sum(look.compared for look in looks)
            known += sum(not look.compared and not look.kind for look in looks)
    desk.progress.step(rows_done)
    desk.notes.passed("images", uid, rows=rows_done, compared=compared, by_index=known)
    desk.tell_audit()


def _compare(
    desk: Desk, clinic: str, uid: str, rows: list[Row], listed: list[tuple[Listed, bool]]
) -> list[_Look]:
    """Compare a clinic's images of a study, and tell of what differs."""
    by_uid: dict[str, list[Listed]] = {}
    for one, _ in listed:
        by_uid.setdefault(one.sop_uid, []).append(one)
    # What is damaged was told of by its file.
    damaged = {one.sop_uid for one, is_damaged in listed if is_damaged}
    latest = originals.latest(rows)
    desk.notes.journalled(one for one, _ in listed if one.sop_uid in latest)
    if listed and clinic not in {one.clinic for one, _ in listed}:
        study = desk.archive.study(uid)
        if study and study.clinic != clinic:
            desk.found(Finding("elsewhere", clinic, uid, detail=f"{len(latest)} images"))
            return []
    images = [_Image(r, by_uid.get(u, [])) for u, r in latest.items() if u not in damaged]
    looks = list(desk.pool.map(lambda image: _look(desk, image), images))
    lacking = _lacking(
        desk, [i for i, look in zip(images, looks, strict=True) if look.kind == "lacking"]
    )
    for image, look in zip(images, looks, strict=True):
        sop_uid = image.row.identity.sop_uid
        if not look.kind or (look.kind == "lacking" and sop_uid not in lacking):
            continue
        # A replacement may have begun meanwhile.
        if plan.concerns(desk.config.state_dir, uid):
            continue
        found: Finding | None = Finding(look.kind, clinic, uid, sop_uid, detail=look.detail)
        if found and look.kind == "lacking":
            found = originals.treat(desk, found, lost=False)
        if found:
            desk.found(found)
    return looks


def _look(desk: Desk, image: _Image) -> _Look:
    """Compare an image with its original, where that is kept."""
    row = image.row
    try:
        if not image.listed:
            return _Look(compared=False, kind="lacking")
        if originals.lies(desk, row) is None:
            return _Look(compared=False)
        return _compare_original(desk, image)
    except Failure as failure:
        is_other = failure.code in ("other_version", "other_clinic")
        kind = "differs" if is_other else "bad_original"
        detail = f"{REASONS[failure.code].found} {failure.detail}".rstrip()
        return _Look(compared=True, kind=kind, detail=detail)
    except (Busy, OSError) as error:
        words = getattr(error, "strerror", None) or type(error).__name__
        return _Look(compared=True, kind="bad_original", detail=words)


def _compare_original(desk: Desk, image: _Image) -> _Look:
    """Compare an image's bytes with those that its original becomes, or else their content; raises Failure."""
    row, limits = image.row, desk.tools.limits
    desk.throttle.take(row.arrival.seen.size_bytes)
    clinic = row.arrival.clinic
    with (
        files.open_file(desk.folders.target(row)) as file,
        instance.prepared(file, clinic, row.coerced_at, limits) as ready,
    ):
        if ready.md5 not in {one.plain_md5 for one in image.listed}:
            held = [one.resource for one in image.listed if listing.is_listed(desk.archive, one)]
            storing.compare_held(clinic, ready, held, desk.archive, limits)
    return _Look(compared=True)


def _lacking(desk: Desk, images: list[_Image]) -> set[str]:
    """Return which of these the archive lacks now: some may have come since it was listed."""
    lacking: set[str] = set()
    for start in range(0, len(images), _AT_ONCE):
        uids = [image.row.identity.sop_uid for image in images[start : start + _AT_ONCE]]
        lacking |= {uid for uid, held in desk.archive.held(uids).items() if not held}
    return lacking


def _lost_originals(desk: Desk, rows: list[Row]) -> None:
    """Tell of the originals that processed/ should still keep and does not."""
    # A day to spare: they are removed once an hour, by the service's own clock.
    kept_days = desk.config.processed_retention_days - 1
    first = (desk.now().date() - timedelta(days=kept_days)).isoformat()
    for row in rows:
        day = row.decision.target.split("/")[1]
        if day >= first and _is_day(day) and files.look(desk.folders.target(row)) is None:
            at = f"filed on {day}"
            desk.found(Finding("no_original", row.arrival.clinic, *_uids(row), detail=at))


def _uids(row: Row) -> tuple[str, str]:
    return row.identity.study_uid, row.identity.sop_uid


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def check_unknown(desk: Desk) -> None:
    """Tell of studies with images that the journal does not know; raises Unavailable."""
    for uid in _unknown_studies(desk):
        names = desk.journal.past.instances(uid)
        unknown = [one for one in desk.notes.unjournalled_of(uid) if one.sop_uid not in names]
        unknown = [one for one in unknown if _is_remembered(desk, one)]
        if unknown and listing.is_listed(desk.archive, unknown[0]):
            detail = f"{len(unknown)} images, the first is {unknown[0].sop_uid}"
            desk.found(Finding("unknown", unknown[0].clinic, uid, detail=detail))


def _unknown_studies(desk: Desk) -> Iterator[str]:
    after = ""
    while uids := desk.notes.unjournalled(after, desk.wanted.clinic, _AT_ONCE):
        yield from uids
        after = uids[-1]


def _is_remembered(desk: Desk, one: Listed) -> bool:
    """Say whether an image is so young that the journal would not have forgotten it."""
    limit = desk.now() - timedelta(days=JOURNAL_DAYS - 1)
    try:
        stored_s = one.path(desk.config.archive_dir).stat().st_mtime
    except OSError:
        return False
    return stored_s >= limit.timestamp()


def check_processed(desk: Desk) -> None:
    """Tell of files in processed/ that the journal does not know; raises OSError."""
    root = desk.folders.processed
    clinics = [desk.wanted.clinic] if desk.wanted.clinic else scan.clinics(root)
    done = desk.notes.fact("processed", "")
    desk.progress.begin("files in processed/", desk.progress.total)
    desk.progress.skip(desk.notes.fact("filed", 0))
    for clinic in clinics:
        for day in _days(desk, clinic):
            if (place := f"{clinic}/{day}") <= done:
                continue
            desk.notes.passed("processed", place, filed=_stray(desk, clinic, day))


def _days(desk: Desk, clinic: str) -> list[str]:
    top = desk.folders.processed / clinic
    return sorted(one.name for one in top.iterdir() if one.is_dir()) if top.is_dir() else []


def _stray(desk: Desk, clinic: str, day: str) -> int:
    """Tell of a day's files that the journal does not know; returns how many files there are."""
    root, count = desk.folders.processed, 0
    try:
        found = scan.walk(root, f"{clinic}/{day}").files
    except FileNotFoundError:  # its time was over
        return 0
    for name, seen in found.items():
        count += 1
        desk.progress.step(1)
        rows = desk.journal.past.filed_as(f"{clinic}/{day}/{name}")
        # What a correction is about to move or delete is looked at when that has ended.
        if all(row.decision.verdict.reason for row in rows) and not errand.read(
            desk.config.state_dir
        ):
            where = f"(find {root}/{clinic}/{day} -inum {seen.inode})"
            desk.found(Finding("stray", clinic, file=where))
    return count
