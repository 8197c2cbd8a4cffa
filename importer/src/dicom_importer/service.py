"""The importer's loop: it sweeps the inboxes, and tends to what else falls due."""

import contextlib
import functools
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from urllib3 import PoolManager

from dicom_importer import (
    audit,
    delays,
    exchange,
    explain,
    log,
    places,
    plan,
    replacement,
    scan,
    upkeep,
    uploader,
    web,
    words,
)
from dicom_importer.access import Token
from dicom_importer.archive import Archive
from dicom_importer.claims import Claims
from dicom_importer.config import Config
from dicom_importer.delays import DELAYS, Delays
from dicom_importer.door import UPLOADS, Door
from dicom_importer.files import Arrival
from dicom_importer.in_flight import InFlight
from dicom_importer.instance import Limits
from dicom_importer.jobs import Job, Queue
from dicom_importer.journal import JOURNAL, JOURNAL_DAYS, Journal
from dicom_importer.metrics import Metrics
from dicom_importer.ownership import Ownership
from dicom_importer.page.api import Inbox, Page
from dicom_importer.page.arrivals import Waiting
from dicom_importer.page.drops import Drops
from dicom_importer.reasons import Failure, Stopping, Unavailable
from dicom_importer.replacement import Desk
from dicom_importer.room import Room
from dicom_importer.settle import Settler
from dicom_importer.storing import Context
from dicom_importer.worker import Worker

# A loop that has not come round for so long is stuck; a sweep of 100,000 files takes seconds.
STUCK_S = 300.0
UPKEEP_S = 3600.0
# A copy may pause for longer than the cool-down: what looks cut off is given so many of them.
PATIENCE_COOLDOWNS = 10
MIN_PAUSE_S = 0.2
PAUSE_FACTOR = 10.0


