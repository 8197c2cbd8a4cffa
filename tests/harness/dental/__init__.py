"""Dental studies, plain but true in geometry: what a viewer measures in them is known in mm."""

from harness.dental.cone_beam import slices, volume, write_slices, write_volume
from harness.dental.mount import mount
from harness.dental.radiographs import cephalometric, panoramic
from harness.dental.scene import Grid

__all__ = [
    "Grid",
    "cephalometric",
    "mount",
    "panoramic",
    "slices",
    "volume",
    "write_slices",
    "write_volume",
]
