"""Sets clinic and corrections in an instance: a pure function of header and steps, giving splices.

What was there is kept in Original Attributes Sequence (PS3.3 C.12.1.1.9, PS3.18 10.5.3); every
other byte of the file stays as it was, but for the preamble.
"""

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dicom_importer import charsets
from dicom_importer.header import GROUP_400, INSTITUTION, MAX_VALUE_BYTES, ORIGINAL, Header
from dicom_importer.reasons import Changed, Rejected
from dicom_importer.walk import SEQUENCE_END, UNDEFINED

MODIFYING_SYSTEM = "dicom-importer"
CHUNK_BYTES = 1 << 18
PREAMBLE_BYTES = 128


@dataclass(frozen=True, slots=True)
class Splice:
    """At this offset of the original, leave out so many bytes and put these in their place."""

    offset: int
    deleted: int
    inserted: bytes


@dataclass(frozen=True, slots=True)
class Body:
    """An original and its splices: what is sent, read from disk in chunks."""

    size_bytes: int
    splices: tuple[Splice, ...]

    @property
    def length(self) -> int:
        """Bytes of the result."""
        return self.size_bytes + sum(len(s.inserted) - s.deleted for s in self.splices)

    def chunks(self, descriptor: int, start: int = 0) -> Iterator[bytes]:
        """Yield the result from an offset of the original on; raises Changed when that shrank."""
        position = start
        for splice in self.splices:
            yield from _copy(descriptor, position, splice.offset)
            if splice.inserted:
                yield splice.inserted
            position = splice.offset + splice.deleted
        yield from _copy(descriptor, position, self.size_bytes)

    def md5(self, descriptor: int) -> str:
        """Return the result's MD5; raises Changed."""
        digest = hashlib.md5(usedforsecurity=False)
        for chunk in self.chunks(descriptor):
            digest.update(chunk)
        return digest.hexdigest()


def _copy(descriptor: int, position: int, end: int) -> Iterator[bytes]:
    while position < end:
        chunk = os.pread(descriptor, min(CHUNK_BYTES, end - position), position)
        if not chunk:
            raise Changed
        position += len(chunk)
        yield chunk


@dataclass(frozen=True, slots=True)
class _Encoding:
    implicit: bool
    little: bool

    @property
    def order(self) -> str:
        return "<" if self.little else ">"

    def tag(self, tag: int) -> bytes:
        return struct.pack(self.order + "HH", tag >> 16, tag & 0xFFFF)

    def element(self, tag: int, vr: str, value: bytes) -> bytes:
        """Encode an element (PS3.5 7.1.2, 7.1.3)."""
        value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2) if vr != "SQ" else b""
        if self.implicit:
            return self.tag(tag) + struct.pack(self.order + "L", len(value)) + value
        if vr == "SQ":
            head = vr.encode() + b"\0\0" + struct.pack(self.order + "L", len(value))
        else:
            head = vr.encode() + struct.pack(self.order + "H", len(value))
        return self.tag(tag) + head + value

    def item(self, elements: bytes) -> bytes:
        return self.tag(0xFFFEE000) + struct.pack(self.order + "L", len(elements)) + elements


@dataclass(frozen=True, slots=True)
class Step:
    """Attributes that are set at a time (DT): tag, VR and text of each.

    `source` is the clinic that the old values are of; the reason is a term of (0400,0565).
    """

    values: tuple[tuple[int, str, str], ...]
    time: str
    source: str
    reason: str


def coerce(header: Header, descriptor: int, size_bytes: int, clinic: str, time: str) -> Body:
    """Make the instance the clinic's, as of this time (DT).

    A file that says so already stays as it is: an export from the archive comes back unchanged.
    """
    step = Step(((INSTITUTION, "LO", clinic),), time, clinic, "COERCE")
    return apply(header, descriptor, size_bytes, [step])


