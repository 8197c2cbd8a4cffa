"""Devices that store over DICOM: DCMTK's programs, and pynetdicom where a test wants each answer."""

from __future__ import annotations

import gc
import logging
import subprocess
import warnings
from dataclasses import dataclass
from io import BytesIO
from socket import SHUT_RDWR
from typing import TYPE_CHECKING

from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from pynetdicom.association import Association

# What it says of a connection that a test cuts off is no news.
logging.getLogger("pynetdicom").propagate = False
logging.getLogger("pynetdicom").addHandler(logging.NullHandler())
# Permanently, by the service user: calling and called AE title not recognised (PS3.8 9.3.4).
NOT_KNOWN, NOT_CALLED = (1, 1, 3), (1, 1, 7)
OUT_OF_RESOURCES = 0xA700
TIMEOUT_S = 60
PIECE_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Modality:
    """A device with its own AE title, and the receiver that it calls."""

    ae_title: str
    port: int
    called: str = "STACK"
    host: str = "127.0.0.1"
    own_address: str = "127.0.0.1"

    def run(self, program: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run echoscu, storescu or dcmsend."""
        titles = ("-aet", self.ae_title, "-aec", self.called)
        argv = [f"/usr/bin/{program}", *titles, self.host, str(self.port), *map(str, words)]
        return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120)

    def associate(self, *contexts: tuple[str, str]) -> Association:
        """Ask for an association with these SOP Classes and transfer syntaxes; whether it stands, it says."""
        ae = AE(ae_title=self.ae_title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = TIMEOUT_S
        for sop_class, syntax in contexts or ((str(Verification), "1.2.840.10008.1.2"),):
            ae.add_requested_context(sop_class, syntax)
        return ae.associate(
            self.host, self.port, ae_title=self.called, bind_address=(self.own_address, 0)
        )

    def rejected(self) -> tuple[int, int, int] | None:
        """Say how an association is rejected (result, source, reason), None where it is not."""
        association = self.associate()
        if association.is_established:
            association.release()
            return None
        answer = association.acceptor.primitive
        assert answer, "no answer"
        assert answer.result
        return (answer.result, answer.result_source, answer.diagnostic)  # type: ignore[return-value]

    def for_files(self, contents: Iterable[bytes]) -> Association:
        """Return an association for what these files are."""
        found = set()
        for content in contents:
            head = dcmread(BytesIO(content), stop_before_pixels=True)
            found.add((str(head.SOPClassUID), str(head.file_meta.TransferSyntaxUID)))
        association = self.associate(*sorted(found))
        assert association.is_established, association.acceptor.primitive
        return association

    def store(self, files: Mapping[str, bytes]) -> dict[str, int | None]:
        """Store files one by one; returns each one's status, None where no answer came."""
        association = self.for_files(files.values())
        try:
            return {name: send(association, content) for name, content in files.items()}
        finally:
            association.release()


def send_until_cut(
    association: Association, files: Mapping[str, bytes], before: Callable[[int], None]
) -> list[str]:
    """Store files until no answer comes, after a call of `before` with each one's number; returns what was taken."""
    taken = []
    for number, (name, content) in enumerate(files.items()):
        before(number)
        if send(association, content) is None:
            break
        taken.append(name)
    return taken


def tidy() -> None:
    """Close the sockets of connections that were cut off, which pynetdicom leaves to the garbage collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def send(association: Association, content: bytes) -> int | None:
    """Store one object and return its status, None where no answer came."""
    try:
        status = association.send_c_store(dcmread(BytesIO(content)))
    except RuntimeError:  # The association is over.
        return None
    return int(status.Status) if "Status" in status else None


def send_half(association: Association, content: bytes) -> None:
    """Send an object but for its last piece, as a device does that loses its connection."""
    data = dcmread(BytesIO(content))
    (context,) = [c for c in association.accepted_contexts if c.abstract_syntax == data.SOPClassUID]
    request = C_STORE()
    request.MessageID, request.Priority = 4711, 2
    request.AffectedSOPClassUID = data.SOPClassUID
    request.AffectedSOPInstanceUID = data.SOPInstanceUID
    request.DataSet = BytesIO(content[-len(data.PixelData) :])
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    assert context.context_id
    for piece in list(message.encode_msg(context.context_id, PIECE_BYTES))[:-1]:
        association.dul.send_pdu(piece)


def cut(association: Association) -> None:
    """Cut a connection off."""
    wire = association.dul.socket
    assert wire
    assert wire.socket
    wire.socket.shutdown(SHUT_RDWR)


def sop_uid(content: bytes) -> str:
    """Return the SOP Instance UID of an object."""
    return str(dcmread(BytesIO(content), stop_before_pixels=True).SOPInstanceUID)
