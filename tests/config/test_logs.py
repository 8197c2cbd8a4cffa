"""What the shipper makes of each program's lines, seen by a store that takes them, refuses them or is away."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from harness.wait import wait_until
from stack.credentials import UIDS
from stack.settings import PODMAN_DIR
from stack.shell import attempt, podman

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# By service: a line as the program says it, and the level that it is shipped with.
SAID = [
    ("postgresql", "2026-11-26 07:46:04.286 UTC [13] LOG:  database system is ready", "info"),
    ("postgresql", "2026-11-26 07:46:04.286 UTC [13] orthanc@orthanc WARNING:  x", "warning"),
    ("postgresql", "2026-11-26 07:46:04.286 UTC [13] orthanc@orthanc FATAL:  no password", "error"),
    ("postgresql", "2026-11-26 07:46:04.286 UTC [13] PANIC:  no disk", "critical"),
    ("postgresql", "2026-11-26 07:46:04.286 UTC [13] DEBUG2:  x", "debug"),
    ("keycloak", "2026-11-26 07:48:55,321 INFO  [org.keycloak] (main) ERROR is a word", "info"),
    ("keycloak", "2026-11-26 07:48:55,321 WARN  [org.keycloak.events] (executor-1) x", "warning"),
    ("keycloak", "2026-11-26 07:48:55,321 ERROR [org.keycloak] (main) boom", "error"),
    ("keycloak", "java.lang.IllegalStateException: boom", "error"),
    ("keycloak", "\tat org.keycloak.Main.main(Main.java:7)", "error"),
    ("keycloak", "Caused by: java.io.IOException: none", "error"),
    ("keycloak", "\t... 12 more", "error"),
    ("orthanc", "I1126 07:49:18.145044             MAIN main.cpp:2452] x", "info"),
    ("orthanc", "W1126 07:49:18.145044             MAIN main.cpp:2452] x", "warning"),
    ("orthanc", "E1126 07:49:18.145044             MAIN main.cpp:2452] x", "error"),
    ("orthanc", "Traceback (most recent call last):", "error"),
    ("ohif", "2026/11/26 07:46:05 [notice] 6#6: nginx/1.26.3", "info"),
    ("ohif", "2026/11/26 07:46:05 [emerg] 6#6: no port", "critical"),
    (
        "nginx",
        '{"time":"2026-11-26T07:49:17+00:00","client":"10.0.0.1","path":"/x","status":"503"}',
        "error",
    ),
    (
        "nginx",
        '{"time":"2026-11-26T07:49:17+00:00","client":"10.0.0.1","path":"/x","status":"404"}',
        "info",
    ),
    ("prometheus", 'ts=2026-11-26T07:47:33.978Z caller=main.go:623 level=info msg="x"', "info"),
    ("alertmanager", 'time=2026-11-26T07:48:28.431Z level=WARN source=a.go:1 msg="x"', "warning"),
    ("grafana", 'logger=server t=2026-11-26T07:48:28Z level=error msg="x"', "error"),
    ("victorialogs", "2026-11-26T07:48:28.431Z\twarn\tlib/x.go:1\tx", "warning"),
    ("importer", '{"time": "2026-11-26T07:47:53.709+00:00", "event": "started"}', "info"),
    (
        "importer",
        '{"time": "2026-11-26T07:47:53.709+00:00", "event": "rejected", "clinic": "clinic-a"}',
        "warning",
    ),
    (
        "importer",
        '{"time": "2026-11-26T07:47:53.709+00:00", "event": "loop", "error": "OSError", "traceback": []}',
        "error",
    ),
    ("realm", "realm dicom: no changes", "info"),
    ("sftp", "Invalid user nobody from 10.0.0.1 port 50742", "info"),
    ("realm", 'who: "quoted" \\ back\\slash ü \x01 \x1b[31m red', "info"),
]


def login(status: str, named: str, became: str = "") -> str:
    """Return what Samba writes down of a login."""
    said = {"status": status, "clientAccount": named, "becameAccount": became or None}
    about = {"type": "Authentication", "Authentication": {**said, "mappedAccount": named}}
    return "  " + json.dumps({"timestamp": "2026-11-26T17:00:00.123456+0000", **about})


CLINIC = '{"time": "2026-11-26T07:47:53.709+00:00", "event": "success", "clinic": "clinic-a"}'
OF_ACCOUNTS = (
    "Accepted password for clinic-a from 10.0.0.1 port 50742 ssh2",
    "Failed publickey for clinic-a from 2001:db8::1 port 50742 ssh2: ED25519 SHA256:x",
    "Connection closed by authenticating user clinic-a 10.0.0.1 port 50742 [preauth]",
    "Disconnected from user clinic-a 10.0.0.1 port 50742",
    login("NT_STATUS_OK", "CLINIC-A", "clinic-a"),
    login("NT_STATUS_WRONG_PASSWORD", "clinic-a"),
)
# Said of a clinic by who has no say in it, and what is no clinic's id.
NO_CLINIC = (
    '{"time":"2026-11-26T07:49:17+00:00","client":"10.0.0.1","agent":"{\\"clinic\\": \\"clinic-b\\"}","status":"200"}',
    '{"time": "2026-11-26T07:47:53.709+00:00", "event": "x", "clinic": "Jane Doe"}',
    '{"time": "2026-11-26T07:47:53.709+00:00", "event": "\\"clinic\\": \\"clinic-c\\""}',
    "Failed password for invalid user clinic-a from 10.0.0.1 port 50742 ssh2",
    "Invalid user Accepted password for clinic-a from 10.0.0.1 port 50742",
    login("NT_STATUS_NO_SUCH_USER", "clinic-a"),
    login("NT_STATUS_OK", "", 'x", "becameAccount": "clinic-a'),
)


@dataclass(slots=True)
class Store:
    """What takes Loki's protocol: it answers with `status`, and keeps what it took."""

    status: int = 204
    taken: list[tuple[dict[str, str], int, str]] = field(default_factory=list)
    refused: int = 0

    def take(self, body: bytes) -> int:
        """Take one request's body."""
        entries = [
            (stream["stream"], int(when_ns), text)
            for stream in json.loads(body)["streams"]
            for when_ns, text in stream["values"]
        ]
        if self.status == 204:
            self.taken += entries
        else:
            self.refused += len(entries)
        return self.status

    def texts(self) -> list[str]:
        """Return the lines alone."""
        return [text for _, _, text in self.taken]


