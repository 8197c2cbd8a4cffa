"""A cone beam CT as single slices and as one multi-frame file, written frame by frame."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import numpy as np
from pydicom.uid import ExplicitVRLittleEndian

from harness.dental.marks import Measured
from harness.dental.scene import BITS, CLIPPED, Grid
from harness.phantom import Identity, Study
from harness.phantom.building import as_file, layout, pixels, put, write
from harness.phantom.volumes import multi_frame, single

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from harness.phantom import Picture

SMALL = Grid()


def slices(identity: Identity | None = None, grid: Grid = SMALL) -> Measured:
    """Build a cone beam CT of single slices in memory (CT, PS3.3 A.3)."""
    who = identity or Identity()
    study = Study(who, dict(_slices(who, grid)), _pictures(grid))
    return Measured(study, {"volume": grid.distances})


def volume(identity: Identity | None = None, grid: Grid = SMALL) -> Measured:
    """Build a cone beam CT as one file in memory (Enhanced CT, PS3.3 A.38)."""
    who, buffer = identity or Identity(), io.BytesIO()
    _write(buffer, who, grid)
    study = Study(who, {"CBCT.dcm": buffer.getvalue()}, _pictures(grid))
    return Measured(study, {"volume": grid.distances})


def write_slices(folder: Path, identity: Identity, grid: Grid) -> None:
    """Write the files of `slices` one by one: one slice is in memory at a time."""
    for name, content in _slices(identity, grid):
        (folder / name).write_bytes(content)


def write_volume(path: Path, identity: Identity, grid: Grid) -> None:
    """Write the file of `volume` frame by frame: one frame is in memory at a time."""
    with path.open("wb") as file:
        _write(file, identity, grid)


def _slices(who: Identity, grid: Grid) -> Iterator[tuple[str, bytes]]:
    for index, frame in enumerate(grid.frames()):
        ds = single(who, grid.stack, index)
        put(ds, **pixels(frame, bits=BITS), BodyPartExamined="JAW")
        yield f"CT{index + 1:04}.dcm", as_file(ds)


def _write(file: BinaryIO, who: Identity, grid: Grid) -> None:
    ds = multi_frame(who, grid.stack, grid.size)
    put(ds, **layout(grid.size, grid.size, bits=BITS))
    write(file, ds, ExplicitVRLittleEndian)
    # Pixel Data is the last element: its header (PS3.5 7.1.2), and the frames one after another.
    file.write(struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, grid.size**3 * 2))
    file.writelines(frame.tobytes() for frame in grid.frames())


def _pictures(grid: Grid) -> Picture:
    """Return the frames from 0 at the scale's end to 1 at the other, as the window of HU shows them."""
    low, high = grid.stack.window
    hounsfield = np.stack(list(grid.frames())) + CLIPPED - ((1 << BITS) - 1.0)
    picture: Picture = np.clip((hounsfield - low) / (high - low), 0, 1)
    return picture
