"""The page's questions over HTTP: what came, who may ask, and uploads that go on where they were."""

from __future__ import annotations

import base64
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPConnection, RemoteDisconnected
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from dicom_importer import web
from dicom_importer.page.api import Page
from dicom_importer.page.drops import IDLE_S, OPEN_EACH, STALE_S
from dicom_importer.reasons import Stopping, Unavailable
from dicom_importer.scan import UPLOADING
from dicom_importer.uploader import Uploader
from harness.wait import wait_until
from unit.importer.building import dataset, encode, instance
from unit.importer.test_flow import DAY
from unit.importer.test_retry import refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unit.importer.conftest import Importer

WHO = {
    "Bearer tech": Uploader(200, "ann", ("clinic-a",), brings_all=True),
    "Bearer other": Uploader(200, "una", ("clinic-a",), brings_all=True),
    "Bearer b": Uploader(200, "ben", ("clinic-b",), brings_all=True),
    "Bearer gone": Uploader(200, "kim", ("clinic-c",), brings_all=True),
    "Bearer physician": Uploader(200, "pam", ("clinic-a", "clinic-b"), brings_derived=True),
    "Bearer admin": Uploader(200, "max", is_admin=True),
    "Bearer service": Uploader(403),
    "": Uploader(401),
}
CONTENT = "application/offset+octet-stream"
SUBMISSIONS, UPLOADS = "/page/clinics/clinic-a/submissions", "/page/clinics/clinic-a/uploads"
DROPS, RETRY = "/page/clinics/clinic-a/drops", "/page/clinics/clinic-a/retry"


@dataclass(frozen=True, slots=True)
class Told:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(slots=True)
class Client:
    """An importer whose page is asked over HTTP."""

    importer: Importer
    port: int

    @contextmanager
    def connected(self) -> Iterator[HTTPConnection]:
        """Hold a connection."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            yield connection
        finally:
            connection.close()

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        who: str = "Bearer tech",
        **headers: str,
    ) -> Told:
        """Send a request; underscores in the headers' names stand for hyphens."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        with self.connected() as connection:
            connection.request(method, path, body, {"Authorization": who} | named)
            answer = connection.getresponse()
            text = answer.read()
            lower = {key.lower(): value for key, value in answer.getheaders()}
            return Told(answer.status, lower, json.loads(text) if text else {})

    def tus(
        self,
        method: str,
        path: str = UPLOADS,
        body: bytes | None = None,
        who: str = "Bearer tech",
        **headers: str,
    ) -> Told:
        """Send a request of the tus protocol."""
        kind = {"Content_Type": CONTENT} if body is not None else {}
        named = {"Tus_Resumable": "1.0.0", **kind, **headers}
        return self.ask(path, method, body, who, **named)

    def announce(self, name: str, size: int, body: bytes | None = None, **headers: str) -> Told:
        """Announce a file, maybe with its beginning."""
        return self.tus(
            "POST", body=body, Upload_Length=str(size), Upload_Metadata=metadata(name), **headers
        )

    def inner(self, answer: Told) -> str:
        """Return the address of an upload as the importer knows it."""
        return answer.headers["location"].replace("/inbox/api/", "/page/")

    def finish(self, folder: str = "", who: str = "Bearer tech") -> Told:
        """Say that all of a drop is there."""
        return self.ask(DROPS, "POST", json.dumps({"folder": folder}).encode(), who)

    def groups(self, who: str = "Bearer tech", clinic: str = "clinic-a") -> list[dict[str, Any]]:
        """Return what arrived."""
        answer = self.ask(f"/page/clinics/{clinic}/submissions", who=who)
        assert answer.status == 200, answer
        return list(answer.body["groups"])

    def hidden(self) -> list[str]:
        """Return the files that wait in the hidden folder."""
        top = self.importer.root / "inbox" / "clinic-a" / UPLOADING
        return sorted(str(p.relative_to(top).as_posix()) for p in top.rglob("*") if p.is_file())

    def audited(self) -> list[dict[str, Any]]:
        """Return the audit records."""
        text = self.importer.config.audit_file.read_text()
        return [json.loads(line) for line in text.splitlines()]


