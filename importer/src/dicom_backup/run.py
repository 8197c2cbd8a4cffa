"""One run of the backup: databases, then images by day, then originals, then the record that makes it complete."""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dicom_importer import log

from dicom_backup import backed_up, dumps, farm, journal, realm, record, restore_state, state
from dicom_backup.config import OWN_SECRETS, Config
from dicom_backup.dumps import Dump, DumpError, Programs, stamp
from dicom_backup.restic import NoRepositoryError, Repository, ResticError, Saved
from dicom_backup.restore_run import RestoreError
from dicom_backup.state import Day, State

SERVICE_PATHS = (
    *("alertmanager", "audit", "auditor", "backup/dumps", "backup/journal", "backup/realm"),
    # With the receiver, who may store over DICOM.
    *("backup/settings", "config", "receiver", "secrets", "tls"),
)
SERVICE_EXCLUDED = ("audit/spool", *OWN_SECRETS)
ORIGINAL_PATHS = ("failed", "inbox", "processed")
DUMP_ATTEMPTS = 3
DUMP_RETRY_S = 10.0
_VANISHED = "no such file or directory"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Clocks:
    """The time of day in seconds since 1970, a monotonic one, and waiting."""

    now_s: Callable[[], float] = time.time
    monotonic_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def now(self) -> datetime:
        """Return the time of day in UTC."""
        return datetime.fromtimestamp(self.now_s(), UTC)

    def stamp(self) -> str:
        """Return the time of day as RFC 3339."""
        return stamp(self.now())


@dataclass(frozen=True, slots=True)
class Tools:
    """What a run works with."""

    config: Config
    repository: Repository
    clocks: Clocks = field(default_factory=Clocks)
    programs: Programs = field(default_factory=Programs)


