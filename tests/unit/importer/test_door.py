"""What is stored over HTTP goes the way of a dropped file and is answered for, part by part."""

from __future__ import annotations

import errno
import io
import json
import os
import threading
import time
import zipfile
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dicom_importer import derived, web
from dicom_importer.door import UPLOADS, UPLOADS_EACH, Door
from dicom_importer.reasons import Stopping, Unavailable
from dicom_importer.uploader import Uploader
from harness.wait import wait_until
from unit.importer.building import dataset, encode, instance
from unit.importer.test_flow import DAY
from unit.importer.test_multipart import HEAD, joined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset
    from unit.importer.conftest import Importer

WHO = {
    "Bearer a": Uploader(200, "ann", ("clinic-a",), brings_all=True),
    "Bearer a2": Uploader(200, "una", ("clinic-a",), brings_all=True),
    "Bearer ab": Uploader(200, "bob", ("clinic-a", "clinic-b"), brings_all=True),
    "Bearer b": Uploader(200, "ben", ("clinic-b",), brings_all=True),
    "Bearer none": Uploader(200, "eve", (), brings_all=True),
    "Bearer c": Uploader(200, "kim", ("clinic-c",), brings_all=True),
    "Bearer physician": Uploader(200, "pam", ("clinic-a",), brings_derived=True),
    "Bearer physician ab": Uploader(200, "pia", ("clinic-a", "clinic-b"), brings_derived=True),
    "Bearer physician none": Uploader(200, "pax", (), brings_derived=True),
    "Bearer both": Uploader(
        200, "bea", ("clinic-a", "clinic-b"), brings_all=True, brings_derived=True
    ),
    "Bearer admin": Uploader(200, "max", ("clinic-a",), is_admin=True),
    "": Uploader(401),
}
COMPREHENSIVE_3D_SR, CT_IMAGE = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.2"
TYPE = 'multipart/related; type="application/dicom"; boundary=b'
HEADERS = {
    "Authorization": "Bearer a",
    "Content-Type": TYPE,
    "X-Forwarded-Host": "clinic.example",
    "X-Forwarded-Proto": "https",
}


class Client:
    """An importer with its threads and its door, spoken to over HTTP."""

    def __init__(self, importer: Importer, port: int, door: Door) -> None:
        self.importer = importer
        self.port = port
        self.door = door

    @contextmanager
    def connected(self) -> Iterator[HTTPConnection]:
        """Hold a connection."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            yield connection
        finally:
            connection.close()

    def store(
        self,
        *files: bytes,
        path: str = "/dicom-web/studies",
        body: bytes | None = None,
        who: str = "Bearer a",
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Store files, or a body; returns status and answer."""
        named = {"Authorization": who} | (headers or {})
        content = joined(list(files)) if body is None else body
        with self.connected() as connection:
            connection.request("POST", path, content, HEADERS | named)
            return read(connection.getresponse())

    @contextmanager
    def uploading(self, who: str) -> Iterator[None]:
        """Hold an upload that goes on for ever."""
        before = self.parts_left()
        with self.connected() as connection:
            connection.putrequest("POST", "/dicom-web/studies")
            headers = HEADERS | {"Authorization": who, "Content-Length": "1000"}
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            connection.send(b"--b\r\n" + HEAD + bytes(200))
            wait_until(lambda: self.parts_left() > before, 10, "it is being written")
            yield

    def parts_left(self) -> int:
        """Return how many parts lie in the inboxes, also hidden."""
        return sum(path.endswith(".dcm") for path in self.left())

    def audited(self) -> list[dict[str, Any]]:
        """Return the audit records."""
        text = self.importer.config.audit_file.read_text()
        return [json.loads(line) for line in text.splitlines()]

    def left(self) -> list[str]:
        """Return what lies in the inboxes, also what is hidden there."""
        return sorted(
            str((Path(top) / name).relative_to(inbox))
            for inbox in [self.importer.root / "inbox"]
            for clinic in inbox.iterdir()
            # Unlike Path.glob, it does not mind what vanishes meanwhile.
            for top, folders, files in os.walk(clinic)
            for name in (*folders, *files)
        )


