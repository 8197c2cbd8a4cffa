"""The auditor at work: it reads requests and events, writes records, then notes how far it came."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from dicom_importer import log
from dicom_importer.reasons import Unavailable
from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError

from access_audit import codes, digest, events, files, follow, keycloak, spool
from access_audit.config import Config
from access_audit.judge import judge
from access_audit.metrics import Metrics, outcome, route
from access_audit.record import Record, Result, What, Who, identify
from access_audit.spool import Request
from access_audit.state import State, load, remember, save

POLL_INTERVAL_S = 1.0
EVENTS_INTERVAL_S = 10.0
# nginx writes a line for each of these: when none comes, requests are not written either.
HEARTBEAT_INTERVAL_S = 20.0
HEARTBEAT_URL = "http://nginx/healthz"
HEARTBEAT_PATH = "/healthz"
UPKEEP_INTERVAL_S = 300.0
RETRY_S = 5.0
# Who was answered within this time is at work.
ACTIVE_S = 900.0
# A loop that has not come round for this long is stuck.
STUCK_S = 120.0
# Keycloak's name for the account of a client.
ACCOUNT_PREFIX = "service-account-"
_ME = Who(name="auditor", verified=True)


@dataclass(frozen=True, slots=True)
class Clocks:
    """The time of day, in seconds since 1970, and a monotonic one."""

    now_s: Callable[[], float] = time.time
    monotonic_s: Callable[[], float] = time.monotonic


class Auditor:
    """Reads, judges and writes, in one thread; what it knows is on the disk before it goes on."""

    def __init__(
        self, config: Config, store: keycloak.EventStore, http: PoolManager, clocks: Clocks
    ) -> None:
        self.metrics = Metrics()
        self.stop = threading.Event()
        self._config = config
        self._store = store
        self._http = http
        self._clocks = clocks
        self._state_file = config.state_dir / "state.json"
        self._state = load(self._state_file)
        now_s = clocks.now_s()
        self._known_until_s = {"nginx": now_s, "keycloak": now_s}
        for service in self._known_until_s:
            self.metrics.lag_s.labels(service).set_function(partial(self._lag_s, service))
        # By subject when each person was last answered, the latest at the end.
        self._active: dict[str, float] = {}
        self.metrics.active.set_function(self._count_active)
        self._due_s: dict[str, float] = {}
        self._ticked_s = clocks.monotonic_s()
        self._told: set[str] = set()

    def _lag_s(self, service: str) -> float:
        return self._clocks.now_s() - self._known_until_s[service]

    def _count_active(self) -> int:
        since_s = self._clocks.now_s() - ACTIVE_S
        return sum(time_s > since_s for time_s in list(self._active.values()))

    def healthy(self) -> bool:
        """Tell whether the loop comes round."""
        return self._clocks.monotonic_s() - self._ticked_s < STUCK_S

    def loop(self) -> None:
        """Work until told to stop."""
        self._activity(codes.APPLICATION_START)
        while not self.stop.is_set():
            try:
                wait_s = 0.0 if self.tick() else POLL_INTERVAL_S
            except Exception as error:  # noqa: BLE001 - the loop's edge: nothing was forgotten
                log.trace("cannot_work", error)
                wait_s = RETRY_S
            self._ticked_s = self._clocks.monotonic_s()
            self.stop.wait(wait_s)
        self.requests()
        self._activity(codes.APPLICATION_STOP)

    def tick(self) -> bool:
        """Do what is due; returns whether there is more to read at once."""
        more = self.requests()
        if self._is_due("events", EVENTS_INTERVAL_S):
            self._asked("keycloak", self.keycloak)
        if self._is_due("heartbeat", HEARTBEAT_INTERVAL_S):
            self._asked("nginx", self._beat)
        if self._is_due("upkeep", UPKEEP_INTERVAL_S):
            self.upkeep()
        return more

    def requests(self) -> bool:
        """Record what nginx wrote since the last time; returns whether there is more."""
        batch = follow.read(self._config.spool_dir, self._state.offsets)
        if batch.offsets == self._state.offsets:
            return False
        state = self._state.copy()
        state.offsets = batch.offsets
        records = []
        requests: list[Request] = []
        newest_s = 0.0
        unreadable = 0
        for line in batch.lines:
            try:
                request = spool.parse(line)
            except ValueError:
                unreadable += 1
                continue
            newest_s = max(newest_s, request.time_s)
            if request.path == HEARTBEAT_PATH:
                continue
            requests.append(request)
            if record := judge(state, request):
                records.append(record)
        self._commit(records, state)
        for request in requests:
            self._count(request)
        if unreadable:
            self.metrics.unreadable.inc(unreadable)
            log.line("unreadable_lines", count=unreadable)
        self._known_until_s["nginx"] = max(newest_s, self._known_until_s["nginx"])
        return batch.more

    def _count(self, request: Request) -> None:
        became = outcome(request.status)
        self.metrics.requests.labels(became).inc()
        if became != "answered":
            return
        name = route(request.method, request.path)
        if name and request.seconds is not None:
            self.metrics.request_s.labels(name).observe(request.seconds)
        who = request.who
        if who.verified and not who.name.startswith(ACCOUNT_PREFIX):
            remember(self._active, who.subject, request.time_s)

    def keycloak(self) -> None:
        """Record what Keycloak noted since the last time; raises Unavailable."""
        now_s = self._clocks.now_s()
        state = self._state.copy()
        store = self._store
        made = list(
            keycloak.news(
                lambda at: store.since("events", at), state.logins, lambda e: events.login(state, e)
            )
        )
        made += keycloak.news(
            lambda at: store.since("admin-events", at),
            state.changes,
            lambda e: events.change(state, e),
        )
        if made:
            self._commit(made, state)
        self._known_until_s["keycloak"] = now_s

    def upkeep(self) -> None:
        """Remove what was read and what has served, and close the day before."""
        config, now_s = self._config, self._clocks.now_s()
        now = datetime.fromtimestamp(now_s, UTC)
        follow.remove_finished(config.spool_dir, self._state.offsets, now_s)
        for name in files.remove_old(config.access_dir, config.retention_years, now):
            log.line("removed", file=name)
        yesterday = f"{now - timedelta(days=1):%Y-%m-%d}"
        if day := digest.write(config.access_dir, config.importer_dir, yesterday):
            # Whoever keeps the log elsewhere can tell later whether the chain was written anew.
            log.line("digest", day=day.day, chain=day.chain)

    def _commit(self, records: Iterable[Record], state: State) -> None:
        """Write records, then remember what they came from: a kill between repeats the writing."""
        records = list(records)
        files.append(self._config.access_dir, records)
        save(self._state_file, state)
        self._state = state
        for record in records:
            self.metrics.records.labels(record.what.event.meaning).inc()
            is_login = record.what.type == codes.LOGIN
            if is_login and record.result.outcome == codes.SUCCESS:
                self.metrics.logins.inc()
            elif is_login:
                self.metrics.login_failures.inc()

    def _activity(self, kind: codes.Code) -> None:
        now_s = self._clocks.now_s()
        record = Record(
            id=identify("auditor", kind.code, str(now_s)),
            time_s=now_s,
            what=What(codes.APPLICATION_ACTIVITY, "E", kind),
            who=_ME,
            result=Result(codes.SUCCESS, kind.meaning.rpartition(" ")[2].lower()),
        )
        files.append(self._config.access_dir, [record])
        self.metrics.records.labels(record.what.event.meaning).inc()
        log.line(record.result.status)

    def _beat(self) -> None:
        timeout = Timeout(connect=5, read=5)
        try:
            self._http.request("GET", HEARTBEAT_URL, timeout=timeout, retries=False)
        except HTTPError as error:
            raise Unavailable(type(error).__name__) from error

    def _asked(self, service: str, ask: Callable[[], None]) -> None:
        """Ask a service; that it is away is said once, until it is back."""
        try:
            ask()
        except Unavailable as absence:
            if service not in self._told:
                self._told.add(service)
                log.line("away", service=service, why=str(absence))
        else:
            if service in self._told:
                self._told.discard(service)
                log.line("back", service=service)

    def _is_due(self, name: str, interval_s: float) -> bool:
        now_s = self._clocks.monotonic_s()
        if now_s < self._due_s.get(name, now_s):
            return False
        self._due_s[name] = now_s + interval_s
        return True
