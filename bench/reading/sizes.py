"""How much is read, and the bounds that it is held to."""

from __future__ import annotations

from dataclasses import dataclass

from bench.sets import FRAME_BYTES

LIST_S = 1.0
FIRST_IMAGE_S = 2.0
# All frames, of what the same frames take as static files.
STATIC_RATIO = 1.3
METADATA_COLD_S, METADATA_WARM_S = 3.0, 0.5
PEAK_VOLUMES = 3.0
# What is collected sooner or later differs by as much; ten volumes that were kept would be forty times that.
GROWTH_VOLUMES = 0.25
# The architecture document's table: memory, a study in the database, a day on the disk.
BASE_GB, PERSON_GB = 4.0, 1.0
STUDY_KB = 100.0
DAY_STUDIES, STUDY_MB = 20, 500


@dataclass(frozen=True, slots=True)
class Sizes:
    """Studies in the list, slices of the CT (of 512 x 512), openings of it, physicians at once."""

    studies: int
    slices: int
    openings: int
    people: tuple[int, ...] = (1, 5, 10)

    @property
    def volume_bytes(self) -> int:
        """Bytes of the CT's pixels."""
        return self.slices * FRAME_BYTES


def sizes(scale: float) -> Sizes:
    """Return the sizes; a `scale` below 1 is for trying the bench out, not for figures."""
    return Sizes(
        studies=max(120, round(5000 * scale)),  # more than a page of the list
        slices=max(64, round(512 * scale)),  # the side of less is too narrow to be seen as drawn
        openings=max(2, round(10 * scale)),
    )
