"""The STOW-RS door (PS3.18 10.5): what a client stores goes the way of every dropped file.

The body goes to disk while it comes, hidden in the clinic's inbox. When all of it is there it is
shown in one step, taken without a cool-down, and answered for when each file is filed.
"""

import contextlib
import errno
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dicom_importer import audit, files, instance, log, rename, stored, unpack, upkeep
from dicom_importer.files import Arrival, Place, Seen
from dicom_importer.jobs import Job, Queue
from dicom_importer.journal import Journal
from dicom_importer.multipart import MalformedBodyError, Part, parse_type, parts
from dicom_importer.reasons import Busy, Failure, Stopping, Unavailable
from dicom_importer.scan import DELIVERED, UNPACKING
from dicom_importer.stored import Outcome
from dicom_importer.uploader import Uploader

# Each takes a thread, and room on the disk until it is whole.
UPLOADS = 4
# A client that sends a byte a minute must leave something for the others.
UPLOADS_EACH = UPLOADS // 2
MAX_PARTS = 100_000
ANSWER_S = 300.0
LOOK_S = 0.05
# How much is written between two looks at what is left of the disk.
ROOM_BYTES = 1 << 26
_FULL = (errno.ENOSPC, errno.EDQUOT)
_MULTIPART, _DICOM = "multipart/related", "application/dicom"


