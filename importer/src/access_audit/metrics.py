"""What is counted of the audit itself; labels are programs and events, never people."""

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from access_audit.codes import EVENTS

OUTCOMES = ("answered", "denied", "failed", "refused")
_DENIED = (401, 403, 404)
_REFUSED = 400
_FAILED = 500


class Metrics:
    """The metrics of one auditor, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        # When it started, by which one that starts again and again is noticed.
        ProcessCollector(registry=registry)
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
        self.requests = Counter(
            "dicom_archive_requests",
            "Requests to the archive's routes, by what became of them",
            ["outcome"],
            registry=registry,
        )
        self.login_failures = Counter(
            "dicom_login_failures", "Logins that Keycloak refused", registry=registry
        )
        for event in EVENTS:
            self.records.labels(event.meaning)
        for outcome in OUTCOMES:
            self.requests.labels(outcome)


def outcome(status: int) -> str:
    """Return what became of a request, by its HTTP status; what another clinic holds is absent (404), and denied."""
    if status >= _FAILED:
        return "failed"
    if status in _DENIED:
        return "denied"
    return "refused" if status >= _REFUSED else "answered"
