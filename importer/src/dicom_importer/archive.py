"""Speaks to the archive: stores one instance (PS3.18 10.5) and asks what it holds."""

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from urllib3 import BaseHTTPResponse, PoolManager, Timeout
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from dicom_importer.access import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, Token
from dicom_importer.coerce import CHUNK_BYTES, Body
from dicom_importer.header import Header
from dicom_importer.in_flight import InFlight
from dicom_importer.reasons import Rejected, Unavailable
from dicom_importer.request import LARGE_BYTES, StoreRequest, store_request
from dicom_importer.stow import SendingBroke, retry_after_s

# The archive reads a whole instance before it answers: 10 MB/s at the least, and a minute.
STORE_TIMEOUT_S = 60
STORE_BYTES_PER_S = 10_000_000
# These say something of the archive and nothing of the instance, however often it meets them.
_OVERLOADED = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.INSUFFICIENT_STORAGE,
)
# Other bytes, too few of them, no file; a database that breaks makes for the last one as well.
_NOT_READ = (
    HTTPStatus.NOT_FOUND,
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.INTERNAL_SERVER_ERROR,
)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Study:
    """A study as the archive holds it; its clinic is its study-level InstitutionName."""

    id: str
    uid: str
    clinic: str
    patient_id: str


@dataclass(frozen=True, slots=True)
class Held:
    """An instance as the archive holds it: its own identifier, the MD5 of its bytes, its study's clinic."""

    id: str
    md5: str
    clinic: str


