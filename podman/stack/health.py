"""Whether the services work, asked by each one's own health check, and waiting until they do."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from stack.compose import ONE_SHOT, services
from stack.shell import CommandError, attempt, say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stack.settings import Settings

POLL_INTERVAL_S = 1.0
ASKED_AT_ONCE = 4
# Keycloak makes its database at its first start, which on a slow disk and busy cores was seen to take four minutes.
HEALTHY_WITHIN_S = 600.0


def state(settings: Settings, service: str) -> str:
    """Return `healthy`, `done` (a one-shot that succeeded) or what is wrong in a few words."""
    name = settings.container(service)
    found = attempt(["podman", "container", "inspect", name])
    if found.returncode:
        return "absent"
    what = json.loads(found.stdout)[0]["State"]
    if service in ONE_SHOT:
        if what["Status"] == "exited":
            return "done" if what["ExitCode"] == 0 else f"failed with {what['ExitCode']}"
        return str(what["Status"])
    if what["Status"] != "running":
        return str(what["Status"])
    check = attempt(["podman", "healthcheck", "run", name], timeout_s=60)
    return "healthy" if check.returncode == 0 else "not healthy yet"


def states(settings: Settings, names: Iterable[str]) -> dict[str, str]:
    """Return the state of each service; they are asked some at a time, since each answer takes Podman a while."""
    asked = list(names)
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        return dict(zip(asked, pool.map(partial(state, settings), asked), strict=True))


def log_tail(settings: Settings, service: str, lines: int = 20) -> str:
    """Return the end of a service's log; read whole, since podman 4.3 orders `--tail` wrongly."""
    log = attempt(["podman", "logs", settings.container(service)])
    return "\n".join((log.stdout + log.stderr).splitlines()[-lines:])


def wait_healthy(settings: Settings, timeout_s: float = HEALTHY_WITHIN_S) -> None:
    """Wait for every service, telling each as it comes; raises CommandError with the log's end."""
    start = time.monotonic()
    waiting = dict.fromkeys(services(settings), "")
    while True:
        waiting = states(settings, waiting)
        for service in list(waiting):
            if waiting[service] in ("healthy", "done"):
                say(f"{service}: {waiting.pop(service)} ({time.monotonic() - start:.0f} s)")
        if not waiting:
            return
        if time.monotonic() - start > timeout_s:
            parts = [f"{s}: {what}\n{log_tail(settings, s)}" for s, what in waiting.items()]
            message = f"not healthy after {timeout_s:.0f} s:\n" + "\n".join(parts)
            raise CommandError(message)
        time.sleep(POLL_INTERVAL_S)