@contextmanager
def alone(config: Config) -> Iterator[None]:
    """Hold the backup's lock: on this machine one works on the repository at a time, others wait."""
    config.backup_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (config.backup_dir / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(tools: Tools, *, dump: bool = False) -> State:
    """Make one backup and note what it came to; `dump` wants new dumps whatever their age.

    Nothing is raised that the state can say: `error` is empty where the run is complete.
    """
    with alone(tools.config):
        known = state.load(tools.config.state_file)
        known.tried_s = tools.clocks.now_s()
        known.target = tools.config.target
        start_s = tools.clocks.monotonic_s()
        try:
            _refuse_while_restoring(tools.config)
            made = _work(tools, known, wants_dump=dump)
        except (
            OSError,
            ResticError,
            DumpError,
            RestoreError,
            ValueError,
            journal.JournalError,
        ) as error:
            known.error = _words(error)
            log.line("backup_failed", error=known.error)
        else:
            known.error = _unread(made.unread)
            known.succeeded_s = tools.clocks.now_s()
            known.duration_s = round(tools.clocks.monotonic_s() - start_s, 1)
            known.reread = False
            log.line(
                "backup",
                seconds=known.duration_s,
                added_bytes=known.added_bytes,
                days=len(made.images),
                unread=len(made.unread),
            )
        state.save(tools.config.state_file, known)
        backed_up.write(tools.config, known)
        return known


def _refuse_while_restoring(config: Config) -> None:
    """Raise RestoreError while the archive is not whole: a backup of it must not become the newest."""
    if restore_state.under_way(config.backup_dir):
        raise RestoreError("a restore is under way: backups go on when it has ended")


def open_repository(tools: Tools, known: State) -> None:
    """Make sure that the repository is there, or make the first one of a target; raises ResticError."""
    repository, target = tools.repository, tools.config.target
    try:
        identity = repository.identity()
    except NoRepositoryError:
        if target in known.repositories:
            raise
        repository.create()
        identity = repository.identity()
        log.line("repository_made", target=target)
    if known.repositories.get(target) != identity:
        # What was saved elsewhere is not here.
        known.days.clear()
    known.repositories[target] = identity
    cleared = repository.clear_own_locks()
    if cleared:
        log.line("stale_locks_removed", count=cleared)


def _work(tools: Tools, known: State, *, wants_dump: bool) -> record.Run:
    config, clocks = tools.config, tools.clocks
    began = clocks.stamp()
    known.added_bytes = 0
    # First of all, so that a file which comes and goes during the dump is held.
    farm.scan(config.storage_dir, clocks.now_s())
    # Dumps are made whatever the repository says: with it away they are the newest that there is.
    newest = _dumps(tools, known, wanted=wants_dump)
    farm.scan(config.storage_dir, clocks.now_s())
    journal.copy(config.data_dir / "importer" / journal.NAME, config.journal_dir)
    _settings(config)
    open_repository(tools, known)
    state.save(config.state_file, known)
    there = [path for path in SERVICE_PATHS if (config.data_dir / path).exists()]
    service, unread = _save(tools, known, [record.SERVICE], there, config.data_dir)
    images, unsaved = _images(tools, known)
    found = [path for path in ORIGINAL_PATHS if (config.files_dir / path).exists()]
    originals, lost = _save(tools, known, [record.ORIGINALS], found, config.files_dir)
    made = record.Run(
        format=record.FORMAT,
        began=began,
        ended=clocks.stamp(),
        dump=newest,
        service=service,
        originals=originals,
        images=images,
        unread=(*unread, *unsaved, *lost),
    )
    record.write(tools.repository, made)
    return made


def _dumps(tools: Tools, known: State, *, wanted: bool) -> Dump:
    """Return the dumps that count, made anew where it is time; raises DumpError where there are none."""
    config, clocks = tools.config, tools.clocks
    dumps.settle(config.dumps_dir)
    try:
        before: Dump | None = dumps.load(config.dumps_dir)
    except DumpError as error:
        before = None
        if config.dumps_dir.exists():
            log.line("dump_not_trusted", error=str(error))
    age_s = clocks.now_s() - known.dumped_s
    failed = known.dump_error or known.realm_error
    is_due = age_s >= 60 * config.dump_interval_min or bool(failed)
    if before and not (wanted or is_due):
        return before
    # These are gone for Orthanc before the dump begins, so that it does not name them.
    gone = farm.dead(config.storage_dir)
    began_s = clocks.now_s()
    made = _attempts(tools, known)
    if made:
        farm.release(config.storage_dir, gone)
        known.dumped_s = began_s
        _people(tools, known)
        return made
    if before:
        return before
    raise DumpError(known.dump_error)


def _attempts(tools: Tools, known: State) -> Dump | None:
    for attempt in range(1, DUMP_ATTEMPTS + 1):
        try:
            made = dumps.make(tools.config, tools.clocks.now, tools.programs)
        except DumpError as error:
            known.dump_error = str(error)
            log.line("dump_failed", attempt=attempt, error=str(error))
            if attempt < DUMP_ATTEMPTS:
                tools.clocks.sleep(DUMP_RETRY_S)
        else:
            known.dump_error = ""
            log.line("dump", bytes=sum(file.bytes for file in made.files.values()))
            return made
    return None


def _people(tools: Tools, known: State) -> None:
    """Export Keycloak's people beside a new dump; without that the run goes on, and says so."""
    try:
        known.realm_people = realm.export(tools.config, tools.programs)
    except realm.RealmError as error:
        known.realm_error = str(error)
        log.line("realm_export_failed", error=known.realm_error)
    else:
        known.realm_error = ""
        known.realm_s = tools.clocks.now_s()
        log.line("realm_export", people=known.realm_people)


def _images(tools: Tools, known: State) -> tuple[dict[str, record.Part], tuple[str, ...]]:
    """Save every day that is not saved as it is now, newest first; each is noted as soon as it is."""
    config = tools.config
    root = config.storage_dir / farm.FOLDER
    unread: list[str] = []
    # Of nothing restic makes no snapshot.
    present = [day for day in farm.days(config.storage_dir) if any((root / day).iterdir())]
    known.days = {day: of for day, of in known.days.items() if day in present}
    for day in present:
        mtime_ns = (root / day).stat().st_mtime_ns
        before = known.days.get(day)
        if before and not known.reread and _is_saved(config, day, before, mtime_ns):
            continue
        began_s = tools.clocks.now_s()
        tags = [record.IMAGES, day]
        saved, missing = _save(tools, known, tags, ["."], root / day)
        unread += missing
        # What could not be read is tried again.
        known.days[day] = Day(saved, 0 if missing else mtime_ns, began_s)
        state.save(config.state_file, known)
    return {day: of.part for day, of in known.days.items()}, tuple(unread)


def _is_saved(config: Config, day: str, before: Day, mtime_ns: int) -> bool:
    if before.folder_mtime_ns != mtime_ns:
        return False
    return before.saved_s - farm.newest_s(config.storage_dir, day) >= farm.YOUNG_S


def _save(
    tools: Tools, known: State, tags: list[str], paths: list[str], folder: Path
) -> tuple[record.Part, tuple[str, ...]]:
    at, start_s = tools.clocks.stamp(), tools.clocks.monotonic_s()
    excluded = SERVICE_EXCLUDED if tags == [record.SERVICE] else ()
    saved: Saved = tools.repository.backup(
        tags, paths, folder, exclude=excluded, force=known.reread
    )
    known.added_bytes += saved.added_bytes
    # Inboxes and records move on while they are read: what has gone is elsewhere, or in the next run.
    unread = tuple(line for line in saved.unread if _VANISHED not in line.lower())
    return record.part(saved, at, tools.clocks.monotonic_s() - start_s), unread


def _settings(config: Config) -> None:
    if config.settings_file is None:
        return
    folder = config.backup_dir / "settings"
    folder.mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(config.settings_file, folder / config.settings_file.name)


def _unread(lines: tuple[str, ...]) -> str:
    if not lines:
        return ""
    shown = "; ".join(lines[:_SHOWN])
    return f"{len(lines)} files could not be read and are in no backup of this run: {shown}"


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {error.strerror}"
    return str(error)