class Archive:
    """Orthanc over HTTP; every method raises Unavailable when it cannot answer."""

    def __init__(self, http: PoolManager, url: str, token: Token, in_flight: InFlight) -> None:
        self._http = http
        self._url = url
        self._token = token
        self._in_flight = in_flight

    def store(self, header: Header, body: Body, descriptor: int, alive: Callable[[], None]) -> str:
        """Send one instance and return its MD5; raises Refused, Rejected and SendingBroke.

        The status code is only a hint (400 for all but one stored, 200 for an older object kept):
        what counts is the answer's entry for this instance.
        """
        with self._in_flight.taken(body.length, alive):
            if body.length < LARGE_BYTES:
                md5 = body.md5(descriptor)
                request = store_request(body, descriptor, alive, sent=lambda: None)
                self._store(header, body, request)
                return md5
            # The archive works on a large one for longer than its MD5 takes; while it is sent, both
            # sides are busy already.
            with ThreadPoolExecutor(1) as beside:
                taken: list[Future[str]] = []
                request = store_request(
                    body,
                    descriptor,
                    alive,
                    sent=lambda: taken.append(beside.submit(body.md5, descriptor)),
                )
                self._store(header, body, request)
                return taken[0].result()

    def _store(self, header: Header, body: Body, request: StoreRequest) -> None:
        try:
            answer = self._http.request(
                "POST",
                self._url + request.path,
                body=request.content,
                headers={
                    "Authorization": f"Bearer {self._token.get()}",
                    "Accept": "application/dicom+json",
                    "Content-Type": request.content_type,
                    "Content-Length": str(len(request.content)),
                },
                timeout=Timeout(connect=CONNECT_TIMEOUT_S, read=_timeout_s(body.length)),
                retries=False,
            )
        except (ConnectTimeoutError, NewConnectionError) as error:
            raise Unavailable("cannot connect") from error
        except HTTPError as error:
            raise SendingBroke(f"sending: {type(error).__name__}") from error
        if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise Rejected("too_large", f"the archive refuses {body.length} bytes")
        if answer.status in _OVERLOADED:
            self._raise_status(answer, Unavailable)
        if answer.status not in (200, 202, 400, 409):
            self._raise_status(answer, SendingBroke)
        request.read_answer(answer, header.sop_uid)

    def held(self, sop_uids: Collection[str]) -> dict[str, list[Held]]:
        """Return what is held under each SOP Instance UID, of digits and dots, in one answer."""
        answer = self._request("POST", "/clinic-access/held", json.dumps([*sop_uids]).encode())
        self._raise_status(answer, Unavailable)
        found: dict[str, list[Held]] = {uid: [] for uid in sop_uids}
        for one in _parse(answer, list):
            held = Held(str(one["id"]), str(one["md5"]), str(one["clinic"]))
            found[str(one["sop_uid"])].append(held)
        return found

    def ask(self, path: str, question: object) -> list[Any]:
        """Return what the archive answers to a question, both in JSON."""
        answer = self._request("POST", path, json.dumps(question).encode())
        self._raise_status(answer, Unavailable)
        return _parse(answer, list)

    def md5(self, instance: str) -> str | None:
        """Return the MD5 of what is stored as this instance, None when there is none."""
        answer = self._get(f"/instances/{instance}/attachments/dicom/md5")
        return answer.data.decode().strip() if answer else None

    def reads_back(self, instance: str, size_bytes: int) -> bool:
        """Have the archive read the bytes of an instance of about this size; say if they have its MD5.

        False is sure only when it is answered again.
        """
        # All of it is in the archive's memory meanwhile.
        with self._in_flight.taken(size_bytes, lambda: None):
            answer = self._request(
                "POST",
                f"/instances/{instance}/attachments/dicom/verify-md5",
                timeout_s=_timeout_s(size_bytes),
            )
        if answer.status in _NOT_READ:
            return False
        self._raise_status(answer, Unavailable)
        return True

    def study(self, uid: str) -> Study | None:
        """Return the study of this UID; with several, the clinic is none that exists."""
        ids = self._lookup(uid, "Study")
        found = [study for study in map(self.study_by_id, ids) if study]
        if len({(study.clinic, study.patient_id) for study in found}) > 1:
            return Study(found[0].id, uid, "", "")
        return found[0] if found else None

    def study_by_id(self, identifier: str) -> Study | None:
        """Return a study by the archive's own identifier."""
        answer = self._json(f"/studies/{identifier}")
        if answer is None:
            return None
        tags, patient = answer["MainDicomTags"], answer["PatientMainDicomTags"]
        return Study(
            identifier,
            str(tags.get("StudyInstanceUID", "")),
            str(tags.get("InstitutionName", "")),
            str(patient.get("PatientID", "")),
        )

    def series_studies(self, uid: str) -> list[str]:
        """Return the archive's identifiers of the studies that hold a series of this UID."""
        answers = (self._json(f"/series/{series}") for series in self._lookup(uid, "Series"))
        return [str(answer["ParentStudy"]) for answer in answers if answer]

    def instances(self, uid: str) -> list[str]:
        """Return the archive's identifiers of the instances of this UID."""
        return self._lookup(uid, "Instance")

    def instance_study(self, instance: str) -> str | None:
        """Return the archive's identifier of the study that an instance lies in."""
        answer = self._json(f"/instances/{instance}")
        series = self._json(f"/series/{answer['ParentSeries']}") if answer else None
        return str(series["ParentStudy"]) if series else None

    def study_instances(self, study: str) -> dict[str, str]:
        """Return SOP Instance UIDs by the archive's identifiers of a study's instances."""
        answer = self._get(f"/studies/{study}/instances")
        found = _parse(answer, list) if answer else []
        return {str(one["ID"]): str(one["MainDicomTags"]["SOPInstanceUID"]) for one in found}

    def series_instances(self, uid: str) -> set[str]:
        """Return the archive's identifiers of the instances of the series of this UID."""
        found: set[str] = set()
        for series in self._lookup(uid, "Series"):
            answer = self._json(f"/series/{series}")
            found |= {*map(str, answer["Instances"])} if answer else set()
        return found

    def patient_studies(self, patient_id: str) -> list[str]:
        """Return the archive's identifiers of the studies of about this patient ID, of any clinic."""
        found: list[str] = []
        for patient in self._lookup(patient_id, "Patient"):
            answer = self._json(f"/patients/{patient}")
            found += map(str, answer["Studies"]) if answer else ()
        return found

    def tags(self, instance: str) -> dict[str, Any]:
        """Return an instance's attributes by keyword, in Unicode; of long values the beginning."""
        return self._json(f"/instances/{instance}/simplified-tags") or {}

    @contextlib.contextmanager
    def copy(self, instance: str, spool: Path) -> Iterator[BinaryIO]:
        """Hold a nameless file with what is stored as this instance."""
        with tempfile.TemporaryFile(dir=spool) as out:
            answer = self._request("GET", f"/instances/{instance}/file", stream=True)
            self._raise_status(answer, Unavailable)
            try:
                with answer:
                    for chunk in answer.stream(CHUNK_BYTES):
                        out.write(chunk)
            except HTTPError as error:
                raise Unavailable(f"reading back: {type(error).__name__}") from error
            out.flush()
            out.seek(0)
            yield out

    def remove(self, instance: str) -> None:
        """Remove an instance; that it is not there is as well."""
        answer = self._request("DELETE", f"/instances/{instance}")
        if answer.status != HTTPStatus.NOT_FOUND:
            self._raise_status(answer, Unavailable)

    def refresh(self, study: str) -> None:
        """Have a study's metadata read anew: the cache notices by StableAge only."""
        answer = self._request("POST", f"/studies/{study}/update-dicomweb-cache")
        self._raise_status(answer, Unavailable)

    def _lookup(self, uid: str, level: str) -> list[str]:
        answer = self._request("POST", "/tools/lookup", data=uid.encode())
        self._raise_status(answer, Unavailable)
        return [str(item["ID"]) for item in _parse(answer, list) if item["Type"] == level]

    def _json(self, path: str) -> dict[str, Any] | None:
        answer = self._get(path)
        return _parse(answer, dict) if answer else None

    def _get(self, path: str) -> BaseHTTPResponse | None:
        answer = self._request("GET", path)
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        self._raise_status(answer, Unavailable)
        return answer

    def _request(
        self,
        method: str,
        path: str,
        data: bytes | None = None,
        *,
        stream: bool = False,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> BaseHTTPResponse:
        try:
            return self._http.request(
                method,
                self._url + path,
                body=data,
                headers={"Authorization": f"Bearer {self._token.get()}"},
                timeout=Timeout(connect=CONNECT_TIMEOUT_S, read=timeout_s),
                preload_content=not stream,
                retries=False,
            )
        except HTTPError as error:
            raise Unavailable(f"asking: {type(error).__name__}") from error

    def _raise_status(self, answer: BaseHTTPResponse, kind: type[Unavailable]) -> None:
        if answer.status < HTTPStatus.BAD_REQUEST:
            return
        if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            self._token.drop()
            kind = Unavailable
        raise kind(f"status {answer.status}", retry_after_s(answer))


def identifier(patient_id: str, *uids: str) -> str:
    """Compute Orthanc's identifier of a study, series or instance."""
    digest = hashlib.sha1("|".join((patient_id, *uids)).encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[i : i + 8] for i in range(0, 40, 8))


def _timeout_s(size_bytes: int) -> float:
    return STORE_TIMEOUT_S + size_bytes / STORE_BYTES_PER_S


def _parse(answer: BaseHTTPResponse, kind: type[_T]) -> _T:
    try:
        content = answer.json()
    except ValueError as error:
        raise Unavailable("an answer is no JSON") from error
    if not isinstance(content, kind):
        raise Unavailable(f"an answer is no {kind.__name__}")
    return content
