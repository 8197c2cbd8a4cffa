"""Walks the inboxes: the directory is the truth, events are only hints."""

import contextlib
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dicom_importer import files
from dicom_importer.files import Seen

CLINIC = re.compile(r"(?=.{1,32}\Z)[a-z0-9](-?[a-z0-9])*\Z", re.ASCII)
# Names that a copy in progress bears; a file renamed to another name is taken.
_PASSING_SUFFIXES = (".part", ".filepart", ".tmp", ".crdownload")
# Where zip files are unpacked, in the first level of an inbox, until what they hold is shown; and
# the end of the folder's name that it is shown under.
UNPACKING, UNPACKED = ".dicom-importer-unpacking", ".unpacked"
# Where uploads of the page lie until they are whole.
UPLOADING = ".dicom-importer-uploading"
HIDDEN = frozenset({UNPACKING, UPLOADING})
# The ends of the names of folders that hold what came by one STOW-RS request, and by one upload.
DELIVERED, UPLOADED = ".stow", ".upload"
# What desktops leave wherever somebody looks into a folder. It is filed like any other file:
# left alone it would keep emptied folders for ever, and nothing here deletes what it did not make.
_LITTER = frozenset({"thumbs.db", "ehthumbs.db", ".ds_store", "desktop.ini"})


def passing(name: str) -> bool:
    """Say whether a file is left alone for as long as it bears this name."""
    lower = name.lower()
    return lower.endswith(_PASSING_SUFFIXES) or lower.startswith("~$")


def litter(name: str) -> bool:
    """Say whether a file that is no DICOM was left by a desktop, not by an export."""
    lower = name.lower()
    return lower in _LITTER or lower.startswith("._")


def clinics(inbox: Path) -> list[str]:
    """Return the clinics that have an inbox; raises OSError when the inbox itself is away."""
    with os.scandir(inbox) as entries:
        return sorted(
            entry.name
            for entry in entries
            if CLINIC.match(entry.name) and entry.is_dir(follow_symlinks=False)
        )


@dataclass(slots=True)
class Found:
    """What a walk found: files by path, and what was left alone (files, and folders)."""

    files: dict[str, Seen] = field(default_factory=dict)
    unfinished: int = 0
    unreadable: int = 0


def scan(inbox: Path, clinic: str) -> dict[str, Seen]:
    """Return every file of a clinic's inbox by its path below it; raises OSError."""
    return walk(inbox, clinic, passing).files


def walk(
    root: Path,
    top: str,
    leave_out: Callable[[str], bool] = lambda _name: False,
    same: Callable[[str, Seen], tuple[str, Seen]] = lambda path, version: (path, version),
) -> Found:
    """Walk a folder; raises OSError when that itself cannot be read.

    Symlinks, pipes and devices are never followed or opened. A folder that vanishes meanwhile is
    empty; one that cannot be read holds back nothing but itself. `same` may put what is held
    already in place of a path and its version.
    """
    found = Found()
    waiting = [""]
    while waiting:
        path = waiting.pop()
        try:
            with files.folder(root, f"{top}/{path}") as descriptor:
                waiting += _look_into(descriptor, path and path + "/", leave_out, same, found)
        except (FileNotFoundError, NotADirectoryError):
            if not path:
                raise
        except OSError:
            if not path:
                raise
            found.unreadable += 1
    return found


def _look_into(
    descriptor: int,
    prefix: str,
    leave_out: Callable[[str], bool],
    same: Callable[[str, Seen], tuple[str, Seen]],
    found: Found,
) -> list[str]:
    """Note a folder's files and return the paths of those below."""
    below = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if prefix or entry.name not in HIDDEN:
                    below.append(prefix + entry.name)
            elif leave_out(entry.name):
                found.unfinished += 1
            else:
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        path, version = same(prefix + entry.name, files.seen(status))
                        found.files[path] = version
    return below


def submission(path: str) -> str:
    """Return what one export put there together: a first-level folder, or one loose file."""
    return path.partition("/")[0]
