"""What the importer does on each answer of the archive; docs/conformance.md says the same."""

from __future__ import annotations

import itertools
import json
import socket
import struct
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dicom_importer import request, storing, walk
from unit.importer.archiving import own_answer, stow_answer
from unit.importer.building import dataset, encode, instance, parse

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.server import BaseHTTPRequestHandler

    from unit.importer.archiving import Reply
    from unit.importer.conftest import Importer

    Answers = list[list[Callable[[Importer, bytes], Reply]]]

DAY = "2026-11-24"
CONFORMANCE = Path(__file__).parents[3] / "docs/conformance.md"
PROBLEM = b'{"HttpError": "Internal Server Error"}'


def xml_answer(stored: str = "", failed: str = "", reason: int | None = None) -> bytes:
    """Return the answer in the Native DICOM Model (PS3.19 A.1)."""
    uid = f'<DicomAttribute tag="00081155" vr="UI"><Value number="1">{stored or failed}</Value>'
    why = f'<DicomAttribute tag="00081197" vr="US"><Value number="1">{reason}</Value>'
    item = f"{uid}</DicomAttribute>" + (f"{why}</DicomAttribute>" if reason is not None else "")
    tag = "00081199" if stored else "00081198"
    return (
        '<?xml version="1.0" encoding="utf-8"?><NativeDicomModel'
        ' xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">'
        f'<DicomAttribute tag="{tag}" vr="SQ"><Item number="1">{item}</Item></DicomAttribute>'
        "</NativeDicomModel>"
    ).encode()


def keep(importer: Importer, content: bytes) -> str:
    """Let the archive store what it answers for by itself, and return the instance's UID."""
    return str(importer.archive.keep(content).uids[2])


def both(stored: str, failed: str) -> bytes:
    """Return an answer that names one instance as stored and another as failed."""
    return json.dumps(
        json.loads(stow_answer(failed=failed, reason=0xC000))
        | {k: v for k, v in json.loads(stow_answer(stored=stored)).items() if k == "00081199"}
    ).encode()


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, lambda uid: stow_answer(stored=uid)),
        (202, lambda uid: both(stored=uid, failed="1.2.3")),
        (400, lambda uid: both(stored=uid, failed="1.2.3")),
        (409, lambda uid: stow_answer(stored=uid)),
        (200, lambda uid: xml_answer(stored=uid)),
        (202, lambda uid: xml_answer(stored=uid)),
    ],
)
def test_an_instance_that_is_named_as_stored_and_held_is_a_success(
    importer: Importer, status: int, answer: Callable[[str], bytes]
) -> None:
    importer.archive.script.append(lambda content: (status, answer(keep(importer, content))))
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1}
    assert importer.archive.stores == 1


def put_off(importer: Importer, reply: Reply) -> None:
    """Answer once for one file, which must stay; then let it be stored."""
    importer.archive.script.append(lambda _: reply)
    importer.drop("clinic-a/one.dcm", instance())
    importer.settle()
    importer.work()
    assert importer.tree() == ["inbox/clinic-a/one.dcm"]


@pytest.mark.parametrize(
    "reply",
    [
        (202, stow_answer(failed="1.2.3", reason=0x0110)),
        (400, PROBLEM),
        (401, b""),
        (403, b""),
        (409, stow_answer()),
        (429, b""),
        (500, PROBLEM),
        (502, b"<html>"),
        (503, b""),
        (504, b""),
        (507, b""),
        (200, b"<html><body>a proxy's page</body></html>"),
        (200, b""),
    ],
)
def test_whatever_may_pass_is_put_off_and_then_stored(importer: Importer, reply: Reply) -> None:
    put_off(importer, reply)
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1}
    assert importer.archive.stores == 2


def test_a_token_that_is_refused_in_the_middle_is_fetched_anew(importer: Importer) -> None:
    importer.drop("clinic-a/zero.dcm", instance())
    importer.run()
    assert importer.archive.tokens == 1
    importer.archive.script.append(lambda _: (401, b""))
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    assert importer.counted("clinic-a") == {"success": 2}
    assert importer.archive.tokens > 1
    (row,) = importer.service.journal.past.history("clinic-a", "one.dcm")
    assert row.refusals == 0


