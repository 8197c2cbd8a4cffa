"""`dicom-importer move`, `correct` and `merge`: a study gets another clinic or another patient.

Every instance keeps its identifiers, gets the new values and one item more of Original Attributes
Sequence (PS3.3 C.12.1.1.9, CORRECT), and is exchanged in the archive; its original stays as it came.
The journal notes the correction as a rule of the study. A killed command is finished by the running
service, or by the next command.
"""

from collections.abc import Iterable

from dicom_importer import amend
from dicom_importer.archive import Study
from dicom_importer.corrections import Correction
from dicom_importer.order import Order
from dicom_importer.plan import Declined
from dicom_importer.replacement import Desk

_KEYWORDS = {"NAME": "PatientName", "BIRTH_DATE": "PatientBirthDate", "SEX": "PatientSex"}


def move(desk: Desk, study_uid: str, to: str, order: Order) -> None:
    """Let a study belong to another clinic; raises Declined, Failure, Unavailable."""
    held = amend.find(desk, study_uid)
    if not (desk.folders.inbox / to).is_dir():
        raise Declined(f"there is no clinic {to}.")
    if held.clinic == to:
        order.say(f"{study_uid}: it belongs to {to} already.")
        return
    at = amend.stamp(desk, held.clinic, study_uid, order.now())
    made = Correction(study_uid, at, "move", held.clinic, order.who, order.reason, to)
    count = amend.apply(desk, held, made, order.now())
    order.say(f"{study_uid}: {count} images belong to {to} now, and to {held.clinic} no more.")


def correct(desk: Desk, study_uid: str, patient: dict[str, str], order: Order) -> None:
    """Set what is given of a study's patient; raises as move does."""
    if not patient:
        raise Declined("it was not said what to correct.")
    held = amend.find(desk, study_uid)
    at = amend.stamp(desk, held.clinic, study_uid, order.now())
    who, reason = order.who, order.reason
    made = Correction(study_uid, at, "correct", held.clinic, who, reason, patient=patient)
    count = amend.apply(desk, held, made, order.now())
    order.say(f"{study_uid}: {count} images are corrected.")


def merge(desk: Desk, clinic: str, ids: tuple[str, str], order: Order) -> None:
    """Let every study of one patient of a clinic be another's, with that one's name, birth and sex."""
    old, new = (list(_studies(desk, clinic, one)) for one in ids)
    if not old:
        raise Declined(f"{clinic} has no study of the first patient ID.")
    if not new:
        raise Declined(f"{clinic} has no study of the second patient ID: use correct.")
    patient = {"PATIENT_ID": ids[1], **_patient(desk, new[0])}
    for held in old:
        correct(desk, held.uid, patient, order)


def _studies(desk: Desk, clinic: str, patient_id: str) -> Iterable[Study]:
    for identifier in desk.archive.patient_studies(patient_id):
        held = desk.archive.study_by_id(identifier)
        if held and held.clinic == clinic and held.patient_id == patient_id:
            yield held


def _patient(desk: Desk, held: Study) -> dict[str, str]:
    """Read the rest of a patient from an image: the archive's own record may be another clinic's."""
    for identifier in desk.archive.study_instances(held.id):
        tags = desk.archive.tags(identifier)
        given = {key: tags.get(keyword, "") for key, keyword in _KEYWORDS.items()}
        return {key: text for key, text in given.items() if text}
    return {}
