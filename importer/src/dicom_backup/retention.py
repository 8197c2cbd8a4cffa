"""What stays of older runs: restic chooses among the complete ones, and what these name stays with them."""

from dicom_importer import log

from dicom_backup import record, restic
from dicom_backup.config import HOST, Config
from dicom_backup.record import Run
from dicom_backup.restic import Repository, ResticError

KEEP_ALL_WITHIN = "2d"
_AT_ONCE = 200


def forget(config: Config, repository: Repository) -> int:
    """Forget complete runs by their age, and the snapshots that none of those left names.

    By restic's own policy alone, a day's snapshot could go that an older run still needs.
    Returns how many snapshots went; raises ResticError, and then nothing that a run names has gone.
    """
    keep = config.keep
    repository.remove(
        *("forget", f"--tag={record.COMPLETE}", f"--host={HOST}", "--group-by=host,tags"),
        *(f"--keep-within={KEEP_ALL_WITHIN}", f"--keep-daily={keep.daily}"),
        *(f"--keep-weekly={keep.weekly}", f"--keep-monthly={keep.monthly}", "--retry-lock=5m"),
    )
    kept = record.complete(repository)
    if not kept:
        return 0
    needed = {of.id for of in kept}
    for snapshot in kept:
        needed |= _read(config, repository, snapshot.id).snapshots
    newest = kept[-1].time
    # What is newer belongs to a run that was cut off, and the next one builds on it.
    gone = [s.id for s in repository.snapshots() if s.id not in needed and s.time < newest]
    for first in range(0, len(gone), _AT_ONCE):
        repository.remove("forget", "--retry-lock=5m", *gone[first : first + _AT_ONCE])
    log.line("forgotten", count=len(gone), runs=len(kept))
    return len(gone)


def prune(repository: Repository) -> None:
    """Remove from the repository what no snapshot needs; raises ResticError."""
    repository.remove("prune", "--retry-lock=5m", timeout_s=restic.TIMEOUT_S)


def _read(config: Config, repository: Repository, snapshot: str) -> Run:
    """Read a run's record, which never changes, from the copy of an earlier day."""
    folder = config.backup_dir / "runs"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{snapshot}.json"
    try:
        return record.parse(path.read_text())
    except (FileNotFoundError, ResticError):
        text = repository.read_text(snapshot, f"/{record.NAME}")
        made = record.parse(text)
        path.write_text(text)
        return made
