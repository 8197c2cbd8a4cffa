"""Studies whose images are not all back from the backup: refused whole, lest half of one be taken for it.

While images are brought back, the index lists more than the disk holds. Orthanc would answer for
a series with the slices that it finds, and the viewer would show them as all there are.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from clinic_access.routes import Access, Route

# Written before the archive starts, removed when every image is back: dicom_backup names it too.
MARKER = ".returning"
_TAGS = {"study": "0020000D", "series": "0020000E", "instance": "00080018"}


class Returning:
    """Says what is still missing below the archive's folder; costs one look at the marker when nothing is."""

    def __init__(self, folder: Path, files: Callable[[str, str], Sequence[str]]) -> None:
        self._folder = folder
        self._files = files

    def lacks(self, route: Route) -> bool:
        """Whether a file of what a retrieval asks for is not back; raises IndexMissingError."""
        if route.access is not Access.RETRIEVE or not (self._folder / MARKER).exists():
            return False
        level = next(name for name in ("instance", "series", "study") if getattr(route, name))
        names = self._files(_TAGS[level], getattr(route, level))
        return not all((self._folder / n[:2] / n[2:4] / n).exists() for n in names)