@dataclass(slots=True)
class Shipper:
    """The shipper's container, a folder that it reads as Podman's, and the store that it sends to."""

    tag: str
    folder: Path
    store: Store
    port: int
    container: str = ""

    def start(self) -> None:
        """Start it, with what an earlier one left."""
        path = f"{self.folder}/logs"
        self.container = podman(
            *("run", "--detach", "--network=host", "--no-healthcheck", "--read-only"),
            *("--user=7119:7119", "--cap-drop=ALL", "--cap-add=DAC_OVERRIDE", "--tmpfs=/tmp"),
            *(
                "-e",
                f"LOGS_URL=http://127.0.0.1:{self.port}/push",
                "-e",
                "LOGS_BUFFER_BYTES=10485760",
            ),
            *("-v", f"{PODMAN_DIR}/shipper/syslog-ng.conf:/etc/shipper/syslog-ng.conf:ro"),
            *("-v", f"{PODMAN_DIR}/shipper/store.conf:/etc/shipper/store.conf:ro"),
            *(
                "-v",
                f"{path}:/var/log/containers:ro",
                "-v",
                f"{self.folder}/state:/var/lib/shipper",
            ),
            *("-v", f"{self.folder}/metrics:/var/lib/metrics", self.tag),
        ).strip()

    def stop(self, how: str = "TERM") -> None:
        """Stop or kill it."""
        podman("kill", f"--signal={how}", self.container)
        podman("wait", self.container)
        podman("rm", self.container)
        self.container = ""

    def log(self) -> str:
        """Return what it said, for failure messages."""
        return attempt(["podman", "logs", self.container]).stderr

    def say(
        self, service: str, *texts: str, when: str = "2026-11-26T07:48:11.668347497+00:00"
    ) -> None:
        """Append lines to a service's file, as Podman does."""
        path = self.folder / "logs" / f"{service}.log"
        with path.open("a") as file:
            file.write("".join(f"{when} stdout F {text}\n" for text in texts))
        path.chmod(0o600)

    def counted(self, result: str) -> float:
        """Return what it wrote down of its lines' fate."""
        path = self.folder / "metrics" / "shipper.prom"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [line for line in lines if "events_total" in line and f'result="{result}"' in line]
        return sum(float(line.split()[-1]) for line in found)


