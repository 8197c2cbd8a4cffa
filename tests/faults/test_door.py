"""Killed at any step of a STOW-RS upload, or out of room in it: nothing of it is kept, or all of it, once."""

from __future__ import annotations

import json
import os
import random
import secrets
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from threading import Timer
from typing import TYPE_CHECKING

import pytest
from faults.steps import Step, middle
from faults.test_disk_full import full
from faults.test_killed_at_each_step import assert_well, killed_at_each
from faults.upload import NAMES, Technician, Upload, images, technician, upload
from harness.drop import remaining
from harness.own_importer import FOLDERS
from harness.small_disk import small_disk
from harness.wait import wait_until

if TYPE_CHECKING:
    from faults.scene import Scene
    from harness.strace import Call

KILLS = int(os.environ.get("DOOR_KILLS", "10"))
SEED = os.environ.get("SEED") or secrets.token_hex(4)
# From when it has started: while an upload of so many slices comes, or until it may be answered.
SLICES, LIVES_S = 40, (0.1, 0.6)
FLOW_TIMEOUT_S = 60
# Above what must be free before a part is begun (ROOM_BYTES), so that the disk itself says no.
DISK_BYTES = 80 << 20


@pytest.fixture(scope="module")
def who(scene: Scene) -> Technician:
    """Provide somebody who stores."""
    return technician(scene.stack)


@pytest.fixture(scope="module")
def recorded_upload(scene: Scene, who: Technician) -> dict[Step, Call]:
    """Provide the steps of an upload that nothing disturbs, each with the call in its middle."""
    one = upload(scene, who)
    assert one.disturbed() == 200
    assert one.end() == []
    return {step: middle(calls) for step, calls in one.steps().items()}


@pytest.fixture(scope="module")
def ends(scene: Scene, who: Technician, recorded_upload: dict[Step, Call]) -> dict[Step, list[str]]:
    """Provide what is wrong after a kill at each step of an upload."""
    return killed_at_each(partial(upload, scene, who), recorded_upload)


@pytest.mark.parametrize("name", NAMES)
def test_killed_when_about_to(ends: dict[Step, list[str]], name: str) -> None:
    assert_well(ends, name)


@pytest.mark.parametrize(
    "name",
    ["sync a part", "sync the upload's folder", "sync the audit", "sync the inbox"],
)
def test_a_sync_fails_and_no_success_is_told(
    scene: Scene, who: Technician, recorded_upload: dict[Step, Call], name: str
) -> None:
    # The last sync of the inbox comes after the rename: what was shown is imported.
    *_, call = (call for step, call in recorded_upload.items() if step.name == name)
    one = upload(scene, who)
    assert one.disturbed(call, "error=EIO") == 503
    assert "EIO" in one.trace.read_text()
    assert one.end() == []


def test_killed_at_random_times_while_somebody_stores(
    scene: Scene, who: Technician, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        sys.stdout.write(f" SEED={SEED} DOOR_KILLS={KILLS} ")
    rng = random.Random(SEED)  # noqa: S311 - to be repeated, not to be secret
    one = upload(scene, who)
    importer = one.importer
    studies = [replace(one, files=images(secrets.token_hex(8), SLICES, 200))]

    def store() -> None:
        """Store a study as often as it takes, as a client does, and begin with the next one."""
        try:
            with studies[-1].connected() as connection:
                status, uids = studies[-1].store(connection)
        except ConnectionError:
            return
        if status:
            assert (status, uids) == (200, studies[-1].sop_uids), importer.tail()
            studies.append(replace(one, files=images(secrets.token_hex(8), SLICES, 200)))

    for _ in range(KILLS):
        with importer.running() as process:
            Timer(rng.uniform(0, rng.choice(LIVES_S)), process.kill).start()
            while process.poll() is None:
                store()
    with importer.running() as process:
        store()
        wait_until(lambda: not remaining(importer.inbox), FLOW_TIMEOUT_S, "all", importer.tail)
        importer.come_to_an_end(process, len(remaining(importer.files / "processed")))
    assert_each_is_stored_once(one, studies[:-1])


def assert_each_is_stored_once(one: Upload, studies: list[Upload]) -> None:
    """Fail unless what was taken in is whole, and the archive was given each instance once."""
    importer, archive = one.importer, one.scene.archive
    assert list(one.inbox.iterdir()) == []
    assert remaining(importer.files / "failed") == []
    contents = [{name: file.content for name, file in study.files.items()} for study in studies]
    for folder in (importer.files / "processed").glob("*/*/*"):
        assert {path.name: path.read_bytes() for path in folder.iterdir()} in contents
    told = Counter(str(record["submission"]) for record in one.delivered())
    assert {name: told[name] for name in one.taken_in()} == dict.fromkeys(one.taken_in(), 1)
    stored: Counter[str] = Counter()
    for record in importer.records():
        if record["status"] == "success":
            stored[str(record["study_instance_uid"])] += int(str(record["instances"]))
    assert stored == {study.study_uid: SLICES for study in studies}
    for study in studies:
        held = archive.lookup(study.study_uid, "Study")
        assert [archive.sop_uids(each) for each in held] == [study.sop_uids]


@pytest.mark.parametrize(
    ("place", "of", "expected"),
    [
        ("files", ("blocks",), (507, "Nothing was stored: the disk is full.")),
        ("files", ("inodes",), (507, "Nothing was stored: the disk is full.")),
        ("audit", (), (503, "Nothing was stored: the audit cannot be written.")),
    ],
)
def test_a_disk_runs_full_in_the_middle_of_an_upload(
    scene: Scene, who: Technician, place: str, of: tuple[str, ...], expected: tuple[int, str]
) -> None:
    one = upload(scene, who)
    importer = one.importer
    with small_disk(importer.root / place, DISK_BYTES):
        for name in FOLDERS:
            (importer.root / name).mkdir(parents=True, exist_ok=True)
        one.inbox.mkdir(exist_ok=True)
        with importer.running(), one.connected() as connection:
            body = one.body()
            one.begin(connection, len(body))
            # The first part is on its way.
            connection.endheaders(body[: len(body) // 4])
            wait_until(lambda: remaining(one.inbox), FLOW_TIMEOUT_S, "it begins", importer.tail)
            with full(importer.root / place, *of):
                connection.send(body[len(body) // 4 :])
                answer = connection.getresponse()
                assert (answer.status, json.loads(answer.read())["error"]) == expected
                assert list(one.inbox.iterdir()) == []
            assert one.delivered() == []
        assert one.end() == []
