"""`dicom-importer status`: what waits and what failed, counted in the folders themselves."""

from pathlib import Path

from dicom_importer import room, scan
from dicom_importer.config import Config
from dicom_importer.filing import ERROR_SUFFIX


def status(config: Config) -> tuple[list[str], bool]:
    """Return a line for each clinic and each disk that is short, and whether nothing is wrong."""
    lines, well = [], True
    for clinic in scan.clinics(config.inbox_dir):
        found = scan.walk(config.inbox_dir, clinic, scan.passing)
        failed = _failed(config.failed_dir, clinic)
        well = well and not failed and not found.unreadable
        lines.append(f"{clinic}: {len(found.files)} waiting, {failed} failed{_left_alone(found)}")
    short = room.warnings(config)
    return [*short, *(lines or ["There is no clinic: no inbox has been made."])], well and not short


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
