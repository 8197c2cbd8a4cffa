"""What becomes a record: a view once, a search, a refusal; and what a hostile token can do to it."""

from __future__ import annotations

import base64
import json

import pytest
from unit.audit.building import ANNA, BERT, OTHER, START_S, STUDY, Desk, frame, line

VIEW = ("DICOM Instances Accessed", STUDY, "viewed")
IN_STUDY = f"/dicom-web/studies/{STUDY}"


def refused(path: str, status: int, at_s: float = START_S, **changes: object) -> bytes:
    return line(path, at_s, status=str(status), **changes)


def test_five_hundred_slices_are_one_view(desk: Desk) -> None:
    desk.write(line(f"{IN_STUDY}/series"), *(frame(n, START_S + n / 50) for n in range(500)))
    desk.read()
    assert desk.told() == [VIEW]
    (record,) = desk.records()
    assert record["time"] == "2025-11-24T16:00:00.000Z"
    assert record["event"] == {
        "code": "110103",
        "system": "DCM",
        "meaning": "DICOM Instances Accessed",
    }
    assert (record["action"], record["outcome"], record["client"]) == ("R", 0, "192.0.2.7")
    assert record["clinic_ids"] == ["clinic-a"]
    assert record["who"] == {
        "subject": "5b0f-anna",
        "name": "anna",
        "roles": ["physician"],
        "verified": True,
    }


def test_a_view_goes_on_until_half_an_hour_has_passed_without_a_request(desk: Desk) -> None:
    times = [0.0, 1700.0, 3400.0, 5100.0, 6899.0, 8700.0]
    desk.write(*(frame(n, START_S + at) for n, at in enumerate(times)))
    desk.read()
    assert [r["time"] for r in desk.records()] == [
        "2025-11-24T16:00:00.000Z",
        "2025-11-24T18:25:00.000Z",
    ]


@pytest.mark.parametrize(
    "other",
    [{"study": OTHER}, {"claims": BERT}, {"client": "192.0.2.8"}],
    ids=["another study", "another person", "another place"],
)
def test_a_view_of_or_by_or_from_elsewhere_is_another_one(
    desk: Desk, other: dict[str, object]
) -> None:
    desk.write(frame(1), frame(2, **other), frame(3), frame(4, **other))  # type: ignore[arg-type]
    desk.read()
    assert len(desk.records()) == 2


@pytest.mark.parametrize(
    ("path", "study"),
    [
        (f"/dicom-web/studies/{STUDY}/metadata", ""),
        (f"/dicom-web/studies/{STUDY}/instances", ""),
        (f"/orthanc/dicom-web/studies/{STUDY}/series/1.2/instances/1.3/rendered", ""),
        ("/wado", STUDY),
    ],
)
def test_a_study_is_recorded_by_whichever_way_it_was_reached(
    desk: Desk, path: str, study: str
) -> None:
    desk.write(line(path, study=study))
    desk.read()
    assert desk.told() == [VIEW]


def test_what_is_read_by_the_archives_own_name_is_recorded_by_that(desk: Desk) -> None:
    name = "studies/" + "-".join(["0123abcd"] * 5)
    desk.write(line(f"/orthanc/{name}", claims=BERT), line("/orthanc/studies", claims=BERT))
    desk.read()
    viewed, listed = desk.records()
    assert (viewed["status"], viewed["object"]) == ("viewed", name)
    assert listed["status"] == "searched"


@pytest.mark.parametrize("path", ["/dicom-web/studies", "/dicom-web/instances/"])
def test_a_search_across_studies_is_a_query_once_a_minute(desk: Desk, path: str) -> None:
    desk.write(*(line(path, START_S + at) for at in (0, 1, 59, 61, 100)))
    desk.read()
    assert desk.told() == [("Query", "", "searched")] * 2
    assert desk.records()[0]["event"]["code"] == "110112"  # type: ignore[index]


@pytest.mark.parametrize(
    ("status", "reason", "outcome"),
    [
        (400, "malformed", 4),
        (401, "not_logged_in", 4),
        (403, "not_allowed", 4),
        (404, "absent", 4),
        (405, "read_only", 4),
        (429, "too_many", 4),
        (503, "unavailable", 8),
    ],
)
def test_a_refusal_says_why_and_is_one_a_minute(
    desk: Desk, status: int, reason: str, outcome: int
) -> None:
    desk.write(*(refused(IN_STUDY, status, START_S + at) for at in (0, 5, 59, 61)))
    desk.read()
    assert len(desk.records()) == 2
    record = desk.records()[0]
    assert record["status"] == ("failed" if status > 499 else "refused")
    assert (record["reason"], record["outcome"]) == (reason, outcome)
    assert (record["http_status"], record["study_instance_uid"]) == (status, STUDY)


