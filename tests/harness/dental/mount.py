"""A full mount of 18 intra-oral radiographs with beads at known places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.dental.marks import METAL, Distance, Grey, Measured, Sheet
from harness.dental.teeth import MODIFIERS, MOUNT, REGIONS, TEETH, Place
from harness.phantom import Identity, Study
from harness.phantom.building import as_file, code, pixels, put
from harness.phantom.radiographs import intra_oral_image

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SENSOR_MM = 26, 36
VOID, BONE, DENTINE, ENAMEL = 300, 1200, 2400, 3200
# What a row of pixels runs towards; teeth are counted from the middle, which is in front.
ALONG = {"R": "A", "L": "P", "B": "L"}


def mount(
    identity: Identity | None = None,
    *,
    pixel_mm: float = 0.1,
    in_one_series: bool = True,
    names_teeth: bool = True,
) -> Measured:
    """Build the 18 radiographs of MOUNT in its order.

    As devices differ, they are one series or as many as images, and name their teeth or a region alone.
    """
    who, files, distances = identity or Identity(), {}, {}
    pictures = []
    for index, place in enumerate(MOUNT):
        name = f"IO{index + 1:04}.dcm"
        ds = intra_oral_image(who, index, pixel_mm=pixel_mm)
        picture, distances[name] = _drawn(place, index, pixel_mm)
        put(ds, **pixels(picture, bits=12), SeriesDescription="Full mount")
        region = code(*REGIONS[place.jaw])
        put(ds, AnatomicRegionSequence=[region], ImageComments=place.name)
        put(ds, ImageLaterality=place.laterality, PatientOrientation=[ALONG[place.laterality], "F"])
        if names_teeth:
            teeth = [_sct(*TEETH[tooth]) for tooth in place.teeth]
            put(ds, PrimaryAnatomicStructureSequence=teeth)
        else:
            put(region, AnatomicRegionModifierSequence=[_sct(*MODIFIERS[place.middle])])
        if not in_one_series:
            put(ds, SeriesDescription=place.name, SeriesInstanceUID=who.uid("series", index))
            put(ds, SeriesNumber=index + 1)
        files[name] = as_file(ds)
        pictures.append(_on_square(picture, pixel_mm))
    return Measured(Study(who, files, np.stack(pictures)), distances)


def _sct(value: str, meaning: str) -> Dataset:
    return code(value, "SCT", meaning)


def _drawn(place: Place, index: int, pixel_mm: float) -> tuple[Grey, tuple[Distance, ...]]:
    """Draw a place's teeth, and beads as far apart as in no other place."""
    rows_mm, columns_mm = reversed(SENSOR_MM) if place.is_upright else SENSOR_MM
    sheet = Sheet(rows_mm, columns_mm, pixel_mm)
    picture = sheet.empty(VOID)
    for jaw in ("upper", "lower"):
        teeth = [tooth for tooth in place.teeth if (tooth < 30) == (jaw == "upper")]
        towards = 1 if jaw == "upper" else -1
        edge = rows_mm / 2 if place.jaw == "jaws" else rows_mm * (0.8 if towards > 0 else 0.2)
        if teeth:
            beyond = edge - towards * 12
            picture[sheet.box((beyond - towards * rows_mm, columns_mm / 2), (rows_mm * 2, 99))] = (
                BONE
            )
        for position, tooth in enumerate(teeth):
            column = columns_mm * (position + 0.5) / len(teeth)
            width = 10 if tooth % 10 >= 6 else 6
            picture[sheet.box((edge - towards * 10, column), (18, width * 0.7))] = DENTINE
            picture[sheet.box((edge - towards * 4, column), (6, width))] = ENAMEL
            if tooth % 10 == 6:
                picture[sheet.box((edge - towards * 3, column), (2, 4))] = METAL
    # The film's number in binary, so that no two pictures are alike.
    for bit in range(5):
        if (index + 1) >> bit & 1:
            picture[sheet.box((rows_mm - 3, columns_mm - 4 - 4 * bit), (3, 3))] = METAL
    length_mm = 4 + index
    level = sheet.distance(picture, "level", (2, 2), (2, 2 + length_mm))
    upright = sheet.distance(picture, "upright", (rows_mm - 2, 2), (rows_mm - 12, 2))
    return picture, (level, upright)


def _on_square(picture: Grey, pixel_mm: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Put a picture into a square's left upper corner, as they stand and lie."""
    side = round(max(SENSOR_MM) / pixel_mm)
    square = np.zeros((side, side))
    square[: picture.shape[0], : picture.shape[1]] = picture / 4095
    return square