def metadata(name: str, modified: str = "1700000000000") -> str:
    """Tell of a file as the protocol wants it."""
    pairs = {"filename": name, "modified": modified}
    return ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in pairs.items())


@pytest.fixture
def client(importer: Importer) -> Iterator[Client]:
    """Provide an importer whose page answers; its workers are the test's."""
    with serving(importer) as made:
        yield made


@contextmanager
def serving(importer: Importer) -> Iterator[Client]:
    """Answer as the importer that runs now."""
    service = importer.service

    def ask(authorization: str) -> Uploader:
        if authorization == "Bearer away":
            raise Unavailable("away")
        return WHO[authorization]

    page = Page(
        importer.config,
        service.drops,
        ask,
        service.look,
        now=importer.clock.utc,
        wake=service.wake.set,
    )
    doors = web.Doors(service.door.store, page.answer, service.words.refusals)
    server = web.serve(("127.0.0.1", 0), service.health, service.metrics.registry, doors)
    yield Client(importer, server.server_port)

    def end() -> None:
        server.shutdown()
        server.server_close()

    # It takes note within half a second, for which nobody waits.
    threading.Thread(target=end).start()


# Who may ask what.


def test_each_role_is_told_what_it_may_do(client: Client) -> None:
    told = {who: client.ask("/page/me", who=f"Bearer {who}").body for who in ("tech", "physician")}
    zone = {"time_zone": "Europe/Vienna"}
    ann = {"name": "ann", "clinics": ["clinic-a"], "brings": True, "reads": False}
    assert told["tech"] == ann | zone
    both = ["clinic-a", "clinic-b"]
    pam = {"name": "pam", "clinics": both, "brings": False, "reads": True}
    assert told["physician"] == pam | zone
    admin = client.ask("/page/me", who="Bearer admin").body
    assert admin == {"name": "max", "clinics": both, "brings": True, "reads": True} | zone
    # A clinic without an inbox is none.
    assert client.ask("/page/me", who="Bearer gone").body["clinics"] == []


@pytest.mark.parametrize(
    ("who", "status", "words"),
    [
        ("", 401, "neither brings nor reads"),
        ("Bearer service", 403, "neither brings nor reads"),
        ("Bearer away", 503, "cannot be asked who you are"),
    ],
)
def test_who_is_nobody_learns_nothing(client: Client, who: str, status: int, words: str) -> None:
    for path in ("/page/me", SUBMISSIONS, "/page/x"):
        answer = client.ask(path, who=who)
        assert (answer.status, words in answer.body["error"]) == (status, True)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "submissions", None),
        ("POST", "retry", b"{}"),
        ("POST", "drops", b"{}"),
        ("POST", "uploads", b""),
        ("OPTIONS", "uploads", None),
        ("PATCH", f"uploads/{'0' * 16}-{'0' * 16}.{'0' * 32}", b"x"),
    ],
)
def test_another_clinic_is_as_absent_as_one_that_nobody_has(
    client: Client, method: str, path: str, body: bytes | None
) -> None:
    answers = [
        client.tus(method, f"/page/clinics/{clinic}/{path}", body)
        for clinic in ("clinic-b", "clinic-x", "clinic-a%2f..%2fclinic-b")
    ]
    assert [answer.status for answer in answers] == [404] * 3
    assert answers[0].body == answers[1].body == answers[2].body
    assert client.tus(method, f"/page/clinics/clinic-a/{path}", body).body != answers[0].body


