"""Prometheus' configuration: the file that ships, and where VictoriaMetrics is, that it gets a copy of everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stack.settings import PODMAN_DIR

if TYPE_CHECKING:
    from stack.settings import Settings

BASE = PODMAN_DIR / "prometheus" / "prometheus.yml"
COPY = PODMAN_DIR / "prometheus" / "remote-write.yml"


def prometheus_yml(settings: Settings) -> str:
    """Return the text."""
    with_copy = settings.values["OBSERVABILITY"] == "embedded"
    return BASE.read_text() + (f"\n{COPY.read_text()}" if with_copy else "")
