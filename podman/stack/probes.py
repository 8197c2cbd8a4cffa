"""The prober's configuration: the file that ships, with the site's public name, by which the front knows its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from stack.settings import PODMAN_DIR

if TYPE_CHECKING:
    from stack.settings import Settings

BASE = PODMAN_DIR / "prober" / "prober.json"


def prober_json(base: str, settings: Settings) -> str:
    """Return the text."""
    config = json.loads(base)
    for module in config["modules"].values():
        module["http"]["headers"] = {"Host": settings.public_authority}
        module["http"]["tls_config"]["server_name"] = settings.host_name
    return json.dumps(config, indent=2, sort_keys=True) + "\n"