def test_who_reads_only_looks(client: Client) -> None:
    assert client.ask(SUBMISSIONS, who="Bearer physician").status == 200
    for method, path in (("POST", RETRY), ("POST", DROPS), ("POST", UPLOADS), ("OPTIONS", UPLOADS)):
        answer = client.tus(method, path, b"{}", who="Bearer physician")
        assert (answer.status, answer.body["error"]) == (403, "This account only looks.")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/page/me"),
        ("DELETE", SUBMISSIONS),
        ("GET", RETRY),
        ("GET", DROPS),
        ("GET", UPLOADS),
        ("PATCH", UPLOADS),
        ("GET", f"{UPLOADS}/x"),
    ],
)
def test_another_method_is_refused_by_the_names_of_those_that_are_taken(
    client: Client, method: str, path: str
) -> None:
    answer = client.tus(method, path)
    assert (answer.status, answer.body["error"].startswith("This takes ")) == (405, True)


@pytest.mark.parametrize(
    "path",
    ["/page/", "/page/x", "/page/clinics/clinic-a", f"{SUBMISSIONS}/x", f"{RETRY}/", f"{UPLOADS}/"],
)
def test_there_is_nothing_else(client: Client, path: str) -> None:
    assert (client.ask(path).status, client.ask(path).body["error"]) == (
        404,
        "There is nothing here.",
    )


# What arrived.


def test_a_submission_settles_is_stored_and_is_filed(client: Client) -> None:
    importer = client.importer
    for number in range(3):
        importer.drop(f"clinic-a/export/{number}.dcm", encode(dataset(StudyInstanceUID="1.2.3")))
    importer.service.sweep()
    importer.clock.now_s += 20
    (settling,) = client.groups()
    assert (settling["name"], settling["state"], settling["due_s"]) == ("export", "settling", 40)
    assert settling["files"]["waiting"] == 3
    importer.clock.now_s += 40
    importer.service.sweep()
    (storing,) = client.groups()
    assert (storing["state"], storing["due_s"]) == ("storing", 0)
    importer.work()
    (filed,) = client.groups(who="Bearer physician")
    assert (filed["state"], filed["files"]["filed"], filed["files"]["waiting"]) == ("filed", 3, 0)
    assert (filed["by"], filed["day"]) == ("inbox", filed["first"][:10])
    # Studies are for who reads them.
    assert filed["studies"] == ["1.2.3"]
    assert client.groups()[0]["studies"] == []
    assert client.groups("Bearer b", "clinic-b") == []


def test_a_failure_is_told_with_its_reason_and_what_to_do(client: Client) -> None:
    importer = client.importer
    importer.drop("clinic-a/export/good.dcm", instance())
    importer.drop("clinic-a/export/bad.dcm", b"")
    importer.run()
    (group,) = client.groups()
    assert (group["state"], group["files"]["filed"], group["files"]["failed"]) == ("failed", 1, 1)
    (failure,) = group["failures"]
    assert (failure["reason"], failure["found"]) == ("empty", "The file is empty.")
    assert (failure["examples"], failure["can_retry"]) == (["export/bad.dcm"], False)
    assert "Export the study again" in failure["advice"]


def test_what_was_put_off_says_why(client: Client) -> None:
    importer = client.importer
    importer.drop("clinic-a/export/one.dcm", instance())
    importer.archive.script += [lambda _: (503, b"")] * 40
    importer.settle()
    importer.work()
    (group,) = client.groups()
    assert group["state"] == "storing"
    assert "archive" in group["cause"]
    assert client.ask(SUBMISSIONS).body["archive_up"] is False


def test_copies_in_progress_are_told_of(client: Client) -> None:
    client.importer.drop("clinic-a/export/one.dcm.part", b"x")
    client.importer.service.sweep()
    body = client.ask(SUBMISSIONS).body
    assert (body["unfinished"], body["groups"]) == (1, [])


def test_the_newest_comes_first_and_older_days_only_when_asked_for(client: Client) -> None:
    importer = client.importer
    for name in ("old", "new"):
        importer.drop(f"clinic-a/{name}/one.dcm", instance())
        importer.run()
    journal = importer.service.journal
    with journal._table.transaction() as db:  # noqa: SLF001 - as if it had come then
        db.execute(
            "UPDATE file SET began_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-30 days') WHERE submission = ?",
            (b"old",),
        )
    assert [group["name"] for group in client.groups()] == ["new"]
    both = client.ask(f"{SUBMISSIONS}?days=60").body["groups"]
    assert [group["name"] for group in both] == ["new", "old"]


