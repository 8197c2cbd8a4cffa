"""The archive as a command of the operator speaks to it, beside the running service."""

import contextlib
import threading
import time
from collections.abc import Iterator

from urllib3 import PoolManager

from dicom_importer.access import Token
from dicom_importer.archive import Archive
from dicom_importer.config import Config
from dicom_importer.in_flight import InFlight
from dicom_importer.instance import Limits
from dicom_importer.journal import Journal


@contextlib.contextmanager
def archive(config: Config) -> Iterator[Archive]:
    """Hold connections to the archive, with a token of the command's own."""
    with PoolManager(maxsize=config.connections) as http:
        client = config.client_id, config.client_secret_file
        token = Token(http, config.token_url, client, time.monotonic)
        yield Archive(http, config.orthanc_url, token, InFlight(config.max_instance_bytes))


def limits(config: Config, journal: Journal) -> Limits:
    """Return the service's limits, with its working space and what the journal corrects."""
    spool = config.state_dir / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    # Each may have its own and the archive's version inflated.
    inflating = threading.Semaphore(2 * config.connections)
    return Limits(spool, config.max_instance_bytes, inflating, journal.past.corrections)
