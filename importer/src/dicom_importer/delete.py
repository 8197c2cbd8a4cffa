"""`dicom-importer delete` and `readmit`: a study or series goes for good, and may come again if told so.

It goes from the archive, from processed/ and failed/ and from the journal; what stays is that it was
deleted, by whom and why, so that the same files are refused when a workstation sends them again.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from dicom_importer import amend, audit, errand, files
from dicom_importer.corrections import Correction
from dicom_importer.errand import Change, Errand, Filed
from dicom_importer.order import Order
from dicom_importer.plan import Declined
from dicom_importer.records import Row
from dicom_importer.replacement import Desk
from dicom_importer.scan import UNPACKED

_MB = 1_000_000


def delete(desk: Desk, which: tuple[str, str], order: Order, *, sure: bool) -> None:
    """Delete a study, or of it a series; unless sure, only say what would go. Raises Declined."""
    (study_uid, series_uid), say, now = which, order.say, order.now()
    held = desk.archive.study(study_uid)
    if held and not held.clinic:
        raise Declined("the archive holds it under two patient IDs or as two clinics'.")
    clinics = [held.clinic] if held else desk.journal.past.clinics(study_uid)
    if not held and any(one.kind == "delete" for one in desk.journal.past.corrections(study_uid)):
        say(f"{study_uid}: it is deleted already.")
        return
    if len(clinics) != 1:
        raise Declined("neither archive nor journal knows such a study.")
    (clinic,) = clinics
    amend.check_quiet(desk, study_uid)
    changes = tuple(_changes(desk, held.id, series_uid)) if held else ()
    rows = [
        row
        for row in desk.journal.past.of_study(clinic, study_uid)
        if series_uid in ("", row.identity.series_uid)
    ]
    if not changes and not rows:
        raise Declined("neither archive nor journal knows such a series.")
    filed = tuple(_filed(row) for row in rows)
    zips, shared = _zips(desk, rows, study_uid)
    lying = [one for one in (*filed, *zips) if _lies(desk, one)]
    size_mb = sum(one.size_bytes for one in lying) / _MB
    part = f"series {series_uid} of " if series_uid else ""
    say(f"{part}study {study_uid} of {clinic}: {len(changes)} images of the archive,")
    say(
        f"{len(lying)} files of processed/ and failed/ ({size_mb:.1f} MB), {len(rows)} journal rows."
    )
    for path in shared:
        say(f"A zip file that holds other studies too stays until its time is over: {path}")
    if not sure:
        say("Nothing was deleted: this is what would go. Say YES=1 (--yes) to delete it.")
        return
    at = amend.stamp(desk, clinic, study_uid, now)
    by = order.who, order.reason
    made = Correction(study_uid, at, "delete", clinic, *by, series_uid=series_uid)
    errand.begin(desk.state)
    todo = Errand(made, audit.stamp(now), "", changes, (*filed, *zips))
    amend.carry_out(desk, todo, held)
    say("It is deleted. When its files come again they fail as `deleted`, until readmit is said.")


def readmit(desk: Desk, study_uid: str, order: Order) -> None:
    """Let what was deleted of a study be imported again; raises Declined."""
    found = [
        one
        for one in desk.journal.past.corrections(study_uid)
        if one.kind == "delete" and not one.lifted
    ]
    if not found:
        raise Declined("nothing of such a study is refused for having been deleted.")
    lifted = replace(found[-1], who=order.who, reason=order.reason)
    audit.append(desk.audit_file, [audit.readmitted(lifted, audit.stamp(order.now()))])
    desk.journal.readmit(study_uid)
    order.say(f"{study_uid}: its files are imported again. What failed: retry, reason deleted.")


def _changes(desk: Desk, study: str, series_uid: str) -> Iterator[Change]:
    wanted = desk.archive.series_instances(series_uid) if series_uid else None
    for identifier, sop_uid in desk.archive.study_instances(study).items():
        if wanted is None or identifier in wanted:
            yield Change(identifier, sop_uid, desk.archive.md5(identifier) or "", "")


def _filed(row: Row) -> Filed:
    return amend.filed(row, "failed" if row.decision.verdict.reason else "processed", "")


def _lies(desk: Desk, one: Filed) -> bool:
    return files.holds(files.Place(getattr(desk.folders, one.root), one.source), one.seen)


def _zips(desk: Desk, rows: list[Row], study_uid: str) -> tuple[tuple[Filed, ...], list[str]]:
    """Return the zip files that nothing but this study came in, and where others lie."""
    folders = {
        (row.arrival.clinic, row.arrival.path.partition(f"{UNPACKED}/")[0])
        for row in rows
        if f"{UNPACKED}/" in row.arrival.path
    }
    own: list[Filed] = []
    shared: list[str] = []
    for clinic, path in sorted(folders):
        studies = desk.journal.past.studies_below(clinic, path + UNPACKED)
        # The folder is named after the zip file, with a number where that was taken.
        stems = {path, re.sub(r" \(\d+\)$", "", path)}
        for row in (row for stem in sorted(stems) for row in desk.journal.past.zips(clinic, stem)):
            if studies - {""} == {study_uid}:
                own.append(amend.filed(row, "processed", ""))
            elif files.holds(desk.folders.target(row), row.arrival.seen):
                shared.append(row.decision.target)
    return tuple(own), shared
