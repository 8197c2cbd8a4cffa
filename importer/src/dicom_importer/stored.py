"""The Store Instances Response (PS3.18 10.5.3, DICOM JSON Model) from what became of each file."""

from collections.abc import Iterable
from dataclasses import dataclass

from dicom_importer.records import Row

# Failure Reason (0008,1197) as of PS3.18 table 10.5.3-2 and PS3.4 table B.2-1.
PROCESSING_FAILURE = 0x0110
OUT_OF_RESOURCES = 0xA700
OTHER_STUDY = 0xA900
CANNOT_UNDERSTAND = 0xC000
_STORED = ("success", "duplicate")
# Whose identifiers clash, or what the archive did, is said to nobody who stores.
_NOT_ITS_CONTENT = frozenset(
    {
        "deleted",
        "other_clinic",
        "other_patient",
        "other_study",
        "other_version",
        "refused",
        "not_held",
        "uncorrectable",
    }
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one part: its last row in the journal, or why it was not taken in (Failure Reason)."""

    sop_class_uid: str
    sop_uid: str
    row: Row | None
    refused: int = 0

    @property
    def is_stored(self) -> bool:
        """Whether the archive holds it."""
        row = self.row
        return bool(row and row.state == "done" and row.decision.verdict.status in _STORED)

    @property
    def failure(self) -> int:
        """The Failure Reason."""
        if self.refused:
            return self.refused
        if self.row is None or self.row.state != "done":
            # It is on its way: sent again, it is answered for as stored.
            return OUT_OF_RESOURCES
        verdict = self.row.decision.verdict
        if verdict.reason == "too_large":
            return OUT_OF_RESOURCES
        return PROCESSING_FAILURE if verdict.reason in _NOT_ITS_CONTENT else CANNOT_UNDERSTAND


def answer(outcomes: Iterable[Outcome], address: str) -> tuple[int, dict[str, object]]:
    """Return the status (PS3.18 table 10.5.3-1) and the response."""
    stored: list[dict[str, object]] = []
    failed: list[dict[str, object]] = []
    nameless: list[dict[str, object]] = []
    studies = set()
    waiting = False
    for one in outcomes:
        row = one.row
        names: dict[str, object] = {
            "00081150": _ui(one.sop_class_uid),
            "00081155": _ui(one.sop_uid),
        }
        if row and one.is_stored:
            study = f"{address}/dicom-web/studies/{row.identity.study_uid}"
            studies.add(study)
            url = f"{study}/series/{row.identity.series_uid}/instances/{row.identity.sop_uid}"
            stored.append(names | ({"00081190": _ur(url)} if address else {}))
            continue
        waiting = waiting or bool(not one.refused and (row is None or row.state != "done"))
        reason: dict[str, object] = {"00081197": {"vr": "US", "Value": [one.failure]}}
        if one.sop_uid:
            failed.append(names | reason)
        else:
            nameless.append(reason)
    body: dict[str, object] = {}
    if address and len(studies) == 1:
        body["00081190"] = _ur(*studies)
    for tag, items in (("00081198", failed), ("00081199", stored), ("0008119A", nameless)):
        if items:
            body[tag] = {"vr": "SQ", "Value": items}
    if not failed and not nameless:
        return 200, body
    if stored:
        return 202, body
    return (503 if waiting else 409), body


def _ui(uid: str) -> dict[str, object]:
    return {"vr": "UI", "Value": [uid]} if uid else {"vr": "UI"}


def _ur(url: str) -> dict[str, object]:
    return {"vr": "UR", "Value": [url]}
