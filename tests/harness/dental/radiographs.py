"""A panoramic and a cephalometric radiograph with beads at known places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.dental.marks import METAL, Distance, Grey, Measured, Sheet
from harness.phantom import Identity, Study
from harness.phantom.building import as_file, pixels, put
from harness.phantom.radiographs import cephalometric_image, panoramic_image

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

AIR, TISSUE, BONE, TOOTH = 200, 1000, 2000, 3000
RULER_STEPS, RULER_STEP_MM = 5, 10
WIDE, TALL = (150, 300), (240, 200)


def panoramic(identity: Identity | None = None, *, pixel_mm: float = 0.5) -> Measured:
    """Build a panoramic radiograph of 30 by 15 cm; its distances are those at the detector."""
    who, sheet = identity or Identity(), Sheet(*WIDE, pixel_mm)
    picture = sheet.empty(AIR)
    picture[sheet.ellipse((60, 150), (80, 140))] = TISSUE
    arch = sheet.ellipse((50, 150), (75, 125)) & ~sheet.ellipse((20, 150), (65, 95))
    picture[arch] = BONE
    for number in range(16):
        column = 75 + 10 * number
        for row in (62, 86):
            picture[sheet.box((row, column), (20, 7))] = TOOTH
    # On the patient's left alone, which is the picture's right.
    picture[sheet.box((53, 225), (3, 7))] = METAL
    distances = (
        sheet.distance(picture, "level", (130, 90), (130, 210)),
        sheet.distance(picture, "slanting", (24, 120), (72, 184)),
    )
    return _measured(who, "PX0001.dcm", panoramic_image(who, pixel_mm=pixel_mm), picture, distances)


def cephalometric(identity: Identity | None = None, *, pixel_mm: float = 0.5) -> Measured:
    """Build a lateral cephalogram of 20 by 24 cm with its ruler; distances are those in the middle plane."""
    who, sheet = identity or Identity(), Sheet(*TALL, pixel_mm)
    picture = sheet.empty(AIR)
    picture[sheet.ellipse((100, 95), (95, 85))] = TISSUE
    picture[sheet.ellipse((85, 85), (75, 72)) & ~sheet.ellipse((85, 85), (69, 66))] = BONE
    picture[sheet.ellipse((165, 120), (15, 50))] = BONE
    for row in (140, 156):
        picture[sheet.box((row, 150), (12, 30))] = TOOTH
    # The ruler before the forehead: the picture's right is the front.
    picture[sheet.box((40, 190), (50, 1))] = METAL
    marks = [(20 + RULER_STEP_MM * step, 190) for step in range(RULER_STEPS)]
    steps = [
        sheet.distance(picture, f"ruler {RULER_STEP_MM * step} mm", marks[0], marks[step])
        for step in range(1, RULER_STEPS)
    ]
    slanting = sheet.distance(picture, "slanting", (90, 80), (144, 152))
    ds = cephalometric_image(who, pixel_mm=pixel_mm)
    return _measured(who, "CEPH0001.dcm", ds, picture, (*steps, slanting))


def _measured(
    who: Identity, name: str, ds: Dataset, picture: Grey, distances: tuple[Distance, ...]
) -> Measured:
    put(ds, **pixels(picture, bits=12))
    shown = picture[np.newaxis] / 4095
    return Measured(Study(who, {name: as_file(ds)}, shown), {name: distances})