@pytest.mark.parametrize("days", ["0", "-1", "x", "401", "1e9", ""])
def test_days_are_a_number(client: Client, days: str) -> None:
    answer = client.ask(f"{SUBMISSIONS}?days={days or '%20'}")
    assert (answer.status, "days" in answer.body["error"]) == (400, True)


def test_names_that_are_no_text_are_shown_all_the_same(client: Client) -> None:
    client.importer.drop("clinic-a/exp\udcffrt/one.dcm", b"no image")
    client.importer.run()
    (group,) = client.groups()
    assert group["name"] == "exp\\xffrt"


# Trying again.


def again(client: Client, group: dict[str, Any], reason: str, who: str = "Bearer tech") -> Told:
    body = {"submission": group["submission"], "day": group["day"], "reason": reason}
    return client.ask(RETRY, "POST", json.dumps(body).encode(), who)


def test_what_failed_is_tried_again_once_and_that_is_audited(client: Client) -> None:
    importer = client.importer
    refuse(importer, "clinic-a/export/one.dcm")
    (group,) = client.groups()
    assert group["failures"][0]["can_retry"] is True
    answer = again(client, group, "refused_unreadable")
    assert (answer.status, answer.body) == (200, {"retried": 1, "left": 0})
    assert importer.tree() == ["inbox/clinic-a/export/one.dcm"]
    assert importer.service.wake.is_set()
    assert client.audited()[-1]["status"] == "retried"
    assert client.audited()[-1]["who"]["user"] == "ann"
    # The workstation's own name of a folder may be a patient's.
    assert "export" not in json.dumps(client.audited()[-1])
    assert again(client, group, "refused_unreadable").status == 404
    importer.run()
    (after,) = client.groups()
    assert (after["state"], after["files"]["filed"], after["failures"]) == ("filed", 1, [])


def test_of_another_clinic_nothing_is_tried_again(client: Client) -> None:
    refuse(client.importer, "clinic-b/export/one.dcm")
    (group,) = client.groups("Bearer b", "clinic-b")
    answer = again(client, group, "refused_unreadable")
    assert (answer.status, answer.body["error"]) == (404, "Nothing of it is left that failed so.")
    assert len(client.groups("Bearer b", "clinic-b")[0]["failures"]) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"submission": 1}', b'{"submission": "x", "day": "x", "reason": "x"}'],
)
def test_a_body_that_is_no_question_is_refused(client: Client, body: bytes) -> None:
    assert client.ask(RETRY, "POST", body).status == 400


def test_a_body_without_end_is_refused(client: Client) -> None:
    assert client.ask(RETRY, "POST", b" " * (1 << 15)).status == 413


# Uploads.


def test_a_dropped_folder_is_one_submission_with_its_structure(client: Client) -> None:
    files = {f"Export/CT/{n}.dcm": encode(dataset(StudyInstanceUID="1.2.9")) for n in range(3)}
    for name, content in files.items():
        answer = client.announce(name, len(content), content)
        assert (answer.status, answer.headers["upload-offset"]) == (201, str(len(content)))
    (waiting,) = client.ask(SUBMISSIONS, who="Bearer physician").body["uploads"]
    assert waiting == {"folder": "Export", "files": 3, "open": 0}
    answer = client.finish("Export")
    assert (answer.status, answer.body["files"]) == (200, 3)
    submission = answer.body["submission"]
    assert client.hidden() == []
    # Without a cool-down.
    assert client.importer.work() == 3
    tree = [f"processed/clinic-a/{DAY}/{submission}/{name}" for name in sorted(files)]
    assert client.importer.tree() == tree
    assert [one.name for one in (client.importer.root / "inbox" / "clinic-a").iterdir()] == []
    (group,) = client.groups()
    assert (group["by"], group["name"], group["files"]["filed"]) == ("page", "Export", 3)
    client.importer.service.tend()
    records = client.audited()
    assert [(x["status"], x["instances"]) for x in records] == [("delivered", 3), ("success", 3)]
    assert {x["submission"] for x in records} == {submission}
    who = records[0]["who"]
    assert (who["user"], who["source"]) == ("ann", "inbox-page")