def test_a_refusal_neither_opens_a_view_nor_hides_in_one(desk: Desk) -> None:
    desk.write(refused(IN_STUDY, 404), frame(1), refused(IN_STUDY, 503), frame(2))
    desk.read()
    assert [status for _, _, status in desk.told()] == ["refused", "viewed", "failed"]


def test_each_study_that_a_person_tries_in_vain_is_recorded(desk: Desk) -> None:
    desk.write(*(refused(f"/dicom-web/studies/1.2.{n}", 404) for n in range(20)))
    desk.read()
    assert len({study for _, study, _ in desk.told()}) == 20


def test_who_is_nobody_does_not_fill_the_audit_with_invented_studies(desk: Desk) -> None:
    lines = [
        refused(f"/dicom-web/studies/1.2.{n}", 401, claims={"sub": str(n)}, session="401")
        for n in range(1000)
    ]
    desk.write(*lines)
    desk.read()
    assert len(desk.records()) == 1


@pytest.mark.parametrize("status", [200, 202, 409])
def test_what_was_stored_is_not_recorded_twice(desk: Desk, status: int) -> None:
    desk.write(line("/dicom-web/studies", method="POST", status=str(status)))
    desk.read()
    assert desk.records() == []


def test_storing_that_was_refused_is_recorded_as_an_import(desk: Desk) -> None:
    desk.write(line(IN_STUDY, method="POST", status="403"))
    desk.read()
    assert desk.told() == [("Import", STUDY, "refused")]
    assert desk.records()[0]["action"] == "C"


@pytest.mark.parametrize("status", [307, 499])
def test_what_gave_nothing_away_is_no_access(desk: Desk, status: int) -> None:
    desk.write(line(IN_STUDY, status=str(status)))
    desk.read()
    assert desk.records() == []


def test_claims_that_nobody_confirmed_are_a_name_at_most(desk: Desk) -> None:
    forged = {**ANNA, "roles": ["admin"], "clinic_ids": ["clinic-b"]}
    desk.write(refused(IN_STUDY, 401, claims=forged, session="401"))
    desk.write(refused("/dicom-web/series", 401, claims=None, session=""))
    desk.read()
    forger, nobody = desk.records()
    assert forger["who"] == {"subject": "", "name": "anna", "roles": [], "verified": False}
    assert forger["clinic_ids"] == []
    assert nobody["who"] == {"subject": "", "name": "", "roles": [], "verified": False}


@pytest.mark.parametrize(
    "claims",
    [
        [],
        "anna",
        {"sub": {"a": 1}, "preferred_username": 5, "roles": "admin", "clinic_ids": {"a": "b"}},
        {"sub": "s" * 3000, "roles": ["r" * 90] * 90, "clinic_ids": ["c", "\n", "C", 5] * 200},
        {"sub": 'a"}\n{"id":"x"}', "preferred_username": "\x00\x1b[31m\u2028\u202e=HYPERLINK()"},
    ],
    ids=["list", "text", "types", "long", "characters"],
)
def test_hostile_claims_break_no_line_and_fill_none(desk: Desk, claims: object) -> None:
    desk.write(line(IN_STUDY, claims=claims))
    desk.read()
    (path,) = (desk.top / "access").glob("????-??.jsonl")
    (text,) = path.read_text().splitlines()
    assert len(text) < 4000
    record = json.loads(text)
    assert set(record["who"]) == {"subject", "name", "roles", "verified"}
    assert "\x1b" not in record["who"]["name"]
    assert all(clinic == "c" for clinic in record["clinic_ids"])


@pytest.mark.parametrize(
    "claims",
    ["", "!", "e", "a" * 16000, base64.urlsafe_b64encode(b"[" * 9000).decode(), "\u00e9"],
    ids=["none", "no base64", "short", "long", "deep", "not ascii"],
)
def test_a_payload_that_is_none_leaves_the_request(desk: Desk, claims: str) -> None:
    fields = json.loads(line(IN_STUDY)) | {"claims": claims}
    desk.write(json.dumps(fields).encode() + b"\n")
    desk.read()
    assert desk.told() == [VIEW]


def test_a_record_has_no_more_of_a_request_than_it_needs(desk: Desk) -> None:
    patient = "Mustermann^Erika"
    desk.write(
        line(f"/dicom-web/studies/{patient}", status="404"),
        line("/wado", status="404", study="9" * 64, other=patient),
        line(f"/orthanc/patients/{patient}", status="404"),
        line(f"/dicom-web/{patient}", status="404"),
    )
    desk.read()
    assert len(desk.records()) == 2
    assert patient not in json.dumps(desk.records())


