"""What people upload, until it is whole and shown in their clinic's inbox as one submission.

An account's files of one dropped folder are a drop. Its client says when all is there; a drop that
is left alone is shown as far as it came, and what is not whole waits for three days to be gone on
with. Shown, it is taken without a cool-down, like what comes by STOW-RS.
"""

import contextlib
import hashlib
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dicom_importer import audit, files, log, rename, scan, upkeep
from dicom_importer.door import MAX_PARTS, ROOM_BYTES
from dicom_importer.files import Arrival, Place
from dicom_importer.jobs import Job, Queue
from dicom_importer.page import parts
from dicom_importer.page.messages import Refused
from dicom_importer.page.parts import Part, Wanted
from dicom_importer.scan import UPLOADED, UPLOADING

IDLE_S = 600.0
STALE_S = 3 * 86400.0
# At the same time, for all and for one account: each takes a thread.
WRITERS, WRITERS_EACH = 24, 6
# Files of one account that are begun with and not whole.
OPEN_EACH = 64
_OWNER, _SENT = "owner.json", "sent.json"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose drop it is, into which clinic, and the folder that was dropped (empty: loose files)."""

    account: str
    clinic: str
    folder: str

    @property
    def id(self) -> str:
        """The drop's name: by account, then by folder."""
        return f"{account_key(self.account)}-{_digest(self.folder)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A drop as the page shows it: files that are whole and their bytes, and how many are on their way."""

    folder: str
    files: int
    size_bytes: int
    open: int


def account_key(account: str) -> str:
    """Stand in for an account in the names of its drops."""
    return _digest(account)


def owner_of(account: str, clinic: str, path: str) -> Owner:
    """Return the drop that a path belongs to: that of its first folder."""
    first, slash, _ = path.partition("/")
    return Owner(account, clinic, first if slash else "")


