"""What every service says reaches the log store by service, level and clinic, whoever was away for a minute."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import time
from typing import TYPE_CHECKING

import pytest
from harness.drop import drop_files
from harness.logs import asked, found
from harness.phantom import ct
from harness.wait import wait_until
from stack.compose import services
from stack.dashboards import log_questions
from stack.shell import podman

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.people import People
    from harness.stack import Stack

# Of the documentation's questions those that this file's own traffic answers, by words of theirs.
ANSWERED = ("says how much", "came in from a clinic", "wrong anywhere", "says most errors")
LEVELS = {"critical", "debug", "error", "info", "warning"}
AWAY_S, SHIPPER_AWAY_S = 60, 20
SHORTEST_S = 5


class Front:
    """The front door, each of whose lines can be told from all others."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.mark = f"said-{secrets.token_hex(6)}"
        self.said = 0

    def say(self) -> None:
        """Have nginx write a line."""
        with self.stack.session() as session:
            session.get(f"{self.stack.url}/{self.mark}/{self.said}.txt")
        self.said += 1

    def say_for(self, seconds: float) -> None:
        """Have it write lines for so long, two a second."""
        end_s = time.monotonic() + seconds

        def is_over() -> bool:
            self.say()
            time.sleep(0.3)
            return time.monotonic() > end_s

        wait_until(is_over, seconds + 30, "the time is over")

    def heard(self) -> list[int]:
        """Return the numbers of its lines that the store holds."""
        words = f'{{service="nginx"}} "{self.mark}" | extract "/{self.mark}/<n>.txt" | fields n'
        return sorted(int(row["n"]) for row in found(self.stack, words))

    def await_all(self) -> None:
        """Wait until the store holds each line, once."""
        wait_until(
            lambda: set(self.heard()) == set(range(self.said)),
            60,
            f"all of {self.said} lines are there",
            lambda: f"{self.heard()}\n{self.stack.logs('shipper')}",
        )
        # A line that was sent and not confirmed comes twice; of a whole minute's lines a batch at most.
        assert len(self.heard()) <= self.said + 20


@pytest.fixture
def front(stack: Stack) -> Iterator[Front]:
    """Provide a front door that writes lines, and leave both ends of their way running."""
    yield Front(stack)
    for service in ("victorialogs", "shipper"):
        podman("start", stack.container(service))
        wait_until(
            lambda: stack.main_process("victorialogs") and stack.main_process("shipper"),
            60,
            f"{service} runs",
        )


def is_held(stack: Stack, line: str) -> bool:
    """Say whether the shipper has read a line and holds it on its disk.

    How many it counts as queued is no measure: those that are just being tried again are none of them.
    """
    kept = (stack.podman_settings.data_dir / "shipper").glob("*.rqf")
    return any(line.encode() in path.read_bytes() for path in kept)


def test_every_service_is_heard_by_its_name_at_a_level(stack: Stack) -> None:
    wanted = set(services(stack.podman_settings))
    words = "* | stats by (service, level) count() n"
    wait_until(
        lambda: {row["service"] for row in found(stack, words)} >= wanted,
        90,
        f"every service of {wanted} is heard",
        lambda: str(found(stack, words)),
    )
    rows = found(stack, words)
    assert {row["service"] for row in rows} == wanted
    assert {row["level"] for row in rows} <= LEVELS
    # What each says of itself at its start is no alarm.
    assert {row["service"] for row in rows if row["level"] == "info"} == wanted


def test_labels_are_three_and_no_other_field_is_made_of_a_line(
    stack: Stack, people: People
) -> None:
    people.clinic("clinic-logs", "Clinic of the logs")
    drop_files(stack, "clinic-logs", ct(seed=31, slices=1).files)
    of_clinic = '{clinic="clinic-logs"} success'
    (row,) = wait_until(lambda: found(stack, of_clinic), 30, "the import is told of", stack.logs)
    assert (row["service"], row["level"]) == ("importer", "info")
    labels = json.loads(asked(stack, "stream_field_names", query="*"))["values"]
    assert {label["value"] for label in labels} == {"clinic", "level", "service"}
    fields = json.loads(asked(stack, "field_names", query="*"))["values"]
    own = {"_msg", "_stream", "_stream_id", "_time"}
    assert {name["value"] for name in fields} == {"clinic", "level", "service"} | own


