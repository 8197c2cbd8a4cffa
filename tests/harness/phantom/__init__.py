"""Studies built in code, in valid objects of their kind."""

from harness.phantom.blocks import (
    KINDS,
    cone_beam,
    ct,
    packed_panoramic,
    panoramic,
    pattern,
    patterns,
)
from harness.phantom.building import Identity, Picture, Study
from harness.phantom.media import document, video
from harness.phantom.structures import structures

__all__ = [
    "KINDS",
    "Identity",
    "Picture",
    "Study",
    "cone_beam",
    "ct",
    "document",
    "packed_panoramic",
    "panoramic",
    "pattern",
    "patterns",
    "structures",
    "video",
]
