"""`python -m bench.waiting`: what the importer takes while it waits, with nothing to do and with 100,000 files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

from stack.settings import TOP, read_env

FILES, FOLDERS = 100_000, 200
COOLDOWN_S, SWEEP_INTERVAL_S = 10, 15
BUSY_S, IDLE_S = 60, 120
PORT = 24999
PROGRAM = "import sys; from dicom_importer.cli import main; sys.exit(main())"
# Nobody listens there: files wait.
NOWHERE = "http://127.0.0.1:9"


def configuration(root: Path, sweep_interval_s: int) -> Path:
    """Write settings for folders below a root; returns the file."""
    for name in ("inbox/clinic-a", "processed", "failed", "state"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "secret").write_text("-")
    settings = read_env(TOP / "podman" / "importer" / "importer.conf") | {
        "ARCHIVE_DIR": str(root),
        "AUDIT_FILE": str(root / "import.jsonl"),
        "CLIENT_SECRET_FILE": str(root / "secret"),
        "COOLDOWN_S": str(COOLDOWN_S),
        "FAILED_DIR": str(root / "failed"),
        "INBOX_DIR": str(root / "inbox"),
        "LISTEN_HOST": "127.0.0.1",
        "LISTEN_PORT": str(PORT),
        "ORTHANC_URL": NOWHERE,
        "PROCESSED_DIR": str(root / "processed"),
        "STATE_DIR": str(root / "state"),
        "SWEEP_INTERVAL_S": str(sweep_interval_s),
        "TOKEN_URL": NOWHERE,
    }
    path = root / "importer.conf"
    path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    return path


def cpu_s(pid: int) -> float:
    """Return the seconds of CPU that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """Return the largest resident size that a process has had."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def sweep_s() -> float:
    """Return how long the last sweep took, as the importer tells monitoring."""
    with urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=10) as answer:
        found = re.search(
            r"^dicom_importer_sweep_seconds (\S+)", answer.read().decode(), re.MULTILINE
        )
    return float(found[1]) if found else 0.0


def run(root: Path, sweep_interval_s: int, seconds: int) -> tuple[float, float, float]:
    """Run the importer for a while; returns peak MB, the longest sweep, and its part of one core.

    The part is of the time after the first quarter: starting is not waiting.
    """
    argv = [sys.executable, "-c", PROGRAM, "--config", str(configuration(root, sweep_interval_s))]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(TOP / "importer" / "src")}
    quarter_s = seconds / 4
    with (root / "log").open("w") as log:
        process = subprocess.Popen([*argv, "run"], stdout=log, stderr=log, env=env)  # noqa: S603 - our own program
    try:
        time.sleep(quarter_s)
        longest_s, before_s = sweep_s(), cpu_s(process.pid)
        until = time.monotonic() + 3 * quarter_s
        while time.monotonic() < until:
            time.sleep(5)
            longest_s = max(longest_s, sweep_s())
        part = (cpu_s(process.pid) - before_s) / (3 * quarter_s)
        return peak_mb(process.pid), longest_s, part
    finally:
        process.kill()
        process.wait()


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="bench-waiting-") as top:
        root = Path(top)
        mb, longest_s, part = run(root, 60, IDLE_S)
        sys.stdout.write(f"idle: {100 * part:.2f} % of one core, peak {mb:.0f} MB\n")
        for folder in range(FOLDERS):
            study = root / "inbox" / "clinic-a" / f"study-{folder:04}"
            study.mkdir()
            for number in range(FILES // FOLDERS):
                (study / f"1.2.826.0.1.3680043.8.498.{folder:08}.{number:030}.dcm").touch()
        mb, longest_s, part = run(root, SWEEP_INTERVAL_S, BUSY_S)
        sys.stdout.write(
            f"{FILES} waiting files of one clinic: longest sweep {longest_s:.1f} s, peak {mb:.0f} MB\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
