"""A small file system of its own over a folder."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE_BYTES = 8 << 20
INODES = 400


@contextmanager
def small_disk(folder: Path, size_bytes: int = SIZE_BYTES, inodes: int = INODES) -> Iterator[None]:
    """Lay it over a folder, which must be empty."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size_bytes},nr_inodes={inodes}"
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["/usr/bin/umount", "-l", folder], check=True)


def remount(folder: Path, how: str) -> None:
    """Make it read-only (ro) or writable (rw) again."""
    subprocess.run(["/usr/bin/mount", "-o", f"remount,{how}", folder], check=True)
