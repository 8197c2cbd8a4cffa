"""An archive and an identity provider in memory, spoken to over HTTP on the loopback device."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from clinic_access import storage
from dicom_importer.archive import identifier
from unit.importer.building import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydicom.dataset import Dataset

TEXTS = ("PN", "LO", "DA", "CS")
Reply = tuple[int, bytes] | tuple[int, bytes, dict[str, str]]


@dataclass(slots=True)
class Stored:
    """One instance that the archive holds, and how the archive names what is above it."""

    content: bytes
    tags: Dataset
    # What is on the disk where that is not what the index believes: other bytes, or no file (None).
    on_disk: bytes | None = b""
    number: int = 0
    # Whether the index lists a file of it.
    has_file: bool = True

    @property
    def uuid(self) -> str:
        """What its file is called."""
        digest = _md5(str(self.number).encode()).decode()
        return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:]))

    @property
    def uids(self) -> tuple[str, str, str]:
        """Study, series and SOP instance."""
        tags = self.tags
        return tags.StudyInstanceUID, tags.SeriesInstanceUID, tags.SOPInstanceUID

    def named(self, level: int) -> str:
        """Return the DICOM identifier at level 0 (patient) to 3 (instance)."""
        return self.uids[level - 1] if level else str(self.tags.get("PatientID", ""))

    def id(self, level: int) -> str:
        """Orthanc's identifier at level 0 (patient) to 3 (instance)."""
        return identifier(str(self.tags.get("PatientID", "")), *self.uids[:level])


