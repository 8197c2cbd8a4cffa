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

from dicom_importer import audit, derived, files, instance, log, rename, stored, unpack, upkeep
from dicom_importer.files import Arrival, Place, Seen
from dicom_importer.header import Header
from dicom_importer.jobs import Job, Queue
from dicom_importer.journal import Journal
from dicom_importer.multipart import MalformedBodyError, Part, parse_type, parts
from dicom_importer.ownership import Ownership
from dicom_importer.reasons import Busy, Failure, Stopping, Unavailable
from dicom_importer.records import Row
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
FULL = (errno.ENOSPC, errno.EDQUOT)
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
    """A part on disk, what its header says, and the Failure Reason of one that is not taken in."""

    name: str
    seen: Seen
    study_uid: str = ""
    sop_class_uid: str = ""
    sop_uid: str = ""
    refused: int = 0


@dataclass(frozen=True, slots=True)
class _Terms:
    """Who stores, into which of these clinics; only what was derived goes where its study is."""

    name: str
    clinics: tuple[str, ...]
    is_derived: bool


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
        ownership: Ownership,
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
        self._ownership = ownership
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
        terms = self._terms(request)
        try:
            with self._one_of_few(terms.name) as name:
                outcomes = self._take(request, boundary, terms, name)
        except Unavailable as absence:
            raise Refusal(503, "Nothing was stored: the archive cannot be asked.") from absence
        except Stopping as stop:
            raise Refusal(503, "The importer is being stopped; please send again.") from stop
        except MalformedBodyError as error:
            raise Refusal(400, f"Nothing was stored: {error}.") from error
        except (ConnectionError, TimeoutError):
            raise  # the client's
        except OSError as error:
            log.trace("upload", error, clinic=terms.clinics[0])
            if error.errno in FULL:
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

    def _terms(self, request: Request) -> _Terms:
        try:
            uploader = self._ask(request.headers.get("authorization", ""))
        except Unavailable as absence:
            raise Refusal(503, "Nothing was stored: the archive cannot be asked.") from absence
        if uploader.status != 200:  # noqa: PLR2004
            raise Refusal(uploader.status, "This account stores nothing.")
        if not uploader.clinics or not (uploader.brings_all or uploader.brings_derived):
            raise Refusal(403, "This account stores nothing.")
        named = request.clinic
        asked = (named,) if named in uploader.clinics else () if named else uploader.clinics
        clinics = tuple(clinic for clinic in asked if (self._inbox / clinic).is_dir())
        if not asked:
            raise Refusal(403, "This account stores nothing for that clinic.")
        if not clinics:
            raise Refusal(403, f"{', '.join(asked)}: closed, nothing is stored there any more.")
        if uploader.brings_all and len(asked) == 1:
            return _Terms(uploader.name, clinics, is_derived=False)
        if not uploader.brings_derived:
            raise Refusal(400, f"Name the clinic, ?clinic=…: one of {', '.join(asked)}.")
        return _Terms(uploader.name, clinics, is_derived=True)

    def _take(self, request: Request, boundary: str, terms: _Terms, name: str) -> list[Outcome]:
        spool = Place(self._inbox, f"{terms.clinics[0]}/{UNPACKING}/{name}")
        try:
            spooled = list(self._spool(request, boundary, spool, terms))
            if not spooled:
                raise Refusal(400, "Nothing was stored: the body holds no part.")
            if denied := [one for one in spooled if one.refused == derived.NOT_AUTHORIZED]:
                study = denied[0].study_uid
                self._note(audit.refused(terms.name, study, name, len(denied), self._stamp()))
            taken = [one for one in spooled if not one.refused]
            if not taken:
                return [_outcome(one) for one in spooled]
            clinic = self._owner(taken[0].study_uid) if terms.is_derived else terms.clinics[0]
            if clinic not in terms.clinics:
                raise Refusal(
                    503, "Nothing was stored: the study has just changed; please send again."
                )
            with files.folder(spool.root, spool.path) as folder:
                os.fsync(folder)
            self._note(audit.delivered(terms.name, clinic, name, len(taken), self._stamp()))
            rename.rename(spool, Place(self._inbox, f"{clinic}/{name}"))
        finally:
            with contextlib.suppress(OSError):
                upkeep.remove(spool.root, spool.path)
            unpack.forget_empty(self._inbox, terms.clinics[0])
        log.line("delivered", clinic=clinic, submission=name, instances=len(taken))
        return self._follow(clinic, name, spooled)

    def _spool(
        self, request: Request, boundary: str, spool: Place, terms: _Terms
    ) -> Iterator[_Spooled]:
        study_uid = request.study_uid
        for number, part in enumerate(parts(request.chunks, boundary), 1):
            if part.content_type != _DICOM:
                raise Refusal(415, f"Nothing was stored: a part is {part.content_type}.")
            if number > MAX_PARTS:
                raise Refusal(413, f"Nothing was stored: more than {MAX_PARTS} parts.")
            place = Place(spool.root, f"{spool.path}/{number:06}.dcm")
            files.create(place, self._checked(part), self._alive)
            one = self._look(place, study_uid, terms)
            if one.refused:
                with files.parent(place) as folder:
                    os.unlink(place.name, dir_fd=folder)
            elif terms.is_derived:
                # What one request derives is of one study, hence of one clinic.
                study_uid = one.study_uid
            yield one

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

    def _look(self, place: Place, study_uid: str, terms: _Terms) -> _Spooled:
        """Read a part's header, if it has one, and decide whether it is taken in."""
        reason = stored.CANNOT_UNDERSTAND
        with files.open_file(place) as file:
            seen = files.seen(os.fstat(file.fileno()))
            try:
                with instance.opened(file, self._limits) as found:
                    head = found.header
                refused = self._refused(head, study_uid, terms)
                uids = head.study_uid, head.sop_class_uid, head.sop_uid
                return _Spooled(place.name, seen, *uids, refused)
            except Failure:
                pass
            except Busy:
                reason = stored.OUT_OF_RESOURCES
        # Whatever it is, the importer's flow judges it; of who derives it is not taken in.
        return _Spooled(place.name, seen, refused=reason if terms.is_derived else 0)

    def _refused(self, head: Header, study_uid: str, terms: _Terms) -> int:
        """Return the Failure Reason of a part that is not taken in, or 0."""
        is_derived = terms.is_derived
        if is_derived and not derived.allows(head, self._owner(head.study_uid), terms.clinics):
            return derived.NOT_AUTHORIZED
        return 0 if study_uid in ("", head.study_uid) else stored.OTHER_STUDY

    def _owner(self, study_uid: str) -> str | None:
        study = self._ownership.study(study_uid)
        return study.clinic if study else None

    def _stamp(self) -> str:
        return audit.stamp(self._now())

    def _note(self, record: dict[str, object]) -> None:
        """Tell the audit who delivered a submission, before anything can be imported of it.

        Interrupted after this, the record stands alone: files came whole, none was taken in, and
        the client, who heard of no success, sends them again under another name.
        """
        try:
            audit.append(self._audit_file, [record])
        except OSError as error:
            log.trace("audit", error)
            raise Refusal(503, "Nothing was stored: the audit cannot be written.") from error

    def _follow(self, clinic: str, name: str, spooled: list[_Spooled]) -> list[Outcome]:
        """Offer the files of a submission and wait until each is filed, or for as long as a client does.

        A sweep may have offered them before, and a worker may be moving them.
        """
        arrivals = [
            Arrival(clinic, f"{name}/{one.name}", one.seen) for one in spooled if not one.refused
        ]
        ready_at, until = self._monotonic(), time.monotonic() + self._answer_s
        for arrival in arrivals:
            self._queue.offer(Job(arrival, ready_at, whole=True))
        while not self._queue.are_done(arrivals) and time.monotonic() < until:
            self._alive()
            time.sleep(LOOK_S)
        return [_outcome(one, self._row(clinic, name, one)) for one in spooled]

    def _row(self, clinic: str, name: str, one: _Spooled) -> Row | None:
        rows = [] if one.refused else self._journal.past.history(clinic, f"{name}/{one.name}")
        return rows[-1] if rows else None


def _outcome(one: _Spooled, row: Row | None = None) -> Outcome:
    return Outcome(one.sop_class_uid, one.sop_uid, row, one.refused)


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
