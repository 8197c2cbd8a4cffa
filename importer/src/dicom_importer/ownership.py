"""Whether a clinic may store an instance: a study belongs to one clinic and one patient."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dicom_importer.archive import Study
from dicom_importer.header import Header
from dicom_importer.reasons import Rejected
from dicom_importer.records import Identity

# What is stored changes owner only by an administrator's hand: caches expire by time.
CACHE_S = 60.0
MAX_CACHED = 4096


class Lookups(Protocol):
    """What is asked of the archive."""

    def study(self, uid: str) -> Study | None: ...  # noqa: D102 - as in archive.py
    def study_by_id(self, identifier: str) -> Study | None: ...  # noqa: D102
    def series_studies(self, uid: str) -> list[str]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class _Cached:
    value: Study
    until: float


class Ownership:
    """Asks the archive who holds what, and remembers for a while what it answered."""

    def __init__(
        self,
        archive: Lookups,
        stored: Callable[[str, Identity], bool],
        monotonic: Callable[[], float],
    ) -> None:
        self._archive = archive
        self._stored = stored
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._studies: dict[str, _Cached] = {}
        self._series: dict[str, _Cached] = {}

    def check(self, header: Header, clinic: str, identity: Identity) -> bool:
        """Raise Rejected if the study or series is another's; say whether the study is there."""
        study = self.study(header.study_uid)
        if study:
            if study.clinic != clinic:
                raise Rejected("other_clinic", "StudyInstanceUID (0020,000D)")
            # The archive may decode an uncommon character set otherwise: then the journal tells.
            ascii_only = header.patient_id.isascii()
            same = study.patient_id == header.patient_id
            if not same and (ascii_only or not self._stored(clinic, identity)):
                raise Rejected("other_patient")
        if self._cached(self._series, header.series_uid, header.study_uid):
            return True
        for identifier in self._archive.series_studies(header.series_uid):
            holder = self._archive.study_by_id(identifier)
            if holder and holder.clinic != clinic:
                raise Rejected("other_clinic", "SeriesInstanceUID (0020,000E)")
            if holder and holder.uid != header.study_uid:
                raise Rejected("other_study")
            if holder:
                self._remember(self._series, header.series_uid, holder)
        return study is not None

    def study(self, uid: str) -> Study | None:
        """Return a study; that there is none is never remembered."""
        study = self._cached(self._studies, uid, uid) or self._archive.study(uid)
        if study:
            self._remember(self._studies, uid, study)
        return study

    def _cached(self, cache: dict[str, _Cached], uid: str, study_uid: str) -> Study | None:
        with self._lock:
            known = cache.get(uid)
        fresh = known and known.value.uid == study_uid and self._monotonic() < known.until
        return known.value if known and fresh else None

    def _remember(self, cache: dict[str, _Cached], uid: str, study: Study) -> None:
        with self._lock:
            if uid not in cache or self._monotonic() >= cache[uid].until:
                if len(cache) >= MAX_CACHED:
                    cache.clear()
                cache[uid] = _Cached(study, self._monotonic() + CACHE_S)
