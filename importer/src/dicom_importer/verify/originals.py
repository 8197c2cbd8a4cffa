"""The original of an image in processed/: whether it is there, and the image stored anew from it."""

from dataclasses import replace

from dicom_importer import files, instance, repair
from dicom_importer.files import Seen
from dicom_importer.records import Row
from dicom_importer.repair import Status
from dicom_importer.verify.desk import Desk
from dicom_importer.verify.findings import Finding


def latest(rows: list[Row]) -> dict[str, Row]:
    """Return of each instance the row that tells what the archive should hold."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.decision.verdict.status == "success" or row.identity.sop_uid not in found:
            found[row.identity.sop_uid] = row
    return found


def lies(desk: Desk, row: Row) -> Seen | None:
    """Return what lies where the original of a row was filed, if that is still it; raises OSError."""
    place = desk.folders.target(row)
    return files.look(place) if files.holds(place, row.arrival.seen) else None


def whereabouts(desk: Desk, row: Row) -> str:
    """Return how the original is found, empty when it is not there: its name may be a patient's."""
    place = desk.folders.target(row)
    try:
        seen = lies(desk, row)
    except OSError:
        return ""
    day = place.root.joinpath(*place.path.split("/")[:2])
    return f"find {day} -inum {seen.inode}" if seen else ""


def treat(desk: Desk, finding: Finding, *, lost: bool) -> Finding | None:
    """Repair what was found of an image, when told to and its original is there; None: it is well by now.

    `lost` is what the archive lists and its disk has not. Raises Unavailable.
    """
    rows = desk.journal.past.imported(finding.clinic, finding.study_uid)
    row = latest(rows).get(finding.sop_uid)
    original = whereabouts(desk, row) if row else ""
    finding = replace(finding, original=original)
    if not row or not original or not desk.repairs:
        return finding
    outcome = repair.persist(lambda: _bring(desk, row, lost=lost))
    if outcome.status == "held":
        return None
    if outcome.status in ("stored", "repaired"):
        return replace(finding, repaired=True)
    words = outcome.words or "the archive lists it with other bytes than its original's"
    return replace(finding, detail=f"not repaired: {words}")


def _bring(desk: Desk, row: Row, *, lost: bool) -> Status:
    clinic, limits = row.arrival.clinic, desk.tools.limits
    with (
        files.open_file(desk.folders.target(row)) as file,
        instance.prepared(file, clinic, row.coerced_at, limits) as ready,
    ):
        return repair.bring(desk.tools, clinic, ready, sure=True, lost=lost)
