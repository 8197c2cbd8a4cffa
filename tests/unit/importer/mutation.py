"""Real files, and what may go wrong with their bytes: for the tests that try at random."""

from __future__ import annotations

import functools
import io
import struct
import zipfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian
from unit.importer.building import SYNTAXES, dataset, encode, instance

MAX_BYTES = 1 << 20
HEADER_BYTES = 2000
# Lengths and tags that readers stumble over: none, huge, undefined, delimiters, our own elements.
WORDS = (
    *(bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\1\0", b"SQ\0\0", b"UN\0\0", b"OB\0\0"),
    *(struct.pack("<HH", 0xFFFE, element) for element in (0xE000, 0xE00D, 0xE0DD)),
    *(struct.pack("<HH", 8, element) for element in (0, 5, 0x16, 0x18, 0x80)),
    *(struct.pack("<HH", 0x400, element) for element in (0, 0x561)),
    *(b"PK\1\2", b"PK\3\4", b"PK\5\6", b"LO\2\0", b"UI\x40\0"),
)


@functools.cache
def originals() -> tuple[bytes, ...]:
    """Return the files that pydicom ships, those of pydicom-data, and some of every encoding."""
    made = [instance(syntax) for syntax in (*SYNTAXES, DeflatedExplicitVRLittleEndian)]
    nested = dataset(ReferencedStudySequence=[dataset(ReferencedImageSequence=[dataset()])])
    made += [encode(nested, syntax) for syntax in SYNTAXES]
    folders = [
        Path(str(resources.files("pydicom"))) / "data/test_files",
        Path(str(resources.files("data_store"))) / "data",
    ]
    paths = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    contents = (path.read_bytes() for path in paths if 0 < path.stat().st_size <= MAX_BYTES)
    return (*made, *contents)


@functools.cache
def zips() -> tuple[bytes, ...]:
    """Return zip files of several kinds."""
    found = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            archive.writestr("CT/one.dcm", instance())
            archive.writestr("Müller/two.dcm", instance())
            with archive.open("three", "w", force_zip64=True) as three:
                three.write(bytes(100_000))
        found.append(buffer.getvalue())
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Mutation:
    """At a place (a part of the whole, or an offset in the header) something is done."""

    kind: str
    part: float
    offset: int
    in_header: bool
    word: bytes
    length: int

    def applied(self, content: bytes) -> bytes:
        """Return the content with this done to it."""
        at = self.offset if self.in_header else int(self.part * len(content))
        before, behind = content[:at], content[at:]
        match self.kind:
            case "overwrite":
                return before + self.word + behind[len(self.word) :]
            case "insert":
                return before + self.word + behind
            case "delete":
                return before + behind[self.length :]
            case "repeat":
                return before + behind[: self.length] + behind
            case "zero":
                return before + bytes(len(behind[: self.length])) + behind[self.length :]
            case _:
                return before


KINDS = ("overwrite", "overwrite", "overwrite", "insert", "delete", "repeat", "zero", "cut")
MUTATIONS = st.lists(
    st.builds(
        Mutation,
        kind=st.sampled_from(KINDS),
        part=st.floats(0, 1),
        offset=st.integers(0, HEADER_BYTES),
        in_header=st.booleans(),
        word=st.sampled_from(WORDS) | st.binary(min_size=1, max_size=4),
        length=st.integers(1, 300),
    ),
    min_size=1,
    max_size=4,
)


def mutate(content: bytes, mutations: list[Mutation]) -> bytes:
    """Do one after the other."""
    for mutation in mutations:
        content = mutation.applied(content)
    return content
