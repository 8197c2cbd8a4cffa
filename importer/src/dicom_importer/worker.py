"""What a worker does with a job, and what it does when that fails."""

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable

from dicom_importer import files, filing, instance, log, storing
from dicom_importer.beside import KEPT, Beside
from dicom_importer.files import Arrival
from dicom_importer.filing import Folders
from dicom_importer.jobs import Job, Queue
from dicom_importer.journal import Identity, Row, Verdict
from dicom_importer.metrics import Metrics
from dicom_importer.reasons import (
    Busy,
    Changed,
    Failure,
    Growing,
    NoRoom,
    Stopping,
    Unavailable,
)
from dicom_importer.room import Room
from dicom_importer.storing import Context
from dicom_importer.stow import Refused

BUSY_DELAY_S = 1.0
FIRST_DELAY_S = 1.0
MAX_DELAY_S = 60.0
# As long as an archive may ask to be left alone.
MAX_ASKED_S = 600.0
# How often a nearly full disk is looked at again.
ROOM_DELAY_S = 10.0
TAKE_TIMEOUT_S = 5.0


class Worker:
    """Imports jobs, in as many threads as there are connections."""

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        context: Context,
        folders: Folders,
        queue: Queue,
        metrics: Metrics,
        filed: Callable[[Arrival], None],
        *,
        room: Room,
        patience_s: float = 0.0,
        jitter: Callable[[float, float], float] = random.uniform,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._folders = folders
        self._queue = queue
        self._metrics = metrics
        self._room = room
        self._filed = filed
        self._jitter = jitter
        self._monotonic = monotonic
        self._patience_s = patience_s
        self._beside = Beside(folders.inbox, context.journal, metrics, monotonic)
        self._lock = threading.Lock()
        self._taking = threading.Lock()
        self._misses = 0
        self.last_success_s = 0.0

    @property
    def archive_up(self) -> bool:
        """Whether the archive answered when it was last asked."""
        return self._misses == 0

    def recover(self) -> None:
        """Finish what was decided before an interruption, and claim what was being sent."""
        for row in self._context.journal.active():
            if not self._has_inbox(row.arrival.clinic):
                continue
            try:
                self._resume(row)
            except OSError as error:
                # It is looked at again when the file is seen in the inbox.
                log.trace("recover", error, clinic=row.arrival.clinic)

    def _has_inbox(self, clinic: str) -> bool:
        """Say whether a clinic's inbox is there: a folder mounted over is empty without its mount."""
        return (self._folders.inbox / clinic).is_dir()

    def _resume(self, row: Row) -> None:
        if row.state == "filing":
            self._file(row)
            return
        self._context.claims.claim(row.arrival, row.identity)
        if files.look(self._folders.source(row.arrival)) != row.arrival.seen:
            self._context.journal.finish(row.id, gone=True)
            self._context.claims.release(row.arrival)

    def run(self) -> None:
        """Take jobs until the queue is closed."""
        while not self._queue.closed:
            with self._taking:
                job = self._queue.take(TAKE_TIMEOUT_S)
                if job:
                    self._context.claims.announce(job.arrival)
            if job:
                self.handle(job)

    def handle(self, job: Job) -> None:
        """Import one file, or see to it that it is tried again."""
        try:
            self._import(job)
        except Changed:
            self._leave(job)
        except Busy:
            self._queue.defer(job, BUSY_DELAY_S)
        except Growing:
            self._queue.defer(job, self._patience_left_s(job))
        except Stopping:
            pass
        except Refused as refusal:
            self._later(job, refusal.code, self._delay_s(self._refusals(job)))
        except Unavailable as absence:
            self._pause(absence)
            self._later(job, absence.cause, self._delay_s(self._refusals(job)))
        except (OSError, sqlite3.Error) as error:
            # Our own disk: full, read-only or failing. Nothing is lost while nothing is moved.
            log.trace("disk", error, clinic=job.arrival.clinic)
            self._later(job, type(error).__name__, MAX_DELAY_S)
        except Exception as error:  # noqa: BLE001 - the loop's edge
            log.trace("import", error, clinic=job.arrival.clinic, file=log.alias(job.arrival.path))
            self._later(job, type(error).__name__, MAX_DELAY_S)
        finally:
            self._context.claims.withdraw(job.arrival)

    def _import(self, job: Job) -> None:
        row = self._context.journal.find(job.arrival)
        if row is None or row.state == "sending":
            if not self._has_room(job):
                return
            row = self._decide(job, row)
        row = self._file(row)
        clinic = row.arrival.clinic
        self._metrics.duration_s.labels(clinic).observe(self._monotonic() - job.ready_at)
        self._count(row)
        self._queue.done(job)
        self._context.delays.forget(job.arrival)
        self._filed(job.arrival)

    def _has_room(self, job: Job) -> bool:
        """Say whether a file may be taken in; if not, it is put off, and the others when intake is paused."""
        try:
            self._room.check(job.arrival.seen.size_bytes)
        except NoRoom as lack:
            if lack.paused:
                self._queue.pause(ROOM_DELAY_S)
            self._later(job, f"the disk of {lack.place} is nearly full", ROOM_DELAY_S)
            return False
        return True

    def _patience_left_s(self, job: Job) -> float:
        return job.ready_at + self._patience_s - self._monotonic()

    def _decide(self, job: Job, row: Row | None) -> Row:
        arrival, context = job.arrival, self._context
        identity = row.identity if row else Identity()
        time = row.coerced_at if row else f"{context.now():%Y%m%d%H%M%S.%f}+0000"
        try:
            file = files.open_file(self._folders.source(arrival))
        except OSError:
            here = files.look(self._folders.source(arrival))
            if here != arrival.seen and self._has_inbox(arrival.clinic):
                raise Changed from None
            raise
        with file:
            _unchanged(arrival, file.fileno())
            try:
                with instance.prepared(file, arrival.clinic, time, context.limits) as ready:
                    identity = ready.opened.identity
                    verdict = Verdict(storing.store(arrival, row, ready, time, context))
                    if preamble := ready.opened.header.preamble:
                        fields = {"file": log.alias(arrival.path), "begins": preamble[:4].hex()}
                        log.line("preamble_zeroed", clinic=arrival.clinic, **fields)
            except Failure as failure:
                patient = self._patience_left_s(job) > 0
                verdict = self._beside.judge(arrival, file, failure, patient=patient)
            _unchanged(arrival, file.fileno())
        if identity.sop_uid:
            self._misses = 0
            self._metrics.archive_up.set(1)
        decision = filing.decision(arrival, verdict, self._folders, context.now())
        return context.journal.decide(arrival, identity, decision)

    def _file(self, row: Row) -> Row:
        filed = filing.file_away(self._context.journal, self._folders, row)
        self._context.claims.release(row.arrival)
        return filed

    def _leave(self, job: Job) -> None:
        """Give up a version that is no more; what lies there now settles as a new one."""
        row = self._context.journal.find(job.arrival)
        if row:
            self._context.journal.finish(row.id, gone=True)
        self._context.claims.release(job.arrival)
        self._queue.done(job)

    def _refusals(self, job: Job) -> int:
        row = self._context.journal.find(job.arrival)
        return row.refusals if row else 0

    def _later(self, job: Job, cause: str, delay_s: float) -> None:
        clinic = job.arrival.clinic
        self._metrics.retries.labels(clinic).inc()
        alias, rounded_s = log.alias(job.arrival.path), round(delay_s, 1)
        log.line("later", clinic=clinic, file=alias, cause=cause, delay_s=rounded_s)
        self._context.delays.note(job.arrival, cause, delay_s, self._context.now())
        self._queue.defer(job, delay_s)

    def _pause(self, absence: Unavailable) -> None:
        """Ask nothing of an archive that is away, for longer each time."""
        with self._lock:
            asked_s = min(absence.retry_after_s, MAX_ASKED_S)
            delay_s = max(asked_s, self._delay_s(self._misses))
            self._misses += 1
        self._metrics.archive_up.set(0)
        self._queue.pause(delay_s)

    def _delay_s(self, times: int) -> float:
        return min(MAX_DELAY_S, FIRST_DELAY_S * (1 << min(times, 10))) * self._jitter(0.5, 1.0)

    def _count(self, row: Row) -> None:
        clinic, verdict = row.arrival.clinic, row.decision.verdict
        self._metrics.imports.labels(clinic, verdict.status).inc()
        fields = {"study_uid": row.identity.study_uid, "sop_uid": row.identity.sop_uid}
        if verdict.reason:
            self._metrics.failures.labels(clinic, verdict.reason).inc()
            fields["reason"] = verdict.reason
        elif verdict.status != KEPT:
            self.last_success_s = self._context.now().timestamp()
            self._metrics.last_success_s.labels(clinic).set(self.last_success_s)
            self._metrics.stored_bytes.labels(clinic).inc(row.arrival.seen.size_bytes)
        log.line(verdict.status, clinic=clinic, file=log.alias(row.arrival.path), **fields)


def _unchanged(arrival: Arrival, descriptor: int) -> None:
    if files.seen(os.fstat(descriptor)) != arrival.seen:
        raise Changed