@pytest.fixture
def shipper(image: Callable[[str], str], tmp_path: Path) -> Iterator[Shipper]:
    """Provide a shipper that runs, and its store."""
    store = Store()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(store.take(body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    for name in ("logs", "state", "metrics"):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, UIDS["shipper"], UIDS["shipper"])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made = Shipper(image("shipper"), tmp_path, store, server.server_address[1])
    made.start()
    yield made
    if made.container:
        podman("rm", "--force", "--time=0", made.container)
    server.shutdown()
    server.server_close()


def arrived(shipper: Shipper, count: int) -> list[tuple[dict[str, str], int, str]]:
    """Wait until the store took so many lines; returns all that it took."""
    wait_until(lambda: len(shipper.store.taken) >= count, 60, f"{count} lines arrive", shipper.log)
    return shipper.store.taken


def test_each_program_says_in_its_own_way_how_bad_it_is(shipper: Shipper) -> None:
    for service, text, _ in SAID:
        shipper.say(service, text)
    found = {
        (labels["service"], text): labels["level"]
        for labels, _, text in arrived(shipper, len(SAID))
    }
    assert found == {(service, text): level for service, text, level in SAID}


def test_a_line_keeps_the_time_at_which_it_was_said_to_the_nanosecond(shipper: Shipper) -> None:
    shipper.say("importer", "here", when="2026-11-26T07:48:11.668347497+00:00")
    shipper.say("importer", "further east", when="2026-11-26T09:18:11.000000001+01:30")
    shipper.say("importer", "further west", when="2026-11-26T02:48:11.999999999-05:00")
    found = {text: when_ns for _, when_ns, text in arrived(shipper, 3)}
    second_ns = 1795679291 * 10**9
    assert found == {
        "here": second_ns + 668347497,
        "further east": second_ns + 1,
        "further west": second_ns + 999999999,
    }


def test_the_clinic_that_a_line_is_about_is_a_label_and_nothing_else_is(shipper: Shipper) -> None:
    shipper.say("importer", CLINIC)
    shipper.say("nginx", *NO_CLINIC)
    labels = {text: labels for labels, _, text in arrived(shipper, 1 + len(NO_CLINIC))}
    assert labels.pop(CLINIC) == {"service": "importer", "level": "info", "clinic": "clinic-a"}
    assert labels == {text: {"service": "nginx", "level": "info"} for text in NO_CLINIC}


def test_an_account_for_uploads_is_its_clinic_where_it_exists(shipper: Shipper) -> None:
    shipper.say("sftp", *(f"{text}\r" for text in OF_ACCOUNTS))
    found = {text: labels for labels, _, text in arrived(shipper, len(OF_ACCOUNTS))}
    expected = {"service": "sftp", "level": "info", "clinic": "clinic-a"}
    assert found == dict.fromkeys(OF_ACCOUNTS, expected)


def test_nothing_is_lost_or_comes_twice_when_podman_begins_a_file_anew(shipper: Shipper) -> None:
    said = [f"line {number}" for number in range(600)]
    for part in range(6):
        shipper.say("nginx", *said[100 * part : 100 * part + 99])
        arrived(shipper, 100 * part + 99)
        # The last one is read after the next file has come in its place.
        shipper.say("nginx", said[100 * part + 99])
        (shipper.folder / "next").touch()
        (shipper.folder / "next").rename(shipper.folder / "logs" / "nginx.log")
    arrived(shipper, len(said))
    assert shipper.store.texts() == said


@pytest.mark.parametrize("how", ["TERM", "KILL"])
def test_what_the_store_is_too_broken_for_waits_on_the_disk(shipper: Shipper, how: str) -> None:
    shipper.store.status = 503
    said = [f"line {number}" for number in range(500)]
    shipper.say("nginx", *said)
    wait_until(lambda: shipper.store.refused, 30, "the store is asked", shipper.log)
    wait_until(lambda: shipper.counted("queued") == len(said), 60, "all are queued", shipper.log)
    shipper.stop(how)
    # What Podman had is gone, and with it every other copy.
    (shipper.folder / "logs" / "nginx.log").unlink()
    shipper.store.status = 204
    shipper.start()
    arrived(shipper, len(said))
    assert shipper.store.texts() == said


@pytest.mark.parametrize("how", ["TERM", "KILL"])
def test_what_is_said_while_the_shipper_is_away_is_read_when_it_is_back(
    shipper: Shipper, how: str
) -> None:
    shipper.say("nginx", "before")
    arrived(shipper, 1)
    shipper.stop(how)
    shipper.say("nginx", "meanwhile")
    shipper.say("importer", "of a service that is new")
    shipper.start()
    arrived(shipper, 3)
    shipper.say("nginx", "afterwards")
    arrived(shipper, 4)
    assert sorted(shipper.store.texts()) == [
        "afterwards",
        "before",
        "meanwhile",
        "of a service that is new",
    ]


def test_what_the_store_will_never_take_is_dropped_and_counted_and_holds_nothing_up(
    shipper: Shipper,
) -> None:
    shipper.store.status = 400
    shipper.say("nginx", "too old")
    wait_until(lambda: shipper.counted("dropped") == 1, 60, "it is counted", shipper.log)
    shipper.store.status = 204
    shipper.say("nginx", "welcome")
    arrived(shipper, 1)
    assert shipper.store.texts() == ["welcome"]
