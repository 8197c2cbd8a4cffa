"""What is read in the archive's answers, and how its identifiers are computed."""

from __future__ import annotations

import json

import pytest
from dicom_importer.archive import identifier
from dicom_importer.reasons import Unavailable
from dicom_importer.stow import Refused, read_answer
from unit.importer.archiving import stow_answer
from urllib3 import HTTPResponse


def answer(status: int, body: bytes) -> HTTPResponse:
    return HTTPResponse(body, status=status)


@pytest.mark.parametrize("status", [200, 202, 400, 409])
def test_an_instance_named_as_stored_is_stored_whatever_the_status(status: int) -> None:
    read_answer(answer(status, stow_answer(stored="1.2.3")), "1.2.3")


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, stow_answer(stored="1.2.4"), "refused"),
        (200, stow_answer(), "refused"),
        (202, stow_answer(failed="1.2.3", reason=0x0110), "refused"),
        (400, stow_answer(failed="1.2.3", reason=0x0110), "refused"),
        (400, stow_answer(failed="1.2.3"), "refused"),
        (400, stow_answer(failed="1.2.3", reason=0xC000), "refused_unreadable"),
        (400, stow_answer(), "refused_unreadable"),
        (400, b"", "refused"),
        (400, b'{"HttpError": "Bad Request"}', "refused"),
        (200, b"<html>", "refused"),
        (200, b"[]", "refused"),
        (200, json.dumps({"00081199": {"Value": [{}]}}).encode(), "refused"),
    ],
)
def test_anything_else_is_a_refusal_of_one_kind(status: int, body: bytes, code: str) -> None:
    with pytest.raises(Refused) as refusal:
        read_answer(answer(status, body), "1.2.3")
    assert refusal.value.code == code


def test_a_full_archive_is_no_fault_of_the_instance() -> None:
    with pytest.raises(Unavailable, match="full"):
        read_answer(answer(400, stow_answer(failed="1.2.3", reason=0xA700)), "1.2.3")


def test_identifiers_are_computed_as_orthanc_does() -> None:
    uids = (
        "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322",
        "1.3.6.1.4.1.5962.1.3.1.1.20040119072730.12322",
        "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322",
    )
    # As Orthanc 1.13.0 named pydicom's CT_small.dcm.
    assert identifier("1CT1", *uids) == "f689ddd2-662f8fe1-8b18180d-ec2a2cee-937917af"


def test_an_answer_in_xml_cannot_define_entities() -> None:
    bomb = (
        b'<!DOCTYPE a [<!ENTITY b "1.2.3">]><a><DicomAttribute tag="00081199" vr="SQ"><Item>'
        b'<DicomAttribute tag="00081155" vr="UI"><Value>&b;</Value></DicomAttribute></Item>'
        b"</DicomAttribute></a>"
    )
    with pytest.raises(Refused, match="no word of it"):
        read_answer(answer(200, bomb), "1.2.3")
