"""Walks the inboxes: the directory is the truth, events are only hints."""

import contextlib
import os
import re
import stat
from pathlib import Path

from dicom_importer import files
from dicom_importer.files import Seen

CLINIC = re.compile(r"(?=.{1,32}\Z)[a-z0-9](-?[a-z0-9])*\Z", re.ASCII)
# Names that a copy in progress or a desktop bears; a file renamed to another name is taken.
_PASSING_SUFFIXES = (".part", ".tmp", ".crdownload")
_PASSING_NAMES = frozenset({"thumbs.db", ".ds_store"})


def passing(name: str) -> bool:
    """Say whether a file is left alone for as long as it bears this name."""
    lower = name.lower()
    return lower.endswith(_PASSING_SUFFIXES) or lower in _PASSING_NAMES or lower.startswith("~$")


def clinics(inbox: Path) -> list[str]:
    """Return the clinics that have an inbox; raises OSError when the inbox itself is away."""
    with os.scandir(inbox) as entries:
        return sorted(
            entry.name
            for entry in entries
            if CLINIC.match(entry.name) and entry.is_dir(follow_symlinks=False)
        )


def scan(inbox: Path, clinic: str) -> dict[str, Seen]:
    """Return every file of a clinic's inbox by its path below it; raises OSError.

    Symlinks, pipes and devices are never followed or opened; a folder that vanishes meanwhile
    is empty.
    """
    found: dict[str, Seen] = {}
    waiting = [""]
    while waiting:
        path = waiting.pop()
        missing = (FileNotFoundError, NotADirectoryError) if path else ()
        with contextlib.suppress(*missing), files.folder(inbox, f"{clinic}/{path}") as descriptor:
            prefix = path and path + "/"
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(prefix + entry.name)
                    elif not passing(entry.name):
                        with contextlib.suppress(FileNotFoundError):
                            status = entry.stat(follow_symlinks=False)
                            if stat.S_ISREG(status.st_mode):
                                found[prefix + entry.name] = files.seen(status)
    return found


def submission(path: str) -> str:
    """Return what one export put there together: a first-level folder, or one loose file."""
    return path.partition("/")[0]