@pytest.mark.parametrize("status", [429, 503, 507])
def test_an_archive_that_is_overloaded_never_fails_a_file(importer: Importer, status: int) -> None:
    made = dataset()

    def refuse(content: bytes) -> Reply | None:
        importer.archive.script.append(refuse)
        unlucky = parse(content).SOPInstanceUID == made.SOPInstanceUID
        return (status, b"") if unlucky else None

    importer.archive.script.append(refuse)
    importer.drop("clinic-a/export/unlucky.dcm", encode(made))
    for number in range(3):
        importer.drop(f"clinic-a/export{number}/lucky.dcm", instance())
        importer.run()
    assert importer.counted("clinic-a") == {"success": 3}
    importer.archive.script.clear()
    importer.run()
    assert importer.counted("clinic-a") == {"success": 4}


@pytest.mark.parametrize("as_date", [False, True])
@pytest.mark.parametrize("status", [429, 503])
def test_the_archive_is_left_alone_for_as_long_as_it_asks(
    importer: Importer, status: int, *, as_date: bool
) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)
    wait = until if as_date else "300"
    put_off(importer, (status, b"", {"Retry-After": wait}))
    importer.clock.now_s += 290
    assert importer.work() == 0
    importer.clock.now_s += 20
    assert importer.work() == 1
    assert importer.counted("clinic-a") == {"success": 1}


@pytest.mark.parametrize(
    "wait", ["86400", "soon", "-5", "Tue, 24 Nov 2099 08:00:00 GMT", "9" * 5000]
)
def test_no_archive_can_ask_for_more_than_ten_minutes(importer: Importer, wait: str) -> None:
    put_off(importer, (503, b"", {"Retry-After": wait}))
    importer.clock.now_s += 610
    assert importer.work() == 1
    assert importer.counted("clinic-a") == {"success": 1}


