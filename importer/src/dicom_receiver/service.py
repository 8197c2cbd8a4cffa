"""The receiver as a process: its listening socket, its signals, and its own HTTP."""

import logging
import os
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import pynetdicom
from access_audit import web
from dicom_importer import log, scan
from pynetdicom import evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicom_receiver import config, intake
from dicom_receiver.config import Config
from dicom_receiver.gate import Gate
from dicom_receiver.metrics import TOO_MANY, Metrics
from dicom_receiver.senders import Register
from dicom_receiver.server import (
    HANDSHAKE_S,
    MAX_KNOWN,
    MAX_PDU_BYTES,
    MAX_STRANGERS,
    Certificate,
    Server,
)

# An ultrasound may keep its association while somebody is examined.
IDLE_S = 600.0
TEND_S = 5.0
TIDY_S = 600.0


@contextmanager
def listening(settings: Config, metrics: Metrics) -> Iterator[tuple[threading.Thread, Gate]]:
    """Take associations until the end of the with block, in the thread that is given.

    Raises OSError where the port or the inbox cannot be used.
    """
    spool = settings.inbox_dir / config.SPOOL
    intake.tidy(spool, 0)
    # pynetdicom writes what comes there; in the inbox, that it is shown by a rename.
    tempfile.tempdir = str(spool)
    pynetdicom._config.STORE_RECV_CHUNKED_DATASET = True  # noqa: SLF001 - its public settings live there
    pynetdicom._config.UNRESTRICTED_STORAGE_SERVICE = True  # noqa: SLF001
    pynetdicom._config.LOG_HANDLER_LEVEL = "none"  # noqa: SLF001
    # What it would say may hold a patient's name.
    logger = logging.getLogger("pynetdicom")
    logger.propagate = False
    logger.handlers = [logging.NullHandler()]
    ae = pynetdicom.AE(ae_title=settings.ae_title)
    ae.add_supported_context(Verification, pynetdicom.ALL_TRANSFER_SYNTAXES[:3])
    ae.maximum_pdu_size = MAX_PDU_BYTES
    # The gate counts them; strangers, who would be counted here, are held off by the server.
    ae.maximum_associations = MAX_KNOWN + MAX_STRANGERS
    ae.acse_timeout = HANDSHAKE_S
    ae.dimse_timeout = ae.network_timeout = IDLE_S
    gate = Gate(
        settings,
        Register(settings.senders_file),
        metrics,
        lambda: datetime.now(UTC),
        lambda: secrets.token_hex(4),
    )
    tls = None
    if settings.certificate:
        tls = Certificate(settings.certificate, settings.certificate_key, settings.client_authority)
    server = Server(
        ae,
        (settings.listen_host, settings.listen_port),
        [
            (evt.EVT_REQUESTED, gate.requested),
            (evt.EVT_C_ECHO, gate.echo),
            (evt.EVT_C_STORE, gate.store),
            (evt.EVT_CONN_CLOSE, gate.closed),
        ],
        is_known=gate.is_known,
        has_room=gate.has_room,
        turned_away=metrics.rejected.labels(TOO_MANY).inc,
        tls=tls,
    )
    accepts = threading.Thread(target=server.serve_forever, name="accept", daemon=True)
    accepts.start()
    try:
        yield accepts, gate
    finally:
        ae.shutdown()


def run(settings: Config, signals: set[signal.Signals]) -> int:
    """Run until one of the signals, which every thread blocks."""
    # The importer, of the same group, empties the folders that are made here.
    os.umask(0o007)
    stop = threading.Event()

    def end() -> None:
        signal.sigwait(signals)
        stop.set()

    def uncaught(found: threading.ExceptHookArgs) -> None:
        if found.exc_value:
            log.trace("association_failed", found.exc_value)

    threading.excepthook = uncaught
    threading.Thread(target=end, name="signals", daemon=True).start()
    metrics = Metrics()
    with listening(settings, metrics) as (accepts, gate):

        def healthy() -> bool:
            return accepts.is_alive() and (settings.inbox_dir / config.SPOOL).is_dir()

        address = settings.metrics_host, settings.metrics_port
        http = web.serve(address, healthy, metrics.registry)
        log.line("started")
        tidied_s = time.monotonic()
        # Without it, what runs it starts it anew.
        while accepts.is_alive() and not stop.wait(TEND_S):
            gate.ended()
            with suppress(OSError):
                metrics.know(scan.clinics(settings.inbox_dir))
            if time.monotonic() - tidied_s > TIDY_S:
                tidied_s = time.monotonic()
                intake.tidy(settings.inbox_dir / config.SPOOL)
    http.shutdown()
    log.line("stopped")
    return 0 if stop.is_set() else 1
