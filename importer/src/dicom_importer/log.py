"""Structured lines on stdout, one for each outcome, without a name of a patient or a file."""

import hashlib
import json
import os
import sys
import traceback
from datetime import UTC, datetime


def line(event: str, **fields: object) -> None:
    """Print one JSON line; times are UTC."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    sys.stdout.write(json.dumps({"time": now, "event": event, **fields}, default=str) + "\n")
    sys.stdout.flush()


def trace(event: str, error: BaseException, **fields: object) -> None:
    """Print an unforeseen error with its frames, without its message: that may name a file."""
    frames = [
        f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)
    ]
    line(event, error=type(error).__name__, traceback=frames, **fields)


def alias(path: str) -> str:
    """Stand in for a path, which may carry a patient's name."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
