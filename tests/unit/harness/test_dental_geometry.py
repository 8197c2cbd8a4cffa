"""What is known of the dental phantoms follows from their attributes and pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from harness import dental
from harness.dental import marks, scene
from harness.phantom.volumes import INTERCEPT
from unit.harness.dental_files import RADIOGRAPHS, VOLUMES, WHO, made_of, read, stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.dental.marks import Distance, Measured
    from numpy.typing import NDArray


def bead_at(beads: NDArray[np.bool_], at: Sequence[int], reach: int) -> tuple[float, ...]:
    """Return the centre of what is within reach of a place, and take it out."""
    near = tuple(slice(max(c - reach, 0), c + reach + 1) for c in at)
    found = np.argwhere(beads[near]) + [part.start for part in near]
    beads[near] = False
    centre: tuple[float, ...] = tuple(found.mean(axis=0))
    return centre


def centres(
    beads: NDArray[np.bool_], known: Sequence[Distance], reach: int
) -> dict[tuple[int, ...], tuple[float, ...]]:
    """Return where the beads of distances are seen, by where they are said to be; there are no others."""
    places = {at for one in known for at in (one.first, one.second)}
    seen = {at: bead_at(beads, at, reach) for at in sorted(places)}
    assert not beads.any(), "a bead of which nothing is said"
    return seen


def position(made: Measured, at: Sequence[float]) -> NDArray[np.float64]:
    """Return where a voxel's centre lies in the patient, in mm (PS3.3 C.7.6.2.1.1)."""
    frame, row, column = at
    (first, *others) = read(made).values()
    if others:
        ds = [first, *others][round(frame)]
        place, orientation, measures = ds, ds, ds
    else:
        groups = first.PerFrameFunctionalGroupsSequence[round(frame)]
        shared = first.SharedFunctionalGroupsSequence[0]
        place = groups.PlanePositionSequence[0]
        orientation = shared.PlaneOrientationSequence[0]
        measures = shared.PixelMeasuresSequence[0]
    along, down = np.reshape([float(n) for n in orientation.ImageOrientationPatient], (2, 3))
    between_rows, between_columns = (float(n) for n in measures.PixelSpacing)
    start = np.array([float(n) for n in place.ImagePositionPatient])
    result: NDArray[np.float64] = (
        start + along * between_columns * column + down * between_rows * row
    )
    return result


def as_stored(value: int) -> int:
    return value - INTERCEPT


@pytest.mark.parametrize("kind", RADIOGRAPHS)
def test_a_distance_in_a_radiograph_follows_from_its_pixel_spacing(kind: str) -> None:
    made = made_of(kind)
    for name, ds in read(made).items():
        beads = ds.pixel_array == marks.BEAD
        seen = centres(beads, made.distances[name], marks.BEAD_RADIUS_PIXELS)
        spacing = [float(n) for n in ds.get("PixelSpacing", ds.ImagerPixelSpacing)]
        for known in made.distances[name]:
            ends = (np.array(seen[at]) * spacing for at in (known.first, known.second))
            assert math.dist(*ends) == pytest.approx(known.length_mm, abs=1e-6), known.name


@pytest.mark.parametrize("kind", VOLUMES)
def test_a_distance_in_each_plane_of_a_volume_follows_from_its_position_and_orientation(
    kind: str,
) -> None:
    made = made_of(kind)
    known = made.distances["volume"]
    seen = centres(stored(made) == as_stored(scene.BEAD), known, reach=1)
    normal = {"sagittal": 0, "coronal": 1, "axial": 2}
    assert {one.name for one in known} == normal.keys()
    for one in known:
        first, second = (position(made, seen[at]) for at in (one.first, one.second))
        assert math.dist(first, second) == pytest.approx(one.length_mm, abs=1e-6), one.name
        assert first[normal[one.name]] == pytest.approx(second[normal[one.name]]), one.name
        assert np.count_nonzero(first != second) == 2, "it slants in its plane"


def test_no_two_distances_of_a_volume_are_alike_nor_two_of_a_mount() -> None:
    lengths = [one.length_mm for one in made_of("volume").distances["volume"]]
    assert len(set(lengths)) == len(lengths)
    level = [known[0].length_mm for known in made_of("mount").distances.values()]
    assert len(set(level)) == len(level) == 18


def test_frames_follow_one_another_a_voxel_apart() -> None:
    for made in (made_of("slices"), made_of("volume")):
        heights = [position(made, (frame, 0, 0))[2] for frame in (0, 1, 2, 63)]
        assert np.subtract(heights, heights[0]) == pytest.approx([0, 1.6, 3.2, 100.8])


def test_slices_and_the_one_file_are_the_same_volume() -> None:
    assert np.array_equal(stored(made_of("slices")), stored(made_of("volume")))
    assert made_of("slices").study.pictures.shape == (64, 64, 64)


def test_metal_is_cut_off_at_the_end_of_the_scale_and_lies_on_the_left() -> None:
    voxels = stored(made_of("volume"))
    assert voxels.max() == 4095
    assert scene.CLIPPED == 3071 < scene.METAL
    metal = np.argwhere(voxels == 4095)
    assert {int(frame) for frame, _, _ in metal} == set(range(scene.ROD_FROM, scene.ROD_TO))
    middle = position(made_of("volume"), (0, 0, 32))[0]
    # x runs to the patient's left (PS3.3 C.7.6.2.1.1).
    assert all(position(made_of("volume"), at)[0] > middle for at in metal[:5])


def test_the_field_stays_the_same_however_finely_it_is_cut() -> None:
    coarse, fine = dental.Grid(), dental.Grid(512)
    assert fine.stack.voxel_mm == 0.2
    for known, finer in zip(coarse.distances, fine.distances, strict=True):
        assert known.length_mm == finer.length_mm
        apart = math.dist(finer.first, finer.second) * fine.stack.voxel_mm
        assert apart == pytest.approx(finer.length_mm, abs=1e-6)
    assert next(fine.frames()).shape == (512, 512)


def test_a_grid_on_which_beads_would_lie_between_voxels_is_refused() -> None:
    with pytest.raises(ValueError, match="no whole number"):
        dental.Grid(100)
    with pytest.raises(ValueError, match="no whole number"):
        dental.panoramic(WHO, pixel_mm=0.7)
