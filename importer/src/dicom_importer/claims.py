"""Holds the identifiers of files in flight, so that two of them cannot both be first."""

import threading

from dicom_importer.files import Arrival
from dicom_importer.reasons import Busy
from dicom_importer.records import Identity


class Claims:
    """Who is about to store which study, series and instance, until that is decided.

    Files claim in the order in which they were announced: of two that exclude each other the same
    one wins each time. What was sent before a crash is claimed again from the journal before
    anything else; what is stored needs no claim, since the archive is asked who owns it.
    """

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._coming: dict[Arrival, None] = {}
        self._holders: dict[str, tuple[object, set[Arrival]]] = {}
        self._held: dict[Arrival, tuple[str, ...]] = {}

    def announce(self, arrival: Arrival) -> None:
        """Take a place in the order of claims."""
        with self._turn:
            self._coming[arrival] = None

    def withdraw(self, arrival: Arrival) -> None:
        """Let those behind go on: this one has nothing to claim any more."""
        with self._turn:
            self._coming.pop(arrival, None)
            self._turn.notify_all()

    def claim(self, arrival: Arrival, identity: Identity) -> None:
        """Claim study, series and SOP instance for a file; raises Busy when another stands by.

        Files of the same clinic, patient and study may be in flight together.
        """
        owner = f"{arrival.clinic} {identity.patient_key}"
        wanted: dict[str, object] = {
            f"study {identity.study_uid}": owner,
            f"series {identity.series_uid}": f"{owner} {identity.study_uid}",
            f"sop {identity.sop_uid}": arrival,
        }
        with self._turn:
            self._turn.wait_for(lambda: next(iter(self._coming), arrival) == arrival)
            self._coming.pop(arrival, None)
            self._turn.notify_all()
            if arrival in self._held:
                return
            for uid, who in wanted.items():
                if uid in self._holders and self._holders[uid][0] != who:
                    raise Busy
            for uid, who in wanted.items():
                self._holders.setdefault(uid, (who, set()))[1].add(arrival)
            self._held[arrival] = tuple(wanted)

    def release(self, arrival: Arrival) -> None:
        """Give up what a file claimed, if anything."""
        with self._turn:
            for uid in self._held.pop(arrival, ()):
                holders = self._holders[uid][1]
                holders.discard(arrival)
                if not holders:
                    del self._holders[uid]
