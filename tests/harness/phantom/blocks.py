"""Asymmetrical pictures that differ by seed, in a CT, a panoramic radiograph, a cone beam CT."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from harness.phantom.building import Identity, Picture, Study, as_file, pixels, put
from harness.phantom.radiographs import panoramic_image
from harness.phantom.volumes import INTERCEPT, Stack, multi_frame, single

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

# Odd and unequal, so that no turn or flip maps the grid of blocks onto itself.
BLOCKS = 7, 9
HU_LOW, HU_HIGH = -150, 250
STACK = Stack(voxel_mm=0.4, window=(HU_LOW, HU_HIGH))


def pattern(seed: int, rows: int, columns: int) -> Picture:
    """Draw blocks of random grey; the patterns of two seeds are as good as uncorrelated."""
    blocks = np.random.default_rng(seed).uniform(0.1, 1, BLOCKS)
    row, column = (
        np.arange(n) * blocks_n // n for n, blocks_n in zip((rows, columns), BLOCKS, strict=True)
    )
    picture: Picture = blocks[np.ix_(row, column)]
    return picture


def patterns(seed: int, frames: int, rows: int, columns: int) -> Picture:
    """Draw a stack of patterns, each unlike the others."""
    return np.stack([pattern(seed * 1000 + index, rows, columns) for index in range(frames)])


def ct(seed: int, identity: Identity | None = None, *, slices: int = 5, size: int = 189) -> Study:
    """Build a CT of single slices: 16 bits, signed Hounsfield units by a rescale intercept."""
    who, pictures = identity or Identity(), patterns(seed, slices, size, size)
    files = {}
    for index, picture in enumerate(pictures):
        ds = single(who, STACK, index)
        put(ds, **pixels(_hounsfield(picture), bits=16), BodyPartExamined="CHEST")
        files[f"CT{index + 1:04}.dcm"] = as_file(ds)
    return Study(who, files, pictures)


def panoramic(
    seed: int,
    identity: Identity | None = None,
    *,
    rows: int = 301,
    columns: int = 603,
    is_packed: bool = False,
) -> Study:
    """Build a panoramic radiograph: one wide picture of 12 bits."""
    who, picture = identity or Identity(), pattern(seed, rows, columns)
    ds = panoramic_image(who, pixel_mm=0.1)
    put(ds, **pixels(np.round(picture * 4095).astype("<u2"), bits=12))
    content = _packed_file(ds) if is_packed else as_file(ds)
    return Study(who, {"PX0001.dcm": content}, picture[np.newaxis])


def packed_panoramic(seed: int, identity: Identity | None = None) -> Study:
    """Build a panoramic radiograph as JPEG 2000, which the viewer decodes by itself."""
    return panoramic(seed, identity, is_packed=True)


def cone_beam(
    seed: int, identity: Identity | None = None, *, frames: int = 8, size: int = 161
) -> Study:
    """Build a cone beam CT as one multi-frame object (Enhanced CT, PS3.3 A.38)."""
    who, pictures = identity or Identity(), patterns(seed, frames, size, size)
    ds = multi_frame(who, STACK, frames)
    put(ds, **pixels(_hounsfield(pictures), bits=16))
    return Study(who, {"CBCT.dcm": as_file(ds)}, pictures)


KINDS: dict[str, Callable[..., Study]] = {
    "ct": ct,
    "panoramic": panoramic,
    "panoramic in jpeg 2000": packed_panoramic,
    "cone beam": cone_beam,
}


def _hounsfield(picture: Picture) -> NDArray[np.int16]:
    hounsfield = HU_LOW + picture * (HU_HIGH - HU_LOW)
    stored: NDArray[np.int16] = np.round(hounsfield - INTERCEPT).astype("<i2")
    return stored


def _packed_file(ds: Dataset) -> bytes:
    codestream = io.BytesIO()
    stored = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)
    Image.fromarray(stored).save(codestream, "JPEG2000", no_jp2=True, irreversible=False)
    put(ds, BitsStored=16, HighBit=15)  # as Pillow's encoder says in the codestream
    ds.PixelData = encapsulate([codestream.getvalue()])
    ds["PixelData"].VR = "OB"
    return as_file(ds, JPEG2000Lossless)