def test_single_files_are_a_submission_without_a_name(client: Client) -> None:
    content = instance()
    client.announce("one.dcm", len(content), content)
    assert client.finish().body["files"] == 1
    client.importer.work()
    (group,) = client.groups()
    assert (group["by"], group["name"], group["state"]) == ("page", "", "filed")


def test_an_upload_goes_on_where_it_was_after_the_importer_was_killed(client: Client) -> None:
    content = instance()
    begun = client.announce("Export/one.dcm", len(content))
    where = client.inner(begun)
    assert begun.headers["upload-offset"] == "0"
    half = len(content) // 2
    sent = client.tus("PATCH", where, content[:half], Upload_Offset="0")
    assert (sent.status, sent.headers["upload-offset"]) == (204, str(half))
    client.importer.restart()
    with serving(client.importer) as after:
        asked = after.tus("HEAD", where)
        assert (asked.status, asked.headers["upload-offset"]) == (200, str(half))
        assert asked.headers["upload-length"] == str(len(content))
        # Also for whoever has forgotten its address.
        known = after.announce("Export/one.dcm", len(content))
        assert known.headers["location"] == begun.headers["location"]
        assert known.headers["upload-offset"] == str(half)
        done = after.tus("PATCH", where, content[half:], Upload_Offset=str(half))
        assert (done.status, done.headers["upload-offset"]) == (204, str(len(content)))
        assert after.finish("Export").body["files"] == 1
        after.importer.work()
        assert [one.state for one in after.importer.service.journal.active()] == []
        assert len(after.importer.archive.instances) == 1


def test_what_was_written_and_not_acknowledged_does_not_count(client: Client) -> None:
    content = instance()
    where = client.inner(client.announce("Export/one.dcm", len(content)))
    client.tus("PATCH", where, content[:10], Upload_Offset="0")
    (part,) = (
        path
        for path in (client.importer.root / "inbox").rglob("*.10")
        if path.parent.name == "parts"
    )
    # As a power cut may leave it: longer, with nothing in there.
    with part.open("ab") as file:
        file.write(bytes(50))
    assert client.tus("HEAD", where).headers["upload-offset"] == "10"
    client.tus("PATCH", where, content[10:], Upload_Offset="10")
    client.finish("Export")
    assert client.importer.work() == 1
    assert len(client.importer.archive.instances) == 1


def test_what_came_before_a_connection_broke_is_kept(client: Client) -> None:
    content = instance()
    where = client.inner(client.announce("Export/one.dcm", len(content)))
    with client.connected() as connection:
        connection.putrequest("PATCH", where)
        headers = {"Authorization": "Bearer tech", "Tus-Resumable": "1.0.0", "Upload-Offset": "0"}
        length = str(len(content))
        for name, value in (headers | {"Content-Type": CONTENT, "Content-Length": length}).items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(content[:100])
    offset = wait_until(
        lambda: int(client.tus("HEAD", where).headers["upload-offset"]), 10, "it was noticed"
    )
    assert offset == 100


def test_the_same_folder_chosen_again_sends_only_what_is_missing(client: Client) -> None:
    content = instance()
    client.announce("Export/one.dcm", len(content), content)
    again_ = client.announce("Export/one.dcm", len(content))
    assert (again_.status, again_.headers["upload-offset"]) == (201, str(len(content)))
    changed = client.tus(
        "POST",
        Upload_Length=str(len(content)),
        Upload_Metadata=metadata("Export/one.dcm", "1700000000001"),
    )
    assert changed.headers["upload-offset"] == "0"


