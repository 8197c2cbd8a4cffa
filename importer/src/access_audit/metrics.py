"""What is counted of the audit itself; labels are programs and events, never people."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from access_audit.codes import EVENTS


class Metrics:
    """The metrics of one auditor, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.lag_s = Gauge(
            "dicom_audit_lag_seconds",
            "How long ago the newest was that is known to be recorded, by who reports it",
            ["service"],
            registry=registry,
        )
        self.records = Counter(
            "dicom_audit_records", "Records written", ["event"], registry=registry
        )
        self.unreadable = Counter(
            "dicom_audit_unreadable_lines", "Lines of nginx that were not whole", registry=registry
        )
        for event in EVENTS:
            self.records.labels(event.meaning)
