"""Where a restore goes: a data directory that holds nothing yet, or what this restore itself began."""

import os
from collections.abc import Iterator
from pathlib import Path

from dicom_backup import backed_up, farm
from dicom_backup.restore_run import RestoreError
from dicom_backup.restore_state import State

# What a started stack makes before anybody uses it, which the backup's takes the place of.
_CLINICAL = ("dicom", "files")
# The restore's own folder, and files that say nothing of anybody.
OWN = "backup"
_HARMLESS = {".lock", farm.KNOWN, backed_up.NAME}
ASIDE = "audit-before-restore"


def refuse(data_dir: Path, state: State | None, *, fresh_stack: bool) -> None:
    """Raise RestoreError where something would be overwritten.

    `fresh_stack` allows what an appliance makes by its first start, and no image and no original.
    """
    if state is not None:
        if state.is_done:
            raise RestoreError(
                f"{data_dir} was restored already, from the backup that ended {state.finished}. {_advice(data_dir)}"
            )
        return
    tops = [data_dir / name for name in _CLINICAL] if fresh_stack else [data_dir]
    found = next((path for top in tops for path in _files(top)), None)
    if found:
        raise RestoreError(f"{data_dir} holds data ({found}). {_advice(data_dir)}")


def put_aside(data_dir: Path) -> None:
    """Keep the audit of an appliance that was started before it was restored: it is history too."""
    audit, aside = data_dir / "audit", data_dir / ASIDE
    if not aside.exists() and next(_files(audit), None):
        audit.rename(aside)


def _advice(data_dir: Path) -> str:
    return f"Nothing was changed: a restore overwrites nothing. Stop the stack, move {data_dir} away, and restore again"


def _files(top: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(top):
        if Path(folder) == top and OWN in folders:
            folders.remove(OWN)
        yield from (Path(folder) / name for name in names if name not in _HARMLESS)
