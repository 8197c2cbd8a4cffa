"""Splits a multipart body (RFC 2046 5.1, RFC 2387) as it comes: no part is ever held whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser

MAX_HEAD_BYTES = 1 << 13
_LINE_END, _HEAD_END = b"\r\n", b"\r\n\r\n"


class MalformedBodyError(ValueError):
    """The body breaks the rules of a multipart body, or ends before its end is said."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part; its content must be read to the end before the next part is asked for."""

    content_type: str
    content: Iterator[bytes]


def parse_type(text: str) -> tuple[str, str, str]:
    """Return a Content-Type in lower case, and its parameters `type` and `boundary`."""
    message = Message()
    message["Content-Type"] = text
    root, boundary = message.get_param("type", ""), message.get_param("boundary", "")
    return message.get_content_type(), str(root).lower(), str(boundary)


def parts(chunks: Iterator[bytes], boundary: str) -> Iterator[Part]:
    """Yield the parts of a body; raises MalformedBodyError."""
    reader = _Reader(chunks, f"\r\n--{boundary}".encode("latin-1"))
    # RFC 2046 would have it passed over. But a client that sends the rest of a body again whose
    # connection broke begins in the middle of a part, and would take success for all of it.
    if any(chunk.strip() for chunk in reader.until_boundary()):
        raise MalformedBodyError("something precedes the first boundary: its beginning is missing")
    while not reader.ends():
        head = BytesHeaderParser().parsebytes(reader.until(_HEAD_END).lstrip())
        yield Part(head.get_content_type(), reader.until_boundary())


class _Reader:
    """The bytes that came and are not used yet, never more than a chunk and a boundary."""

    def __init__(self, chunks: Iterator[bytes], boundary: bytes) -> None:
        self._chunks = chunks
        self._boundary = boundary
        # The first boundary may stand at the very beginning.
        self._left = _LINE_END

    def until_boundary(self) -> Iterator[bytes]:
        """Yield what comes before the next boundary, and step over that."""
        while (at := self._left.find(self._boundary)) < 0:
            # It may have begun.
            sure = len(self._left) - len(self._boundary) + 1
            if sure > 0:
                yield self._left[:sure]
                self._left = self._left[sure:]
            self._more()
        if at:
            yield self._left[:at]
        self._left = self._left[at + len(self._boundary) :]

    def ends(self) -> bool:
        """Read the rest of a boundary's line; say whether it was the last."""
        while len(self._left) < len(_LINE_END):
            self._more()
        if self._left.startswith(b"--"):
            return True
        if self.until(_LINE_END).strip(b" \t"):
            raise MalformedBodyError("a boundary is followed by something else")
        # A part without any header begins with its empty line.
        self._left = _LINE_END + self._left
        return False

    def until(self, end: bytes) -> bytes:
        """Read up to an end that is near, and step over it."""
        while (at := self._left.find(end)) < 0:
            if len(self._left) > MAX_HEAD_BYTES:
                raise MalformedBodyError("the headers of a part do not end")
            self._more()
        found, self._left = self._left[:at], self._left[at + len(end) :]
        return found

    def _more(self) -> None:
        chunk = next(self._chunks, b"")
        if not chunk:
            raise MalformedBodyError("the body ends before its last boundary")
        self._left += chunk
