"""Asking the stack's Prometheus."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.stack import Stack


def query(stack: Stack, expression: str) -> list[tuple[dict[str, str], float]]:
    """Return labels and present value of each series that an expression yields."""
    url = "http://prometheus:9090"
    asked = stack.exec("prometheus", "promtool", "query", "instant", "-o", "json", url, expression)
    assert asked.returncode == 0, asked.stderr
    return [(item["metric"], float(item["value"][1])) for item in json.loads(asked.stdout)]
