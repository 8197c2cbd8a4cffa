"""Waiting for a condition instead of sleeping for a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")


def wait_until(
    condition: Callable[[], Value],
    timeout_s: float,
    what: str,
    evidence: Callable[[], str] = str,
) -> Value:
    """Return the first true value of `condition`; fails with its last value and the evidence (a log's end)."""
    deadline = time.monotonic() + timeout_s
    while not (last := condition()):
        if time.monotonic() > deadline:
            message = f"{what}: not within {timeout_s:.0f} s; last value {last!r}\n{evidence()}"
            raise AssertionError(message)
        time.sleep(0.2)
    return last