class Service:
    """Everything that lives as long as the process."""

    def __init__(
        self,
        config: Config,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.words = words.load(config.language_tag)
        self.now = now
        self.monotonic = monotonic
        self.stop = threading.Event()
        self.wake = threading.Event()
        self.metrics = Metrics()
        self.room = Room(config, self.metrics)
        config.state_dir.mkdir(parents=True, exist_ok=True)
        spool = config.state_dir / "spool"
        spool.mkdir(exist_ok=True)
        self.journal = Journal(config.state_dir / JOURNAL)
        self.delays = Delays(config.state_dir / DELAYS)
        self.queue = Queue(monotonic, config.connections)
        self._settlers: dict[str, Settler] = {}
        self._settle_lock = threading.Lock()
        self._unfinished: dict[str, int] = {}
        self._inbox_there = True
        self._journal_works = True
        self._beat = monotonic()
        self._swept_s = 0.0
        self._upkeep_due = 0.0
        self._http = http = PoolManager(maxsize=config.connections + UPLOADS)
        client = config.client_id, config.client_secret_file
        archive = Archive(
            http,
            config.orthanc_url,
            Token(http, config.token_url, client, monotonic),
            InFlight(config.max_instance_bytes),
        )
        context = Context(
            archive,
            Claims(),
            self.journal,
            Ownership(
                archive,
                self.journal.past.stored,
                monotonic,
                functools.partial(plan.latest, config.state_dir),
            ),
            Limits(spool, config.max_instance_bytes, corrections=self.journal.past.corrections),
            now,
            self._alive,
            lambda: self.worker.last_success_s,
            functools.partial(plan.concerns, config.state_dir),
            self.delays,
        )
        folders = places.folders(config)
        self._desk = Desk(
            archive, self.journal, folders, context.limits, config.state_dir, config.audit_file
        )
        ask = functools.partial(uploader.ask, http, config.orthanc_url)
        self.drops = Drops(
            config.inbox_dir,
            self.queue,
            # A zip that is larger is not unpacked either.
            max_file_bytes=config.max_unpacked_bytes,
            min_free_bytes=config.min_free_bytes,
            audit_file=config.audit_file,
            now=now,
            monotonic=monotonic,
            alive=self._alive,
        )
        self.page = Page(config, self.drops, ask, self.look, now=now, wake=self.wake.set)
        self.door = Door(
            config.inbox_dir,
            ask,
            self.queue,
            self.journal,
            context.limits,
            ownership=context.ownership,
            min_free_bytes=config.min_free_bytes,
            audit_file=config.audit_file,
            now=now,
            alive=self._alive,
            monotonic=monotonic,
        )
        self.worker = Worker(
            context,
            folders,
            self.queue,
            self.metrics,
            self._filed,
            room=self.room,
            patience_s=(PATIENCE_COOLDOWNS - 1) * config.cooldown_s,
            unpacked_bytes=config.max_unpacked_bytes,
            monotonic=monotonic,
        )

    def _alive(self) -> None:
        if self.stop.is_set():
            raise Stopping

    def _filed(self, arrival: Arrival, status: str) -> None:
        """Take a file out of what is pending; after the last one, what was filed is audited."""
        with self._settle_lock:
            if settler := self._settlers.get(arrival.clinic):
                since = settler.forget(arrival.path)
                self.metrics.pending.labels(arrival.clinic).set(settler.pending)
                if status == "success" and since is not None:
                    waited_s = self.monotonic() - since
                    self.metrics.searchable_s.labels(arrival.clinic).observe(waited_s)
        if self.queue.idle:
            self.wake.set()

    def health(self) -> web.Health:
        """Tell what /health answers."""
        beating = self.monotonic() - self._beat < STUCK_S + self.config.sweep_interval_s
        with self._settle_lock:
            pending = sum(settler.pending for settler in self._settlers.values())
        return web.Health(
            self.worker.archive_up,
            self._inbox_there,
            self._journal_works,
            beating,
            self.room.paused,
            pending,
        )

    def look(self, clinic: str) -> Inbox:
        """Tell the page what lies in a clinic's inbox, as of the last sweep."""
        with self._settle_lock:
            settler = self._settlers.get(clinic)
            lying = settler.lying(self.monotonic()) if settler else []
        notes = self.config.state_dir / DELAYS
        waiting = []
        for path, version, count, due_s in lying:
            delay = None if due_s else delays.find(notes, clinic, path, version)
            cause = explain.because(delay.cause, self.words) if delay else ""
            waiting.append(Waiting(path, count, due_s, cause))
        return Inbox(tuple(waiting), self._unfinished.get(clinic, 0), self.worker.archive_up)

    def sweep(self) -> float:
        """Walk the inboxes once and offer what is ready; returns seconds until the next time."""
        began = self.monotonic()
        wait_s = self.config.sweep_interval_s
        self.room.look()
        try:
            clinics = scan.clinics(self.config.inbox_dir)
            # Every clinic gone at once is a mount that is away.
            self._inbox_there = bool(clinics) or not self._settlers
        except OSError as error:
            # The mount is away; that is not everything deleted.
            self._inbox_there = False
            log.line("inbox_away", error=error.strerror)
            return wait_s
        for clinic in clinics:
            self.metrics.know(clinic)
            with self._settle_lock:
                settler = self._settlers.setdefault(
                    clinic, Settler(self.config.cooldown_s, self.config.steady_traffic_s)
                )
            try:
                found = scan.walk(self.config.inbox_dir, clinic, scan.passing, settler.same)
            except OSError as error:
                log.line("inbox_unreadable", clinic=clinic, error=error.strerror)
                continue
            now = self.monotonic()
            with self._settle_lock:
                ready = settler.update(found.files, now)
                self.metrics.pending.labels(clinic).set(settler.pending)
                self.metrics.oldest_pending_s.labels(clinic).set(settler.oldest_s(now))
                due_s = settler.due_in_s(now)
            self._unfinished[clinic] = found.unfinished
            self.metrics.left_alone.labels(clinic, "unfinished").set(found.unfinished)
            self.metrics.left_alone.labels(clinic, "unreadable").set(found.unreadable)
            for path, seen in ready:
                self.queue.offer(Job(Arrival(clinic, path, seen), now))
            if due_s is not None:
                wait_s = min(wait_s, due_s)
        self._swept_s = self.monotonic() - began
        self.metrics.sweep_s.set(self._swept_s)
        return wait_s

    def tend(self) -> None:
        """Do what is due beside sweeping: audit, the journal's check, and upkeep."""
        try:
            self.journal.check()
            # What lies there still belongs to the record of what was filed before an interruption.
            busy = self._unsettled() | self.queue.submissions()
            audit.write_reports(self.journal, self.config.audit_file, busy, self.now)
            self._journal_works = True
        except (OSError, sqlite3.Error) as error:
            self._journal_works = False
            log.trace("journal_fails", error)
            return
        self._finish_replacement()
        with contextlib.suppress(OSError):
            for clinic in scan.clinics(self.config.inbox_dir):
                self.drops.tend(clinic)
        if self.monotonic() < self._upkeep_due:
            return
        self._upkeep_due = self.monotonic() + UPKEEP_S
        now = self.now()
        with contextlib.suppress(OSError):
            upkeep.remove_old_days(
                self.config.processed_dir, now.date(), self.config.processed_retention_days
            )
            for clinic in scan.clinics(self.config.inbox_dir):
                upkeep.remove_empty_folders(
                    self.config.inbox_dir, clinic, now.timestamp(), self.config.empty_folder_age_s
                )
                self.door.tidy(clinic)
        self.journal.prune((now - timedelta(days=JOURNAL_DAYS)).strftime("%Y-%m-%dT%H:%M:%SZ"))

    def _finish_replacement(self) -> None:
        """Finish what a killed `dicom-importer replace`, `move`, `correct` or `delete` left half done."""
        try:
            if replacement.resume(self._desk):
                log.line("replacement_finished")
            if exchange.resume(self._desk):
                log.line("correction_finished")
        except Failure as failure:
            log.line("replacement_taken_back", reason=failure.code)
        except Unavailable as absence:
            log.line("replacement_waits", cause=absence.cause)
        except (OSError, sqlite3.Error) as error:
            log.trace("replacement_waits", error)

    def _unsettled(self) -> set[tuple[str, str]]:
        with self._settle_lock:
            settlers = self._settlers.items()
            return {(clinic, name) for clinic, one in settlers for name in one.unsettled}

    def close(self) -> None:
        """Close the journal and the connections."""
        self.journal.close()
        self.page.close()
        self.delays.close()
        self._http.clear()

    def loop(self) -> None:
        """Sweep and tend until told to stop."""
        woken = False
        while not self.stop.is_set():
            # Before the sweep: what comes while it walks must wake the next one.
            self.wake.clear()
            try:
                wait_s = self.sweep()
                self.tend()
            except Exception as error:  # noqa: BLE001 - the loop's edge
                log.trace("loop", error)
                wait_s = self.config.sweep_interval_s
            self._beat = self.monotonic()
            # Steady traffic must not make sweeping all that we do.
            pause_s = min(max(MIN_PAUSE_S, PAUSE_FACTOR * self._swept_s), wait_s)
            # A new folder's event comes before its files, which no event tells of until the folder is watched too.
            if woken:
                wait_s = min(wait_s, max(pause_s, self.config.cooldown_s))
            if not self.stop.wait(pause_s):
                woken = self.wake.wait(wait_s - pause_s)
