"""What Orthanc's index in PostgreSQL holds of many resources, in one statement that can only read.

Orthanc's own REST API takes a transaction of seven statements for each instance, on the one
connection that its stores take turns on.
"""

import json
import re
import threading
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

Values: TypeAlias = Sequence[str | int | Sequence[str]]

MAX_UIDS = 1_000
# What the importer takes for a UID, whether PS3.5 9.1 allows it or not.
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)

# Orthanc's numbers (its database's version 6): resources of type 3 are instances, files of type 1
# are the DICOM files themselves.
_HELD = """
SELECT named.value, resources.publicid, coalesce(attachedfiles.uncompressedhash, '')
FROM dicomidentifiers AS named
JOIN resources ON resources.internalid = named.id AND resources.resourcetype = 3
LEFT JOIN attachedfiles ON attachedfiles.id = named.id AND attachedfiles.filetype = 1
WHERE named.value = ANY(%s) AND named.taggroup = 8 AND named.tagelement = 24
"""


class Cursor(Protocol):
    """What is used of a cursor (PEP 249)."""

    def execute(self, statement: str, values: Values, /) -> object: ...  # noqa: D102
    def fetchall(self) -> list[tuple[str, ...]]: ...  # noqa: D102


class Connection(Protocol):
    """What is used of a connection (PEP 249) that commits each statement."""

    def cursor(self) -> Cursor: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class IndexMissingError(Exception):
    """The database does not answer."""


def parse_uids(body: bytes) -> list[str]:
    """Read a JSON list of UIDs; raises ValueError."""
    try:
        uids = json.loads(body)
    except RecursionError as error:
        raise ValueError("too deep") from error
    if not isinstance(uids, list) or len(uids) > MAX_UIDS:
        raise ValueError(f"not a list of at most {MAX_UIDS} UIDs")
    if not all(isinstance(uid, str) and _UID.fullmatch(uid) for uid in uids):
        raise ValueError("not a list of UIDs")
    return uids


class Index:
    """Asks over one connection, which is made anew when it broke; from any thread."""

    def __init__(
        self, connect: Callable[[], Connection], broken: tuple[type[Exception], ...]
    ) -> None:
        self._connect = connect
        self._broken = broken
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def held(self, sop_uids: Sequence[str]) -> list[tuple[str, ...]]:
        """Return SOP Instance UID, Orthanc's identifier and MD5 (empty: no file) of each instance.

        One UID may name several instances, of several patients. Raises IndexMissingError.
        """
        return self._ask(_HELD, [list(sop_uids)])

    def _ask(self, statement: str, values: Values) -> list[tuple[str, ...]]:
        with self._lock:
            try:
                # A database that restarted is noticed when the kept connection is used.
                return self._try(statement, values, tries=2 if self._connection else 1)
            except self._broken as error:
                raise IndexMissingError(str(error)) from error

    def _try(self, statement: str, values: Values, tries: int) -> list[tuple[str, ...]]:
        try:
            if self._connection is None:
                self._connection = self._connect()
            cursor = self._connection.cursor()
            cursor.execute(statement, values)
            return cursor.fetchall()
        except self._broken:
            if self._connection:
                self._connection.close()
                self._connection = None
            if tries == 1:
                raise
        return self._try(statement, values, tries - 1)
