"""The importer as a process: its threads, its signals and its HTTP."""

import signal
import threading
import time
import warnings

from dicom_importer import log, watch, web
from dicom_importer.config import Config
from dicom_importer.service import Service

STOP_S = 8.0


def run(config: Config, signals: set[signal.Signals]) -> int:
    """Run until one of the signals, which every thread blocks, then stop within ten seconds."""
    # pydicom warns about what it decodes; outcomes are said in our own lines.
    warnings.simplefilter("ignore")
    service = Service(config)

    def end() -> None:
        # In a thread: a handler could come while its own thread holds the lock it needs.
        signal.sigwait(signals)
        service.stop.set()
        service.wake.set()
        service.queue.close()

    threading.Thread(target=end, name="signals", daemon=True).start()
    address = config.listen_host, config.listen_port
    doors = web.Doors(service.door.store, service.page.answer, service.words.refusals)
    server = web.serve(address, service.health, service.metrics.registry, doors)
    observer = watch.watch(config.inbox_dir, service.wake.set)
    service.worker.recover()
    service.door.open()
    workers = [
        threading.Thread(target=service.worker.run, name=f"worker-{n}", daemon=True)
        for n in range(config.connections)
    ]
    for worker in workers:
        worker.start()
    log.line("started")
    service.loop()
    deadline = time.monotonic() + STOP_S
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
    service.tend()
    if observer:
        observer.stop()
    server.shutdown()
    service.journal.close()
    log.line("stopped")
    return 0
