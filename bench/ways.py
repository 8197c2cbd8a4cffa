"""The ways by which the same thing is asked of the archive: through which door, and judged by whom."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from stack.settings import PODMAN_DIR
from stack.shell import CommandError

if TYPE_CHECKING:
    from ssl import SSLContext

    from stack.settings import Settings

ARCHIVE_CONF = PODMAN_DIR / "nginx" / "includes" / "archive.conf"
UNCHECKED = "/unchecked"
# What of archive.conf asks who somebody is.
_CHECKS = (
    'if ($bearer = "") {\n    return 401;\n}\n',
    "auth_request /session-check;\nauth_request_set $session_status $status;\n",
)
FRAME_ACCEPT = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'


@dataclass(frozen=True, slots=True)
class Way:
    """A way to the archive; with a token the gate in Orthanc judges, and its plugin searches."""

    title: str
    by_nginx: bool = True
    prefix: str = ""
    has_token: bool = True

    def search(self, clinic: str, limit: int) -> str:
        """Return the address of a search for a clinic's studies, which the gate adds by itself."""
        if self.has_token:
            # nginx maps the public address to the plugin's; elsewhere it is asked as nginx asks.
            place = "dicom-web" if self.by_nginx and not self.prefix else "clinic-search"
            return f"{self.prefix}/{place}/studies?limit={limit}"
        asked = urlencode({"limit": limit, "InstitutionName": clinic})
        return f"{self.prefix}/dicom-web/studies?{asked}"


WHOLE = Way("nginx with its session check, the gate")
GATE = Way("nginx without its session check, the gate", prefix=UNCHECKED)
BARE = Way("nginx without its session check, bare Orthanc", prefix=UNCHECKED, has_token=False)
DIRECT_GATE = Way("without nginx: the gate", by_nginx=False)
DIRECT_BARE = Way("without nginx: bare Orthanc", by_nginx=False, has_token=False)
WAYS = (WHOLE, GATE, BARE, DIRECT_GATE, DIRECT_BARE)


def unchecked_conf(archive_conf: str) -> str:
    """Make of the archive's location one that is the same but for whom it lets in; raises ValueError."""
    for check in _CHECKS:
        if check not in archive_conf:
            raise ValueError(f"{ARCHIVE_CONF} has no {check!r} that could be left out")
        archive_conf = archive_conf.replace(check, "")
    way_on = f"rewrite ^{UNCHECKED}/(.*)$ /$1 break;\nproxy_pass http://orthanc;\n"
    return f"location ^~ {UNCHECKED}/ {{\n{archive_conf}\n{way_on}}}\n"


class Client:
    """One kept-alive connection of a way."""

    def __init__(self, settings: Settings, tls: SSLContext, way: Way, token: str) -> None:
        self._headers = {"Accept": FRAME_ACCEPT}
        if way.has_token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._connection: http.client.HTTPConnection
        if way.by_nginx:
            self._connection = http.client.HTTPSConnection(
                settings.host_name, settings.ports[1], timeout=60, context=tls
            )
        else:
            host = f"{settings.prefix('BACKEND')}.13"
            self._connection = http.client.HTTPConnection(host, 8042, timeout=60)

    def ask(self, path: str, accept: str = FRAME_ACCEPT) -> tuple[float, bytes]:
        """Return how many seconds an answer took, to its last byte, and the answer; raises CommandError."""
        began_s = time.perf_counter()
        self._connection.request("GET", path, headers=self._headers | {"Accept": accept})
        answer = self._connection.getresponse()
        content = answer.read()
        seconds = time.perf_counter() - began_s
        if answer.status != HTTPStatus.OK:
            raise CommandError(f"GET {path}: {answer.status} {content[:200]!r}")
        return seconds, content

    def close(self) -> None:
        """End the connection."""
        self._connection.close()
