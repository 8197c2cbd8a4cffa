"""The receiver as a process, with real devices: what it acknowledges is on the disk, and whom it believes."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import threading
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dicom_receiver import config
from harness import phantom
from harness.modality import (
    NOT_CALLED,
    NOT_KNOWN,
    OUT_OF_RESOURCES,
    Modality,
    cut,
    send,
    send_half,
    send_until_cut,
    sop_uid,
    tidy,
)
from harness.own_receiver import OwnReceiver
from harness.wait import wait_until
from pydicom import dcmread
from pydicom.uid import UID
from pynetdicom.pdu_primitives import P_DATA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset

PRIVATE_CLASS, PRIVATE_SYNTAX = "1.2.3.4.5.6", "1.2.3.4.5.7"
# Larger than what the receiver may have; it is at 60 MB when it starts.
LARGE_BYTES, PEAK_KB = 1 << 27, 100_000


# pynetdicom's threads end so when a test cuts their connection off.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::pytest.PytestUnhandledThreadExceptionWarning",
)


@pytest.fixture(autouse=True)
def _tidied() -> Iterator[None]:
    yield
    tidy()


@pytest.fixture
def receiver(tmp_path: Path) -> OwnReceiver:
    """Provide one that is not started, with a device of each clinic."""
    made = OwnReceiver(tmp_path)
    made.let("clinic-a", "CT01")
    made.let("clinic-b", "CT02")
    return made


@pytest.fixture
def running(receiver: OwnReceiver) -> Iterator[OwnReceiver]:
    """Provide one that runs."""
    with receiver.running():
        yield receiver


@pytest.fixture
def ct01(receiver: OwnReceiver) -> Modality:
    """Provide clinic A's device."""
    return Modality("CT01", receiver.port)


def uids(receiver: OwnReceiver, clinic: str) -> list[str]:
    """Return the SOP Instance UIDs of what lies in a clinic's inbox."""
    return sorted(sop_uid(path.read_bytes()) for path in receiver.arrived(clinic))


def wanted(study: phantom.Study) -> list[str]:
    """Return the SOP Instance UIDs of a study."""
    return sorted(sop_uid(content) for content in study.files.values())


@pytest.mark.parametrize("program", ["dcmsend", "storescu"])
def test_what_dcmtk_stores_lies_in_the_clinics_inbox(
    running: OwnReceiver, ct01: Modality, tmp_path: Path, program: str
) -> None:
    study = phantom.ct(seed=1, slices=20, size=63)
    folder = study_folder(study, tmp_path / "export")
    done = ct01.run(program, "+sd", "+r", folder)
    assert done.returncode == 0, done.stderr
    assert uids(running, "clinic-a") == wanted(study)
    assert running.arrived("clinic-b") == []
    (shown,) = {path.parent.name for path in running.arrived("clinic-a")}
    assert shown.endswith("-CT01@127.0.0.1.dimse")
    assert running.count("dicom_receiver_stored_total", clinic_id="clinic-a") == 20
    assert running.count("dicom_receiver_stored_total", clinic_id="clinic-b") == 0
    wait_until(
        lambda: running.count("dicom_receiver_associations_total", end="released") == 1, 10, "ended"
    )


def study_folder(study: phantom.Study, folder: Path) -> Path:
    """Write a study's files."""
    folder.mkdir()
    for number, content in enumerate(study.files.values()):
        (folder / f"{number:04}.dcm").write_bytes(content)
    return folder


def test_an_object_comes_as_it_was_sent_in_every_syntax(
    running: OwnReceiver, ct01: Modality
) -> None:
    whole = phantom.packed_panoramic(seed=2)
    (content,) = whole.files.values()
    assert ct01.store({"one": content}) == {"one": 0}
    (there,) = running.arrived("clinic-a")
    sent, arrived = dcmread_bytes(content), dcmread(there)
    assert arrived.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert arrived.PixelData == sent.PixelData
    assert arrived == sent


def dcmread_bytes(content: bytes) -> Dataset:
    """Read a file that lies in memory."""
    return dcmread(BytesIO(content))