def read(answer: HTTPResponse) -> tuple[int, dict[str, Any]]:
    """Read an answer."""
    return answer.status, json.loads(answer.read() or b"{}")


def items(answer: dict[str, Any], sequence: str) -> list[tuple[str, int]]:
    """Return SOP Instance UIDs and failure reasons of a sequence."""
    found = answer.get(sequence, {"Value": []})["Value"]
    return [
        (
            one.get("00081155", {"Value": [""]})["Value"][0],
            one.get("00081197", {"Value": [0]})["Value"][0],
        )
        for one in found
    ]


@pytest.fixture
def client(importer: Importer) -> Iterator[Client]:
    """Provide a running importer; its answers come within two seconds."""
    service, config = importer.service, importer.config

    def ask(authorization: str) -> Uploader:
        if authorization == "Bearer away":
            raise Unavailable("away")
        return WHO[authorization]

    door = Door(
        config.inbox_dir,
        ask,
        service.queue,
        service.journal,
        service.worker._context.limits,  # noqa: SLF001
        ownership=service.worker._context.ownership,  # noqa: SLF001
        min_free_bytes=0,
        audit_file=config.audit_file,
        now=importer.clock.utc,
        alive=lambda: None,
        monotonic=importer.clock.monotonic,
        answer_s=2.0,
    )
    door.open()
    server = web.serve(
        ("127.0.0.1", 0),
        service.health,
        service.metrics.registry,
        web.Doors(door.store, service.page.answer, service.words.refusals),
    )
    worker = threading.Thread(target=service.worker.run)
    worker.start()
    yield Client(importer, server.server_port, door)
    service.queue.close()
    worker.join()
    server.shutdown()
    server.server_close()


