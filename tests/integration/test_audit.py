"""Who looked at what is recorded once, who was refused or logged in too, no patient is named; the report answers."""

from __future__ import annotations

import csv
import io
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from harness.dicomweb import Reader
from harness.drop import drop_files
from harness.people import endpoint, form_action, open_login_form, service_token
from harness.phantom import Identity, ct
from harness.wait import wait_until
from stack.shell import podman

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.people import People
    from harness.phantom import Study
    from harness.stack import Stack

SLICES = 60
PATIENT = f"Audited{secrets.token_hex(6)}"
Records = list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class Audit:
    """The records of a running stack."""

    stack: Stack

    def text(self) -> str:
        """Return every file of records."""
        folder = self.stack.data_dir / "audit" / "access"
        return "".join(path.read_text() for path in sorted(folder.glob("*.jsonl")))

    def of(self, **wanted: object) -> Records:
        """Return the records with these values, `name` being that of who did it."""
        found = []
        for line in self.text().splitlines():
            record = json.loads(line)
            who = record.get("who", {})
            values = record | {"name": who.get("name"), "code": record.get("event", {}).get("code")}
            if all(values.get(key) == value for key, value in wanted.items()):
                found.append(record)
        return found

    def wait(self, **wanted: object) -> Records:
        """Return the records with these values, once there are any."""
        return wait_until(
            lambda: self.of(**wanted),
            40,
            f"{wanted} is recorded",
            lambda: self.stack.logs("auditor"),
        )


@pytest.fixture(scope="module")
def audit(stack: Stack) -> Audit:
    """Provide the records."""
    return Audit(stack)


@pytest.fixture(scope="module")
def study(stack: Stack, people: People) -> Study:
    """Provide a study of many slices in clinic-a."""
    people.claims("physician-a")
    made = ct(
        7, Identity(patient_name=f"{PATIENT}^Erika", patient_id=PATIENT), slices=SLICES, size=16
    )
    assert not drop_files(stack, "clinic-a", made.files).failed
    return made


def view(reader: Reader, study: Study) -> None:
    """Search in a study and read each of its slices, as the viewer does."""
    reader.search(f"/dicom-web/studies?PatientName={PATIENT}*")
    path = f"/dicom-web/studies/{study.uid}"
    series = study.identity.uid("series")
    assert len(reader.search(f"{path}/series/{series}/instances?limit=1000")) == SLICES
    for item in reader.get(f"{path}/series/{series}/metadata").json():
        (instance,) = item["00080018"]["Value"]
        answer = reader.get(
            f"{path}/series/{series}/instances/{instance}/frames/1",
            'multipart/related; type="application/octet-stream"',
        )
        assert answer.status_code == 200


def test_viewing_a_study_of_many_slices_is_one_record(
    audit: Audit, reader: Callable[[str], Reader], study: Study
) -> None:
    view(reader("physician-a"), study)
    audit.wait(study_instance_uid=study.uid, name="physician-a")
    # What came last is recorded, so that nothing of the view is still to come.
    reader("physician-a").get("/dicom-web/studies/2.25.77")
    audit.wait(study_instance_uid="2.25.77", name="physician-a")
    (record,) = audit.of(study_instance_uid=study.uid, name="physician-a")
    assert record["event"]["code"] == "110103"  # type: ignore[index]
    assert (record["action"], record["outcome"], record["status"]) == ("R", 0, "viewed")
    assert record["clinic_ids"] == ["clinic-a"]
    assert record["who"]["roles"] == ["physician"]  # type: ignore[index]
    assert record["who"]["verified"] is True  # type: ignore[index]
    assert audit.of(code="110112", name="physician-a"), "the search across studies"


