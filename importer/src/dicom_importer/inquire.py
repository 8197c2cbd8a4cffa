"""Answers an operator's questions from the journal and the three folders, changing neither."""

import os
import sqlite3
from pathlib import Path

from dicom_importer import files, scan
from dicom_importer.config import Config
from dicom_importer.files import Place
from dicom_importer.filing import ERROR_SUFFIX, Folders
from dicom_importer.journal import JOURNAL, Journal, Row
from dicom_importer.reasons import REASONS


def status(config: Config) -> tuple[list[str], bool]:
    """Return a line for each clinic, and whether nothing lies in failed/."""
    lines, well = [], True
    for clinic in scan.clinics(config.inbox_dir):
        found = scan.walk(config.inbox_dir, clinic)
        failed = _failed(config.failed_dir, clinic)
        well = well and not failed and not found.unreadable
        lines.append(f"{clinic}: {len(found.files)} waiting, {failed} failed{_left_alone(found)}")
    return lines or ["There is no clinic: no inbox has been made."], well


def _left_alone(found: scan.Found) -> str:
    text = ""
    if found.unfinished:
        text += f"; {found.unfinished} bear the name of a copy in progress (.part, .tmp, ~$)"
    if found.unreadable:
        text += f"; {found.unreadable} folders cannot be read"
    return text


def _failed(root: Path, clinic: str) -> int:
    try:
        names = scan.scan(root, clinic)
    except FileNotFoundError:
        return 0
    return sum(not name.endswith(ERROR_SUFFIX) for name in names)


def explain(config: Config, path: Path) -> list[str]:
    """Say where a file is and why, given its path in the inbox, in processed/ or in failed/."""
    folders = Folders(config.inbox_dir, config.processed_dir, config.failed_dir)
    # Not resolved: what lies below a clinic's inbox may be anybody's symlink.
    path = Path(os.path.normpath(path.absolute()))
    try:
        journal = Journal(config.state_dir / JOURNAL, read_only=True)
    except sqlite3.Error:
        return ["The importer has not been running yet: there is no journal."]
    try:
        for root in (folders.processed, folders.failed):
            if below := _below(path, root):
                rows = [row for row in journal.filed_as(below) if folders.target(row).root == root]
                return _filed(rows, folders) or ["No record: the importer did not put it there."]
        below = _below(path, folders.inbox)
        clinic, _, rest = (below or "").partition("/")
        if not rest:
            return ["This path is in none of inbox, processed and failed."]
        return _in_inbox(journal.history(clinic, rest), Place(folders.inbox, below or ""), folders)
    finally:
        journal.close()


def _below(path: Path, root: Path) -> str | None:
    for top in {root, root.resolve()}:
        if path.is_relative_to(top):
            return os.fspath(path.relative_to(top))
    return None


def _in_inbox(rows: list[Row], place: Place, folders: Folders) -> list[str]:
    here = files.look(place)
    lines = _filed([row for row in rows if row.state == "done"], folders)
    if here is None:
        return lines or ["No file is there, and none of this name was imported."]
    if scan.passing(place.name):
        return [*lines, "It waits for its final name: this one is of a copy in progress."]
    current = [
        row for row in rows if row.arrival.seen == here and row.state in ("sending", "filing")
    ]
    if not current:
        return [*lines, _why_waiting(place)]
    row = current[-1]
    if row.state == "filing":
        return [*lines, f"It is about to be moved ({row.decision.verdict.status})."]
    tries = f" It was refused {row.refusals} times so far." if row.refusals else ""
    return [*lines, f"It is being sent to the archive since {row.began_at}.{tries}"]


def _why_waiting(place: Place) -> str:
    try:
        files.open_file(place).close()
    except OSError as error:
        return f"It cannot be read: {error.strerror}. It is taken once it can."
    return (
        "It waits until nothing in its folder has changed for the cool-down; what is empty or cut"
        " off, and an index whose files have not all come, is given ten times as long."
    )


def _filed(rows: list[Row], folders: Folders) -> list[str]:
    lines = []
    for row in rows:
        target, verdict = folders.target(row), row.decision.verdict
        lines.append(
            f"{row.decision.decided_at}: {verdict.status}; filed as {target.root / target.path}"
        )
        if verdict.reason:
            reason = REASONS[verdict.reason]
            lines += [f"  {reason.found} {verdict.detail}".rstrip(), f"  {reason.advice}"]
        elif verdict.detail:
            lines.append(f"  {verdict.detail}")
        if row.identity.study_uid:
            lines.append(f"  study {row.identity.study_uid}, image {row.identity.sop_uid}")
        if files.look(target) is None:
            lines.append("  It is no longer there: its time was over, or somebody moved it.")
    return lines
