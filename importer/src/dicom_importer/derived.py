"""What a physician stores: what a viewer derives from images, into a study that a clinic has already."""

from dicom_importer.header import Header

# Failure Reason (0008,1197) as of PS3.7 C.5.
NOT_AUTHORIZED = 0x0124
# PS3.4 B.5: statements about images, none an image itself. Not those that machines write (dose,
# procedure log, computer-aided detection), nor captures and documents, which would stand in a
# study as if somebody had acquired them.
_STORAGE = "1.2.840.10008.5.1.4.1.1"
SOP_CLASSES = frozenset(
    {
        # Presentation states: grayscale, color, pseudo-color, blending, XA/XRF, planar MPR (two),
        # advanced blending, volume rendering (three), variable modality LUT.
        *(f"{_STORAGE}.11.{number}" for number in range(1, 13)),
        # Segmentation, surface segmentation, label map.
        *(f"{_STORAGE}.66.{number}" for number in (4, 5, 7)),
        # Structured reports: basic text, enhanced, comprehensive, comprehensive 3D; key objects.
        *(f"{_STORAGE}.88.{number}" for number in (11, 22, 33, 34, 59)),
        # RT structure set, as which the viewer saves contours.
        f"{_STORAGE}.481.3",
    }
)


def allows(head: Header, owner: str | None, clinics: tuple[str, ...]) -> bool:
    """Say whether an object may be stored by who derives, in a study of `owner` (None: absent)."""
    return head.sop_class_uid in SOP_CLASSES and owner in clinics
