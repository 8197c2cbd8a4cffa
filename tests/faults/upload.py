"""An importer that studies are stored into over HTTP, and the steps that its door takes."""

from __future__ import annotations

import json
import re
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from dicom_importer.scan import UNPACKING
from faults.end_state import faults
from faults.steps import Step, joined
from faults.submission import SECOND_CHUNK_PIXELS, File, Submission
from harness import strace
from harness.drop import remaining
from harness.own_importer import own_importer
from harness.people import People
from harness.phantom import Identity, ct
from harness.wait import wait_until
from integration.test_store import END, HEAD, TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faults.scene import Scene
    from harness.own_importer import OwnImporter, Process
    from harness.stack import Stack
    from harness.strace import Call

PORT = 8080
TOKEN_S = 60
ANSWER_S = 60
# The first that fits names a call; every other one changes nothing.
_CALLS = (
    ("ask whose token it is", "sendto", r'"GET /clinic-access'),
    ("make the hidden folder", "mkdirat", rf'"{UNPACKING}"'),
    ("make the upload's folder", "mkdirat", r'\.stow"'),
    ("sync the inbox", "fsync", rf"/inbox/[^/]+(/{UNPACKING})?>"),
    ("create a part", "openat", r'\.dcm", O_WRONLY'),
    ("write a part", "write", r"\.dcm>"),
    ("sync a part", "fsync", r"\.dcm>"),
    ("sync the upload's folder", "fsync", r"\.stow>"),
    ("open the audit", "openat", r'import\.jsonl"'),
    ("write the audit", "write", r"import\.jsonl>"),
    ("sync the audit", "fsync", r"import\.jsonl>"),
    ("show the files", "renameat2", r""),
    ("remove the hidden folder", "unlinkat", rf'"{UNPACKING}"'),
    ("begin the answer", "sendto", r'"HTTP/1\.'),
    ("end the answer", "sendto", r'"\{'),
)
NAMES = tuple(name for name, _, _ in _CALLS)
_PART = re.compile(r"\d{6}\.dcm")


@dataclass(slots=True)
class Technician:
    """Who stores for a clinic of their own."""

    people: People
    clinic: str
    _lock: Lock = field(default_factory=Lock)
    _until: float = 0.0

    def token(self) -> str:
        """Return a token that is good for a while."""
        with self._lock:
            is_old = time.monotonic() > self._until
            if is_old:
                self._until = time.monotonic() + TOKEN_S
            return self.people.token(self.clinic, fresh=is_old)


def technician(stack: Stack) -> Technician:
    """Make a clinic and a person."""
    name = f"door-{secrets.token_hex(4)}"
    people = People(stack)
    people.clinic(name, name)
    people.person(name, "technician", name)
    return Technician(people, name)


def images(key: str, slices: int = 1, size: int = SECOND_CHUNK_PIXELS) -> dict[str, File]:
    """Build a study, its files named as the door names them."""
    who = Identity(key=key)
    study = ct(1, who, slices=slices, size=size)
    return {
        f"{number:06}.dcm": File(content, "success", "", study.uid, who.uid("instance", number - 1))
        for number, content in enumerate(study.files.values(), 1)
    }


