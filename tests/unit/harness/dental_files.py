"""Builds each dental phantom once, and reads it back as another program would."""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from harness import dental
from harness.phantom import Identity

if TYPE_CHECKING:
    from harness.dental.marks import Measured
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

RADIOGRAPHS = {
    "panoramic": dental.panoramic,
    "cephalometric": dental.cephalometric,
    "mount": dental.mount,
}
VOLUMES = {"slices": dental.slices, "volume": dental.volume}
ALL = RADIOGRAPHS | VOLUMES
WHO = Identity(key="dental", patient_id="DENTAL-1")


@functools.cache
def made_of(kind: str) -> Measured:
    """Return a phantom of a kind, built once."""
    return ALL[kind](WHO)


def read(made: Measured) -> dict[str, Dataset]:
    """Return the objects of a phantom by the names of their files."""
    return {name: pydicom.dcmread(io.BytesIO(file)) for name, file in made.study.files.items()}


def stored(made: Measured) -> NDArray[np.uint16]:
    """Return a volume's voxels: frames, rows, columns."""
    arrays = [ds.pixel_array for ds in read(made).values()]
    return arrays[0] if arrays[0].ndim == 3 else np.stack(arrays)