def test_a_drop_that_is_left_alone_is_taken_as_far_as_it_came_and_gone_on_with(
    client: Client,
) -> None:
    importer, content = client.importer, instance()
    client.announce("Export/one.dcm", len(content), content)
    where = client.inner(client.announce("Export/two.dcm", len(content)))
    client.tus("PATCH", where, content[:20], Upload_Offset="0")
    importer.service.tend()
    assert importer.service.queue.idle
    importer.clock.now_s += IDLE_S
    importer.service.tend()
    assert importer.work() == 1
    assert client.audited()[0]["instances"] == 1
    # What it sent is not sent again, and of the other one the rest.
    assert client.announce("Export/one.dcm", len(content)).headers["upload-offset"] == str(
        len(content)
    )
    assert client.announce("Export/two.dcm", len(content)).headers["upload-offset"] == "20"
    client.tus("PATCH", where, content[20:], Upload_Offset="20")
    assert client.finish("Export").body["files"] == 1
    assert client.hidden() == []
    # After its end the same folder is a new one: somebody wants it tried again.
    assert client.announce("Export/one.dcm", len(content)).headers["upload-offset"] == "0"


def test_what_nobody_goes_on_with_is_removed_after_three_days(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.announce("Export/one.dcm", 1000)
    service, clock = client.importer.service, client.importer.clock
    service.tend()
    clock.now_s += IDLE_S
    service.tend()
    assert len(client.hidden()) == 3
    # Files' times are the real clock's.
    ago = timedelta(days=3650)
    monkeypatch.setattr(service.drops, "_now", lambda: clock.utc() + ago)
    assert timedelta(seconds=STALE_S) < ago
    service.tend()
    assert client.hidden() == []
    assert not (client.importer.root / "inbox" / "clinic-a" / UPLOADING).exists()


def test_an_upload_that_is_given_up_leaves_nothing(client: Client) -> None:
    where = client.inner(client.announce("Export/one.dcm", 1000))
    assert client.tus("DELETE", where).status == 204
    assert client.tus("HEAD", where).status == 404
    assert client.tus("DELETE", where).status == 404
    client.finish("Export")
    assert client.hidden() == []


def test_another_accounts_upload_is_as_absent_as_none(client: Client) -> None:
    where = client.inner(client.announce("Export/one.dcm", 1000))
    for method, body in (("HEAD", None), ("PATCH", b"x"), ("DELETE", None)):
        for path in (where, where[:-1] + ("0" if where[-1] != "0" else "1"), f"{UPLOADS}/x"):
            theirs = client.tus(method, path, body, who="Bearer other", Upload_Offset="0")
            assert theirs.status == 404
    assert client.tus("HEAD", where).status == 200
    # The same name of another account is another file.
    other = client.announce("Export/one.dcm", 1000, Authorization="Bearer other")
    assert client.inner(other) != where


def test_a_file_without_content_is_whole_at_once(client: Client) -> None:
    assert client.announce("Export/empty.dcm", 0).headers["upload-offset"] == "0"
    assert client.finish("Export").body["files"] == 1


def test_two_versions_of_a_file_are_both_kept(client: Client) -> None:
    for modified in ("1", "2"):
        client.tus("POST", body=b"x", Upload_Length="1", Upload_Metadata=metadata("E/x", modified))
    assert client.finish("E").body["files"] == 2


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload_Length": "-1"}, 400),
        ({"Upload_Length": ""}, 400),
        ({"Upload_Length": "9" * 16}, 400),
        ({"Upload_Length": "٣"}, 400),
        ({"Upload_Length": str((1 << 28) + 1)}, 413),
        ({"Upload_Metadata": "filename !!"}, 400),
        ({"Upload_Metadata": "filename /w=="}, 400),
        ({"Upload_Metadata": ""}, 422),
        ({"Upload_Metadata": metadata("../../clinic-b/x.dcm")}, 422),
        ({"Upload_Metadata": metadata("x.part")}, 422),
        ({"Tus_Resumable": "0.9"}, 412),
    ],
)
def test_what_is_announced_wrongly_is_refused_and_leaves_nothing(
    client: Client, headers: dict[str, str], status: int
) -> None:
    good = {"Upload_Length": "10", "Upload_Metadata": metadata("Export/x.dcm")}
    encoded = {key: value.encode().decode("latin-1") for key, value in (good | headers).items()}
    assert client.tus("POST", body=None, who="Bearer tech", **encoded).status == status
    assert client.hidden() == []
    assert client.tus("POST", body=None, who="Bearer tech", **good).status == 201


