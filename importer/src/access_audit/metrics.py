"""What is counted of the audit itself; labels are programs and events, never people."""

import re

from clinic_access.routes import inner_path
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from access_audit.codes import EVENTS

OUTCOMES = ("answered", "denied", "failed", "refused")
# What a viewer asks for, by what the path ends in; the first that fits.
_ROUTES = (
    ("search", re.compile(r"/clinic-search/.*")),
    ("metadata", re.compile(r"/dicom-web/.*/metadata")),
    ("frames", re.compile(r"/dicom-web/.*/frames/.*")),
    ("objects", re.compile(r"/dicom-web/.*|/wado")),
)
ROUTES = (*(name for name, _ in _ROUTES), "store")
REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
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
        self.request_s = Histogram(
            "dicom_archive_request_seconds",
            "What answered requests took, from the first byte to the last",
            ["route"],
            buckets=REQUEST_BUCKETS_S,
            registry=registry,
        )
        self.active = Gauge(
            "dicom_active_people",
            "People who were answered by the archive during the last quarter of an hour",
            registry=registry,
        )
        self.logins = Counter("dicom_logins", "Logins that succeeded", registry=registry)
        self.login_failures = Counter(
            "dicom_login_failures", "Logins that Keycloak refused", registry=registry
        )
        for event in EVENTS:
            self.records.labels(event.meaning)
        for outcome in OUTCOMES:
            self.requests.labels(outcome)
        for name in ROUTES:
            self.request_s.labels(name)


def outcome(status: int) -> str:
    """Return what became of a request, by its HTTP status; what another clinic holds is absent (404), and denied."""
    if status >= _FAILED:
        return "failed"
    if status in _DENIED:
        return "denied"
    return "refused" if status >= _REFUSED else "answered"


def route(method: str, path: str) -> str:
    """Return which of `ROUTES` a request took; nothing for Orthanc's own routes."""
    if method == "POST":
        return "store"
    inner = inner_path(method, path)
    return next((name for name, pattern in _ROUTES if pattern.fullmatch(inner)), "")