def test_private_objects_in_private_syntaxes_are_taken(
    running: OwnReceiver, ct01: Modality
) -> None:
    association = ct01.associate((PRIVATE_CLASS, PRIVATE_SYNTAX))
    assert [c.transfer_syntax for c in association.accepted_contexts] == [[PRIVATE_SYNTAX]]
    association.release()
    (content,) = phantom.ct(seed=11, slices=1, size=63).files.values()
    data = dcmread_bytes(content)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = UID(PRIVATE_CLASS)
    association = ct01.associate((PRIVATE_CLASS, str(data.file_meta.TransferSyntaxUID)))
    assert association.send_c_store(data).Status == 0
    association.release()
    (there,) = running.arrived("clinic-a")
    assert dcmread(there) == data
    # Nothing else is served: neither query nor worklist.
    association = ct01.associate(("1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.1.2"))
    assert not association.accepted_contexts
    assert len(running.arrived("clinic-a")) == 1


def test_only_a_registered_title_from_its_address_is_let_in(receiver: OwnReceiver) -> None:
    receiver.let("clinic-a", "MR01", "192.0.2.10")
    with receiver.running():
        assert Modality("CT01", receiver.port).rejected() is None
        for title in ("CT03", "ct01", "MR01", "../clinic-b", "clinic-b/..", "clinic-b", "*"):
            assert Modality(title, receiver.port).rejected() == NOT_KNOWN, title
        elsewhere = Modality("CT01", receiver.port, own_address="127.0.0.2")
        assert elsewhere.rejected() == NOT_KNOWN
        assert Modality("CT01", receiver.port, called="OTHER").rejected() == NOT_CALLED
        assert Modality("CT03", receiver.port, called="OTHER").rejected() == NOT_KNOWN
        rejected = {"unknown_sender": 9, "other_title": 1, "too_many": 0}
        for reason, count in rejected.items():
            assert receiver.count("dicom_receiver_rejected_total", reason=reason) == count
    assert "clinic-b" not in receiver.log()
    assert "MR01" not in receiver.log()


def test_a_device_that_is_registered_while_it_runs_is_let_in_at_once(running: OwnReceiver) -> None:
    device = Modality("NEW", running.port)
    assert device.rejected() == NOT_KNOWN
    running.let("clinic-b", "NEW")
    assert device.run("echoscu").returncode == 0
    assert device.store(phantom.ct(seed=3, slices=1, size=63).files).popitem()[1] == 0
    assert len(running.arrived("clinic-b")) == 1


def test_what_was_acknowledged_outlives_a_kill(receiver: OwnReceiver, ct01: Modality) -> None:
    study = phantom.ct(seed=4, slices=40, size=63)
    process = receiver.start()

    def kill(number: int) -> None:
        if number == 20:
            threading.Timer(0.02, process.send_signal, [signal.SIGKILL]).start()

    names = send_until_cut(ct01.for_files(study.files.values()), study.files, kill)
    process.wait(30)
    taken = [sop_uid(study.files[name]) for name in names]
    assert 20 <= len(taken) < 40
    there = uids(receiver, "clinic-a")
    # At most the last one came in whole without the device having heard of it.
    assert set(taken) <= set(there)
    assert len(there) <= len(taken) + 1
    with receiver.running():
        assert list((receiver.inbox / config.SPOOL).iterdir()) == []
        rest = {n: c for n, c in study.files.items() if n not in names}
        assert set(ct01.store(rest).values()) == {0}
    assert set(uids(receiver, "clinic-a")) == set(wanted(study))


def test_a_connection_that_is_cut_off_loses_what_was_not_acknowledged(
    running: OwnReceiver, ct01: Modality
) -> None:
    study = phantom.ct(seed=5, slices=3, size=63)
    *first, last = study.files.values()
    association = ct01.for_files(study.files.values())
    assert [send(association, content) for content in first] == [0, 0]
    send_half(association, last)
    spool = running.inbox / config.SPOOL
    wait_until(
        lambda: any(path.stat().st_size > 1000 for path in spool.iterdir()), 20, "half is there"
    )
    cut(association)
    wait_until(
        lambda: running.count("dicom_receiver_associations_total", end="cut") == 1,
        30,
        "the cut is noticed",
        running.log,
    )
    assert uids(running, "clinic-a") == sorted(map(sop_uid, first))
    assert list(spool.iterdir()) == []
    assert ct01.run("echoscu").returncode == 0


