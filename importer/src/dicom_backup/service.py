"""The backup at work where no timers call it: a run every few minutes, the check once a day."""

import threading

from dicom_importer import log

from dicom_backup import state
from dicom_backup.run import Tools, run
from dicom_backup.upkeep import DAY_S, upkeep

POLL_INTERVAL_S = 5.0
# A run that failed is tried again after this, and not after its whole interval.
RETRY_S = 120.0


class Schedule:
    """Says what is due by what was done, which a restart does not forget."""

    def __init__(self, tools: Tools) -> None:
        self.stop = threading.Event()
        self._tools = tools

    def loop(self) -> None:
        """Work until told to stop."""
        while not self.stop.is_set():
            try:
                self.tick()
            except Exception as error:  # noqa: BLE001 - the loop's edge: the next run repeats everything
                log.trace("cannot_work", error)
                self.stop.wait(RETRY_S)
            self.stop.wait(POLL_INTERVAL_S)

    def tick(self) -> None:
        """Do what is due."""
        tools = self._tools
        now_s = tools.clocks.now_s()
        known = state.load(tools.config.state_file)
        interval_s = 60.0 * tools.config.interval_min
        pause_s = min(RETRY_S, interval_s) if known.error else interval_s
        # A clock that went back must not put it off.
        if not 0 <= now_s - known.tried_s < pause_s:
            known = run(tools)
        if known.succeeded_s and not 0 <= now_s - known.checked_s < DAY_S:
            upkeep(tools)