def test_what_is_stored_is_archived_filed_and_answered_for(client: Client) -> None:
    made = [dataset(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4") for _ in range(3)]
    status, answer = client.store(*map(encode, made))
    assert status == 200
    uids = [str(one.SOPInstanceUID) for one in made]
    assert items(answer, "00081199") == [(uid, 0) for uid in uids]
    study = "https://clinic.example/dicom-web/studies/1.2.3"
    assert answer["00081190"] == {"vr": "UR", "Value": [study]}
    (first, *_) = answer["00081199"]["Value"]
    assert first["00081150"]["Value"] == [made[0].SOPClassUID]
    assert first["00081190"]["Value"] == [f"{study}/series/1.2.3.4/instances/{uids[0]}"]
    held = client.importer.archive.instances.values()
    assert {one.tags.SOPInstanceUID for one in held} == {*uids}
    assert {one.tags.InstitutionName for one in held} == {"clinic-a"}
    assert [path.rsplit("/", 1)[1] for path in client.importer.tree()] == [
        f"{number:06}.dcm" for number in (1, 2, 3)
    ]
    assert all(x.startswith(f"processed/clinic-a/{DAY}/") for x in client.importer.tree())
    assert client.left() == []


def test_it_does_not_wait_for_the_cool_down_and_its_record_names_who_stored(client: Client) -> None:
    before = client.importer.clock.now_s
    assert client.store(instance())[0] == 200
    assert client.importer.clock.now_s == before
    client.importer.service.tend()
    records = client.audited()
    assert [(x["status"], x["clinic_id"], x["who"].get("user")) for x in records] == [
        ("delivered", "clinic-a", "ann"),
        ("success", "clinic-a", None),
    ]
    assert records[0]["submission"] == records[1]["submission"]


def test_without_its_record_in_the_audit_nothing_is_taken(client: Client) -> None:
    audit_file = client.importer.config.audit_file
    audit_file.mkdir()
    status, answer = client.store(instance())
    assert (status, answer["error"]) == (503, "Nothing was stored: the audit cannot be written.")
    assert client.left() == []
    assert client.importer.service.queue.idle
    assert client.importer.archive.instances == {}
    audit_file.rmdir()
    assert client.store(instance())[0] == 200


def test_the_audit_is_told_before_the_files_are_shown(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "at the rename")

    monkeypatch.setattr("dicom_importer.rename.rename", fail)
    assert client.store(instance())[0] == 503
    assert [record["status"] for record in client.audited()] == ["delivered"]
    assert client.left() == []
    assert client.importer.service.queue.idle


def test_a_repeat_is_answered_for_as_stored(client: Client) -> None:
    content = instance()
    first, again = client.store(content), client.store(content)
    assert again == first
    assert len(client.importer.archive.instances) == 1


def test_one_bad_part_fails_alone(client: Client) -> None:
    good, other = dataset(), dataset(StudyInstanceUID="1.2.x")
    status, answer = client.store(encode(good), b"no DICOM", encode(other)[:-5], b"")
    assert status == 202
    assert items(answer, "00081199") == [(good.SOPInstanceUID, 0)]
    assert items(answer, "0008119A") == [("", 0xC000)] * 3
    failed = [path for path in client.importer.tree() if path.startswith("failed/")]
    assert len([path for path in failed if path.endswith(".error.json")]) == 3


def test_nothing_but_bad_parts_is_a_conflict(client: Client) -> None:
    assert client.store(b"no DICOM")[0] == 409


def test_another_clinics_study_is_refused_without_a_word_of_it(client: Client) -> None:
    uid = "1.2.3"
    assert client.store(instance(StudyInstanceUID=uid), who="Bearer ab")[0] == 400
    path = "/dicom-web/studies?clinic=clinic-b"
    assert client.store(instance(StudyInstanceUID=uid), path=path, who="Bearer ab")[0] == 200
    intruder = dataset(StudyInstanceUID=uid)
    status, answer = client.store(encode(intruder))
    assert (status, items(answer, "00081198")) == (409, [(intruder.SOPInstanceUID, 0x0110)])
    assert "clinic-b" not in json.dumps(answer)


def test_another_version_of_an_instance_is_refused(client: Client) -> None:
    made = dataset()
    assert client.store(encode(made))[0] == 200
    made.PixelData = bytes(16)
    status, answer = client.store(encode(made))
    assert (status, items(answer, "00081198")) == (409, [(made.SOPInstanceUID, 0x0110)])


def test_in_a_studys_own_address_other_studies_are_refused(client: Client) -> None:
    mine, other = dataset(StudyInstanceUID="1.2.3"), dataset(StudyInstanceUID="1.2.4")
    status, answer = client.store(encode(mine), encode(other), path="/dicom-web/studies/1.2.3")
    assert status == 202
    assert items(answer, "00081199") == [(mine.SOPInstanceUID, 0)]
    assert items(answer, "00081198") == [(other.SOPInstanceUID, 0xA900)]
    assert client.store(encode(other), path="/dicom-web/studies/1.2.3")[0] == 409
    assert client.left() == []


def test_an_archive_that_is_away_is_waited_for_and_the_files_stay(client: Client) -> None:
    client.importer.archive.away = True
    made = dataset()
    status, answer = client.store(encode(made))
    assert (status, items(answer, "00081198")) == (503, [(made.SOPInstanceUID, 0xA700)])
    (name,) = [path for path in client.left() if path.endswith(".dcm")]
    assert name.startswith("clinic-a/20261124-")
    client.importer.archive.away = False
    client.importer.clock.now_s += 120
    # Another one wakes the workers.
    assert client.store(instance())[0] == 200
    wait_until(lambda: client.left() == [], 10, "its folder goes with its last file")
    assert len(client.importer.archive.instances) == 2


@pytest.mark.parametrize(
    ("who", "query", "expected"),
    [
        ("", "", 401),
        ("Bearer admin", "", 403),
        ("Bearer physician none", "", 403),
        ("Bearer physician", "?clinic=clinic-b", 403),
        ("Bearer none", "", 403),
        ("Bearer a", "?clinic=clinic-b", 403),
        ("Bearer a", "?clinic=../clinic-b", 403),
        ("Bearer a", "?clinic=clinic-a", 200),
        ("Bearer ab", "", 400),
        ("Bearer ab", "?clinic=clinic-b", 200),
        ("Bearer c", "", 403),
        ("Bearer away", "", 503),
    ],
)
def test_who_stores_for_which_clinic(client: Client, who: str, query: str, expected: int) -> None:
    path = f"/dicom-web/studies{query}"
    status, _ = client.store(instance(), path=path, who=who)
    assert status == expected
    assert bool(client.importer.archive.instances) == (expected == 200)
    assert client.left() == []


def report(study_uid: str, **attributes: object) -> Dataset:
    """Make what a viewer saves in a study of the patient of the others."""
    named = {"SOPClassUID": COMPREHENSIVE_3D_SR} | attributes
    return dataset(StudyInstanceUID=study_uid, PixelData=None, **named)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Content-Type": "application/dicom"}, 415),
        ({"Content-Type": 'multipart/related; type="application/dicom+xml"; boundary=b'}, 415),
        ({"Content-Type": "multipart/related; type=application/dicom"}, 400),
        ({"Content-Type": "multipart/form-data; boundary=b"}, 415),
        ({"Accept": "text/html"}, 406),
        ({"Accept": "application/dicom+json, */*;q=0.1"}, 200),
        ({"Content-Type": "multipart/related; boundary=c"}, 400),
    ],
)
def test_what_is_no_store_request_stores_nothing(
    client: Client, headers: dict[str, str], expected: int
) -> None:
    status, _ = client.store(instance(), headers=headers)
    assert status == expected
    assert client.left() == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", 400),
        (b"--b--", 400),
        (joined([instance()])[:-6], 400),
        (joined([instance()]).replace(b"application/dicom", b"application/json"), 415),
    ],
)
def test_a_body_that_is_not_whole_stores_nothing(
    client: Client, body: bytes, expected: int
) -> None:
    assert client.store(body=body)[0] == expected
    assert client.importer.tree() == []
    assert client.left() == []


