"""What a worker does with a job, and what it does when that fails."""

import contextlib
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

from dicom_importer import files, filing, flow, instance, log, scan, storing, unpack, upkeep
from dicom_importer.beside import KEPT, Beside
from dicom_importer.files import Arrival
from dicom_importer.filing import Folders
from dicom_importer.flow import Decide, Finish, Flow
from dicom_importer.jobs import Job, Queue
from dicom_importer.metrics import Metrics
from dicom_importer.reasons import (
    Busy,
    Changed,
    Failure,
    Growing,
    NoRoom,
    NotDicom,
    Stopping,
    Unavailable,
)
from dicom_importer.records import Identity, Row, Verdict
from dicom_importer.room import Room, short
from dicom_importer.storing import Context
from dicom_importer.stow import Refused

BUSY_DELAY_S = 0.2
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
        filed: Callable[[Arrival, str], None],
        *,
        room: Room,
        patience_s: float = 0.0,
        unpacked_bytes: int = 0,
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
        self._unpacked_bytes = unpacked_bytes
        self._beside = Beside(folders.inbox, context.journal, metrics, monotonic)
        self._lock = threading.Lock()
        self._taking = threading.Lock()
        self._unpacking = threading.Lock()
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
        kept = [row.arrival for row in self._context.journal.active()]
        with contextlib.suppress(OSError):
            for clinic in scan.clinics(self._folders.inbox):
                unpack.forget_all_but(self._folders.inbox, clinic, kept)

    def _has_inbox(self, clinic: str) -> bool:
        """Say whether a clinic's inbox is there: a folder mounted over is empty without its mount."""
        return (self._folders.inbox / clinic).is_dir()

    def _resume(self, row: Row) -> None:
        if row.state == "filing":
            self._show(row)
            filing.file_away(self._context.journal, self._folders, row)
            upkeep.remove_emptied(self._folders.inbox, row.arrival)
            self._context.claims.release(row.arrival)
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
                jobs = [job, *self._queue.more(job)] if job else []
                for one in jobs:
                    self._context.claims.announce(one.arrival)
            self.handle(*jobs)

    def handle(self, *jobs: Job) -> None:
        """Import files in step, or see to it that they are tried again."""
        absent: set[tuple[str, str]] = set()
        flows = {job.arrival: self._flow(job, absent) for job in jobs}
        context = self._context
        # A file that waits for others has claimed what it will.
        flow.run(flows, context.archive, context.journal, self._folders, context.claims.withdraw)

    def _flow(self, job: Job, absent: set[tuple[str, str]]) -> Flow[None]:  # noqa: C901 - each failure by its name
        try:
            yield from self._import(job, absent)
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
        except NoRoom as lack:
            if lack.paused:
                self._queue.pause(ROOM_DELAY_S)
            self._later(job, short(lack.place), ROOM_DELAY_S)
        except (OSError, sqlite3.Error) as error:
            # Our own disk: full, read-only or failing. Nothing is lost while nothing is moved.
            log.trace("disk", error, clinic=job.arrival.clinic)
            self._later(job, type(error).__name__, MAX_DELAY_S)
        except Exception as error:  # noqa: BLE001 - the loop's edge
            log.trace("import", error, clinic=job.arrival.clinic, file=log.alias(job.arrival.path))
            self._later(job, type(error).__name__, MAX_DELAY_S)

    def _import(self, job: Job, absent: set[tuple[str, str]]) -> Flow[None]:
        row = self._context.journal.find(job.arrival)
        if row is None or row.state == "sending":
            self._room.check(job.arrival.seen.size_bytes)
            row = yield from self._decide(job, row, absent)
        row = yield from self._file(row)
        clinic = row.arrival.clinic
        self._metrics.duration_s.labels(clinic).observe(self._monotonic() - job.ready_at)
        self._count(row)
        self._queue.done(job)
        self._context.delays.forget(job.arrival)
        self._filed(job.arrival, row.decision.verdict.status)

    def _patience_left_s(self, job: Job) -> float:
        patience_s = 0.0 if job.whole else self._patience_s
        return job.ready_at + patience_s - self._monotonic()

    def _decide(self, job: Job, row: Row | None, absent: set[tuple[str, str]]) -> Flow[Row]:
        arrival, context = job.arrival, self._context
        identity = row.identity if row else Identity()
        time = row.coerced_at if row else f"{context.now():%Y%m%d%H%M%S.%f}+0000"
        attempt = storing.Attempt(arrival, row, time, absent)
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
                    status = yield from storing.store(attempt, ready, context)
                    verdict = Verdict(status)
                    if preamble := ready.opened.header.preamble:
                        fields = {"file": log.alias(arrival.path), "begins": preamble[:4].hex()}
                        log.line("preamble_zeroed", clinic=arrival.clinic, **fields)
            except Failure as failure:
                patient = self._patience_left_s(job) > 0
                verdict = self._judge(arrival, file, failure, patient=patient)
            _unchanged(arrival, file.fileno())
        if identity.sop_uid:
            self._misses = 0
            self._metrics.archive_up.set(1)
        decision = filing.decision(arrival, verdict, self._folders, context.now())
        decide = Decide(arrival, identity, decision)
        yield decide
        assert decide.row  # noqa: S101 - a flow goes on when it was answered
        return decide.row

    def _judge(
        self, arrival: Arrival, file: BinaryIO, failure: Failure, *, patient: bool
    ) -> Verdict:
        if failure.code != "not_dicom" or not unpack.is_zip(arrival, file):
            return self._beside.judge(arrival, file, failure, patient=patient)
        # It takes a while and claims nothing: nobody has to wait for it, and no second one takes
        # another worker away from images.
        self._context.claims.withdraw(arrival)
        if not self._unpacking.acquire(blocking=False):
            raise Busy
        inbox, alive = self._folders.inbox, self._context.alive
        try:
            count = unpack.unpack(file, arrival, inbox, self._unpacked_bytes, alive)
        except NotDicom as found:
            if patient and found.code == "packed_broken":
                raise Growing from None
            return Verdict(found.status, found.code, found.detail)
        finally:
            self._unpacking.release()
        return Verdict(KEPT, "", f"{count} files were unpacked from it.")

    def _file(self, row: Row) -> Flow[Row]:
        self._show(row)
        move = filing.Move(row)
        yield move
        upkeep.remove_emptied(self._folders.inbox, row.arrival)
        yield Finish(row.id, move.gone)
        self._context.claims.release(row.arrival)
        return move.row

    def _show(self, row: Row) -> None:
        if row.decision.verdict.status == KEPT and row.arrival.path.lower().endswith(unpack.SUFFIX):
            unpack.show(self._folders.inbox, row.arrival)

    def _leave(self, job: Job) -> None:
        """Give up a version that is no more; what lies there now settles as a new one."""
        row = self._context.journal.find(job.arrival)
        if row:
            self._context.journal.finish(row.id, gone=True)
        self._context.claims.release(job.arrival)
        with contextlib.suppress(OSError):
            unpack.forget(self._folders.inbox, job.arrival)
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
        if absence.heard:
            return
        absence.heard = True
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
