"""Which run of the backup is brought back: one that went on to its end, and nothing else."""

from datetime import UTC, datetime

from dicom_backup import record
from dicom_backup.restic import Repository, ResticError, Snapshot, WrongKeyError


class RestoreError(Exception):
    """A restore cannot go on; the text says what happened, what is untouched, and what to do."""


class DiskFullError(RestoreError):
    """There is no room for what comes back."""


def moment(text: str) -> datetime:
    """Read a time as people write it, UTC where they name no zone; raises RestoreError."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise RestoreError(
            f"AT={text}: write a time as 2026-11-24T21:30 (UTC) or 2026-11-24T21:30+01:00"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def taken(snapshot: Snapshot) -> datetime:
    """Return when a snapshot was taken; restic writes nanoseconds."""
    head, dot, tail = snapshot.time.partition(".")
    zone = tail.lstrip("0123456789") if dot else ""
    return datetime.fromisoformat(head + zone)


def choose(repository: Repository, at: str) -> tuple[str, record.Run]:
    """Return the newest complete run with its id, or the newest that had ended by a time.

    Raises RestoreError, ResticError.
    """
    # Says soon that a server is away.
    repository.identity()
    complete = record.complete(repository)
    fitting = [s for s in complete if taken(s) <= moment(at)] if at else complete
    if fitting:
        return fitting[-1].id, read(repository, fitting[-1].id)
    if complete:
        first = f"{taken(complete[0]):%Y-%m-%d %H:%M:%S} UTC"
        raise RestoreError(
            f"no backup in {repository.target} had ended by {at}: the first ended at {first}"
        )
    begun = len(repository.snapshots(record.SERVICE))
    raise RestoreError(
        f"there is no complete backup in {repository.target}"
        + (f": {begun} were begun and none ended" if begun else ": it holds none of this stack")
        + ". Nothing was changed. Is FROM right?"
    )


def read(repository: Repository, snapshot: str) -> record.Run:
    """Return the run that a snapshot describes; raises RestoreError, ResticError."""
    try:
        return record.read(repository, snapshot)
    except WrongKeyError:
        raise
    except ResticError as error:
        raise RestoreError(
            f"the record of the backup {snapshot[:8]} cannot be read ({error}): take an earlier one by AT=…"
        ) from error


def image_bytes(run: record.Run) -> int:
    """Return how large the images of all days are together."""
    return sum(day.bytes for day in run.images.values())
