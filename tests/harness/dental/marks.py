"""Beads that a length is measured between, and drawing in mm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from harness.phantom import Study

Grey = NDArray[np.uint16]
Mask = NDArray[np.bool_]
# The white of a radiograph of 12 bits. Nothing but beads has it, so that a test finds them; metal is a little darker.
BEAD, METAL = 4095, 4000
BEAD_RADIUS_PIXELS = 3


@dataclass(frozen=True, slots=True)
class Distance:
    """What measures `length_mm`: from one bead's centre to another's.

    Centres are counted from 0 in pixels as numpy has them: (row, column) in a radiograph, (frame, row,
    column) in a volume, where both lie in the named plane.
    """

    name: str
    first: tuple[int, ...]
    second: tuple[int, ...]
    length_mm: float


@dataclass(frozen=True, slots=True)
class Measured:
    """A study, and the distances that are known in it, by the name of the file or volume."""

    study: Study
    distances: dict[str, tuple[Distance, ...]]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A radiograph to draw on: its size in mm, from the left upper pixel's centre, and a pixel's."""

    rows_mm: float
    columns_mm: float
    pixel_mm: float

    def at(self, row_mm: float, column_mm: float) -> tuple[int, int]:
        """Return the pixel whose centre lies there; raises ValueError where there is none."""
        return whole(row_mm / self.pixel_mm), whole(column_mm / self.pixel_mm)

    def empty(self, value: int) -> Grey:
        """Return a picture of one grey."""
        return np.full(self.at(self.rows_mm, self.columns_mm), value, np.uint16)

    def _axes(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows, columns = self.at(self.rows_mm, self.columns_mm)
        row = np.arange(rows, dtype=np.float32) * np.float32(self.pixel_mm)
        column = np.arange(columns, dtype=np.float32) * np.float32(self.pixel_mm)
        return row[:, None], column

    def box(self, centre_mm: tuple[float, float], size_mm: tuple[float, float]) -> Mask:
        """Select a rectangle."""
        (row, column), (rows, columns) = self._axes(), size_mm
        upright = abs(row - centre_mm[0]) <= rows / 2
        mask: Mask = upright & (abs(column - centre_mm[1]) <= columns / 2)
        return mask

    def ellipse(self, centre_mm: tuple[float, float], radii_mm: tuple[float, float]) -> Mask:
        """Select an ellipse."""
        row, column = self._axes()
        away = ((row - centre_mm[0]) / radii_mm[0]) ** 2 + (
            (column - centre_mm[1]) / radii_mm[1]
        ) ** 2
        mask: Mask = away <= 1
        return mask

    def distance(
        self,
        picture: Grey,
        name: str,
        first_mm: tuple[float, float],
        second_mm: tuple[float, float],
    ) -> Distance:
        """Draw two beads into a picture; returns how far apart they are."""
        for mark in (first_mm, second_mm):
            self._bead(picture, self.at(*mark))
        return Distance(
            name, self.at(*first_mm), self.at(*second_mm), math.dist(first_mm, second_mm)
        )

    def _bead(self, picture: Grey, centre: tuple[int, int]) -> None:
        reach = np.arange(-BEAD_RADIUS_PIXELS, BEAD_RADIUS_PIXELS + 1)
        disc = reach[:, None] ** 2 + reach**2 <= BEAD_RADIUS_PIXELS**2
        low = [c - BEAD_RADIUS_PIXELS for c in centre]
        high = [c + BEAD_RADIUS_PIXELS + 1 for c in centre]
        if min(low) < 0 or high[0] > picture.shape[0] or high[1] > picture.shape[1]:
            raise ValueError(f"the bead at {centre} is not wholly in a picture of {picture.shape}")
        picture[low[0] : high[0], low[1] : high[1]][disc] = BEAD


def whole(number: float) -> int:
    """Return a number that is whole as one; raises ValueError for another, as a bead would lie off its mark."""
    if abs(number - round(number)) > 1e-6:
        raise ValueError(f"{number} is no whole number of pixels")
    return round(number)
