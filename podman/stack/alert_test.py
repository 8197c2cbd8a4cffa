"""`make alert-test`: one alert through every way that is configured, and whether each of them took it.

It needs Python alone, since on NixOS it is run by itself.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Receivers of their own, so that what other alerts do meanwhile is not counted.
PREFIX = "test-"
TIMEOUT_S, POLL_INTERVAL_S, REQUEST_TIMEOUT_S = 60.0, 0.5, 10.0
# How long a test's alert is kept, by which nobody is told that it is over.
LASTS = timedelta(minutes=1)
COUNTED = re.compile(
    r'^alertmanager_notification_requests(_failed|)_total\{integration="(\w+)",receiver_name="'
    + PREFIX
    + r'(\w+)"\} (\S+)$',
    re.MULTILINE,
)
NONE = (
    "alerts go nowhere: set ALERT_EMAIL, ALERT_TELEGRAM_CHAT or the secret alert_webhook_url"
    " (README, Alerts)"
)
ANNOTATIONS = {
    "summary": "This is a test of the alerts.",
    "description": "Somebody gave the command alert-test. Nothing is wrong.",
    "runbook": "docs/runbook.md",
}
WHY = "NOT delivered: Alertmanager's log says why, and it tries again for some minutes"

Way = tuple[str, str]


def run(url: str, say: Callable[[str], object]) -> bool:
    """Send one alert by the Alertmanager at this address and tell what became of it; returns whether all is well.

    Raises OSError when Alertmanager does not answer.
    """
    tried, failed = _counted(url)
    if not tried:
        say(NONE)
        return False
    _post(url)
    waiting, well = set(tried), True
    deadline_s = time.monotonic() + TIMEOUT_S
    while waiting and time.monotonic() < deadline_s:
        time.sleep(POLL_INTERVAL_S)
        now_tried, _ = _counted(url)
        # Asked once more: an attempt is counted a moment before its failure is.
        _, now_failed = _counted(url)
        for way in sorted(way for way in waiting if now_tried[way] > tried[way]):
            waiting.discard(way)
            is_delivered = now_failed[way] == failed[way]
            well &= is_delivered
            say(f"{_words(way)}: {'delivered' if is_delivered else WHY}")
    for way in sorted(waiting):
        say(f"{_words(way)}: no answer within {TIMEOUT_S:.0f} s; Alertmanager goes on trying")
    return well and not waiting


def _counted(url: str) -> tuple[dict[Way, float], dict[Way, float]]:
    """Return by receiver and kind how often it was tried to send, and how often it failed."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=REQUEST_TIMEOUT_S) as answer:  # noqa: S310 - Alertmanager's own address
        text = answer.read().decode()
    found: tuple[dict[Way, float], dict[Way, float]] = ({}, {})
    for failed, kind, receiver, value in COUNTED.findall(text):
        found[bool(failed)][receiver, kind] = float(value)
    return found


def _post(url: str) -> None:
    now = datetime.now(UTC)
    alert = {
        "labels": {"alertname": "AlertTest", "run": secrets.token_hex(8), "severity": "none"},
        "annotations": ANNOTATIONS,
        "startsAt": now.isoformat(),
        "endsAt": (now + LASTS).isoformat(),
    }
    request = urllib.request.Request(  # noqa: S310 - Alertmanager's own address
        f"{url}/api/v2/alerts", json.dumps([alert]).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S):  # noqa: S310 - Alertmanager's own address
        pass


def _words(way: Way) -> str:
    receiver, kind = way
    return "heartbeat" if receiver == "heartbeat" else kind


if __name__ == "__main__":
    try:
        sys.exit(0 if run(sys.argv[1], lambda text: sys.stdout.write(text + "\n")) else 1)
    except OSError as error:
        sys.stderr.write(f"Alertmanager does not answer: {error}\n")
        sys.exit(1)
