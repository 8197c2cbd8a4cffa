"""The page at /inbox/ over the public address: whose inbox somebody sees, and uploads that survive a kill."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from harness.drop import drop_files
from harness.inbox_page import API, InboxPage
from harness.own_importer import own_importer
from harness.phantom import ct
from harness.receivers import free_port
from harness.wait import wait_until
from stack import health

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.dicomweb import Reader
    from harness.people import People
    from harness.stack import Stack


@pytest.fixture
def page(stack: Stack, people: People) -> Callable[..., InboxPage]:
    """Provide the page as a person has it of a clinic."""

    def of(name: str, clinic: str = "clinic-a") -> InboxPage:
        return InboxPage(stack, people.token(name, fresh=True), clinic)

    return of


def test_people_of_a_clinic_see_what_arrived_and_others_as_much_as_of_none(
    stack: Stack, page: Callable[..., InboxPage]
) -> None:
    study = ct(seed=401, slices=2, size=63)
    outcome = drop_files(stack, "clinic-a", study.files | {"empty.dcm": b""})
    assert outcome.reasons.keys() == {"empty.dcm"}
    (filed, *_) = outcome.processed.values()
    folder = filed.parent.name
    for name in ("technician-a", "physician-a", "physician-ab", "admin-x"):
        (group,) = [one for one in page(name).groups() if one["name"] == folder]
        assert (group["state"], group["files"]["filed"], group["files"]["failed"]) == (
            "failed",
            2,
            1,
        )
        assert group["failures"][0]["found"] == "The file is empty."
        assert group["studies"] == ([] if name == "technician-a" else [study.uid])
    assert folder not in str(page("physician-b", "clinic-b").groups())
    stranger = page("physician-b")
    foreign, absent = (
        stranger.ask("submissions"),
        page("physician-b", "clinic-x").ask("submissions"),
    )
    assert foreign.status_code == absent.status_code == 404
    assert foreign.content == absent.content == stranger.at(f"{API}/x").content
    # A look does not say more by its headers.
    assert foreign.headers.keys() == absent.headers.keys()
    assert foreign.headers["Cache-Control"] == "no-store"


def test_into_another_clinic_nobody_uploads_and_a_physician_into_none(
    stack: Stack, page: Callable[..., InboxPage]
) -> None:
    technician = page("technician-a", "clinic-b")
    foreign = technician.announce("x.dcm", 1, b"x")
    absent = page("technician-a", "clinic-x").announce("x.dcm", 1, b"x")
    assert foreign.status_code == absent.status_code == 404
    assert foreign.content == absent.content
    # Nor by the name of a file.
    for name in ("../../clinic-b/x.dcm", "/files/inbox/clinic-b/x.dcm", "..\\clinic-b\\x"):
        refused = page("technician-a").announce(name, 1, b"x")
        assert (refused.status_code, "error" in refused.json()) == (422, True)
    own = page("physician-a").announce("x.dcm", 1, b"x")
    assert (own.status_code, own.json()["error"]) == (403, "This account only looks.")
    assert list(stack.inbox("clinic-b").glob("**/x*")) == []
    assert page("technician-a").announce("x.dcm", 1).status_code == 201


def test_an_upload_goes_on_after_the_importer_was_killed_and_reaches_its_physician(
    stack: Stack, page: Callable[..., InboxPage], reader: Callable[[str], Reader]
) -> None:
    technician = page("technician-a")
    before = stack.main_process("importer")
    study = ct(seed=402, slices=3, size=401)
    (name, content), *rest = ((f"CD 1/{name}", file) for name, file in study.files.items())
    for other, file in rest:
        assert technician.announce(other, len(file), file).status_code == 201
    where = technician.announce(name, len(content)).headers["Location"]
    half = len(content) // 2
    sent = technician.at(where, "PATCH", content[:half], Upload_Offset="0")
    assert (sent.status_code, sent.headers["Upload-Offset"]) == (204, str(half))
    os.kill(before, signal.SIGKILL)
    wait_until(
        lambda: (
            stack.main_process("importer") not in {0, before}
            and health.state(stack.podman_settings, "importer") == "healthy"
        ),
        90,
        "the importer runs again",
        stack.logs,
    )
    asked = technician.at(where, "HEAD")
    assert (asked.status_code, asked.headers["Upload-Offset"]) == (200, str(half))
    # An upload of another account is as absent as none.
    assert page("admin-x").at(where, "HEAD").status_code == 404
    done = technician.at(where, "PATCH", content[half:], Upload_Offset=str(half))
    assert done.headers["Upload-Offset"] == str(len(content))
    ended = technician.ask("drops", "POST", {"folder": "CD 1"}).json()
    assert ended["files"] == 3

    def filed() -> dict[str, Any]:
        # What has just been moved into the inbox is seen by the next sweep.
        found = technician.group(ended["submission"])
        return found if found and found["files"]["filed"] == ended["files"] else {}

    group = wait_until(filed, 60, "all of it is filed", stack.logs)
    assert (group["name"], group["state"]) == ("CD 1", "filed")
    assert study.uid in reader("physician-a").study_uids()
    kept = stack.files / "processed" / "clinic-a" / group["day"] / ended["submission"]
    assert {path.name for path in (kept / "CD 1").iterdir()} == set(study.files)


def test_what_failed_by_another_clinics_doing_is_tried_again_by_who_brought_it(
    stack: Stack, page: Callable[..., InboxPage]
) -> None:
    study = ct(seed=403, slices=1, size=63)
    assert drop_files(stack, "clinic-b", study.files).failed == {}
    technician = page("technician-a")
    ((name, content),) = study.files.items()
    technician.announce(name, len(content), content)
    submission = technician.ask("drops", "POST", {"folder": ""}).json()["submission"]

    def failed() -> dict[str, Any]:
        group = technician.group(submission)
        return group if group.get("state") == "failed" else {}

    group = wait_until(failed, 60, "it failed", stack.logs)
    question = {"submission": submission, "day": group["day"], "reason": "other_clinic"}
    refused = page("physician-a").ask("retry", "POST", question)
    assert (refused.status_code, refused.json()["error"]) == (403, "This account only looks.")
    assert technician.ask("retry", "POST", question).json() == {"retried": 1, "left": 0}
    # The study is the other clinic's still.
    wait_until(failed, 60, "it failed again", stack.logs)


def test_a_full_disk_is_said_before_anything_is_sent(
    stack: Stack, people: People, tmp_path: Path
) -> None:
    port = free_port()
    importer = own_importer(
        tmp_path,
        stack,
        LISTEN_PORT=str(port),
        MIN_FREE_BYTES=str(1 << 60),
        RESUME_FREE_BYTES=str(1 << 60),
    )
    (importer.inbox / "clinic-a").mkdir()
    token = people.token("technician-a", fresh=True)
    with importer.running(), stack.session() as session:
        address = f"http://127.0.0.1:{port}/page/clinics/clinic-a/uploads"
        headers = {
            "Authorization": f"Bearer {token}",
            "Tus-Resumable": "1.0.0",
            "Upload-Length": "1000",
            "Upload-Metadata": "filename eC5kY20=",
        }
        answer = session.post(address, headers=headers)
        assert (answer.status_code, "nearly full" in answer.json()["error"]) == (507, True)
        assert list((importer.inbox / "clinic-a").iterdir()) == []
