"""Who asks what of the page: the token decides which clinics there are for somebody, and what they may do."""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from dicom_importer import audit, places, retry, room, scan, words
from dicom_importer.config import Config
from dicom_importer.journal import JOURNAL
from dicom_importer.page import arrivals, tus
from dicom_importer.page.arrivals import Group, Waiting
from dicom_importer.page.drops import Drops, owner_of
from dicom_importer.page.messages import Answer, Refused, Request
from dicom_importer.reasons import Unavailable
from dicom_importer.table import Table
from dicom_importer.uploader import Uploader

DAYS, MAX_DAYS = 7, 400
_ROUTE = re.compile(r"/clinics/([^/]+)/(submissions|retry|uploads|drops)(?:/([^/]*))?")
_METHODS = {
    "submissions": ("GET",),
    "retry": ("POST",),
    "drops": ("POST",),
    "uploads": ("OPTIONS", "POST"),
    "upload": ("DELETE", "HEAD", "OPTIONS", "PATCH"),
}
_MAX_BODY_BYTES = 1 << 14


@dataclass(frozen=True, slots=True)
class Inbox:
    """What the service knows of a clinic's inbox: what waits, copies in progress, and why nothing moves."""

    waiting: tuple[Waiting, ...]
    unfinished: int
    archive_up: bool


class Page:
    """Answers the page's requests, each in its own thread."""

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        config: Config,
        drops: Drops,
        ask: Callable[[str], Uploader],
        look: Callable[[str], Inbox],
        *,
        now: Callable[[], datetime],
        wake: Callable[[], None],
    ) -> None:
        self._config = config
        self._drops = drops
        self._ask = ask
        self._look = look
        self._now = now
        self._wake = wake
        self._lock = threading.Lock()
        self._table: Table | None = None

    def close(self) -> None:
        """Close the journal."""
        with self._lock:
            if self._table:
                self._table.close()

    def answer(self, request: Request) -> Answer:
        """Answer a request; raises Refused, OSError, and ConnectionError for a client that went."""
        try:
            who = self._ask(request.headers.get("authorization", ""))
        except Unavailable as absence:
            raise Refused(503, "who_unknown") from absence
        if who.status != 200:  # noqa: PLR2004
            raise Refused(who.status, "no_part")
        there = scan.clinics(self._config.inbox_dir)
        clinics = [one for one in there if who.is_admin or one in who.clinics]
        brings, reads = who.is_admin or who.brings_all, who.is_admin or who.brings_derived
        if request.path == "/me":
            _check_method(request, ("GET",))
            me = {"name": who.name, "clinics": clinics, "brings": brings, "reads": reads}
            return Answer(200, body={**me, "time_zone": self._config.time_zone.key})
        route = _ROUTE.fullmatch(request.path)
        # Another clinic is as absent as one that nobody has.
        if route is None or route[1] not in clinics:
            raise Refused(404, "nothing_here")
        clinic, what, name = route[1], route[2], route[3] or ""
        if route[3] is not None and (what != "uploads" or not name):
            raise Refused(404, "nothing_here")
        _check_method(request, _METHODS["upload" if name else what])
        if what == "submissions":
            return self._submissions(request, clinic, reads=reads)
        if not brings:
            raise Refused(403, "only_looks")
        if what == "uploads":
            return tus.answer(self._drops, request, who.name, clinic, name)
        body = _body(request.chunks)
        if what == "drops":
            return self._deliver(who.name, clinic, body)
        return self._retry(who.name, clinic, body)

    def _submissions(self, request: Request, clinic: str, *, reads: bool) -> Answer:
        days = request.query.get("days", str(DAYS))
        if not days.isdecimal() or not 0 < int(days) <= MAX_DAYS:
            raise Refused(400, "bad_days", max=MAX_DAYS)
        inbox = self._look(clinic)
        language = words.load(self._config.language_tag)
        found = self._groups(clinic, self._midnight(int(days) - 1), inbox)
        return Answer(
            200,
            body={
                "now": audit.stamp(self._now()),
                "archive_up": inbox.archive_up,
                "warnings": room.warnings(self._config, self._config.language_tag),
                "unfinished": inbox.unfinished,
                "uploads": [
                    {"folder": one.folder, "files": one.files, "open": one.open}
                    for one in self._drops.waiting(clinic)
                ],
                "groups": [group.as_json(language, reads=reads) for group in found],
            },
        )

    def _midnight(self, days: int) -> str:
        """Return when a day of the site began, so many days ago, as the journal writes times."""
        day = self._now().astimezone(self._config.time_zone).date() - timedelta(days=days)
        began = datetime.combine(day, time(), self._config.time_zone)
        return began.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _groups(self, clinic: str, since: str, inbox: Inbox) -> list[Group]:
        with self._lock:
            # A connection of its own: who looks keeps no import waiting.
            self._table = self._table or Table(self._config.state_dir / JOURNAL, read_only=True)
        failed, today = self._config.failed_dir, f"{self._now():%Y-%m-%d}"
        return arrivals.groups(self._table, failed, clinic, since, inbox.waiting, today)

    def _deliver(self, account: str, clinic: str, body: dict[str, object]) -> Answer:
        """End a drop: what is whole of this folder is shown in the inbox."""
        folder = _text(body, "folder")
        owner = owner_of(account, clinic, f"{folder}/x" if folder else "x")
        name, count = self._drops.deliver(owner)
        return Answer(200, body={"submission": name, "files": count})

    def _retry(self, account: str, clinic: str, body: dict[str, object]) -> Answer:
        """Put files that failed alike back into the inbox, as `dicom-importer retry` does."""
        submission, day, reason = (_text(body, key) for key in ("submission", "day", "reason"))
        try:
            date.fromisoformat(day)
        except ValueError:
            raise Refused(400, "bad_day") from None
        nothing = Inbox((), 0, archive_up=True)
        targets = [
            target
            for group in self._groups(clinic, day, nothing)
            if (arrivals.shown(group.submission), group.day) == (submission, day)
            for failure in group.failures.values()
            if failure.reason == reason
            for target in failure.targets
        ]
        if not targets:
            raise Refused(404, "nothing_left")
        failed = places.folders(self._config).failed
        stamp = audit.stamp(self._now())
        record = audit.retried(account, clinic, submission, reason, len(targets), stamp)
        audit.append(self._config.audit_file, [record])
        paths = tuple(failed / target for target in targets)
        retry.retry(self._config, retry.Wanted(paths), lambda _words: None)
        left = sum(path.exists() for path in paths)
        self._wake()
        return Answer(200, body={"retried": len(targets) - left, "left": left})


def _check_method(request: Request, allowed: Iterable[str]) -> None:
    if request.method not in allowed:
        raise Refused(405, "method", methods=", ".join(allowed))


def _body(chunks: Iterable[bytes]) -> dict[str, object]:
    """Read a small JSON object."""
    content = b""
    for chunk in chunks:
        content += chunk
        if len(content) > _MAX_BODY_BYTES:
            raise Refused(413, "large_body")
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(content)
        if isinstance(found, dict):
            return found
    raise Refused(400, "bad_body")


def _text(body: dict[str, object], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise Refused(400, "bad_text", key=key)
    return value
