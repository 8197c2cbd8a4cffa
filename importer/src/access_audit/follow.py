"""Reading what nginx writes: whole lines from where the last reading ended, file by file."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

# nginx names a file by the thousand seconds since 1970 in which it writes it.
SPAN_S = 1000
# A worker may be slow to write what it has named.
GRACE_S = 120.0
MAX_BATCH_BYTES = 1 << 20
_NAME = re.compile(r"\d{6,9}\.log", re.ASCII)


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines, where the next reading begins in each file that exists, and whether more is there."""

    lines: list[bytes]
    offsets: dict[str, int]
    more: bool


def read(folder: Path, offsets: dict[str, int]) -> Batch:
    """Read the next lines; raises OSError. A line without its end is left until that comes.

    What is read is on the disk when this returns: after a power cut a file would else end before
    the place where reading goes on, and what nginx writes there meanwhile would be skipped.
    """
    lines: list[bytes] = []
    after: dict[str, int] = {}
    room = MAX_BATCH_BYTES
    for path in _files(folder):
        offset = offsets.get(path.name, 0)
        with path.open("rb") as file:
            file.seek(offset)
            text = file.read(room)
            if text:
                os.fsync(file.fileno())
        whole = text.rfind(b"\n") + 1
        if not whole and len(text) == MAX_BATCH_BYTES:
            whole = len(text)  # no line is that long: it counts as one that cannot be read
        lines += text[:whole].splitlines()
        after[path.name] = offset + whole
        room -= len(text)
        if room <= 0:
            break
    return Batch(lines, {**_existing(folder, offsets), **after}, more=room <= 0)


def remove_finished(folder: Path, offsets: dict[str, int], now_s: float) -> list[str]:
    """Remove files that are read to their end and not written any more; returns their names."""
    removed = []
    for path in _files(folder):
        end_s = (int(path.stem) + 1) * SPAN_S + GRACE_S
        if now_s > end_s and path.stat().st_size == offsets.get(path.name, 0):
            path.unlink()
            removed.append(path.name)
    return removed


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def _existing(folder: Path, offsets: dict[str, int]) -> dict[str, int]:
    return {path.name: offsets[path.name] for path in _files(folder) if path.name in offsets}
