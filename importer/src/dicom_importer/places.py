"""Finds what an operator's path stands for: a file of inbox, processed/ or failed/, and its record."""

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dicom_importer import files, scan
from dicom_importer.config import Config
from dicom_importer.files import Place
from dicom_importer.filing import ERROR_SUFFIX, Folders
from dicom_importer.journal import Journal
from dicom_importer.reasons import REASONS
from dicom_importer.records import Row


def folders(config: Config) -> Folders:
    """Return the three folders."""
    return Folders(config.inbox_dir, config.processed_dir, config.failed_dir, config.language_tag)


def below(path: Path, root: Path) -> str | None:
    """Return a path's part below a root, None when it does not lie there."""
    path = Path(os.path.normpath(path.absolute()))
    for top in (root, root.resolve()):
        if path.is_relative_to(top):
            return os.fspath(path.relative_to(top))
    return None


def is_reason(place: Place) -> bool:
    """Say whether a name in failed/ is that of a reason, and not of a file that came so named."""
    own = place.sibling(place.name + ERROR_SUFFIX)
    return place.name.endswith(ERROR_SUFFIX) and files.look(own) is None


def of_reason(place: Place) -> Place:
    """Return the file that a reason stands beside; any other place is itself."""
    return place.sibling(place.name.removesuffix(ERROR_SUFFIX)) if is_reason(place) else place


def missing(failed: Path, paths: Iterable[Path], say: Callable[[str], None]) -> list[Path]:
    """Return those paths that are nothing in failed/, and say so."""
    gone = [path for path in paths if below(path, failed) in (None, ".") or not _lies(path)]
    for path in gone:
        say(f"{path}: there is no such file in {failed}.")
    return gone


def _lies(path: Path) -> bool:
    return os.path.lexists(path) or os.path.lexists(path.with_name(path.name + ERROR_SUFFIX))


def failed_files(failed: Path, path: str) -> Iterator[Place]:
    """Yield each file at or below a path in failed/, without the reasons."""
    for place in _walk(failed, path):
        if not is_reason(place):
            yield place


def lone_reasons(failed: Path, path: str) -> Iterator[Place]:
    """Yield each reason at or below a path in failed/ whose file is not there."""
    for place in _walk(failed, path):
        if is_reason(place) and files.look(of_reason(place)) is None:
            yield place


def _walk(failed: Path, path: str) -> Iterator[Place]:
    if (failed / path).is_dir():
        for name in sorted(scan.walk(failed, path).files):
            yield Place(failed, f"{path}/{name}")
        return
    place = of_reason(Place(failed, path))
    for one in (place, place.sibling(place.name + ERROR_SUFFIX)):
        if files.look(one):
            yield one


def forget_reason(place: Place) -> None:
    """Remove the reason beside a file that has left failed/."""
    reason = place.sibling(place.name + ERROR_SUFFIX)
    with contextlib.suppress(FileNotFoundError), files.parent(reason) as folder:
        os.unlink(reason.name, dir_fd=folder)
        os.fsync(folder)


def record(journal: Journal, place: Place, *, failed: bool) -> Row | None:
    """Return the latest row of the file that was moved to this place of processed/ or failed/."""
    rows = [
        r for r in journal.past.filed_as(place.path) if bool(r.decision.verdict.reason) == failed
    ]
    return rows[-1] if rows else None


def reason_beside(place: Place) -> str:
    """Return the failure reason that stands beside a file of failed/, empty when none is read."""
    try:
        with files.open_file(place.sibling(place.name + ERROR_SUFFIX)) as file:
            found = json.load(file)["reason"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return found if found in REASONS else ""