class Refusal(Exception):  # noqa: N818 - an answer, no fault
    """The whole request is answered with a status and words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(status, words)
        self.status = status
        self.words = words


@dataclass(frozen=True, slots=True)
class Request:
    """A store request: the study in its path, the clinic in its query, headers in lower case, its body."""

    study_uid: str
    clinic: str
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class _Spooled:
    """A part on disk, and what its header says; without a name it is of another study than was named."""

    name: str
    seen: Seen
    sop_class_uid: str = ""
    sop_uid: str = ""


class Door:
    """Takes store requests, each in its own thread."""

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        inbox: Path,
        ask: Callable[[str], Uploader],
        queue: Queue,
        journal: Journal,
        limits: instance.Limits,
        *,
        min_free_bytes: int,
        audit_file: Path,
        now: Callable[[], datetime],
        alive: Callable[[], None],
        monotonic: Callable[[], float],
        answer_s: float = ANSWER_S,
    ) -> None:
        self._inbox = inbox
        self._ask = ask
        self._queue = queue
        self._journal = journal
        self._limits = limits
        self._min_free_bytes = min_free_bytes
        self._audit_file = audit_file
        self._now = now
        self._alive = alive
        self._monotonic = monotonic
        self._answer_s = answer_s
        self._is_open = threading.Event()
        self._lock = threading.Lock()
        # Who holds which upload.
        self._uploading: dict[str, str] = {}

    def open(self) -> None:
        """Let uploads in, once what a killed process left of others is removed."""
        self._is_open.set()

    def tidy(self, clinic: str) -> None:
        """Remove what is hidden of uploads that are over: their disk failed when they ended."""

        def is_over(name: str) -> bool:
            return name.endswith(DELIVERED) and name not in self._uploading

        with contextlib.suppress(OSError):
            unpack.forget_hidden(self._inbox, clinic, is_over)

    def store(self, request: Request) -> tuple[int, dict[str, object]]:
        """Return a status and the Store Instances Response (PS3.18 10.5.3); raises Refusal."""
        if not self._is_open.is_set():
            raise Refusal(503, "The importer is starting; please try again in a moment.")
        boundary = _boundary(request.headers)
        uploader, clinic = self._clinic(request)
        try:
            with self._one_of_few(uploader.name) as name:
                outcomes = self._take(request, boundary, uploader, clinic, name)
        except Stopping as stop:
            raise Refusal(503, "The importer is being stopped; please send again.") from stop
        except MalformedBodyError as error:
            raise Refusal(400, f"Nothing was stored: {error}.") from error
        except (ConnectionError, TimeoutError):
            raise  # the client's
        except OSError as error:
            log.trace("upload", error, clinic=clinic)
            if error.errno in _FULL:
                raise Refusal(507, "Nothing was stored: the disk is full.") from error
            # It may be in there, where only the last sync failed.
            raise Refusal(503, "The inbox cannot be written; please send again later.") from error
        return stored.answer(outcomes, _address(request.headers))

    @contextlib.contextmanager
    def _one_of_few(self, account: str) -> Iterator[str]:
        """Name an upload and hold it among those under way; raises Refusal for one too many."""
        name = f"{self._now():%Y%m%d-%H%M%S}-{secrets.token_hex(4)}{DELIVERED}"
        with self._lock:
            if list(self._uploading.values()).count(account) >= UPLOADS_EACH:
                words = f"this account has {UPLOADS_EACH} uploads under way"
                raise Refusal(503, f"Nothing was stored: {words}; please try again after them.")
            if len(self._uploading) >= UPLOADS:
                raise Refusal(503, "Too many uploads at once; please try again in a moment.")
            self._uploading[name] = account
        try:
            yield name
        finally:
            with self._lock:
                del self._uploading[name]

    def _clinic(self, request: Request) -> tuple[Uploader, str]:
        try:
            uploader = self._ask(request.headers.get("authorization", ""))
        except Unavailable as absence:
            raise Refusal(503, "Nothing was stored: the archive cannot be asked.") from absence
        if uploader.status != 200:  # noqa: PLR2004
            raise Refusal(uploader.status, "This account stores nothing.")
        mine = uploader.clinics
        clinic = request.clinic or (mine[0] if len(mine) == 1 else "")
        if not clinic:
            words = f"one of {', '.join(mine)}" if mine else "none is yours"
            raise Refusal(400 if mine else 403, f"Name the clinic, ?clinic=…: {words}.")
        if clinic not in mine or not (self._inbox / clinic).is_dir():
            raise Refusal(403, "This account stores nothing for that clinic.")
        return uploader, clinic

    def _take(
        self, request: Request, boundary: str, uploader: Uploader, clinic: str, name: str
    ) -> list[Outcome]:
        spool = Place(self._inbox, f"{clinic}/{UNPACKING}/{name}")
        try:
            spooled = list(self._spool(request, boundary, spool))
            if not spooled:
                raise Refusal(400, "Nothing was stored: the body holds no part.")
            if all(not one.name for one in spooled):
                return [Outcome(one.sop_class_uid, one.sop_uid, None, "") for one in spooled]
            with files.folder(spool.root, spool.path) as folder:
                os.fsync(folder)
            self._note(uploader, clinic, name, len(spooled))
            rename.rename(spool, Place(self._inbox, f"{clinic}/{name}"))
        finally:
            with contextlib.suppress(OSError):
                upkeep.remove(spool.root, spool.path)
            unpack.forget_empty(self._inbox, clinic)
        log.line("delivered", clinic=clinic, submission=name, instances=len(spooled))
        return self._follow(clinic, name, spooled)

    def _spool(self, request: Request, boundary: str, spool: Place) -> Iterator[_Spooled]:
        for number, part in enumerate(parts(request.chunks, boundary), 1):
            if part.content_type != _DICOM:
                raise Refusal(415, f"Nothing was stored: a part is {part.content_type}.")
            if number > MAX_PARTS:
                raise Refusal(413, f"Nothing was stored: more than {MAX_PARTS} parts.")
            place = Place(spool.root, f"{spool.path}/{number:06}.dcm")
            files.create(place, self._checked(part), self._alive)
            yield self._look(place, request.study_uid)

    def _checked(self, part: Part) -> Iterator[bytes]:
        """Yield a part's content while there is room for it."""
        left = 0
        for chunk in part.content:
            if left <= 0:
                left = ROOM_BYTES
                room = os.statvfs(self._inbox)
                if room.f_bavail * room.f_frsize < self._min_free_bytes + ROOM_BYTES:
                    raise Refusal(507, "Nothing was stored: the disk is nearly full.")
            left -= len(chunk)
            yield chunk

    def _look(self, place: Place, study_uid: str) -> _Spooled:
        with files.open_file(place) as file:
            seen = files.seen(os.fstat(file.fileno()))
            with (
                contextlib.suppress(Failure, Busy),
                instance.opened(file, self._limits) as found,
            ):
                head = found.header
                if study_uid in ("", head.study_uid):
                    return _Spooled(place.name, seen, head.sop_class_uid, head.sop_uid)
                with files.parent(place) as folder:
                    os.unlink(place.name, dir_fd=folder)
                return _Spooled("", seen, head.sop_class_uid, head.sop_uid)
        # Whatever it is, the importer's flow judges it.
        return _Spooled(place.name, seen)

    def _note(self, uploader: Uploader, clinic: str, name: str, count: int) -> None:
        """Tell the audit who delivered a submission, before anything can be imported of it.

        Interrupted after this, the record stands alone: files came whole, none was taken in, and
        the client, who heard of no success, sends them again under another name.
        """
        time = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        try:
            record = audit.delivered(uploader.name, clinic, name, count, time)
            audit.append(self._audit_file, [record])
        except OSError as error:
            log.trace("audit", error, clinic=clinic)
            raise Refusal(503, "Nothing was stored: the audit cannot be written.") from error

    def _follow(self, clinic: str, name: str, spooled: list[_Spooled]) -> list[Outcome]:
        """Offer the files of a submission and wait until each is filed, or for as long as a client does.

        A sweep may have offered them before, and a worker may be moving them.
        """
        arrivals = [Arrival(clinic, f"{name}/{one.name}", one.seen) for one in spooled if one.name]
        ready_at, until = self._monotonic(), time.monotonic() + self._answer_s
        for arrival in arrivals:
            self._queue.offer(Job(arrival, ready_at, whole=True))
        while not self._queue.are_done(arrivals) and time.monotonic() < until:
            self._alive()
            time.sleep(LOOK_S)
        return [self._outcome(clinic, name, one) for one in spooled]

    def _outcome(self, clinic: str, name: str, one: _Spooled) -> Outcome:
        rows = self._journal.past.history(clinic, f"{name}/{one.name}") if one.name else []
        return Outcome(one.sop_class_uid, one.sop_uid, rows[-1] if rows else None, one.name)


def _boundary(headers: Mapping[str, str]) -> str:
    """Return the boundary of a body of DICOM files (PS3.18 10.5.1, 8.6.1.2)."""
    kind, root, boundary = parse_type(headers.get("content-type", ""))
    if kind != _MULTIPART or root not in ("", _DICOM):
        raise Refusal(415, f'Send {_MULTIPART}; type="{_DICOM}".')
    if not boundary:
        raise Refusal(400, "The body's boundary is not named.")
    accepted = headers.get("accept", "*/*")
    if not any(kind in accepted for kind in ("*/*", "application/*", "json")):
        raise Refusal(406, "The answer is application/dicom+json.")
    return boundary


def _address(headers: Mapping[str, str]) -> str:
    """Return the public address, which nginx tells."""
    host = headers.get("x-forwarded-host", "")
    return f"{headers.get('x-forwarded-proto', 'https')}://{host}" if host else ""
