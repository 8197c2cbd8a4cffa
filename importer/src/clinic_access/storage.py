"""What the importer asks of Orthanc's storage: which files it should hold, and to move aside what it should not."""

import contextlib
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

MAX_FILES = 5_000
# Orthanc writes an image's file before the row that tells of it: what is younger is on its way.
MIN_AGE_S = 600.0
# In the storage itself, so that a file gets there by its name alone. Nothing here removes any.
QUARANTINE = ".quarantine"
_NAME = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_BIGINT = 1 << 63


def parse_page(body: bytes) -> tuple[int, int, int]:
    """Read where a page begins (after a resource's number and a file's type) and its length; raises ValueError."""
    asked = _json(body)
    if not isinstance(asked, list) or not all(type(number) is int for number in asked):
        raise ValueError("not a list of numbers")
    resource, filetype, count = asked
    if not (0 <= resource < _BIGINT and 0 <= filetype < 1 << 31 and 0 < count <= MAX_FILES):
        raise ValueError(f"no such page, or longer than {MAX_FILES}")
    return resource, filetype, count


def parse_aged(body: bytes) -> tuple[int, str, int]:
    """Read after which number studies are listed, before which day (a number as 20161231), and how many.

    Raises ValueError.
    """
    number, day, count = parse_page(body)
    return number, f"{day:08}", count


def parse_names(body: bytes) -> list[str]:
    """Read a JSON list of names as Orthanc gives its files; raises ValueError."""
    names = _json(body)
    if not isinstance(names, list) or len(names) > MAX_FILES:
        raise ValueError(f"not a list of at most {MAX_FILES} names")
    if not all(isinstance(name, str) and is_name(name) for name in names):
        raise ValueError("not a list of names of Orthanc's files")
    return names


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except RecursionError as error:
        raise ValueError("too deep") from error


def is_name(text: str) -> bool:
    """Tell whether a file may have got its name from Orthanc."""
    return _NAME.fullmatch(text) is not None


def path(storage: Path, name: str) -> Path:
    """Return where Orthanc keeps a file."""
    return storage / name[:2] / name[2:4] / name


def set_aside(
    storage: Path, names: Sequence[str], listed: Callable[[Sequence[str]], list[str]], now_s: float
) -> list[str]:
    """Move files into quarantine that the index does not list and that are not new; returns their names."""
    old = [name for name in names if _is_old(path(storage, name), now_s)]
    orphans = sorted({*old} - {*listed(old)})
    moved = []
    if orphans:
        (storage / QUARANTINE).mkdir(mode=0o700, exist_ok=True)
    for name in orphans:
        # Not renamed: that would overwrite.
        with contextlib.suppress(OSError):
            os.link(path(storage, name), storage / QUARANTINE / name, follow_symlinks=False)
            path(storage, name).unlink()
            moved.append(name)
    return moved


def _is_old(file: Path, now_s: float) -> bool:
    with contextlib.suppress(OSError):
        return now_s - file.lstat().st_mtime >= MIN_AGE_S
    return False
