"""A cone beam CT is written without being in memory as a whole."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pydicom
from harness import dental
from unit.harness.dental_files import WHO, made_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_volume_is_written_frame_by_frame(tmp_path: Path) -> None:
    grid, path = dental.Grid(128), tmp_path / "CBCT.dcm"
    pixel_bytes = grid.size**3 * 2
    assert peak_bytes(lambda: dental.write_volume(path, WHO, grid)) < pixel_bytes / 2
    assert peak_bytes(lambda: dental.volume(WHO, grid)) > pixel_bytes, "as one in memory has it"
    assert path.stat().st_size > pixel_bytes
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    assert (ds.NumberOfFrames, ds.Rows, ds.Columns) == (128, 128, 128)


def test_slices_are_written_one_by_one(tmp_path: Path) -> None:
    grid = dental.Grid()
    pixel_bytes = grid.size**3 * 2
    assert peak_bytes(lambda: dental.write_slices(tmp_path, WHO, grid)) < pixel_bytes / 2
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == made_of("slices").study.files


def test_a_written_volume_is_the_one_in_memory(tmp_path: Path) -> None:
    dental.write_volume(tmp_path / "CBCT.dcm", WHO, dental.Grid())
    assert (tmp_path / "CBCT.dcm").read_bytes() == made_of("volume").study.files["CBCT.dcm"]