def apply(header: Header, descriptor: int, size_bytes: int, steps: Iterable[Step]) -> Body:
    """Take steps one after the other; each that changes something leaves an item with what was there.

    Taking them in two goes, the second on what the first gave, gives the same bytes. Raises Rejected.
    """
    lead = (Splice(0, 0, header.missing_lead),) if header.missing_lead else ()
    if header.preamble:
        # PS3.10 7.1 leaves it to anybody: a program may hide there (CVE-2019-11687).
        lead = (Splice(0, PREAMBLE_BYTES, bytes(PREAMBLE_BYTES)),)
    encoding = _Encoding(header.implicit, header.little)
    elements: dict[int, _Element] = {}
    items = b""
    for step in steps:
        before: dict[int, bytes] = {}
        for tag, vr, text in step.values:
            old = elements.get(tag) or _read(header, encoding, descriptor, (tag, vr))
            value = charsets.encode(text, vr, header.charset)
            if old.value.strip(b"\0 ") != value:
                # Byte for byte: the value's character set is the one of the data set around it.
                before[tag] = old.whole
                elements[tag] = _Element(encoding.element(tag, vr, value), value)
        if before:
            items += _item(encoding, step, b"".join(before[tag] for tag in sorted(before)))
    if not elements:
        return Body(size_bytes, lead)
    grown: dict[int, list[Splice]] = {GROUP_400: _append(header, encoding, descriptor, items)}
    for tag, element in sorted(elements.items()):
        span = header.spans.get(tag)
        place, length = (span.start, span.end - span.start) if span else (header.places[tag], 0)
        grown.setdefault(tag & 0xFFFF0000, []).append(Splice(place, length, element.whole))
    lengths = [
        _group_length(header, encoding, descriptor, group, splices)
        for group, splices in grown.items()
        if group in header.spans
    ]
    set_now = [splice for group in sorted(grown) for splice in grown[group]]
    # Those of one offset stay in the order of their tags.
    splices = sorted([*lead, *lengths, *set_now], key=lambda splice: splice.offset)
    return Body(size_bytes, tuple(splices))


@dataclass(frozen=True, slots=True)
class _Element:
    whole: bytes
    value: bytes


def _read(header: Header, encoding: _Encoding, descriptor: int, which: tuple[int, str]) -> _Element:
    """Read an element that is to be set; one that is absent counts as empty."""
    span = header.spans.get(which[0])
    if span is None:
        return _Element(encoding.element(*which, b""), b"")
    if span.undefined_length or span.end - span.value > MAX_VALUE_BYTES:
        raise Rejected("malformed", "an attribute of the patient is too long for a text")
    if not header.implicit and not span.vr:
        raise Rejected("malformed", f"the encoding changes before byte {span.start}")
    whole = os.pread(descriptor, span.end - span.start, span.start)
    return _Element(whole, whole[span.value - span.start :])


def _item(encoding: _Encoding, step: Step, previous: bytes) -> bytes:
    return encoding.item(
        encoding.element(0x04000550, "SQ", encoding.item(previous))
        + encoding.element(0x04000562, "DT", step.time.encode())
        + encoding.element(0x04000563, "LO", MODIFYING_SYSTEM.encode())
        + encoding.element(0x04000564, "LO", step.source.encode())
        + encoding.element(0x04000565, "CS", step.reason.encode())
    )


def _append(header: Header, encoding: _Encoding, descriptor: int, item: bytes) -> list[Splice]:
    """Put items last in Original Attributes Sequence, which may be absent."""
    old = header.spans.get(ORIGINAL)
    if old is None:
        return [Splice(header.places[ORIGINAL], 0, encoding.element(ORIGINAL, "SQ", item))]
    if old.undefined_length:
        end = old.end - 8
        if os.pread(descriptor, 4, end) != encoding.tag(SEQUENCE_END):
            raise Rejected("malformed", "(0400,0561) does not end as a sequence does")
        return [Splice(end, 0, item)]
    length = old.end - old.value + len(item)
    if length >= UNDEFINED or old.value - old.start != (8 if header.implicit else 12):
        raise Rejected("malformed", "(0400,0561) is no sequence")
    return [
        Splice(old.value - 4, 4, struct.pack(encoding.order + "L", length)),
        Splice(old.end, 0, item),
    ]


def _group_length(
    header: Header, encoding: _Encoding, descriptor: int, group: int, splices: list[Splice]
) -> Splice:
    """Keep a group length (PS3.5 7.2, retired but met in old files) true."""
    span = header.spans[group]
    if span.end - span.value != 4:
        raise Rejected("malformed", "a group length is no number")
    (length,) = struct.unpack(encoding.order + "L", os.pread(descriptor, 4, span.value))
    length += sum(len(splice.inserted) - splice.deleted for splice in splices)
    return Splice(span.value, 4, struct.pack(encoding.order + "L", length % UNDEFINED))