class Drops:
    """The drops of all clinics; on disk, but for who is writing."""

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        inbox: Path,
        queue: Queue,
        *,
        max_file_bytes: int,
        min_free_bytes: int,
        audit_file: Path,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        alive: Callable[[], None],
    ) -> None:
        self._inbox = inbox
        self._queue = queue
        self.max_file_bytes = max_file_bytes
        self._min_free_bytes = min_free_bytes
        self._audit_file = audit_file
        self._now = now
        self._monotonic = monotonic
        self._alive = alive
        self._lock = threading.Lock()
        # Whoever makes, moves or removes what lies in a drop.
        self._moving = threading.RLock()
        self._writers: dict[str, str] = {}
        self._used: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._known_sent: dict[str, frozenset[str]] = {}

    def begin(self, owner: Owner, wanted: Wanted) -> Part:
        """Return an upload: where it was left off, or a new one; raises Refused and OSError."""
        drop = self._place(owner.clinic, owner.id)
        self._touch(drop)
        with self._moving:
            if parts.is_whole(drop, wanted) or wanted.id in self._sent(drop):
                return Part(wanted, wanted.size_bytes)
            if known := parts.found(drop, wanted.id):
                if known.offset == wanted.size_bytes:
                    self._finish(drop, known)
                return known
            self._admit(owner, wanted)
            if self._owner(owner.clinic, owner.id) != owner:
                note = json.dumps({"account": owner.account, "folder": owner.folder}).encode()
                files.write(Place(drop.root, f"{drop.path}/{_OWNER}"), note)
            part = parts.begin(drop, wanted)
        if not wanted.size_bytes:
            self._finish(drop, part)
        return part

    def find(self, clinic: str, drop: str, name: str) -> Part | None:
        """Return an upload that is under way."""
        return parts.found(self._place(clinic, drop), name)

    def append(
        self, account: str, clinic: str, name: tuple[str, str], offset: int, chunks: Iterable[bytes]
    ) -> Part:
        """Write what comes of an upload (drop and id) from an offset on; raises Refused and OSError."""
        drop = self._place(clinic, name[0])
        with self._writing(account, f"{drop.path}/{name[1]}"):
            self._touch(drop)
            part = parts.found(drop, name[1])
            if part is None:
                raise Refused(404, "no_upload")
            if part.offset != offset:
                raise Refused(409, "other_offset", offset=part.offset)
            try:
                part = parts.append(drop, part, self._checked(chunks))
            except parts.TooMuchError:
                raise Refused(413, "too_much") from None
            if part.offset == part.wanted.size_bytes:
                self._finish(drop, part)
            self._touch(drop)
            return part

    def remove(self, account: str, clinic: str, name: tuple[str, str]) -> None:
        """Give up an upload."""
        drop = self._place(clinic, name[0])
        with self._writing(account, f"{drop.path}/{name[1]}"):
            if parts.found(drop, name[1]) is None:
                raise Refused(404, "no_upload")
            parts.remove(drop, name[1])

    def deliver(self, owner: Owner, *, is_over: bool = True) -> tuple[str, int]:
        """Show what is whole as one submission; returns its name and number of files, ("", 0) for nothing.

        Of a drop that is not over it is remembered what came, for whoever goes on with it.
        """
        drop = self._place(owner.clinic, owner.id)
        with self._moving:
            for part in parts.all_there(drop):
                self._finish(drop, part)
            whole = self._whole(drop)
            if not whole:
                if is_over:
                    self._forget(drop)
                return "", 0
            name = f"{self._now():%Y%m%d-%H%M%S}-{secrets.token_hex(4)}{UPLOADED}"
            if not is_over:
                self._note_sent(drop, whole)
            record = audit.delivered(
                owner.account,
                owner.clinic,
                name,
                len(whole),
                audit.stamp(self._now()),
                source=audit.PAGE,
            )
            # Before anything can be imported of it.
            audit.append(self._audit_file, [record])
            rename.rename(
                Place(drop.root, f"{drop.path}/files"), Place(drop.root, f"{owner.clinic}/{name}")
            )
            self._counts.pop(drop.path, None)
            if is_over:
                self._forget(drop)
        log.line("delivered", clinic=owner.clinic, submission=name, instances=len(whole))
        ready_at = self._monotonic()
        for path, seen in sorted(scan.walk(self._inbox, f"{owner.clinic}/{name}").files.items()):
            self._queue.offer(
                Job(Arrival(owner.clinic, f"{name}/{path}", seen), ready_at, whole=True)
            )
        return name, len(whole)

    def waiting(self, clinic: str) -> list[Waiting]:
        """Return the drops that are not shown yet."""
        found = []
        for name in self._drops(clinic):
            drop = self._place(clinic, name)
            owner, whole, under_way = (
                self._owner(clinic, name),
                self._whole(drop),
                parts.count(drop),
            )
            if owner and (whole or under_way):
                size_bytes = sum(seen.size_bytes for seen in whole.values())
                found.append(Waiting(owner.folder, len(whole), size_bytes, under_way))
        return found

    def tend(self, clinic: str) -> None:
        """Show what was left alone, and remove what nobody went on with."""
        for name in self._drops(clinic):
            drop, owner = self._place(clinic, name), self._owner(clinic, name)
            with self._lock:
                used = self._used.setdefault(drop.path, self._monotonic())
                is_used = any(one.startswith(f"{drop.path}/") for one in self._writers)
            if is_used or self._monotonic() - used < IDLE_S:
                continue
            if owner:
                self.deliver(owner, is_over=False)
            before_s = self._now().timestamp() - STALE_S
            with self._moving:
                for stale in parts.stale(drop, before_s):
                    parts.remove(drop, stale)
                with files.folder(drop.root, drop.path) as folder:
                    is_stale = os.fstat(folder).st_mtime < before_s
                if is_stale:
                    self._forget(drop)

    def _admit(self, owner: Owner, wanted: Wanted) -> None:
        if wanted.size_bytes > self.max_file_bytes:
            raise Refused(413, "large_file", gib=f"{self.max_file_bytes / 2**30:.1f}")
        self._check_room(wanted.size_bytes)
        own = [n for n in self._drops(owner.clinic) if n.startswith(account_key(owner.account))]
        drops = [self._place(owner.clinic, name) for name in own]
        if sum(map(parts.count, drops)) >= OPEN_EACH:
            raise Refused(429, "many_open", max=OPEN_EACH)
        if sum(map(self._count, drops)) >= MAX_PARTS:
            raise Refused(413, "many_files", max=MAX_PARTS)

    def _check_room(self, size_bytes: int) -> None:
        room = os.statvfs(self._inbox)
        if room.f_bavail * room.f_frsize < self._min_free_bytes + ROOM_BYTES + size_bytes:
            raise Refused(507, "no_room")

    def _checked(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        left = 0
        for chunk in chunks:
            self._alive()
            if left <= 0:
                left = ROOM_BYTES
                self._check_room(0)
            left -= len(chunk)
            yield chunk

    @contextlib.contextmanager
    def _writing(self, account: str, name: str) -> Iterator[None]:
        with self._lock:
            if name in self._writers:
                raise Refused(423, "other_window")
            if list(self._writers.values()).count(account) >= WRITERS_EACH:
                raise Refused(429, "many_of_one", max=WRITERS_EACH)
            if len(self._writers) >= WRITERS:
                raise Refused(429, "many_of_all")
            self._writers[name] = account
        try:
            yield
        finally:
            with self._lock:
                del self._writers[name]

    def _finish(self, drop: Place, part: Part) -> None:
        with self._moving:
            count = self._count(drop)
            parts.finish(drop, part)
            self._counts[drop.path] = count + 1

    def _count(self, drop: Place) -> int:
        """Count what is whole, without walking 100,000 files for each of them."""
        if drop.path not in self._counts:
            self._counts[drop.path] = len(self._whole(drop))
        return self._counts[drop.path]

    def _sent(self, drop: Place) -> frozenset[str]:
        """Return the ids of what was shown of a drop that was left alone."""
        if drop.path not in self._known_sent:
            sent: list[str] = []
            with (
                contextlib.suppress(FileNotFoundError, ValueError),
                files.open_file(Place(drop.root, f"{drop.path}/{_SENT}")) as note,
            ):
                sent = json.load(note)
            self._known_sent[drop.path] = frozenset(sent)
        return self._known_sent[drop.path]

    def _note_sent(self, drop: Place, whole: Mapping[str, files.Seen]) -> None:
        ids = {Wanted(p, s.size_bytes, s.mtime_ns // 1_000_000).id for p, s in whole.items()}
        sent = self._sent(drop) | ids
        files.write(Place(drop.root, f"{drop.path}/{_SENT}"), json.dumps(sorted(sent)).encode())
        self._known_sent[drop.path] = sent

    def _forget(self, drop: Place) -> None:
        """Forget what was sent; of a drop that nothing is left of, everything."""
        self._known_sent.pop(drop.path, None)
        with contextlib.suppress(FileNotFoundError):
            with files.folder(drop.root, drop.path) as folder:
                for name in (_SENT,) if parts.count(drop) or self._whole(drop) else (_SENT, _OWNER):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)
            if not parts.count(drop) and not self._whole(drop):
                upkeep.remove(drop.root, drop.path)
                above, _, _ = drop.path.rpartition("/")
                with contextlib.suppress(OSError):
                    (drop.root / above).rmdir()

    def _whole(self, drop: Place) -> dict[str, files.Seen]:
        try:
            return scan.walk(drop.root, f"{drop.path}/files").files
        except FileNotFoundError:
            return {}

    def _place(self, clinic: str, drop: str) -> Place:
        return Place(self._inbox, f"{clinic}/{UPLOADING}/{drop}")

    def _touch(self, drop: Place) -> None:
        with self._lock:
            self._used[drop.path] = self._monotonic()

    def _drops(self, clinic: str) -> list[str]:
        try:
            with files.folder(self._inbox, f"{clinic}/{UPLOADING}") as folder:
                return sorted(one.name for one in os.scandir(folder))
        except FileNotFoundError:
            return []

    def _owner(self, clinic: str, drop: str) -> Owner | None:
        place = self._place(clinic, drop)
        try:
            with files.open_file(Place(place.root, f"{place.path}/{_OWNER}")) as note:
                said = json.load(note)
            return Owner(said["account"], clinic, said["folder"])
        except (OSError, ValueError, KeyError):
            return None
