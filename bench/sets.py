"""The sets that are sent: made once, given fresh identifiers before each run."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.template import (
    NO_NUMBER,
    NO_PATIENT,
    NO_POSITION,
    NO_STAMP,
    SLICE_MM,
    Kind,
    encode,
    uid,
)

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS = 10  # orthanc-tools' threads take a folder each
FRAME_BYTES = 512 * 512 * 2
BLOCK = os.urandom(1 << 20)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a set consists of: files of so many bytes of pixels each, spread over studies."""

    name: str
    title: str
    files: int
    pixel_bytes: int
    studies: int = 1
    frames: int = 1


def shapes(scale: float, largest_mb: int) -> dict[str, Shape]:
    """Return every set; `scale` shrinks the number of files, and a lone file's size."""

    def several(name: str, title: str, files: int, side: int, studies: int) -> Shape:
        return Shape(name, title, max(FOLDERS, round(files * scale)), side * side * 2, studies)

    def single(name: str, megabytes: float) -> Shape:
        frames = max(2, round(megabytes * scale * 1e6 / FRAME_BYTES))
        title = f"one multi-frame file of {frames * FRAME_BYTES / 1e6:.0f} MB"
        return Shape(name, title, 1, frames * FRAME_BYTES, frames=frames)

    found = (
        several("slices", "slices of 0.5 MB", 500, 512, 1),
        single("multiframe", 500),
        several("small", "files of 0.2 MB", 1600, 320, 4),
        several("tiny", "files of 4 kB", 2000, 32, 20),
        single("largest", largest_mb),
    )
    return {shape.name: shape for shape in found}


def patient_id(stamp: str, study: int) -> str:
    """Return the patient of a study."""
    return f"BENCH-{stamp}{study:04}"


def orthanc_study(stamp: str, study: int) -> str:
    """Return what Orthanc calls a study: a SHA-1 of patient and study."""
    text = f"{patient_id(stamp, study)}|{uid(stamp, 1, study)}"
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[i : i + 8] for i in range(0, 40, 8))


@dataclass(frozen=True, slots=True)
class SampleSet:
    """A set on disk, below FOLDERS folders."""

    shape: Shape
    folder: Path
    template: bytes

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return self.shape.files * (len(self.template) + self.shape.pixel_bytes)

    def path(self, index: int) -> Path:
        """Return the path of a file."""
        return self.folder / f"{index % FOLDERS:02}" / f"{index:05}.dcm"

    def study(self, index: int) -> int:
        """Say which study a file belongs to."""
        return index * self.shape.studies // self.shape.files

    def first(self, study: int) -> int:
        """Say which file is the first of a study."""
        return -(-study * self.shape.files // self.shape.studies)

    def header(self, stamp: str, index: int) -> bytes:
        """Return what precedes the pixels of a file."""
        study = self.study(index)
        height_mm = (index - self.first(study)) * SLICE_MM
        return (
            self.template.replace(uid(NO_STAMP, 1, 0).encode(), uid(stamp, 1, study).encode())
            .replace(uid(NO_STAMP, 2, 0).encode(), uid(stamp, 2, study).encode())
            .replace(uid(NO_STAMP, 3, 0).encode(), uid(stamp, 3, index).encode())
            .replace(NO_NUMBER.encode(), f"{index + 1:010}".encode())
            .replace(NO_PATIENT.encode(), patient_id(stamp, study).encode())
            .replace(NO_POSITION.encode(), f"{height_mm:07.1f}".encode())
        )

    def make(self) -> None:
        """Write every file, with the identifiers of no stamp."""
        for number in range(FOLDERS):
            (self.folder / f"{number:02}").mkdir(parents=True)
        for index in range(self.shape.files):
            with self.path(index).open("wb") as file:
                file.write(self.header(NO_STAMP, index))
                left = self.shape.pixel_bytes
                while left:
                    left -= file.write(BLOCK[:left])

    def stamp(self, stamp: str) -> None:
        """Give every file identifiers that the archive never saw, of 20 digits in `stamp`."""
        for index in range(self.shape.files):
            with self.path(index).open("r+b") as file:
                file.write(self.header(stamp, index))
        os.sync()

    def part(self, files: int) -> Path:
        """Return a folder with the first so many files, by links."""
        if files >= self.shape.files:
            return self.folder
        folder = self.folder.with_name(f"{self.folder.name}.first-{files}")
        if not folder.exists():
            folder.mkdir()
            for index in range(files):
                os.link(self.path(index), folder / self.path(index).name)
        return folder


def sample_set(shape: Shape, above: Path) -> SampleSet:
    """Make a set below a folder."""
    made = SampleSet(
        shape, above / shape.name, encode(Kind(shape.name, shape.pixel_bytes, shape.frames))
    )
    made.make()
    return made
