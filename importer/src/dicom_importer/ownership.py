"""Whether a clinic may store an instance: a study belongs to one clinic and one patient."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dicom_importer.archive import Study
from dicom_importer.header import Header
from dicom_importer.reasons import Rejected
from dicom_importer.records import Identity

# What is stored changes owner only by an administrator's hand: caches expire by time, and when a
# replacement has ended.
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
    replaced: int


class Ownership:
    """Asks the archive who holds what, and remembers for a while what it answered."""

    def __init__(
        self,
        archive: Lookups,
        stored: Callable[[str, Identity], bool],
        monotonic: Callable[[], float],
        replaced: Callable[[], int] = lambda: 0,
    ) -> None:
        self._archive = archive
        self._stored = stored
        self._monotonic = monotonic
        self._replaced = replaced
        self._lock = threading.Lock()
        self._studies: dict[str, _Cached] = {}
        self._series: dict[str, _Cached] = {}

    def check(self, header: Header, clinic: str, identity: Identity) -> bool:
        """Raise Rejected if the study or series is another's; say whether the study is there."""
        replaced = self._replaced()
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
                self._remember(self._series, header.series_uid, holder, replaced)
        return study is not None

    def study(self, uid: str) -> Study | None:
        """Return a study; that there is none is never remembered."""
        replaced = self._replaced()
        study = self._cached(self._studies, uid, uid) or self._archive.study(uid)
        if study:
            self._remember(self._studies, uid, study, replaced)
        return study

    def _cached(self, cache: dict[str, _Cached], uid: str, study_uid: str) -> Study | None:
        with self._lock:
            known = cache.get(uid)
        if known is None or known.value.uid != study_uid:
            return None
        return known.value if self._is_fresh(known) else None

    def _is_fresh(self, known: _Cached) -> bool:
        return self._monotonic() < known.until and self._replaced() == known.replaced

    def _remember(self, cache: dict[str, _Cached], uid: str, study: Study, replaced: int) -> None:
        """Remember an answer that was asked for after this replacement."""
        with self._lock:
            if uid not in cache or not self._is_fresh(cache[uid]):
                if len(cache) >= MAX_CACHED:
                    cache.clear()
                cache[uid] = _Cached(study, self._monotonic() + CACHE_S, replaced)
