"""The two requests that store an instance: STOW-RS (PS3.18 10.5), and Orthanc's own for a large one.

To take a large instance out of a multipart body costs Orthanc as much as a fifth of its time.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus

from urllib3 import BaseHTTPResponse

from dicom_importer import stow
from dicom_importer.coerce import Body
from dicom_importer.stow import Refused

LARGE_BYTES = 1 << 24
# An older object that is kept instead is told from this one by what is held.
_TAKEN = ("Success", "AlreadyStored")


@dataclass(frozen=True, slots=True)
class Streamed:
    """A request's content of known length, read from disk while it is sent."""

    body: Body
    descriptor: int
    alive: Callable[[], None]
    sent: Callable[[], None]
    head: bytes = b""
    tail: bytes = b""

    def __len__(self) -> int:
        return len(self.head) + self.body.length + len(self.tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self.head
        for chunk in self.body.chunks(self.descriptor):
            self.alive()
            yield chunk
        yield self.tail
        self.sent()


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A request, and how its answer is read: that raises Refused and Unavailable."""

    path: str
    content: Streamed
    content_type: str
    read_answer: Callable[[BaseHTTPResponse, str], None]


def store_request(
    body: Body, descriptor: int, alive: Callable[[], None], sent: Callable[[], None]
) -> StoreRequest:
    """Make the request that suits an instance's size; `sent` is called when all of it was read."""
    if body.length >= LARGE_BYTES:
        content = Streamed(body, descriptor, alive, sent)
        return StoreRequest("/instances", content, "application/dicom", _read_own)
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n"
    tail = f"\r\n--{boundary}--\r\n"
    content = Streamed(body, descriptor, alive, sent, head.encode(), tail.encode())
    content_type = f"multipart/related; type=application/dicom; boundary={boundary}"
    return StoreRequest("/dicom-web/studies", content, content_type, stow.read_answer)


def _read_own(answer: BaseHTTPResponse, _: str) -> None:
    if answer.status != HTTPStatus.OK:
        raise Refused("refused", f"status {answer.status}")
    try:
        status = answer.json()["Status"]
    except (ValueError, TypeError, KeyError):
        status = "no word of it"
    if status not in _TAKEN:
        raise Refused("refused", f"{status} in an answer {answer.status}")