def test_another_clinics_physician_leaves_one_denial_for_many_attempts(
    audit: Audit, reader: Callable[[str], Reader], study: Study
) -> None:
    other = reader("physician-b")
    for _ in range(5):
        assert other.get(f"/dicom-web/studies/{study.uid}/metadata").status_code == 404
    (record,) = audit.wait(study_instance_uid=study.uid, name="physician-b")
    assert (record["status"], record["reason"], record["outcome"]) == ("refused", "absent", 4)
    assert record["who"]["verified"] is True  # type: ignore[index]


def test_who_is_not_logged_in_is_recorded_without_belief(
    audit: Audit, stack: Stack, people: People, study: Study
) -> None:
    head, claims, signature = people.token("physician-a").split(".")
    forged = Reader(stack, f"{head}.{claims}.{signature[::-1]}")
    path = f"/dicom-web/studies/{study.uid}/series/2.25.{secrets.randbelow(10**9)}"
    assert forged.get(path).status_code == 401
    found = audit.wait(reason="not_logged_in", name="physician-a")
    assert {record["who"]["subject"] for record in found} == {""}  # type: ignore[index]
    assert {record["who"]["verified"] for record in found} == {False}  # type: ignore[index]


def test_logins_failed_logins_and_changes_of_people_are_recorded(
    audit: Audit, stack: Stack, people: People
) -> None:
    name = f"audited-{secrets.token_hex(4)}"
    people.person(name, "physician", "clinic-a")
    with stack.session() as session:
        page, _ = open_login_form(stack, session)
        fields = {"username": name, "password": "not the password"}
        session.post(form_action(page.text), data=fields, allow_redirects=False)
    tokens = people.all_tokens(name)
    with stack.session() as session:
        form = {"client_id": "ohif-viewer", "refresh_token": tokens["refresh_token"]}
        assert session.post(endpoint(stack, "logout"), data=form).status_code == 204
    (out,) = audit.wait(name=name, status="logout")
    (well,) = audit.of(name=name, status="login", outcome=0)
    (failed,) = audit.of(name=name, status="login", outcome=4)
    assert failed["reason"] == "invalid_user_credentials"
    types = [record["type"]["code"] for record in (out, well, failed)]  # type: ignore[index]
    assert types == ["110123", "110122", "110122"]
    subject = well["who"]["subject"]  # type: ignore[index]
    (made,) = audit.wait(object=f"users/{subject}", status="user create")
    assert made["who"]["name"] == "realm-reconciler"  # type: ignore[index]


@pytest.fixture
def without_auditor(stack: Stack) -> Iterator[Callable[[], None]]:
    """Kill the auditor; gives what brings it back, which is done at the end in any case."""
    container = stack.container("auditor")
    podman("kill", "--signal=KILL", container)

    def back() -> None:
        podman("start", container)

    yield back
    back()


def test_an_auditor_that_was_killed_catches_up(
    audit: Audit,
    stack: Stack,
    study: Study,
    reader: Callable[[str], Reader],
    without_auditor: Callable[[], None],
) -> None:
    view(reader("physician-ab"), study)
    assert not audit.of(study_instance_uid=study.uid, name="physician-ab")
    without_auditor()
    audit.wait(study_instance_uid=study.uid, name="physician-ab")
    podman("kill", "--signal=KILL", stack.container("auditor"))
    without_auditor()
    view(reader("physician-ab"), study)
    reader("physician-ab").get("/dicom-web/studies/2.25.78")
    audit.wait(study_instance_uid="2.25.78", name="physician-ab")
    assert len(audit.of(study_instance_uid=study.uid, name="physician-ab")) == 1
    ids = [json.loads(line)["id"] for line in audit.text().splitlines()]
    assert len(ids) == len(set(ids))


def test_no_patient_is_named(audit: Audit, stack: Stack, study: Study) -> None:
    audit.wait(study_instance_uid=study.uid)
    spool = stack.data_dir / "audit" / "spool"
    waiting = "".join(path.read_text() for path in spool.iterdir())
    assert study.uid in waiting, "what was read is there to be searched"
    for text in (audit.text(), waiting):
        assert PATIENT.lower() not in text.lower()