def test_what_is_sent_wrongly_is_refused_and_changes_nothing(client: Client) -> None:
    where = client.inner(client.announce("Export/one.dcm", 10))
    client.tus("PATCH", where, b"12345", Upload_Offset="0")
    for answer, status in (
        (client.tus("PATCH", where, b"6", Upload_Offset="4"), 409),
        (client.tus("PATCH", where, b"6"), 400),
        (client.tus("PATCH", where, b"6", Upload_Offset="5", Content_Type="text/plain"), 415),
        (client.tus("PATCH", where, b"6" * 6, Upload_Offset="5"), 413),
    ):
        assert answer.status == status, answer
    assert client.tus("HEAD", where).headers["upload-offset"] == "5"


def test_the_server_says_what_it_can(client: Client) -> None:
    answer = client.ask(UPLOADS, "OPTIONS")
    assert answer.status == 204
    assert answer.headers["tus-version"] == "1.0.0"
    assert answer.headers["tus-extension"] == "creation,creation-with-upload,termination"
    assert answer.headers["tus-max-size"] == str(1 << 28)


def test_without_room_on_the_disk_nothing_is_begun(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.statvfs", lambda _: SimpleNamespace(f_bavail=100, f_frsize=1))
    answer = client.announce("Export/one.dcm", 1000)
    assert (answer.status, "nearly full" in answer.body["error"]) == (507, True)
    assert client.hidden() == []


def test_an_account_has_not_too_many_files_under_way(client: Client) -> None:
    for number in range(OPEN_EACH):
        assert client.announce(f"Export/{number}.dcm", 10).status == 201
    answer = client.announce("Export/more.dcm", 10)
    assert (answer.status, "under way" in answer.body["error"]) == (429, True)
    other = client.announce("Export/more.dcm", 10, Authorization="Bearer other")
    assert other.status == 201


def test_a_stopping_importer_keeps_what_came(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = client.inner(client.announce("Export/one.dcm", 10))

    def stop() -> None:
        raise Stopping

    monkeypatch.setattr(client.importer.service.drops, "_alive", stop)
    answer = client.tus("PATCH", where, b"12345", Upload_Offset="0")
    assert (answer.status, "being stopped" in answer.body["error"]) == (503, True)
    assert client.tus("HEAD", where).status == 200


def test_what_the_audit_cannot_be_told_of_is_not_shown(client: Client) -> None:
    content = instance()
    client.announce("Export/one.dcm", len(content), content)
    client.importer.config.audit_file.mkdir()
    assert client.finish("Export").status == 503
    assert client.importer.service.queue.idle
    client.importer.config.audit_file.rmdir()
    assert client.finish("Export").body["files"] == 1


def test_what_was_whole_when_the_importer_was_killed_belongs_to_its_drop(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = instance()
    where = client.inner(client.announce("Export/one.dcm", len(content)))

    def killed(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr("dicom_importer.page.parts.finish", killed)
        with pytest.raises((ConnectionError, RemoteDisconnected)):
            client.tus("PATCH", where, content, Upload_Offset="0")
    asked = client.tus("HEAD", where)
    assert asked.headers["upload-offset"] == asked.headers["upload-length"]
    assert client.finish("Export").body["files"] == 1
    assert client.hidden() == []
