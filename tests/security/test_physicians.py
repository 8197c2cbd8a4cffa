"""What a physician may store: what a viewer derives, into a study of the own clinic, and nothing else."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pydicom
import pytest
from pydicom.uid import UID, generate_uid
from security.scene import MULTIPART, Scene, Stored, part

if TYPE_CHECKING:
    import requests

COMPREHENSIVE_SR, SEGMENTATION = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.66.4"
CT, DOSE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.67"
CAPTURE, DOCUMENT = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.104.1"
NOT_AUTHORIZED, PROCESSING_FAILURE, OTHER_STUDY = 0x0124, 0x0110, 0xA900


def derived(thing: Stored, sop_class: str = COMPREHENSIVE_SR, **uids: str) -> Stored:
    """Make an object of a study that says it is of a class, with new UIDs where none are given."""
    named = {"series": generate_uid(), "instance": generate_uid()} | uids
    made = replace(thing, series=str(named["series"]), instance=str(named["instance"]))
    file = pydicom.dcmread(io.BytesIO(thing.content))
    for name in ("PixelData", "InstitutionName"):
        if name in file:
            delattr(file, name)
    file.PatientID = made.patient
    file.StudyInstanceUID, file.SeriesInstanceUID = made.study, made.series
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = UID(made.instance)
    content = io.BytesIO()
    file.save_as(content)
    return replace(made, content=content.getvalue())


def store(
    scene: Scene, thing: Stored, caller: str = "physician-a", path: str = "/dicom-web/studies"
) -> requests.Response:
    """Store an object as a person."""
    headers = {"Content-Type": MULTIPART, "Accept": "application/dicom+json"}
    return scene.ask(caller, path, "POST", headers, part(thing.content))


def is_refused(answer: requests.Response, thing: Stored, reason: int) -> None:
    """Assert that an answer is a Store Instances Response with one failure (PS3.18 10.5.3)."""
    assert answer.status_code == 409, answer.text
    assert answer.headers["Content-Type"].startswith("application/dicom+json")
    (item,) = answer.json().pop("00081198")["Value"]
    assert answer.json().keys() == {"00081198"}
    assert item["00081155"]["Value"] == [thing.instance]
    assert item["00081197"] == {"vr": "US", "Value": [reason]}
    assert "clinic" not in answer.text


def held(scene: Scene) -> list[tuple[int, bytes]]:
    """Return what the two clinics' physicians read of their objects, and of their studies' content."""
    paths = [("physician-a", scene.own), ("physician-b", scene.other)]
    found = []
    for caller, thing in paths:
        file = scene.ask(caller, thing.wado_uri)
        found.append((file.status_code, file.content))
        rows = scene.rows(caller, f"{thing.in_study}/instances")
        uids = sorted(str(row["00080018"]["Value"][0]) for row in rows)
        found.append((200, json.dumps(uids).encode()))
    return found


@pytest.mark.parametrize("sop_class", [COMPREHENSIVE_SR, SEGMENTATION])
@pytest.mark.parametrize("caller", ["physician-a", "physician-ab"])
def test_what_is_derived_is_stored_in_an_own_study_and_read_there_alone(
    scene: Scene, caller: str, sop_class: str
) -> None:
    report = derived(scene.own, sop_class)
    answer = store(scene, report, caller)
    assert answer.status_code == 200, answer.text
    assert scene.ask("physician-a", report.wado_uri).status_code == 200
    assert scene.ask("physician-b", report.wado_uri).status_code == 404


def test_who_has_two_clinics_stores_into_that_of_the_study(scene: Scene) -> None:
    report = derived(scene.other)
    assert store(scene, report, "physician-ab").status_code == 200
    assert scene.ask("physician-b", report.wado_uri).status_code == 200
    assert scene.ask("physician-a", report.wado_uri).status_code == 404


@pytest.mark.parametrize("sop_class", [CT, CAPTURE, DOSE, DOCUMENT])
def test_no_other_class_is_stored(scene: Scene, sop_class: str) -> None:
    before = held(scene)
    thing = derived(scene.own, sop_class)
    is_refused(store(scene, thing), thing, NOT_AUTHORIZED)
    assert held(scene) == before


def test_another_clinics_study_an_unowned_and_an_absent_one_are_refused_alike(
    scene: Scene,
) -> None:
    before = held(scene)
    texts = set()
    for name in ("other", "unowned", "absent"):
        for there in ("/dicom-web/studies", scene.objects[name].in_study):
            thing = derived(scene.objects[name])
            answer = store(scene, thing, path=there)
            is_refused(answer, thing, NOT_AUTHORIZED)
            texts.add(answer.text.replace(thing.instance, ""))
    assert len(texts) == 1
    assert held(scene) == before
    assert scene.ask("admin-x", scene.absent.in_study).status_code == 404


@pytest.mark.parametrize("level", ["series", "instance"])
def test_another_clinics_uid_is_refused_below_an_own_study(scene: Scene, level: str) -> None:
    before = held(scene)
    thing = derived(scene.own, **{level: getattr(scene.other, level)})
    is_refused(store(scene, thing), thing, PROCESSING_FAILURE)
    assert held(scene) == before


def test_an_instance_that_is_there_is_not_overwritten(scene: Scene) -> None:
    before = held(scene)
    for uids in ({"series": scene.own.series}, {}):
        thing = derived(scene.own, instance=scene.own.instance, **uids)
        is_refused(store(scene, thing), thing, PROCESSING_FAILURE)
    assert held(scene) == before


def test_an_own_study_takes_no_other_patient(scene: Scene) -> None:
    before = held(scene)
    thing = derived(replace(scene.own, patient="SOMEBODY-ELSE"))
    is_refused(store(scene, thing), thing, PROCESSING_FAILURE)
    assert held(scene) == before


def test_in_another_studys_address_an_own_one_is_refused(scene: Scene) -> None:
    before = held(scene)
    thing = derived(scene.own)
    is_refused(store(scene, thing, path=scene.other.in_study), thing, OTHER_STUDY)
    assert held(scene) == before


def test_a_clinic_of_others_cannot_be_named(scene: Scene) -> None:
    for clinic in ("clinic-b", "nowhere", "../clinic-b"):
        path = f"/dicom-web/studies?clinic={clinic}"
        answer = store(scene, derived(scene.own), path=path)
        assert (answer.status_code, "clinic-" in answer.text) == (403, False)


@pytest.mark.parametrize("caller", ["no-clinic", "admin-x", "monitoring"])
def test_who_has_no_clinic_saves_nothing(scene: Scene, caller: str) -> None:
    answer = store(scene, derived(scene.own), caller)
    assert (answer.status_code, "This account stores nothing." in answer.text) == (403, True)