def test_what_is_too_large_for_the_archive_fails_alone_and_at_once(importer: Importer) -> None:
    importer.archive.script.append(lambda _: (413, b""))
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    path = importer.root / f"failed/clinic-a/{DAY}/one.dcm.error.json"
    assert json.loads(path.read_text())["reason"] == "too_large"
    assert importer.archive.stores == 1


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Break the connection with a part of the body read."""
    handler.rfile.read(100_000)
    at_once = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)


def half(handler: BaseHTTPRequestHandler) -> None:
    """Take the body and end in the middle of the answer."""
    handler.rfile.read(int(handler.headers["Content-Length"]))
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"00081199"')


def hang(handler: BaseHTTPRequestHandler) -> None:
    """Take the body and say nothing until the client has gone."""
    handler.rfile.read(int(handler.headers["Content-Length"]))
    handler.connection.settimeout(30)
    handler.rfile.read(1)


def test_an_answer_may_take_longer_than_a_connection(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_importer.archive.CONNECT_TIMEOUT_S", 0.2)

    def slowly(_: bytes) -> None:
        time.sleep(1)  # the fault itself

    importer.archive.script.append(slowly)
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    assert importer.archive.stores == 1
    assert importer.counted("clinic-a") == {"success": 1}


@pytest.mark.parametrize("how", [reset, half, hang])
def test_a_connection_that_breaks_or_hangs_loses_nothing(
    importer: Importer, monkeypatch: pytest.MonkeyPatch, how: Callable[..., None]
) -> None:
    monkeypatch.setattr("dicom_importer.archive.STORE_TIMEOUT_S", 0.3)
    importer.archive.breaks.append(how)
    importer.drop("clinic-a/one.dcm", instance(PixelData=bytes(1 << 21)))
    importer.settle()
    importer.work()
    assert importer.tree() == ["inbox/clinic-a/one.dcm"]
    (row,) = importer.service.journal.active()
    assert row.refusals == 1
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1}
    assert len(importer.archive.instances) == 1


@pytest.mark.parametrize("reply", [(500, b""), (409, b"")])
def test_what_is_held_without_an_answer_of_success_is_replaced_by_what_is_sent_anew(
    importer: Importer, reply: Reply
) -> None:
    def stored_without_its_bytes(content: bytes) -> Reply:
        keep(importer, content)
        return reply

    importer.archive.script.append(stored_without_its_bytes)
    importer.drop("clinic-a/one.dcm", instance())
    importer.settle()
    importer.work()
    (doubtful,) = importer.archive.instances.values()
    importer.run()
    (held,) = importer.archive.instances.values()
    assert importer.counted("clinic-a") == {"success": 1}
    assert held is not doubtful
    assert held.content == doubtful.content


@pytest.mark.parametrize("answer", [stow_answer, xml_answer])
@pytest.mark.parametrize(
    ("reason", "code"), [(0xC000, "refused_unreadable"), (0x0110, "refused"), (None, "refused")]
)
def test_what_is_refused_while_others_pass_fails_with_its_reason(
    importer: Importer, answer: Callable[..., bytes], reason: int | None, code: str
) -> None:
    bad = dataset()

    def refuse(content: bytes) -> Reply | None:
        importer.archive.script.append(refuse)
        if parse(content).SOPInstanceUID != bad.SOPInstanceUID:
            return None
        return 409, answer(failed=bad.SOPInstanceUID, reason=reason)

    importer.archive.script.append(refuse)
    importer.drop("clinic-a/export/bad.dcm", encode(bad))
    importer.drop("clinic-a/export/good.dcm", instance())
    importer.drop("clinic-a/export/later.dcm", instance())
    importer.run()
    path = importer.root / f"failed/clinic-a/{DAY}/export/bad.dcm.error.json"
    assert json.loads(path.read_text())["reason"] == code
    assert importer.counted("clinic-a") == {"success": 2, "rejected": 1}


@pytest.mark.parametrize("answer", [stow_answer, xml_answer])
@pytest.mark.parametrize("other", [True, False])
def test_already_stored_is_compared_and_never_taken_on_trust(
    importer: Importer, answer: Callable[..., bytes], *, other: bool
) -> None:
    made = dataset()
    ours = encode(made)
    if other:
        made.PixelData = bytes(16)
    made.InstitutionName = "clinic-a"
    theirs = encode(made)

    def already(_: bytes) -> Reply:
        return 409, answer(failed=keep(importer, theirs), reason=0x0111)

    importer.archive.script.append(already)
    importer.drop("clinic-a/one.dcm", ours)
    importer.run()
    (held,) = importer.archive.instances.values()
    assert held.content == theirs
    assert importer.counted("clinic-a") == {"rejected": 1} if other else {"success": 1}


def documented(head: str) -> list[str]:
    """Return what docs/conformance.md says to become of the file, answer by answer."""
    table = CONFORMANCE.read_text().partition(f"| {head} | outcome |\n")[2].splitlines()[1:]
    rows = itertools.takewhile(lambda row: row.startswith("|"), table)
    return [row.strip("| ").split(" | ")[1].replace("`", "") for row in rows]


def broken(_: Importer, __: bytes) -> Reply:
    """Give no answer."""
    raise ConnectionResetError


def named(failed: str, reason: int | None = None) -> bytes:
    return stow_answer(failed=failed, reason=reason)


def another(content: bytes) -> bytes:
    """Return the same instance with other pixels."""
    made = parse(content)
    made.PixelData = bytes(16)
    return encode(made)


def uid(content: bytes) -> str:
    return str(parse(content).SOPInstanceUID)


def replies(*made: Reply) -> list[Callable[[Importer, bytes], Reply]]:
    """Return what answers each of these whatever was sent."""
    return [lambda _, __, reply=reply: reply for reply in made]  # type: ignore[misc]


# Whichever request they answer.
OF_ANY: Answers = [
    replies((401, b""), (403, b"")),
    replies((413, b"")),
    replies((429, b""), (503, b""), (507, b"")),
    replies((500, PROBLEM), (502, b""), (504, b""), (404, b""), (302, b"")),
    [broken],
]
ANSWERED: Answers = [
    [
        lambda i, c: (200, stow_answer(stored=keep(i, c))),
        lambda i, c: (400, both(stored=keep(i, c), failed="1.2.3")),
        lambda i, c: (409, xml_answer(stored=keep(i, c))),
    ],
    [lambda _, c: (200, stow_answer(stored=uid(c)))],
    [lambda i, c: (200, stow_answer(stored=keep(i, another(c))))],
    [lambda _, c: (400, named(uid(c), 0xA700))],
    [lambda _, c: (409, named(uid(c), 0xC000)), lambda _, c: (202, named(uid(c), 0xC123))],
    [lambda i, c: (409, named(keep(i, c), 0x0111))],
    [lambda i, c: (409, named(keep(i, another(c)), 0x0111))],
    [lambda _, c: (409, named(uid(c), 0x0110)), lambda _, c: (202, named(uid(c)))],
    replies((400, stow_answer())),
    replies((200, b""), (202, b"<html>"), (400, PROBLEM), (409, b"[]")),
    *OF_ANY,
]
WHOLE = "answer to a large instance"
ANSWERED_WHOLE: Answers = [
    [
        lambda i, c: (200, own_answer("Success", keep(i, c))),
        lambda i, c: (200, own_answer("AlreadyStored", keep(i, c))),
    ],
    [lambda _, c: (200, own_answer("Success", uid(c)))],
    [lambda i, c: (200, own_answer("AlreadyStored", keep(i, another(c))))],
    replies((200, own_answer("FilteredOut")), (200, b""), (200, b"[]"), (400, b""), (409, b"")),
    *OF_ANY,
]


def test_the_documented_numbers_are_those_of_the_code() -> None:
    text = CONFORMANCE.read_text()
    for words in (
        f"after {storing.REFUSALS} refusals in at least {storing.REFUSALS_S / 60:.0f} minutes while other files",
        f"{storing.LONELY_REFUSALS} refusals in at least {storing.LONELY_REFUSALS_S / 60:.0f} min",
        f"after {storing.SURE_REFUSALS} refusals where the archive cannot parse it",
        f"after {storing.BREAKS} breaks in at least {storing.BREAKS_S / 60:.0f} minutes",
        f"An instance of {request.LARGE_BYTES >> 20} MiB and more",
        f"| {walk.MAX_DEPTH} levels |",
        f"| {walk.MAX_PADDING_BYTES >> 10} KiB |",
    ):
        assert words in text


def test_every_documented_answer_is_tried() -> None:
    assert len(documented("answer")) == len(ANSWERED) == 15
    assert len(documented(WHOLE)) + len(OF_ANY) == len(ANSWERED_WHOLE) == 9


def each(answers: Answers) -> list[tuple[int, int]]:
    return [(row, which) for row, many in enumerate(answers) for which in range(len(many))]


@pytest.mark.parametrize(("row", "which"), each(ANSWERED))
def test_what_is_documented_of_an_answer_is_true(importer: Importer, row: int, which: int) -> None:
    assert outcome_of(importer, ANSWERED[row][which]) == documented("answer")[row]


@pytest.mark.parametrize(("row", "which"), each(ANSWERED_WHOLE))
def test_what_is_documented_of_an_answer_to_a_large_instance_is_true(
    importer: Importer, monkeypatch: pytest.MonkeyPatch, row: int, which: int
) -> None:
    monkeypatch.setattr("dicom_importer.request.LARGE_BYTES", 1)
    outcomes = documented(WHOLE) + documented("answer")[-len(OF_ANY) :]
    assert outcome_of(importer, ANSWERED_WHOLE[row][which]) == outcomes[row]


def test_only_a_large_instance_goes_by_the_archives_own_request(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_importer.request.LARGE_BYTES", 1 << 20)
    large = dataset(PixelData=bytes(1 << 20))
    importer.drop("clinic-a/one.dcm", instance())
    importer.drop("clinic-a/large.dcm", encode(large))
    importer.run()
    assert importer.counted("clinic-a") == {"success": 2}
    assert importer.archive.whole == [large.SOPInstanceUID]


def outcome_of(importer: Importer, reply: Callable[[Importer, bytes], Reply]) -> str:
    """Give one file this answer for as long as it is sent, while others are stored."""
    unlucky = dataset()
    sent = []

    def answer(content: bytes) -> Reply | None:
        importer.archive.script.append(answer)
        if uid(content) != unlucky.SOPInstanceUID:
            return None
        sent.append(content)
        return reply(importer, content)

    importer.archive.script.append(answer)
    importer.drop("clinic-a/export/unlucky.dcm", encode(unlucky))
    for name in ("first", "second"):
        importer.drop(f"clinic-a/{name}/lucky.dcm", instance())
        importer.run()
    assert importer.counted("clinic-a")["success"] >= 2
    told = importer.root / f"failed/clinic-a/{DAY}/export/unlucky.dcm.error.json"
    if told.exists():
        reason = json.loads(told.read_text())["reason"]
        return f"{'put off, then ' if len(sent) > 1 else ''}failed as {reason}"
    return "put off" if importer.service.journal.active() else "stored"
