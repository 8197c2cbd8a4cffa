"""What is counted for operators; labels are clinics and reasons, never a device's or a patient's name."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

# Why an object was not taken: too little room on the disk (PS3.4 B.2.3, 0xA700), or a disk that cannot be written.
NO_ROOM, NOT_WRITTEN = REFUSALS = "no_room", "not_written"
# Why an association was not: who called is not known (by this title from this address), or called another title, or
# there are too many.
UNKNOWN_SENDER, OTHER_TITLE, TOO_MANY = REJECTIONS = "unknown_sender", "other_title", "too_many"
# How an association that was accepted ended: as both wanted, or cut off.
RELEASED, CUT = ENDS = "released", "cut"


class Metrics:
    """The metrics of one receiver, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        clinic = ["clinic_id"]
        self.stored = Counter(
            "dicom_receiver_stored", "Objects put into the inbox", clinic, registry=registry
        )
        self.stored_bytes = Counter(
            "dicom_receiver_stored_bytes", "Bytes of these objects", clinic, registry=registry
        )
        self.refused = Counter(
            "dicom_receiver_refused",
            "Objects that were not taken, by reason",
            [*clinic, "reason"],
            registry=registry,
        )
        self.associations = Counter(
            "dicom_receiver_associations",
            "Associations that were accepted, by how they ended",
            [*clinic, "end"],
            registry=registry,
        )
        self.rejected = Counter(
            "dicom_receiver_rejected",
            "Associations that were not accepted, by reason",
            ["reason"],
            registry=registry,
        )
        self.open = Gauge(
            "dicom_receiver_open_associations", "Associations that are open now", registry=registry
        )
        for reason in REJECTIONS:
            self.rejected.labels(reason)

    def know(self, clinics: Iterable[str]) -> None:
        """Export everything of these clinics at 0: a counter first seen at 1 shows no increase."""
        for clinic in clinics:
            self.stored.labels(clinic)
            self.stored_bytes.labels(clinic)
            for reason in REFUSALS:
                self.refused.labels(clinic, reason)
            for end in ENDS:
                self.associations.labels(clinic, end)
