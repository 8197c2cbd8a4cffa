"""The doors that the same viewer is opened by: the product's, Orthanc's without access control, and static files'."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stack.settings import PODMAN_DIR

if TYPE_CHECKING:
    from stack.settings import Settings

APP_CONFIG = PODMAN_DIR / "ohif" / "app-config.js"
_LOGIN = re.compile(r"^  oidc: \[\n.*?^  \],\n", re.MULTILINE | re.DOTALL)
_LANGUAGE = '<!--# echo var="language_tag" -->'
_INCLUDED = re.compile(r"<!--#.*?-->")


@dataclass(frozen=True, slots=True)
class Door:
    """An address of the viewer: so many ports above the product's own."""

    title: str
    above: int
    asks_login: bool = False
    asks_archive: bool = True

    def port(self, settings: Settings) -> int:
        """Return the port that it is published at."""
        return settings.ports[1] + self.above

    def url(self, settings: Settings) -> str:
        """Return its address."""
        return f"https://{settings.host_name}:{self.port(settings)}"


WHOLE = Door("the product, with login and access control", 0, asks_login=True)
BARE = Door("the same viewer on Orthanc without access control", 1)
STATIC = Door("the same viewer on static files", 2, asks_archive=False)
DOORS = (WHOLE, BARE, STATIC)


def without_login(app_config: str) -> str:
    """Make of the viewer's settings those of one that logs nobody in; raises ValueError.

    What nginx would write into them is written in: English, and no words of its own for errors.
    """
    changed, found = _LOGIN.subn("", app_config)
    if found != 1:
        raise ValueError(f"{APP_CONFIG} has {found} settings of logging in that could be left out")
    return _INCLUDED.sub("", changed.replace(_LANGUAGE, "en"))