@dataclass(slots=True)
class ScriptedArchive:
    """Stores as Orthanc does; `script` may answer a store in its stead, or raise ConnectionError.

    `verifying` may answer in its stead when it is told to read an instance's bytes.
    What `breaks` holds is done with a store's connection, which ends with it, and no answer.
    """

    instances: dict[str, Stored] = field(default_factory=dict)
    script: list[Callable[[bytes], Reply | None]] = field(default_factory=list)
    breaks: list[Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=list)
    verifying: Callable[[str], Reply | None] = lambda _: None
    away: bool = False
    tokens: int = 0
    stores: int = 0
    whole: list[str] = field(default_factory=list)
    finds: int = 0
    url: str = ""
    refreshed: list[str] = field(default_factory=list)
    storage: Path = Path("/nowhere")
    numbers: int = 0
    # When it last took something into a study, as it says it.
    updated: str = "20150101T120000"
    written: set[str] = field(default_factory=set)

    def answer(  # noqa: C901, PLR0911, PLR0912 - one for each route
        self, method: str, path: str, body: bytes, content_type: str
    ) -> Reply:
        """Answer a request with a status and a body."""
        match method, path.strip("/").split("/"):
            case "POST", ["token"]:
                self.tokens += 1
                return 200, json.dumps({"access_token": "t", "expires_in": 300}).encode()
            case _ if self.away:
                return 503, b""
            case "POST", ["dicom-web", "studies"]:
                return self.store(body, content_type)
            case "POST", ["instances"]:
                return self.store_whole(body)
            case "POST", ["tools", "lookup"]:
                return 200, json.dumps(self.lookup(body.decode())).encode()
            case "POST", ["clinic-access", "held"]:
                return 200, json.dumps(self.held(json.loads(body))).encode()
            case "POST", ["clinic-access", "files"]:
                return 200, json.dumps(self.files(*json.loads(body))).encode()
            case "POST", ["clinic-access", "aged"]:
                return 200, json.dumps(self.aged(*storage.parse_aged(body))).encode()
            case "POST", ["clinic-access", "set-aside"]:
                names = storage.parse_names(body)
                moved = storage.set_aside(self.storage, names, self.listed, time.time())
                return 200, json.dumps(moved).encode()
            case "GET", ["studies", identifier, "instances"]:
                return 200, json.dumps(self.study_instances(identifier)).encode()
            case "GET", ["patients" | "studies" | "series" | "instances" as level, identifier]:
                return self.resource(level, identifier)
            case "POST", ["studies", identifier, "update-dicomweb-cache"]:
                self.refreshed.append(identifier)
                return 200, b"{}"
            case "POST", ["instances", identifier, "attachments", "dicom", "verify-md5"]:
                return self.verifying(identifier) or self.read_back(identifier)
            case "DELETE", ["instances", identifier]:
                return (200 if self.instances.pop(identifier, None) else 404), b"{}"
            case "GET", ["instances", identifier, *what] if identifier in self.instances:
                held = self.instances[identifier]
                if what[-1] == "simplified-tags":
                    return 200, json.dumps(simplified(held.tags)).encode()
                if what[-1] == "md5":
                    return (200, _md5(held.content)) if held.has_file else (404, b"")
                return (500, b"") if held.on_disk is None else (200, held.on_disk or held.content)
            case _:
                return 404, b""

    def store(self, body: bytes, content_type: str) -> Reply:
        """Store the one part of a STOW-RS request; an older object is kept, with success."""
        head = f"Content-Type: {content_type}\r\n\r\n".encode()
        (part,) = list(message_from_bytes(head + body).walk())[1:]
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        scripted = self._scripted(content)
        return scripted or (200, stow_answer(stored=self.keep(content).uids[2]))

    def store_whole(self, content: bytes) -> Reply:
        """Store what Orthanc's own request holds."""
        scripted = self._scripted(content)
        self.whole.append(str(parse(content).SOPInstanceUID))
        return scripted or (200, own_answer("Success", self.keep(content).id(3)))

    def keep(self, content: bytes) -> Stored:
        """Hold an instance; an older one stays."""
        self.numbers += 1
        held = Stored(content, parse(content), number=self.numbers)
        return self.instances.setdefault(held.id(3), held)

    def _scripted(self, content: bytes) -> Reply | None:
        self.stores += 1
        return self.script.pop(0)(content) if self.script else None

    def read_back(self, identifier: str) -> Reply:
        """Say whether an instance's bytes have its MD5: without an answer, which is 404, if not."""
        held = self.instances.get(identifier)
        if held and held.on_disk is None:
            return 500, b""
        if held and 0 < len(held.on_disk or b"") < len(held.content):
            return 400, b""
        return (200, b"{}") if held and held.on_disk in (b"", held.content) else (404, b"")

    def lookup(self, uid: str) -> list[dict[str, str]]:
        """Find every resource of this UID."""
        found = {
            (kind, held.id(level))
            for held in self.instances.values()
            for level, kind in ((0, "Patient"), (1, "Study"), (2, "Series"), (3, "Instance"))
            if held.named(level) == uid
        }
        return [{"Type": kind, "ID": identifier, "Path": ""} for kind, identifier in found]

    def held(self, wanted: list[str]) -> list[dict[str, str]]:
        """Find the instances of a list of UIDs, with their MD5s."""
        self.finds += 1
        return [
            {
                "id": name,
                "sop_uid": held.uids[2],
                "md5": _md5(held.content).decode(),
                "clinic": str(held.tags.InstitutionName),
            }
            for name, held in self.instances.items()
            if held.uids[2] in wanted
        ]

    def files(self, after: int, _filetype: int, count: int) -> list[dict[str, object]]:
        """List the files of the storage, where they are as they should be by now, or damaged."""
        self.write()
        clinics: dict[str, str] = {}
        for held in self.instances.values():
            clinics.setdefault(held.id(1), str(held.tags.InstitutionName))
        every = sorted(self.instances.values(), key=lambda held: held.number)
        return [
            {
                "id": held.number,
                "filetype": 1,
                "uuid": held.uuid if held.has_file else "",
                "size_bytes": len(held.content),
                "md5": _md5(held.content).decode(),
                "plain_md5": _md5(held.content).decode(),
                "resource": held.id(3),
                "study": held.id(1),
                "study_uid": held.uids[0],
                "sop_uid": held.uids[2],
                "clinic": clinics[held.id(1)],
            }
            # One file each: after its type begins the next one.
            for held in every
            if held.number > after or (held.number == after and not _filetype)
        ][:count]

    def aged(self, after: int, before: str, count: int) -> list[dict[str, object]]:
        """List the studies from before a day, each by the number of its first image."""
        self.write()
        studies: dict[str, list[Stored]] = {}
        for held in sorted(self.instances.values(), key=lambda held: held.number):
            studies.setdefault(held.id(1), []).append(held)
        found = [
            {
                "number": held[0].number,
                "study": study,
                "uid": held[0].uids[0],
                "clinic": str(held[0].tags.InstitutionName),
                "date": held[0].tags.get("StudyDate", ""),
                "updated": self.updated,
                "images": [[one.id(3), one.uuid, len(one.content)] for one in held],
            }
            for study, held in studies.items()
        ]
        return [
            one for one in found if after < int(str(one["number"])) and str(one["date"]) < before
        ][:count]

    def listed(self, names: Sequence[str]) -> list[str]:
        """Say which of these files are listed."""
        return [held.uuid for held in self.instances.values() if held.uuid in names]

    def write(self) -> None:
        """Bring the storage to what the index and what is damaged say."""
        wanted = {
            held.uuid: held.on_disk or held.content
            for held in self.instances.values()
            if held.on_disk is not None and held.has_file
        }
        for name in self.written - wanted.keys():
            storage.path(self.storage, name).unlink(missing_ok=True)
        for name, content in wanted.items():
            path = storage.path(self.storage, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            # Somebody may be reading it.
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)
        self.written = {*wanted}

    def study_instances(self, identifier: str) -> list[dict[str, object]]:
        """Return what lies in a study."""
        return [
            {"ID": held.id(3), "MainDicomTags": {"SOPInstanceUID": held.uids[2]}}
            for held in self.instances.values()
            if held.id(1) == identifier
        ]

    def below(self, identifier: str, depth: int, level: int) -> list[str]:
        """Return what lies at a level below a resource."""
        each = self.instances.values()
        return sorted({held.id(level) for held in each if held.id(depth) == identifier})

    def resource(self, level: str, identifier: str) -> tuple[int, bytes]:
        """Describe a study, a series or an instance; the first instance gives a study's tags."""
        depth = ("patients", "studies", "series", "instances").index(level)
        for held in self.instances.values():
            if held.id(depth) == identifier:
                content = {
                    "ParentStudy": held.id(1),
                    "ParentSeries": held.id(2),
                    "MainDicomTags": {
                        "StudyInstanceUID": held.uids[0],
                        "InstitutionName": held.tags.InstitutionName,
                    },
                    "PatientMainDicomTags": {"PatientID": held.tags.PatientID},
                    "Studies": self.below(identifier, depth, 1),
                    "Instances": self.below(identifier, depth, 3),
                }
                return 200, json.dumps(content).encode()
        return 404, b""