def test_no_token_is_written(audit: Audit, stack: Stack, people: People) -> None:
    head, claims, signature = people.token("physician-a").split(".")
    spool = stack.data_dir / "audit" / "spool"
    waiting = "".join(path.read_text() for path in spool.iterdir())
    assert '"claims":"ey' in waiting
    for text in (audit.text(), waiting):
        assert signature not in text
        assert f"{head}." not in text
    assert claims


def report(stack: Stack, **words: str) -> str:
    return stack.operate("access-report", **words)


def test_the_report_says_who_looked_at_a_study(
    audit: Audit, stack: Stack, study: Study, reader: Callable[[str], Reader]
) -> None:
    reader("physician-a").get(f"/dicom-web/studies/{study.uid}/metadata")
    audit.wait(study_instance_uid=study.uid, name="physician-a")
    asking = f"auditor-{secrets.token_hex(4)}"
    table = report(stack, STUDY=study.uid, WHO=asking)
    assert "physician-a" in table
    assert "Import" in table, "the importer's records are there too"
    rows = list(csv.DictReader(io.StringIO(report(stack, STUDY=study.uid, CSV="1"))))
    assert {"physician-a"} <= {row["who"] for row in rows}
    assert {row["study"] for row in rows} == {study.uid}
    (used,) = audit.of(code="110101", name=asking)
    assert used["study_instance_uid"] == study.uid


def test_the_report_says_what_a_person_looked_at(
    audit: Audit, stack: Stack, study: Study, reader: Callable[[str], Reader]
) -> None:
    reader("physician-a").get(f"/dicom-web/studies/{study.uid}/metadata")
    (viewed,) = audit.wait(study_instance_uid=study.uid, name="physician-a", status="viewed")
    day = str(viewed["time"])[:10]
    assert study.uid in report(stack, USER="physician-a", FROM=day, TO=day)
    assert study.uid not in report(stack, USER="physician-a", TO="2020-01-01")
    assert study.uid not in report(stack, USER="no-clinic")


def test_the_audit_is_whole(stack: Stack) -> None:
    assert "whole" in stack.operate("audit-check")


def test_the_auditors_account_reads_events_and_nothing_else(stack: Stack) -> None:
    token = service_token(stack, "auditor")
    keycloak = "http://keycloak:8080/auth/admin/realms/dicom"
    asking = (
        "import sys, urllib3\n"
        "for path in sys.argv[2:]:\n"
        "    headers = {'Authorization': 'Bearer ' + sys.argv[1]}\n"
        f"    print(urllib3.request('GET', '{keycloak}/' + path, headers=headers).status)\n"
    )
    paths = [
        "events?max=1",
        "admin-events?max=1",
        "users",
        "clients",
        "groups",
        "roles",
        "sessions",
    ]
    answers = stack.exec("auditor", "python3", "-c", asking, token, *paths).stdout.split()
    assert answers[:2] == ["200", "200"]
    assert set(answers[2:]) <= {"403", "404"}
    assert Reader(stack, token).get("/dicom-web/studies").status_code in (401, 403)


def test_nobody_but_the_auditor_writes_or_reads_the_records(stack: Stack) -> None:
    folder = stack.data_dir / "audit" / "access"
    owner = folder.stat()
    assert (owner.st_uid, owner.st_mode & 0o777) == (7112, 0o700)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    mounts = json.loads(podman("container", "inspect", stack.container("auditor")))[0]["Mounts"]
    writable = {m["Destination"] for m in mounts if m["RW"] and m["Type"] == "bind"}
    assert "/var/log/dicom-audit" not in writable
    for service in ("nginx", "importer", "orthanc", "keycloak"):
        found = json.loads(podman("container", "inspect", stack.container(service)))[0]["Mounts"]
        assert not [m for m in found if m["Source"].endswith("/audit/access")], service
