"""What nginx and Keycloak would write, and an auditor whose folders, clock and event store are the test's."""

from __future__ import annotations

import base64
import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from access_audit.config import Config
from access_audit.keycloak import OVERLAP_MS, EventStore
from access_audit.service import Auditor, Clocks
from dicom_importer.reasons import Unavailable
from urllib3 import PoolManager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from access_audit.keycloak import Event

STUDY = "1.2.840.1"
OTHER = "1.2.840.2"
ANNA = {
    "sub": "5b0f-anna",
    "preferred_username": "anna",
    "roles": ["physician"],
    "clinic_ids": ["clinic-a"],
}
BERT = {"sub": "77aa-bert", "preferred_username": "bert", "roles": ["admin"]}
START_S = 1_764_000_000.0
_NUMBERS = itertools.count()


def payload(claims: object) -> str:
    """Encode claims as the middle part of a token."""
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()


def line(path: str, at_s: float = START_S, claims: object = ANNA, **changes: object) -> bytes:
    """Return a line as nginx writes it; the request was allowed unless changed."""
    fields: dict[str, object] = {
        "time": at_s,
        "id": f"{next(_NUMBERS):032x}",
        "client": "192.0.2.7",
        "method": "GET",
        "path": path,
        "study": "",
        "status": "200",
        "bytes": 1000,
        "seconds": 0.2,
        "session": "200",
        "claims": payload(claims) if claims else "",
    }
    return json.dumps(fields | changes).encode() + b"\n"


def frame(number: int, at_s: float = START_S, study: str = STUDY, **changes: object) -> bytes:
    """Return the line of a slice that was viewed."""
    path = f"/dicom-web/studies/{study}/series/1.2.3/instances/1.2.{number}/frames/1"
    return line(path, at_s, **changes)


@dataclass(slots=True)
class Events(EventStore):
    """An event store that answers from lists; `away` as long as nobody answers."""

    events: list[Event] = field(default_factory=list)
    changes: list[Event] = field(default_factory=list)
    away: bool = False

    def since(self, name: str, from_ms: int) -> Iterator[Event]:
        """Yield what is in the list from that time on."""
        if self.away:
            raise Unavailable("away")
        found = self.events if name == "events" else self.changes
        yield from (event for event in found if int(str(event["time"])) >= from_ms)

    def later(self, **fields: object) -> Event:
        """Return an event of some seconds after the last."""
        number = next(_NUMBERS)
        event = {"id": f"event-{number}", "time": int(START_S * 1000) + number, **fields}
        assert number < OVERLAP_MS
        return event  # type: ignore[return-value]


@dataclass(slots=True)
class Desk:
    """Folders of an auditor, its clock, and what it wrote."""

    top: Path
    now_s: float = START_S
    store: Events = field(default_factory=Events)
    years: int = 6

    def __post_init__(self) -> None:
        """Make the folders."""
        for name in ("access", "importer", "spool", "state"):
            (self.top / name).mkdir()

    @property
    def config(self) -> Config:
        """Settings for these folders."""
        return Config(
            access_dir=self.top / "access",
            importer_dir=self.top / "importer",
            listen_host="127.0.0.1",
            listen_port=0,
            retention_years=self.years,
            secret_file=self.top / "secret",
            spool_dir=self.top / "spool",
            state_dir=self.top / "state",
        )

    def auditor(self) -> Auditor:
        """Start one, as after a kill: it knows what is on the disk."""
        clocks = Clocks(lambda: self.now_s, lambda: self.now_s)
        return Auditor(self.config, self.store, PoolManager(), clocks)

    def write(self, *lines: bytes, at_s: float | None = None) -> Path:
        """Append lines to the file of a time, as nginx does."""
        span = int((self.now_s if at_s is None else at_s) // 1000)
        path = self.top / "spool" / f"{span}.log"
        with path.open("ab") as file:
            file.write(b"".join(lines))
        return path

    def read(self) -> None:
        """Let a fresh auditor read everything that is there."""
        auditor = self.auditor()
        while auditor.requests():
            pass

    def records(self) -> list[dict[str, object]]:
        """Return every record on the disk, in the order of writing."""
        found = []
        for path in sorted((self.top / "access").glob("????-??.jsonl")):
            for text in path.read_bytes().splitlines():
                try:
                    found.append(json.loads(text))
                except ValueError:
                    continue
        return found

    def told(self) -> list[tuple[str, str, str]]:
        """Return each record's event, study and status."""
        return [
            (str(r["event"]["meaning"]), str(r["study_instance_uid"]), str(r["status"]))  # type: ignore[index]
            for r in self.records()
        ]
