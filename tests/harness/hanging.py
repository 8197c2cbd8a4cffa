"""Hangs studies as the viewer would, by its own code without a browser."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import playwright
import pydicom
from pydicom.multival import MultiValue
from stack.shell import run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydicom.dataset import Dataset

NODE = Path(playwright.__file__).parent / "driver" / "node"
SCRIPT = Path(__file__).with_suffix(".mjs")


@dataclass(frozen=True, slots=True)
class Hung:
    """How a study hangs: by which protocol, in which of its stages, and what is where.

    Of each cell it says the image's SOP Instance UID, empty where there is none, and the plane of a volume.
    Where the cells are not alike, `corners` says where each begins, as parts of the whole (x, y).
    """

    protocol: str
    stage: str
    images: tuple[str, ...]
    planes: tuple[str, ...]
    corners: tuple[tuple[float, float], ...]


def hang(
    bundle: Path, extension: Path, studies: Iterable[Iterable[bytes]], folder: Path
) -> list[Hung]:
    """Hang studies, given as their files; raises where the bundle or the extension cannot be read."""
    asked = folder / "studies.json"
    asked.write_text(json.dumps([[_natural(_read(file)) for file in files] for files in studies]))
    answer = json.loads(
        run([str(NODE), str(SCRIPT), str(bundle), str(extension), str(asked)], timeout_s=60)
    )
    return [
        Hung(
            one["protocol"],
            one["stage"],
            tuple(cell["image"] for cell in one["shown"]),
            tuple(cell["orientation"] for cell in one["shown"]),
            tuple((x, y) for x, y in one["cells"]),
        )
        for one in answer
    ]


def _read(content: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)


def _natural(ds: Dataset) -> dict[str, object]:
    """Return a data set as the viewer has it: by keywords, numbers as numbers."""
    return {
        element.keyword: _value(element.value)
        for element in ds
        if element.keyword != "PerFrameFunctionalGroupsSequence"
    }


def _value(value: object) -> object:
    if isinstance(value, pydicom.Sequence):
        return [_natural(ds) for ds in value]
    if isinstance(value, MultiValue):
        return [_value(one) for one in value]
    if isinstance(value, int | float):
        return float(value) if isinstance(value, float) else int(value)
    return str(value)
