"""The headers that every answer of the front door has, for whatever path and with whatever status."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from requests import Response

SECURITY_HEADERS = (
    "Content-Security-Policy",
    "Cross-Origin-Embedder-Policy",
    "Cross-Origin-Opener-Policy",
    "Cross-Origin-Resource-Policy",
    "Permissions-Policy",
    "Referrer-Policy",
    "X-Content-Type-Options",
    "X-Frame-Options",
)


def not_once(answer: Response) -> list[str]:
    """Return the security headers that an answer lacks or has twice."""
    return [name for name in SECURITY_HEADERS if len(answer.raw.headers.getlist(name)) != 1]
