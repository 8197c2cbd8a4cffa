"""Writing so that a cut leaves the old or the new, and never a half."""

import json
import os
from pathlib import Path


def write_json(path: Path, value: object) -> None:
    """Write a JSON file durably, in one step."""
    part = path.with_name(path.name + ".part")
    with part.open("w") as file:
        json.dump(value, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
