"""What is counted for operators; labels are clinics, statuses and reason codes, never patients."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

STATUSES = ("success", "duplicate", "kept", "not_dicom", "rejected")
DURATION_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
# Of which the cool-down is a part.
SEARCHABLE_BUCKETS_S = (5, 15, 30, 60, 75, 90, 120, 180, 300, 600, 1800, 7200, 21600)


class Metrics:
    """The metrics of one importer, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        # When it started, by which one that starts again and again is noticed.
        ProcessCollector(registry=registry)
        clinic = ["clinic_id"]
        self.imports = Counter(
            "dicom_imports", "Files filed away", [*clinic, "status"], registry=registry
        )
        self.duration_s = Histogram(
            "dicom_import_duration_seconds",
            "From a file's being settled to its being filed away",
            clinic,
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        self.searchable_s = Histogram(
            "dicom_import_searchable_seconds",
            "From a file's lying in the inbox as it is to its being found in the archive",
            clinic,
            buckets=SEARCHABLE_BUCKETS_S,
            registry=registry,
        )
        self.pending = Gauge(
            "dicom_pending_imports", "Files in the inbox", clinic, registry=registry
        )
        self.oldest_pending_s = Gauge(
            "dicom_pending_imports_oldest_seconds",
            "How long the file that waits longest has been seen in the inbox",
            clinic,
            registry=registry,
        )
        self.last_success_s = Gauge(
            "dicom_import_last_success_timestamp_seconds",
            "When a file of the clinic last went into the archive",
            clinic,
            registry=registry,
        )
        self.stored_bytes = Counter(
            "dicom_import_bytes", "Bytes of files gone into the archive", clinic, registry=registry
        )
        self.retries = Counter(
            "dicom_import_retries", "Attempts put off until later", clinic, registry=registry
        )
        self.failures = Counter(
            "dicom_import_failures",
            "Files filed under failed/, by reason",
            [*clinic, "reason"],
            registry=registry,
        )
        self.missing = Counter(
            "dicom_import_missing",
            "Files that the index of a medium (DICOMDIR) listed and that did not come",
            clinic,
            registry=registry,
        )
        self.left_alone = Gauge(
            "dicom_inbox_left_alone",
            "Unfinished files and unreadable folders, which are not taken",
            [*clinic, "why"],
            registry=registry,
        )
        self.sweep_s = Gauge(
            "dicom_importer_sweep_seconds", "What the last walk took", registry=registry
        )
        self.archive_up = Gauge(
            "dicom_importer_archive_up",
            "1 when the archive answered the last request",
            registry=registry,
        )
        self.archive_up.set(1)
        self.intake_paused = Gauge(
            "dicom_importer_intake_paused",
            "1 while nothing is taken in, for a disk is nearly full",
            registry=registry,
        )
        self.free_bytes = Gauge(
            "dicom_importer_free_bytes",
            "Room on the disk of each place that imports fill",
            ["place"],
            registry=registry,
        )
        self._known: set[str] = set()

    def know(self, clinic: str) -> None:
        """Export everything of this clinic at 0: a counter first seen at 1 shows no increase."""
        if clinic in self._known:
            return
        self._known.add(clinic)
        for status in STATUSES:
            self.imports.labels(clinic, status)
        for gauge in (self.pending, self.oldest_pending_s, self.last_success_s):
            gauge.labels(clinic)
        for counter in (self.stored_bytes, self.retries, self.missing):
            counter.labels(clinic)
        for histogram in (self.duration_s, self.searchable_s):
            histogram.labels(clinic)