def stow_answer(stored: str = "", failed: str = "", reason: int | None = None) -> bytes:
    """Return the answer that names one instance as stored or as failed."""
    entry: dict[str, object] = {"00081155": {"vr": "UI", "Value": [stored or failed]}}
    if reason is not None:
        entry["00081197"] = {"vr": "US", "Value": [reason]}
    answer: dict[str, object] = {"00081199": {"vr": "SQ"}}
    if stored or failed:
        answer["00081199" if stored else "00081198"] = {"vr": "SQ", "Value": [entry]}
    return json.dumps(answer).encode()


def simplified(tags: Dataset) -> dict[str, str]:
    """Return the texts of a data set by keyword."""
    return {element.keyword: str(element.value) for element in tags if element.VR in TEXTS}


def own_answer(status: str, identifier: str = "") -> bytes:
    """Return Orthanc's own answer to an instance."""
    return json.dumps({"ID": identifier, "Path": "", "Status": status}).encode()


def _md5(content: bytes) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).hexdigest().encode()


def serve(archive: ScriptedArchive) -> ThreadingHTTPServer:
    """Answer for the archive until the returned server is shut down."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else each answer waits for the acknowledgement of its own head.
        disable_nagle_algorithm = True

        def _handle(self) -> None:
            if archive.breaks and self.path.endswith("/dicom-web/studies"):
                archive.breaks.pop(0)(self)
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            content_type = self.headers.get("Content-Type") or ""
            try:
                reply = archive.answer(self.command, self.path, body, content_type)
            except ConnectionError:
                self.close_connection = True
                return
            status, answer, *headers = reply
            self.send_response(status)
            for name, value in (headers[0] if headers else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_DELETE = _handle  # noqa: N815 - as http.server names them

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    ).start()
    archive.url = f"http://127.0.0.1:{server.server_port}"
    return server
