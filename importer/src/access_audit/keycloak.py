"""Keycloak's event store, read as a service account that may do nothing else."""

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path

from clinic_access.json_value import Json
from dicom_importer.access import Token
from dicom_importer.reasons import Unavailable
from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError

from access_audit.events import identity, time_ms
from access_audit.record import Record
from access_audit.state import Cursor

REALM_URL = "http://keycloak:8080/auth/admin/realms/dicom"
TOKEN_URL = "http://keycloak:8080/auth/realms/dicom/protocol/openid-connect/token"  # noqa: S105 - an address
CLIENT = "auditor"
PAGE = 500
# An event becomes visible when its transaction ends, which may be after a later one's.
OVERLAP_MS = 60_000
_TIMEOUT = Timeout(connect=5, read=30)

Event = Mapping[str, Json]


class EventStore:
    """Both lists of events, eldest first."""

    def __init__(
        self, http: PoolManager, secret_file: Path, monotonic: Callable[[], float]
    ) -> None:
        self._http = http
        self._token = Token(http, TOKEN_URL, (CLIENT, secret_file), monotonic)

    def since(self, name: str, from_ms: int) -> Iterator[Event]:
        """Yield events of a list (events, admin-events) from a time on; raises Unavailable."""
        first = 0
        while True:
            page = self._page(name, from_ms, first)
            yield from page
            first += len(page)
            if len(page) < PAGE:
                return

    def _page(self, name: str, from_ms: int, first: int) -> list[Event]:
        try:
            answer = self._http.request(
                "GET",
                f"{REALM_URL}/{name}",
                fields={
                    "dateFrom": str(from_ms),
                    "direction": "asc",
                    "first": str(first),
                    "max": str(PAGE),
                },
                headers={"Authorization": f"Bearer {self._token.get()}"},
                timeout=_TIMEOUT,
                retries=False,
            )
            if answer.status == HTTPStatus.UNAUTHORIZED:
                self._token.drop()
            if answer.status != HTTPStatus.OK:
                raise Unavailable(f"{name}: status {answer.status}")
            found: list[Event] = answer.json()
        except (HTTPError, ValueError) as error:
            raise Unavailable(f"{name}: {type(error).__name__}") from error
        return found


def news(
    events: Callable[[int], Iterator[Event]], cursor: Cursor, to_record: Callable[[Event], Record]
) -> Iterator[Record]:
    """Yield a record of each event not seen yet, and move the cursor; raises Unavailable."""
    for event in events(max(0, cursor.newest_ms - OVERLAP_MS)):
        name = identity(event)
        if name in cursor.seen:
            continue
        cursor.seen[name] = time_ms(event)
        cursor.newest_ms = max(cursor.newest_ms, time_ms(event))
        yield to_record(event)
    kept = cursor.newest_ms - OVERLAP_MS
    cursor.seen = {name: at for name, at in cursor.seen.items() if at >= kept}
