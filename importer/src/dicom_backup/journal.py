"""The importer's journal, copied while the importer writes it, without a right to write beside it."""

import shutil
import sqlite3
from pathlib import Path

from dicom_backup.durable import sync

NAME = "journal.sqlite"
_ATTEMPTS = 10


class JournalError(Exception):
    """The journal could not be copied; the text says why."""


def copy(source: Path, folder: Path) -> None:
    """Copy the journal and its log into a folder, join them there and check the result.

    SQLite's own backup must write into the journal's shared memory, which whoever only reads may
    not. The file itself changes when the log is written back into it and at no other time: a copy
    during which it did not is one moment of it. Does nothing before there is a journal. Raises
    JournalError and leaves the copy before as it is.
    """
    if not source.exists():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = folder / f"{NAME}.part"
    try:
        _take(source, part)
        written = sqlite3.connect(part)
        try:
            written.execute("PRAGMA journal_mode = DELETE")
            (found,) = written.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            written.close()
        if found != "ok":
            raise JournalError(f"the copy of {source} is damaged: {found}; the one before stays")
        sync(part)
        part.replace(folder / NAME)
        sync(folder)
    except (OSError, sqlite3.Error) as error:
        raise JournalError(
            f"{source} could not be copied: {error}; the copy before stays"
        ) from error
    finally:
        _remove(part)


def _take(source: Path, part: Path) -> None:
    log, log_part = (path.with_name(f"{path.name}-wal") for path in (source, part))
    for _ in range(_ATTEMPTS):
        _remove(part)
        before = _mark(source)
        shutil.copyfile(source, part)
        try:
            shutil.copyfile(log, log_part)
        except FileNotFoundError:
            # Nobody has it open: all is in the file.
            log_part.unlink(missing_ok=True)
        if _mark(source) == before:
            return
    raise JournalError(f"{source} changed during each of {_ATTEMPTS} copies; the one before stays")


def _mark(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _remove(part: Path) -> None:
    for end in ("", "-wal", "-shm", "-journal"):
        part.with_name(part.name + end).unlink(missing_ok=True)