def test_a_line_is_as_the_container_said_it_and_when(stack: Stack, front: Front) -> None:
    front.say()
    front.await_all()
    (row,) = found(stack, f'{{service="nginx"}} "{front.mark}"')
    own = (stack.podman_settings.data_dir / "logs" / "nginx.log").read_text().splitlines()
    (line,) = [line for line in own if front.mark in line]
    when, _, _, text = line.split(" ", 3)
    assert row["_msg"] == text
    # Both to the nanosecond, the store's without zeros at the end; the container's has the host's time zone.
    assert row["_time"].removesuffix("Z").ljust(29, "0") == when[:29]
    assert front.mark in podman("logs", stack.container("nginx"))


def test_a_minute_without_the_log_store_loses_nothing(stack: Stack, front: Front) -> None:
    front.say()
    front.await_all()
    podman("stop", stack.container("victorialogs"))
    front.say_for(AWAY_S)
    # The control: they do wait, and are not merely read later.
    line = f"/{front.mark}/{front.said - 1}.txt"
    wait_until(
        lambda: is_held(stack, line), 30, "the last line waits", lambda: stack.logs("shipper")
    )
    podman("start", stack.container("victorialogs"))
    wait_until(lambda: stack.main_process("victorialogs"), 30, "the store runs")
    front.await_all()


def test_a_time_without_the_shipper_loses_nothing(stack: Stack, front: Front) -> None:
    front.say_for(SHORTEST_S)
    podman("stop", stack.container("shipper"))
    front.say_for(SHIPPER_AWAY_S)
    podman("start", stack.container("shipper"))
    front.await_all()


def test_a_shipper_that_is_killed_while_the_store_is_away_loses_nothing(
    stack: Stack, front: Front
) -> None:
    podman("stop", stack.container("victorialogs"))
    front.say_for(SHORTEST_S)
    before = stack.main_process("shipper")
    os.kill(before, signal.SIGKILL)
    front.say_for(SHORTEST_S)
    wait_until(lambda: stack.main_process("shipper") not in (0, before), 30, "it runs again")
    front.say_for(SHORTEST_S)
    podman("start", stack.container("victorialogs"))
    wait_until(lambda: stack.main_process("victorialogs"), 30, "the store runs")
    front.await_all()


def test_every_question_of_the_documentation_is_answered(stack: Stack, people: People) -> None:
    people.clinic("clinic-a", "Clinic A")
    drop_files(stack, "clinic-a", ct(seed=32, slices=1).files)
    wait_until(lambda: found(stack, '{clinic="clinic-a"} success'), 30, "the import is told of")
    queries = {question.asks: question.logsql for question in log_questions()}
    assert len(queries) >= 10
    # Each is understood; what there was traffic for has an answer.
    answers = {question: found(stack, query) for question, query in queries.items()}
    for question in ANSWERED:
        assert any(rows for asked, rows in answers.items() if question in asked), question


def test_what_a_command_prints_for_its_caller_alone_is_no_log(stack: Stack, people: People) -> None:
    folder = stack.podman_settings.data_dir / "logs"
    people.clinic("clinic-logs", "Clinic of the logs")
    name = f"once-{secrets.token_hex(4)}"
    told = stack.operate("user", NAME=name, CLINIC="clinic-logs", ROLE="physician")
    password = re.findall(r"password: (\S+)", told)[-1]
    texts = {path.name: path.read_text(errors="replace") for path in folder.iterdir()}
    # The control: what the same program says of its own accord is there.
    assert "realm dicom" in texts["realm.log"]
    assert [name for name, text in texts.items() if password in text] == []
