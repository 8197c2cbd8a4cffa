"""Who is let in, and what is answered: the receiver's part in each association (PS3.8) and each C-STORE (PS3.4 B.2.3).

Nothing here is decided by what an object says of itself. An association whose sender is not known
here gets nothing stored: whatever goes wrong on the way, it is refused.
"""

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from dicom_importer import log, received
from dicom_importer.received import Peer
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE

from dicom_receiver import intake, senders
from dicom_receiver.config import Config
from dicom_receiver.intake import Delivery
from dicom_receiver.metrics import (
    CUT,
    NO_ROOM,
    NOT_WRITTEN,
    OTHER_TITLE,
    RELEASED,
    TOO_MANY,
    UNKNOWN_SENDER,
    Metrics,
)
from dicom_receiver.senders import Register, Sender, SenderError

# Associations at once.
MAX_ASSOCIATIONS = 20
# PS3.8 9.3.4: permanently, by the service user; calling and called AE title not recognised. Transiently, local limit.
_UNKNOWN, _NOT_ME, _BUSY = (1, 1, 3), (1, 1, 7), (2, 3, 2)
# PS3.4 B.2.3: out of resources; PS3.7 9.1.1.1.9: not authorized.
SUCCESS, OUT_OF_RESOURCES, NOT_AUTHORIZED = 0x0000, 0xA700, 0x0124


class Gate:
    """Decides on associations and takes what they bring; each runs in a thread of its own."""

    def __init__(
        self,
        config: Config,
        register: Register,
        metrics: Metrics,
        now: Callable[[], datetime],
        token: Callable[[], str],
    ) -> None:
        self._config = config
        self._register = register
        self._metrics = metrics
        self._now = now
        self._token = token
        self._lock = threading.Lock()
        self._open: dict[Association, tuple[Sender, Delivery]] = {}
        metrics.open.set_function(lambda: len(self._open))

    def is_known(self, text: str) -> bool:
        """Say whether any sender calls from an address."""
        peer = self._address(text)
        return any(one.calls_from(peer) for one in self._known())

    def has_room(self) -> bool:
        """Say whether the inbox's disk may be filled further."""
        try:
            return intake.has_room(self._config.inbox_dir, self._config.min_free_bytes)
        except OSError:
            return False

    def requested(self, event: Event) -> None:
        """Accept who is known, and reject everybody else without a word of why (EVT_REQUESTED)."""
        association, asked = event.assoc, event.assoc.requestor.primitive
        if not isinstance(asked, A_ASSOCIATE):
            # It ended before it asked.
            association.is_aborted = True
            return
        title = str(asked.calling_ae_title).strip()
        address = self._caller(association)
        found = senders.find(self._known(), title, address)
        if found is None or not (self._config.inbox_dir / found.clinic).is_dir():
            self._reject(association, UNKNOWN_SENDER, _UNKNOWN)
        elif str(asked.called_ae_title).strip() != self._config.ae_title:
            self._reject(association, OTHER_TITLE, _NOT_ME, clinic=found.clinic)
        else:
            peer = Peer(found.ae_title, str(address))
            name = received.name(self._now(), self._token(), peer)
            with self._lock:
                free = len(self._open) < MAX_ASSOCIATIONS
                if free:
                    self._open[association] = found, Delivery(found.clinic, name)
            if not free:
                self._reject(association, TOO_MANY, _BUSY, clinic=found.clinic)

    def _reject(
        self, association: Association, reason: str, why: tuple[int, int, int], **fields: object
    ) -> None:
        self._metrics.rejected.labels(reason).inc()
        address = self._caller(association)
        log.line("association_rejected", reason=reason, address=address, **fields)
        association.acse.send_reject(*why)
        association.kill()

    def store(self, event: Event) -> int:
        """Take an object and return its status, success only when it is on the disk (EVT_C_STORE)."""
        held = self._open.get(event.assoc)
        if held is None:
            return NOT_AUTHORIZED
        sender, delivery = held
        reason = self._take(event.dataset_path, delivery)
        if reason:
            self._metrics.refused.labels(sender.clinic, reason).inc()
            log.line("object_refused", clinic=sender.clinic, reason=reason)
        return OUT_OF_RESOURCES if reason else SUCCESS

    def _take(self, spooled: Path, delivery: Delivery) -> str:
        """Take an object; returns why it was not, or nothing."""
        inbox, clinic = self._config.inbox_dir, delivery.clinic
        try:
            if not intake.has_room(inbox, self._config.min_free_bytes):
                return NO_ROOM
            size_bytes = intake.take(inbox, spooled, delivery)
        except OSError as error:
            log.trace("inbox_not_written", error, clinic=clinic)
            return NOT_WRITTEN
        self._metrics.stored.labels(clinic).inc()
        self._metrics.stored_bytes.labels(clinic).inc(size_bytes)
        return ""

    def echo(self, event: Event) -> int:
        """Answer a C-ECHO of who was let in (EVT_C_ECHO)."""
        return SUCCESS if event.assoc in self._open else NOT_AUTHORIZED

    def closed(self, event: Event) -> None:
        """Note an association that ended (EVT_CONN_CLOSE)."""
        self._end(event.assoc)

    def ended(self) -> None:
        """Note those that ended without anything that tells of it: their thread is over."""
        with self._lock:
            over = [one for one in self._open if one.ident and not one.is_alive()]
        for association in over:
            self._end(association)

    def _end(self, association: Association) -> None:
        with self._lock:
            held = self._open.pop(association, None)
        if held is None:
            return
        _forget_part(association)
        sender, delivery = held
        # Said before the answer that a device may hang up upon.
        how = RELEASED if association._sent_release else CUT  # noqa: SLF001
        self._metrics.associations.labels(sender.clinic, how).inc()
        log.line(
            "association_ended",
            how=how,
            clinic=sender.clinic,
            submission=delivery.name,
            instances=delivery.count,
        )

    def _known(self) -> tuple[Sender, ...]:
        try:
            known = self._register.known()
        except (OSError, SenderError) as error:
            log.line("senders_unreadable", error=str(error))
            return ()
        self._metrics.know({one.clinic for one in known})
        return known

    def _caller(self, association: Association) -> senders.Address:
        told = association.requestor.address_info
        return self._address(told.address if told else "0.0.0.0")  # noqa: S104 - nobody's

    def _address(self, text: str) -> senders.Address:
        # A connection of this machine itself seems to come from the container network's bridge.
        return senders.address("127.0.0.1" if text == self._config.this_host else text)


def _forget_part(association: Association) -> None:
    """Remove what an association leaves of an object that was cut off in the middle."""
    message = association.dimse.message
    path = message._data_set_path if message else None  # noqa: SLF001 - pynetdicom shows it to nobody
    if isinstance(path, Path):
        path.unlink(missing_ok=True)
