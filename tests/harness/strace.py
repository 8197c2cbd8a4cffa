"""Following one thread of a process by its system calls, and killing the process at one of them."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

# What reads or changes something outside of the process.
CALLS = (
    *("openat", "read", "pread64", "recvfrom", "connect", "sendto"),
    *("write", "pwrite64", "fsync", "fdatasync", "ftruncate"),
    *("mkdirat", "linkat", "unlinkat", "renameat", "renameat2", "unlink", "getdents64"),
)
ATTACH_TIMEOUT_S = 20
_LINE = re.compile(r"(\w+)\((.*)")


@dataclass(frozen=True, slots=True)
class Call:
    """A system call: the how-manieth of its name in its thread, and its arguments with paths."""

    name: str
    number: int
    arguments: str


def newest_thread(pid: int) -> int:
    """Return the thread that was started last."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    started = {
        int(p.name): int((p / "stat").read_text().rpartition(")")[2].split()[19]) for p in threads
    }
    return max(started, key=lambda thread: (started[thread], thread))


@contextmanager
def traced(
    thread: int,
    output: Path,
    at: Call | None = None,
    fault: str = "signal=KILL",
    path: Path | None = None,
) -> Iterator[None]:
    """Write down a thread's calls from now on, those on a path only if one is given.

    At one of them a fault is injected: its process is given a signal, or it fails with an error.
    A call at which a process is killed is not done.
    """
    argv = ["strace", "-qq", "-yy", "-s", "64", "-p", str(thread), "-o", str(output)]
    argv += ["-e", f"trace={','.join((*CALLS, 'close') if path else CALLS)}", "-e", "signal=none"]
    if at:
        argv += ["-e", f"inject={at.name}:{fault}:when={at.number}"]
    if path:
        argv += ["-P", str(path)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as tracer:
        status = Path(f"/proc/{thread}/status")
        wait_until(
            lambda: (
                f"TracerPid:\t{tracer.pid}\n" in status.read_text() or tracer.poll() is not None
            ),
            ATTACH_TIMEOUT_S,
            f"strace follows {thread}",
        )
        assert tracer.poll() is None, tracer.communicate()[1]
        try:
            yield
        finally:
            tracer.terminate()


def calls(output: Path) -> list[Call]:
    """Read what was written down."""
    counts: Counter[str] = Counter()
    result = []
    for line in output.read_text(errors="replace").splitlines():
        if found := _LINE.match(line):
            counts[found[1]] += 1
            result.append(Call(found[1], counts[found[1]], found[2]))
    return result