def test_how_the_archive_is_may_be_asked_all_day_and_is_no_access(desk: Desk) -> None:
    prober = {"sub": "9c-prober", "preferred_username": "service-account-monitoring"}
    asked = ("/orthanc/health", "/orthanc/tools/metrics-prometheus")
    desk.write(*(line(path, claims=prober) for path in asked), frame(1))
    desk.write(*(refused(path, 503) for path in asked))
    desk.read()
    assert desk.told() == [VIEW]
    # Who may not ask is told of.
    desk.write(refused("/orthanc/health", 403))
    desk.read()
    assert [status for _, _, status in desk.told()] == ["viewed", "refused"]


def test_every_request_is_counted_by_what_became_of_it(desk: Desk) -> None:
    auditor = desk.auditor()
    statuses = (200, 206, 304, 401, 403, 404, 404, 400, 499, 500, 503)
    desk.write(*(refused(IN_STUDY, status) for status in statuses), line("/healthz"))
    auditor.requests()
    registry = auditor.metrics.registry
    counted = {
        outcome: registry.get_sample_value("dicom_archive_requests_total", {"outcome": outcome})
        for outcome in ("answered", "denied", "failed", "refused")
    }
    assert counted == {"answered": 3, "denied": 4, "failed": 2, "refused": 2}


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/dicom-web/studies", "search"),
        ("GET", f"/orthanc/dicom-web/studies/{STUDY}/series", "search"),
        ("GET", f"/dicom-web/studies/{STUDY}/series/1.2/metadata", "metadata"),
        ("GET", f"/dicom-web/studies/{STUDY}/series/1.2/instances/1.3/frames/1", "frames"),
        ("GET", f"/dicom-web/studies/{STUDY}", "objects"),
        ("GET", "/wado", "objects"),
        ("POST", "/dicom-web/studies", "store"),
    ],
)
def test_what_an_answer_took_is_counted_by_its_route(
    desk: Desk, method: str, path: str, route: str
) -> None:
    auditor = desk.auditor()
    get = auditor.metrics.registry.get_sample_value
    assert get("dicom_archive_request_seconds_count", {"route": route}) == 0
    desk.write(line(path, method=method, seconds=0.4), line("/orthanc/health"))
    desk.write(line(path, method=method, status="503", seconds=60))
    auditor.requests()
    assert get("dicom_archive_request_seconds_count", {"route": route}) == 1
    assert get("dicom_archive_request_seconds_sum", {"route": route}) == 0.4
    assert get("dicom_archive_request_seconds_count", {"route": ""}) is None


def test_a_line_of_before_an_upgrade_is_recorded_though_it_tells_no_time(desk: Desk) -> None:
    auditor = desk.auditor()
    older = json.loads(frame(1))
    del older["seconds"]
    desk.write(json.dumps(older).encode() + b"\n")
    auditor.requests()
    assert desk.told() == [VIEW]
    get = auditor.metrics.registry.get_sample_value
    assert get("dicom_archive_request_seconds_count", {"route": "frames"}) == 0


def test_who_is_at_work_is_counted_and_is_no_program(desk: Desk) -> None:
    auditor = desk.auditor()
    get = auditor.metrics.registry.get_sample_value
    assert get("dicom_active_people") == 0
    prober = {"sub": "9c-prober", "preferred_username": "service-account-monitoring"}
    desk.write(frame(1), frame(2), frame(3, claims=BERT), line("/orthanc/health", claims=prober))
    # Who was refused, or whose session nobody confirmed, is not.
    desk.write(frame(4, claims={"sub": "x"}, status="403"))
    desk.write(frame(5, claims={"sub": "y"}, session=""))
    auditor.requests()
    assert get("dicom_active_people") == 2
    desk.now_s += 901
    assert get("dicom_active_people") == 0


def test_logins_that_failed_are_counted_and_others_are_not(desk: Desk) -> None:
    auditor = desk.auditor()
    kinds = ("LOGIN", "LOGIN_ERROR", "LOGIN_ERROR", "RESET_PASSWORD_ERROR", "LOGOUT")
    desk.store.events = [desk.store.later(type=kind) for kind in kinds]
    auditor.keycloak()
    get = auditor.metrics.registry.get_sample_value
    assert get("dicom_login_failures_total") == 2
    assert get("dicom_logins_total") == 1
