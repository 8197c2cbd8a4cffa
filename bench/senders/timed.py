"""Runs a sender and prints its seconds, CPU seconds and peak memory as one JSON line."""

import json
import os
import subprocess
import sys
import time

with open("/tmp/sender.log", "wb") as log:  # noqa: PTH123, S108 - as small as can be, in a container
    began_s = time.monotonic()
    process = subprocess.Popen(sys.argv[1:], stdout=log, stderr=log)  # noqa: S603 - the bench's own
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began_s
found = {
    "seconds": seconds,
    "cpu_s": used.ru_utime + used.ru_stime,
    "peak_bytes": used.ru_maxrss * 1024,
    "status": os.waitstatus_to_exitcode(status),
}
sys.stdout.write(json.dumps(found) + "\n")
