"""The journal's records: what is known of a file, what became of it, and what is told to the audit."""

from dataclasses import dataclass

from dicom_importer.files import Arrival


@dataclass(frozen=True, slots=True)
class Identity:
    """What a file says it is; the patient only as a digest."""

    patient_key: str = ""
    study_uid: str = ""
    series_uid: str = ""
    sop_uid: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a file: one of the metrics' statuses, and the reason of a failure."""

    status: str
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, when (UTC) it was given, and the file's new name below processed/ or failed/."""

    verdict: Verdict
    decided_at: str
    target: str


@dataclass(frozen=True, slots=True)
class Row:
    """One file's row; times are UTC, refused_at in seconds since the epoch."""

    id: int
    arrival: Arrival
    state: str
    began_at: str
    coerced_at: str
    identity: Identity
    refusals: int
    refused_at: float
    decision: Decision


@dataclass(frozen=True, slots=True)
class Report:
    """What was filed of one study of one submission with one outcome, to be audited."""

    ids: tuple[int, ...]
    clinic: str
    study_uid: str
    status: str
    reason: str