def test_a_folder_that_the_importer_emptied_is_made_anew(
    running: OwnReceiver, ct01: Modality
) -> None:
    first, second = phantom.ct(seed=6, slices=2, size=63).files.values()
    association = ct01.for_files([first])
    assert send(association, first) == 0
    (there,) = running.arrived("clinic-a")
    there.unlink()
    there.parent.rmdir()
    assert send(association, second) == 0
    association.release()
    assert uids(running, "clinic-a") == [sop_uid(second)]


def test_a_disk_that_is_nearly_full_takes_nothing_and_says_so(
    receiver: OwnReceiver, ct01: Modality
) -> None:
    receiver.settings = {"MIN_FREE_BYTES": str(2**60), "RESUME_FREE_BYTES": str(2**60)}
    study = phantom.ct(seed=7, slices=1, size=63)
    with receiver.running():
        assert list(ct01.store(study.files).values()) == [OUT_OF_RESOURCES]
        assert receiver.count("dicom_receiver_refused_total", reason="no_room") == 1
        assert ct01.run("echoscu").returncode == 0
    assert receiver.arrived("clinic-a") == []
    assert list((receiver.inbox / config.SPOOL).iterdir()) == []
    receiver.settings = {}
    with receiver.running():
        assert list(ct01.store(study.files).values()) == [0]


def test_an_inbox_that_cannot_be_written_refuses_and_does_not_lie(
    running: OwnReceiver, ct01: Modality
) -> None:
    first, second = phantom.ct(seed=8, slices=2, size=63).files.values()
    association = ct01.for_files([first])
    (running.inbox / "clinic-a").rename(running.inbox / "gone")
    assert send(association, first) == OUT_OF_RESOURCES
    assert running.count("dicom_receiver_refused_total", reason="not_written") == 1
    (running.inbox / "gone").rename(running.inbox / "clinic-a")
    assert send(association, second) == 0
    association.release()
    assert uids(running, "clinic-a") == [sop_uid(second)]


def test_a_large_object_passes_through_memory_in_pieces(
    receiver: OwnReceiver, ct01: Modality
) -> None:
    (content,) = phantom.ct(seed=9, slices=1, size=63).files.values()
    data = dcmread_bytes(content)
    data.Rows = data.Columns = 1 << 13
    data.PixelData = bytes(LARGE_BYTES)
    with receiver.running() as process:
        association = ct01.for_files([content])
        assert association.send_c_store(data).Status == 0
        association.release()
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        assert int(peak.split()[1]) < PEAK_KB
    (there,) = receiver.arrived("clinic-a")
    assert there.stat().st_size > LARGE_BYTES


def test_strangers_cannot_keep_devices_out(running: OwnReceiver, ct01: Modality) -> None:
    held = [connect(running, "127.0.0.2") for _ in range(4)]
    with connect(running, "127.0.0.2") as fifth:
        assert fifth.recv(1) == b""
    # Who says nothing, or promises four gigabytes, holds nobody up and fills no memory.
    held[0].sendall(b"\x01\x00\xff\xff\xff\xff" + bytes(1 << 16))
    assert held[0].recv(100)[:1] in (b"", b"\x07")
    assert ct01.run("echoscu").returncode == 0
    assert running.count("dicom_receiver_rejected_total", reason="too_many") == 1
    for one in held:
        one.close()


def connect(receiver: OwnReceiver, own_address: str) -> socket.socket:
    """Connect from an address, and say nothing."""
    return socket.create_connection(
        ("127.0.0.1", receiver.port), timeout=20, source_address=(own_address, 0)
    )


def test_a_message_without_an_end_ends_the_association(
    running: OwnReceiver, ct01: Modality
) -> None:
    association = ct01.associate()
    assert association.is_established
    for _ in range(20):
        piece = P_DATA()
        piece.presentation_data_value_list = [[1, b"\x01" + bytes(1 << 16)]]  # type: ignore[list-item]
        association.dul.send_pdu(piece)
    wait_until(
        lambda: running.count("dicom_receiver_associations_total", end="cut") == 1,
        20,
        "it is cut off",
        running.log,
    )


def test_more_associations_than_there_is_room_for_wait(
    running: OwnReceiver, ct01: Modality
) -> None:
    held = [ct01.associate() for _ in range(20)]
    assert all(one.is_established for one in held)
    assert ct01.run("echoscu").returncode != 0
    other = Modality("CT02", running.port)
    assert other.run("echoscu").returncode != 0
    held.pop().release()
    wait_until(lambda: ct01.run("echoscu").returncode == 0, 20, "there is room again", running.log)
    for one in held:
        one.release()


