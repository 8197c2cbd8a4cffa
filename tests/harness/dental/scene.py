"""What a cone beam CT is of: a jaw, an implant too dense for its scale, and beads at known places."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.dental.marks import Distance, Grey, whole
from harness.phantom.volumes import INTERCEPT, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

# The scene is drawn in units, 64 along each edge of the field: a voxel of the smallest grid.
FIELD_MM, UNITS = 102.4, 64
# In HU. The scale of 12 bits ends at CLIPPED, so that metal looks like no more than that.
AIR, TISSUE, BONE, BEAD, METAL = -1000, 40, 1200, 2600, 9000
BITS = 12
CLIPPED = (1 << BITS) - 1 + INTERCEPT
BEAD_RADIUS, ROD_RADIUS = 1.5, 1.25
# Beads in units: (frame, row, column). All three planes go through the middle, where viewers begin.
MIDDLE = 32
BEADS = {
    "axial": ((MIDDLE, 16, 20), (MIDDLE, 48, 44)),
    "coronal": ((18, MIDDLE, 22), (46, MIDDLE, 43)),
    "sagittal": ((20, 23, MIDDLE), (44, 41, MIDDLE)),
}
# On the patient's left alone, upright, from one frame to another.
ROD, ROD_FROM, ROD_TO = (24, 47), 24, 36


@dataclass(frozen=True, slots=True)
class Grid:
    """How finely the field is cut: `size` voxels along each edge, a multiple of 64."""

    size: int = UNITS

    def __post_init__(self) -> None:
        """Refuse a size in which beads would not lie on voxels."""
        whole(self.size / UNITS)

    @property
    def stack(self) -> Stack:
        """How its frames lie: unlike along each axis, so that none is taken for another."""
        voxel_mm = round(FIELD_MM / self.size, 4)
        return Stack(voxel_mm, window=(-500, 2500), origin_mm=(-51.2, -37.6, 12.4))

    @property
    def distances(self) -> tuple[Distance, ...]:
        """The distance that is known in each of the three planes, by the plane's name."""
        finer = self.size // UNITS
        return tuple(
            Distance(
                plane,
                tuple(finer * at for at in first),
                tuple(finer * at for at in second),
                round(math.dist(first, second) * FIELD_MM / UNITS, 6),
            )
            for plane, (first, second) in BEADS.items()
        )

    def frames(self) -> Iterator[Grey]:
        """Draw one axial frame after another, as stored: never more than one is in memory."""
        place = np.arange(self.size, dtype=np.float32) * np.float32(UNITS / self.size)
        row, column = place[:, None], place
        head = ((row - 32) / 30) ** 2 + ((column - 32) / 25) ** 2 <= 1
        outer = ((row - 34) / 22) ** 2 + ((column - 32) / 18) ** 2 <= 1
        inner = ((row - 38) / 20) ** 2 + ((column - 32) / 13) ** 2 <= 1
        # Open to the back, where rows run to.
        jaw = outer & ~inner & (row < 40)
        rod = (row - ROD[0]) ** 2 + (column - ROD[1]) ** 2 <= ROD_RADIUS**2
        beads = [bead for ends in BEADS.values() for bead in ends]
        for level in place:
            hounsfield = np.where(head, np.int16(TISSUE), np.int16(AIR))
            if 12 <= level < 52:
                hounsfield[jaw] = BONE
            if ROD_FROM <= level < ROD_TO:
                hounsfield[rod] = METAL
            for at in beads:
                if (across := BEAD_RADIUS**2 - (level - at[0]) ** 2) >= 0:
                    hounsfield[(row - at[1]) ** 2 + (column - at[2]) ** 2 <= across] = BEAD
            stored = hounsfield - INTERCEPT
            yield np.clip(stored, 0, (1 << BITS) - 1).astype("<u2")
