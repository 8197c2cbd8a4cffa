"""Judges what is no image: kept beside images, failed where it may be a lost one."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from dicom_importer import files, header, index, log, scan
from dicom_importer.files import Arrival, Place
from dicom_importer.journal import Journal
from dicom_importer.metrics import Metrics
from dicom_importer.reasons import Failure, Growing
from dicom_importer.records import Verdict

# A whole submission settles together, so that within this time the answer stays the same.
CACHE_S = 60.0
MAX_CACHED = 1024
MAX_LISTED = 100_000
_IMAGE_SUFFIXES = (".dcm", ".dic", ".dicom", ".ima")
_PACKED_SUFFIXES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".iso")
_GROWING = frozenset({"truncated", "empty"})
KEPT = "kept"


class Beside:
    """Knows which submissions hold images; it remembers that for a short while."""

    def __init__(
        self, inbox: Path, journal: Journal, metrics: Metrics, monotonic: Callable[[], float]
    ) -> None:
        self._inbox = inbox
        self._journal = journal
        self._metrics = metrics
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], tuple[bool, float]] = {}

    def judge(
        self, arrival: Arrival, file: BinaryIO, failure: Failure, *, patient: bool
    ) -> Verdict:
        """Turn a failure into a verdict; raises Growing while there is patience for more to come."""
        name = arrival.path.rpartition("/")[2].lower()
        code = failure.code
        if code == "dicomdir":
            return self._index(arrival, file, patient=patient)
        no_dicom = failure.status == "not_dicom"
        if no_dicom and scan.litter(name):
            return Verdict(KEPT)
        # Some systems give a copy its full size first and its content later.
        blank = code == "not_dicom" and _blank(file)
        if patient and (code in _GROWING or blank):
            raise Growing
        if code == "not_dicom" and not blank:
            if name.endswith(_PACKED_SUFFIXES):
                return Verdict(failure.status, "packed")
            if not name.endswith(_IMAGE_SUFFIXES) and self._with_images(arrival):
                return Verdict(KEPT)
        return Verdict(failure.status, code, failure.detail)

    def _with_images(self, arrival: Arrival) -> bool:
        """Say whether images lie in the same submission, or came there in the last day."""
        folder = scan.submission(arrival.path)
        if folder == arrival.path:
            return False
        key = arrival.clinic, folder
        with self._lock:
            known, until = self._known.get(key, (False, 0.0))
            if self._monotonic() < until:
                return known
        # The journal last: what is moved away meanwhile stands in it by then.
        known = self._images_lie(arrival.clinic, folder) or any(
            image for _, image in self._journal.past.came(arrival.clinic, folder)
        )
        with self._lock:
            if len(self._known) >= MAX_CACHED:
                self._known.clear()
            self._known[key] = known, self._monotonic() + CACHE_S
        return known

    def _images_lie(self, clinic: str, folder: str) -> bool:
        for path in scan.scan(self._inbox, f"{clinic}/{folder}"):
            try:
                with files.open_file(Place(self._inbox, f"{clinic}/{folder}/{path}")) as file:
                    if header.is_image(file):
                        return True
            except OSError:
                continue
        return False

    def _index(self, arrival: Arrival, file: BinaryIO, *, patient: bool) -> Verdict:
        """Compare what an index lists with what lies there or came in the last day."""
        base = arrival.path.rpartition("/")[0]
        listed: set[str] = set()
        for name in index.listed(file):
            # Media know capitals only, and each system writes them down in its own way.
            listed.add(f"{base}/{name}".strip("/").casefold())
            if len(listed) >= MAX_LISTED:
                break
        missing = listed - self._present(arrival.clinic, base)
        if missing and patient:
            raise Growing
        log.line("index", clinic=arrival.clinic, listed=len(listed), missing=len(missing))
        self._metrics.missing.labels(arrival.clinic).inc(len(missing))
        words = f"It lists {len(listed)} files, of which {len(missing)} did not come."
        return Verdict(KEPT, "", words)

    def _present(self, clinic: str, base: str) -> set[str]:
        lying = scan.scan(self._inbox, f"{clinic}/{base}")
        came = (path for path, _ in self._journal.past.came(clinic, base))
        below = (f"{base}/{path}".strip("/") for path in lying)
        return {path.casefold() for path in (*below, *came)}


def _blank(file: BinaryIO) -> bool:
    file.seek(0)
    start = file.read(1024)
    return bool(start) and not start.strip(b"\0")
