"""All of a stack is killed at once under load, again and again: nothing is lost, and nothing is there twice.

KILLS scales it: `make test-power` kills ten times.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import time
from typing import TYPE_CHECKING

from faults.end_state import Archive
from faults.load import load
from faults.whole_state import Upload, Wanted, come_to_an_end, faults, keys
from harness.dicomweb import Reader
from harness.people import endpoint
from harness.stack import make
from stack.shell import podman

if TYPE_CHECKING:
    import pytest
    from faults.load import Load
    from harness.people import People
    from harness.stack import Stack

KILLS = int(os.environ.get("KILLS", "1"))
LONGEST_LIFE_S = 3.0


def kill_everything(stack: Stack, *, monitors: bool) -> int:
    """Kill every process of every container at once; returns how many containers ran.

    The first process of a container takes the others with it. With its monitor (conmon) nobody is
    left who would start it again, or tell Podman that it ended.
    """
    label = f"label=io.podman.compose.project={stack.podman_settings.project}"
    names = podman("ps", "--quiet", "--filter", label).split()
    states = [one["State"] for one in json.loads(podman("container", "inspect", *names))]
    doomed = [state["ConmonPid"] for state in states] if monitors else []
    for pid in (*doomed, *(state["Pid"] for state in states)):
        if pid:
            os.kill(pid, signal.SIGKILL)
    return len(names)


def refreshed(stack: Stack, tokens: dict[str, str]) -> dict[str, str]:
    """Go on with a session that began earlier."""
    with stack.session() as session:
        form = {"grant_type": "refresh_token", "client_id": "ohif-viewer"}
        form["refresh_token"] = tokens["refresh_token"]
        answer = session.post(endpoint(stack, "token"), data=form)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def check_people(stack: Stack, people: People, name: str, tokens: dict[str, str]) -> None:
    """See that a session goes on, and that a person begins a new one."""
    for token in (refreshed(stack, tokens)["access_token"], people.token(name, fresh=True)):
        Reader(stack, token).study_uids()


def wanted(under: Load) -> Wanted:
    """Return what must be there when everybody has done their work."""
    uploads = [Upload(one.files, one.attempts, one.is_answered) for one in under.deliveries]
    return Wanted(keys(under.exports), uploads)


def test_everything_is_killed_at_once_under_load(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    under = load(stack)
    name = f"physician-{under.clinics[0]}"
    with under.running():
        for number in range(KILLS):
            under.await_progress()
            tokens = under.people.all_tokens(name, fresh=True)
            time.sleep(secrets.randbelow(1000) / 1000 * LONGEST_LIFE_S)  # the fault itself
            assert kill_everything(stack, monitors=number % 2 == 1) >= 9
            make("up", stack.podman_settings.env_file)
            check_people(stack, under.people, name, tokens)
        under.await_progress()
    come_to_an_end(under)
    with capsys.disabled():
        files = sum(len(one.files) for one in under.exports)
        again = sum(one.attempts > 1 for one in under.deliveries)
        words = f"{files} files exported, {len(under.deliveries)} uploads ({again} sent again)"
        sys.stdout.write(f" {KILLS} kills, {words}, {under.reads} readings ")
    assert faults(under, wanted(under), Archive(stack)) == []