@dataclass(frozen=True, slots=True)
class Upload:
    """An importer, and a study that is stored into it."""

    scene: Scene
    importer: OwnImporter
    technician: Technician
    host: str
    files: dict[str, File]

    @property
    def inbox(self) -> Path:
        """The clinic's."""
        return self.importer.inbox / self.technician.clinic

    @property
    def trace(self) -> Path:
        """The calls of the thread that answers."""
        return self.importer.root / "trace"

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        (uid,) = {file.study_uid for file in self.files.values()}
        return uid

    @property
    def sop_uids(self) -> list[str]:
        """SOP Instance UIDs."""
        return sorted(file.sop_uid for file in self.files.values())

    def body(self) -> bytes:
        """Put the files into a request's body."""
        return b"".join(HEAD + file.content for file in self.files.values()) + END

    @contextmanager
    def connected(self) -> Iterator[HTTPConnection]:
        """Hold a connection; a thread of the importer's waits at its other end."""
        connection = HTTPConnection(self.host, PORT, timeout=ANSWER_S)
        connection.connect()
        try:
            yield connection
        finally:
            connection.close()

    def begin(self, connection: HTTPConnection, length: int) -> None:
        """Send a request's head."""
        connection.putrequest("POST", "/dicom-web/studies")
        connection.putheader("Authorization", f"Bearer {self.technician.token()}")
        connection.putheader("Content-Type", TYPE)
        connection.putheader("Content-Length", str(length))

    def store(self, connection: HTTPConnection) -> tuple[int, list[str]]:
        """Store the study; returns the status (0: no answer) and what is stored, or words."""
        body = self.body()
        try:
            self.begin(connection, len(body))
            # Both at once: how they are cut up decides on the calls that read and write them.
            connection.endheaders(body)
            answer = connection.getresponse()
            found = json.loads(answer.read())
        except (OSError, HTTPException):
            return 0, []
        items = found.get("00081199", {}).get("Value", [])
        uids = sorted(item["00081155"]["Value"][0] for item in items)
        return answer.status, uids or [json.dumps(found)]

    def steps(self) -> dict[Step, list[Call]]:
        """Return the steps of the thread that answered."""
        part = ""
        named = []
        for call in strace.calls(self.trace):
            if found := _PART.search(call.arguments):
                part = found[0]
            named.append((part, _name(call), call))
        return joined(named)

    def interrupt(self, call: Call) -> bool:
        """Store with a kill at a call of the thread that answers; says whether there was no answer."""
        return self.disturbed(call) == 0

    def disturbed(self, call: Call | None = None, fault: str = "signal=KILL") -> int:
        """Store with a fault at a call of the thread that answers; returns the status or 0."""
        with self.importer.running() as process:
            before = threads(process)
            with self.connected() as connection:
                (thread,) = wait_until(lambda: threads(process) - before, 10, "a thread answers")
                with strace.traced(thread, self.trace, call, fault):
                    return self.store(connection)[0]

    def end(self) -> list[str]:
        """Start the importer, store again, and return what is wrong then."""
        with self.importer.running() as process:
            wait_until(lambda: not remaining(self.importer.inbox), ANSWER_S, "all is filed")
            first = self.taken_in()
            with self.connected() as connection:
                answer = self.store(connection)
            if answer != (200, self.sop_uids):
                return [f"stored again, it is answered {answer}: {self.importer.tail()}"]
            second = [name for name in self.taken_in() if name not in first]
            told = [str(one["submission"]) for one in self.delivered()]
            self.importer.come_to_an_end(process, len(self.files) * len({*first, *second}))
        if len(first) > 1 or len(second) != 1:
            return [f"{first} and {second} were taken in"]
        again = {name: replace(file, status="duplicate") for name, file in self.files.items()}
        clinic = self.technician.clinic
        taken = [Submission(clinic, name, self.files) for name in first or second]
        taken += [Submission(clinic, name, again) for name in second if first]
        return [
            *(f"{one.folder} is not audited once" for one in taken if told.count(one.folder) != 1),
            *(f"{left} is left" for left in self.inbox.iterdir()),
            *faults(self.importer, taken, self.scene.archive),
        ]

    def taken_in(self) -> list[str]:
        """Return the uploads of which something was filed."""
        places = (self.importer.files / place for place in ("processed", "failed"))
        return sorted({path.name for place in places for path in place.glob("*/*/*.stow")})

    def delivered(self) -> list[dict[str, object]]:
        """Return the audit records that tell who stored."""
        return [record for record in self.importer.records() if record["status"] == "delivered"]


def upload(scene: Scene, technician: Technician, files: dict[str, File] | None = None) -> Upload:
    """Make an importer with a door of its own."""
    name = f"door-{secrets.token_hex(4)}"
    # Whoever comes again finds it in the same place, and no two are there.
    host = "127." + ".".join(str(1 + number % 250) for number in secrets.token_bytes(3))
    where = {"LISTEN_HOST": host, "LISTEN_PORT": str(PORT), "CONNECTIONS": "1"}
    importer = own_importer(scene.root / name, scene.stack, **where)
    (importer.inbox / technician.clinic).mkdir()
    return Upload(scene, importer, technician, host, files or images(name, slices=2))


def threads(process: Process) -> set[int]:
    """Return the threads of a process."""
    return {int(path.name) for path in Path(f"/proc/{process.pid}/task").iterdir()}


def _name(call: Call) -> str:
    for name, calls, pattern in _CALLS:
        if call.name == calls and re.search(pattern, call.arguments):
            return name
    return ""