def test_a_body_in_chunks_is_taken(client: Client) -> None:
    body = joined([instance(), instance()])
    with client.connected() as connection:
        pieces = (body[at : at + 100] for at in range(0, len(body), 100))
        connection.request("POST", "/dicom-web/studies", pieces, HEADERS, encode_chunked=True)
        status, answer = read(connection.getresponse())
    assert (status, len(items(answer, "00081199"))) == (200, 2)


@pytest.mark.parametrize("chunked", [True, False])
def test_a_connection_that_breaks_off_stores_nothing(client: Client, *, chunked: bool) -> None:
    body = joined([instance(), instance()])
    length = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
    with client.connected() as connection:
        connection.putrequest("POST", "/dicom-web/studies")
        for name, value in (HEADERS | length).items():
            connection.putheader(name, value)
        connection.endheaders()
        half = body[: len(body) // 2]
        connection.send(b"%x\r\n%b" % (len(body), half) if chunked else half)
        wait_until(lambda: bool(client.left()), 10, "it is being written")
    wait_until(lambda: not client.left(), 10, "it is removed")
    assert client.importer.tree() == []
    assert client.store(instance())[0] == 200


def test_no_more_uploads_are_taken_at_once_than_threads_are_set_aside(client: Client) -> None:
    with ExitStack() as uploads:
        for number in range(UPLOADS):
            who = "Bearer a" if number < UPLOADS_EACH else "Bearer a2"
            uploads.enter_context(client.uploading(who))
        status, answer = client.store(instance(), who="Bearer b")
        assert (status, answer["error"].partition(";")[0]) == (503, "Too many uploads at once")
    wait_until(lambda: not client.left(), 10, "all are removed")
    assert client.store(instance(), who="Bearer b")[0] == 200


def test_an_account_leaves_half_of_the_uploads_to_others(client: Client) -> None:
    with ExitStack() as uploads:
        for _ in range(UPLOADS_EACH):
            uploads.enter_context(client.uploading("Bearer a"))
        status, answer = client.store(instance())
        assert (status, f"has {UPLOADS_EACH} uploads under way" in answer["error"]) == (503, True)
        assert client.store(instance(), who="Bearer b")[0] == 200
    wait_until(lambda: not client.left(), 10, "all are removed")
    assert client.store(instance())[0] == 200


def test_nothing_is_taken_before_what_was_left_is_removed(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.door, "_is_open", threading.Event())
    assert client.store(instance())[0] == 503
    client.door.open()
    assert client.store(instance())[0] == 200


def test_an_importer_that_is_stopped_keeps_nothing_of_what_is_not_whole(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        raise Stopping

    monkeypatch.setattr(client.door, "_alive", stop)
    assert client.store(instance())[0] == 503
    assert client.left() == []


def test_a_disk_that_is_nearly_full_takes_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.door, "_min_free_bytes", 1 << 60)
    assert client.store(instance())[0] == 507
    assert client.left() == []
    monkeypatch.undo()
    assert client.store(instance())[0] == 200


def test_more_parts_than_are_taken_store_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_importer.door.MAX_PARTS", 2)
    assert client.store(*(instance() for _ in range(3)))[0] == 413
    assert client.left() == []
    assert client.store(*(instance() for _ in range(2)))[0] == 200


def test_what_a_killed_importer_left_unfinished_is_removed(importer: Importer) -> None:
    left = importer.drop("clinic-a/.dicom-importer-unpacking/20261124-x.stow/000001.dcm", b"x")
    importer.restart()
    assert not left.exists()


def test_what_a_failing_disk_left_hidden_is_removed_by_and_by(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr("dicom_importer.rename.rename", fail)
    monkeypatch.setattr("dicom_importer.upkeep.remove", fail)
    assert client.store(instance())[0] == 503
    monkeypatch.undo()
    zipped = client.importer.drop("clinic-a/.dicom-importer-unpacking/of-a-zip/1.dcm", b"x")
    with client.uploading("Bearer a"):
        assert client.parts_left() == 3
        client.door.tidy("clinic-a")
        assert client.parts_left() == 2
    wait_until(lambda: client.parts_left() == 1, 10, "the other one ends")
    assert zipped.exists()


def test_the_importer_tidies_by_itself(importer: Importer) -> None:
    left = importer.drop("clinic-a/.dicom-importer-unpacking/20261124-x.stow/000001.dcm", b"x")
    importer.service.tend()
    assert not left.exists()


def test_the_folder_of_an_upload_goes_when_it_was_emptied(importer: Importer) -> None:
    folder = importer.root / "inbox/clinic-a/20261124-x.stow"
    folder.mkdir()
    importer.clock.now_s += time.time() + 2 * importer.config.empty_folder_age_s
    importer.service.tend()
    assert not folder.exists()


@pytest.fixture
def studies(client: Client) -> Client:
    """Put a study of each clinic into the archive: 1.2.1 of clinic-a, 1.2.2 of clinic-b."""
    assert client.store(instance(StudyInstanceUID="1.2.1"))[0] == 200
    assert client.store(instance(StudyInstanceUID="1.2.2"), who="Bearer b")[0] == 200
    return client


@pytest.mark.parametrize("who", ["Bearer physician", "Bearer physician ab", "Bearer both"])
def test_what_a_physician_derives_goes_into_the_clinic_of_its_study(
    studies: Client, who: str
) -> None:
    made = {"clinic-a": report("1.2.1"), "clinic-b": report("1.2.2")}
    for clinic, one in made.items():
        if who == "Bearer physician" and clinic != "clinic-a":
            continue
        status, answer = studies.store(encode(one), who=who)
        assert (status, items(answer, "00081199")) == (200, [(one.SOPInstanceUID, 0)])
        held = studies.importer.archive.instances.values()
        (tags,) = [x.tags for x in held if x.tags.SOPInstanceUID == one.SOPInstanceUID]
        assert tags.InstitutionName == clinic
    assert studies.left() == []


@pytest.mark.parametrize("sop_class", sorted(derived.SOP_CLASSES))
def test_each_derived_class_is_taken(studies: Client, sop_class: str) -> None:
    one = report("1.2.1", SOPClassUID=sop_class)
    assert studies.store(encode(one), who="Bearer physician")[0] == 200


@pytest.mark.parametrize(
    "refused",
    [
        report("1.2.1", SOPClassUID=CT_IMAGE),
        report("1.2.1", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67"),
        report("1.2.1", SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1"),
        report("1.2.2"),
        report("1.2.3"),
    ],
    ids=["image", "dose", "document", "other clinic", "absent"],
)
def test_what_a_physician_may_not_store_is_refused_and_not_kept(
    studies: Client, refused: Dataset
) -> None:
    before = studies.importer.tree(), set(studies.importer.archive.instances)
    records = len(studies.audited())
    status, answer = studies.store(encode(refused), who="Bearer physician")
    assert (status, items(answer, "00081198")) == (409, [(refused.SOPInstanceUID, 0x0124)])
    assert answer.keys() == {"00081198"}
    assert "clinic-" not in json.dumps(answer)
    assert studies.left() == []
    assert (studies.importer.tree(), set(studies.importer.archive.instances)) == before
    (record,) = studies.audited()[records:]
    told = record["status"], record["who"]["user"], record["study_instance_uid"]
    assert told == ("refused", "pam", refused.StudyInstanceUID)


def test_of_one_request_what_is_allowed_is_stored_all_the_same(studies: Client) -> None:
    good, image, foreign = report("1.2.1"), dataset(StudyInstanceUID="1.2.1"), report("1.2.2")
    parts = [encode(one) for one in (image, good, foreign)]
    status, answer = studies.store(*parts, b"no DICOM", who="Bearer physician")
    assert status == 202
    assert items(answer, "00081199") == [(good.SOPInstanceUID, 0)]
    refused = [(image.SOPInstanceUID, 0x0124), (foreign.SOPInstanceUID, 0x0124)]
    assert items(answer, "00081198") == refused
    assert items(answer, "0008119A") == [("", 0xC000)]
    assert studies.left() == []


def test_one_request_derives_of_one_study(studies: Client) -> None:
    first, second = report("1.2.1"), report("1.2.2")
    status, answer = studies.store(encode(first), encode(second), who="Bearer physician ab")
    assert status == 202
    assert items(answer, "00081199") == [(first.SOPInstanceUID, 0)]
    assert items(answer, "00081198") == [(second.SOPInstanceUID, 0xA900)]
    path = "/dicom-web/studies/1.2.1"
    status, answer = studies.store(encode(second), path=path, who="Bearer physician ab")
    assert (status, items(answer, "00081198")) == (409, [(second.SOPInstanceUID, 0xA900)])


def test_a_physician_of_two_clinics_may_name_one(studies: Client) -> None:
    one = encode(report("1.2.2"))
    for clinic, expected in (("clinic-a", 409), ("clinic-b", 200)):
        path = f"/dicom-web/studies?clinic={clinic}"
        assert studies.store(one, path=path, who="Bearer physician ab")[0] == expected


def test_a_zip_of_a_physician_is_not_unpacked(studies: Client) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("1.dcm", instance(StudyInstanceUID="1.2.1"))
    status, answer = studies.store(packed.getvalue(), who="Bearer physician")
    assert (status, items(answer, "0008119A")) == (409, [("", 0xC000)])
    assert len(studies.importer.archive.instances) == 2


def test_without_the_archive_a_physicians_object_is_not_taken_in(studies: Client) -> None:
    studies.importer.clock.now_s += 120
    studies.importer.archive.away = True
    assert studies.store(encode(report("1.2.1")), who="Bearer physician")[0] == 503
    assert studies.left() == []