@pytest.fixture
def encrypted(receiver: OwnReceiver, tmp_path: Path) -> OwnReceiver:
    """Provide one that speaks TLS, with its certificate; it is not started."""
    make_certificate(tmp_path / "server", "localhost")
    both = (tmp_path / "server.crt").read_text() + (tmp_path / "server.key").read_text()
    (tmp_path / "server.pem").write_text(both)
    receiver.settings = {"TLS_FILE": str(tmp_path / "server.pem")}
    return receiver


def make_certificate(path: Path, name: str) -> None:
    """Make a key and a certificate that is its own authority."""
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2"
    files = ["-keyout", f"{path}.key", "-out", f"{path}.crt", "-subj", f"/CN={name}"]
    alternative = ["-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"]
    argv = ["/usr/bin/openssl", *words.split(), *files, *alternative]
    subprocess.run(argv, check=True, capture_output=True)


def test_with_tls_nothing_is_said_in_the_clear(
    encrypted: OwnReceiver, ct01: Modality, tmp_path: Path
) -> None:
    study = phantom.ct(seed=10, slices=2, size=63)
    folder = study_folder(study, tmp_path / "export")
    with encrypted.running():
        assert ct01.run("echoscu").returncode != 0
        # Who does not shake hands holds nobody up.
        with connect(encrypted, "127.0.0.1"):
            done = ct01.run("storescu", *tls(tmp_path), "+sd", folder)
        assert done.returncode == 0, done.stderr
        assert uids(encrypted, "clinic-a") == wanted(study)
        # A renewed certificate is shown from then on.
        before = shown(encrypted)
        make_certificate(tmp_path / "renewed", "localhost")
        both = (tmp_path / "renewed.crt").read_text() + (tmp_path / "renewed.key").read_text()
        (tmp_path / "renewed.pem").write_text(both)
        (tmp_path / "renewed.pem").rename(tmp_path / "server.pem")
        assert shown(encrypted) != before


def tls(folder: Path) -> tuple[str, ...]:
    """Return DCMTK's words for TLS with an authority that it trusts."""
    return ("+tla", "+cf", str(folder / "server.crt"))


def shown(receiver: OwnReceiver) -> str:
    """Return the certificate that the receiver shows."""
    return ssl.get_server_certificate(("127.0.0.1", receiver.port))


def test_a_device_must_show_its_own_certificate_where_that_is_asked_for(
    encrypted: OwnReceiver, ct01: Modality, tmp_path: Path
) -> None:
    make_certificate(tmp_path / "device", "ct01")
    make_certificate(tmp_path / "stranger", "ct01")
    encrypted.settings["TLS_CLIENT_CA_FILE"] = str(tmp_path / "device.crt")
    trusted = ("+cf", str(tmp_path / "server.crt"))
    with encrypted.running():
        assert ct01.run("echoscu", *tls(tmp_path)).returncode != 0
        for name, works in (("device", True), ("stranger", False)):
            pair = ("+tls", str(tmp_path / f"{name}.key"), str(tmp_path / f"{name}.crt"))
            done = ct01.run("echoscu", *pair, *trusted)
            assert (done.returncode == 0) is works, done.stderr


def test_the_commands_say_who_may_store_and_what_was_counted(running: OwnReceiver) -> None:
    told = running.command("senders")
    assert [line.split() for line in told.stdout.splitlines()] == [
        ["clinic-a", "CT01", "127.0.0.1/32"],
        ["clinic-b", "CT02", "127.0.0.1/32"],
    ]
    assert "2 senders; since its start 0 objects stored" in running.command("status").stdout
    added = running.command("sender", "--clinic=clinic-a", "--aet=MR01", "--address=192.0.2.10")
    assert added.stdout == "MR01 from 192.0.2.10/32 stores into clinic clinic-a\n"
    absent = running.command("sender", "--clinic=clinic-x", "--aet=MR01", "--address=192.0.2.11")
    assert (absent.returncode, "there is no clinic clinic-x" in absent.stderr) == (2, True)
    gone = running.command("remove-sender", "--aet=MR01", "--address=192.0.2.10")
    assert gone.stdout == "MR01 from 192.0.2.10/32 no longer stores into clinic clinic-a\n"
