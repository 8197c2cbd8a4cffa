"""Asking the log store and Prometheus, as only who sits on the backend can."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from stack.shell import run

if TYPE_CHECKING:
    from harness.stack import Stack


def fetched(stack: Stack, service: str, last: int, path: str, **words: str) -> str:
    """Fetch a page of a service by its address's last octet and port; returns its text."""
    address = f"{stack.podman_settings.prefix('BACKEND')}.{last}"
    enter = ("nsenter", f"--target={stack.main_process(service)}", "--net", "curl", "-sS", "--fail")
    given = [
        part for key, value in words.items() for part in ("--data-urlencode", f"{key}={value}")
    ]
    return run([*enter, *given, f"http://{address}:{path}"], timeout_s=60)


def asked(stack: Stack, what: str, **words: str) -> str:
    """Ask the log store; returns its answer."""
    return fetched(stack, "victorialogs", 27, f"9428/select/logsql/{what}", **words)


def found(stack: Stack, query: str) -> list[dict[str, str]]:
    """Return what a query of LogsQL finds."""
    return [json.loads(line) for line in asked(stack, "query", query=query).splitlines()]
