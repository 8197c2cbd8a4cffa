"""The reader of Orthanc's index: its one connection, and what it takes for a question."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from clinic_access.index import MAX_UIDS, Index, IndexMissingError, Values, parse_uids

ROW = ("1.2", "an-id", "an-md5", "a-clinic")


class BrokenError(Exception):
    """What the database's library raises."""


@dataclass
class Database:
    """Answers everything with one row; each connection breaks after so many answers."""

    lasting: list[int]
    asked: list[Values] = field(default_factory=list)
    open: int = 0

    def connect(self) -> Database.Session:
        """Open a connection, if there is one to be had."""
        if not self.lasting:
            raise BrokenError("refused")
        self.open += 1
        return Database.Session(self, self.lasting.pop(0))

    @dataclass
    class Session:
        """A connection and its cursor."""

        database: Database
        left: int

        def cursor(self) -> Database.Session:
            """Return what executes."""
            return self

        def execute(self, _statement: str, values: Values, /) -> None:
            """Take a question; what has no values prepares the connection."""
            if values and not self.left:
                raise BrokenError("terminated")
            if values:
                self.left -= 1
                self.database.asked.append(values)

        def fetchall(self) -> list[tuple[str, ...]]:
            """Answer it."""
            return [ROW]

        def close(self) -> None:
            """End it."""
            self.database.open -= 1


def test_one_connection_serves_many_questions() -> None:
    database = Database([9])
    index = Index(database.connect, (BrokenError,))
    assert [index.held(["1.2"]) for _ in range(3)] == [[ROW]] * 3
    assert database.asked == [[["1.2"]]] * 3
    assert database.open == 1


def test_a_database_that_restarted_is_asked_again() -> None:
    database = Database([1, 1])
    index = Index(database.connect, (BrokenError,))
    assert [index.held(["1.2"]) for _ in range(2)] == [[ROW]] * 2
    assert database.open == 1


def test_a_database_that_is_away_is_said_to_be_and_asked_again_later() -> None:
    database = Database([])
    index = Index(database.connect, (BrokenError,))
    with pytest.raises(IndexMissingError, match="refused"):
        index.held(["1.2"])
    database.lasting = [0, 1]
    with pytest.raises(IndexMissingError, match="terminated"):
        index.held(["1.2"])
    assert database.open == 0
    assert index.held(["1.2"]) == [ROW]


def test_a_list_of_uids_is_read() -> None:
    assert parse_uids(b'["1.2", "01..2"]') == ["1.2", "01..2"]
    assert len(parse_uids(b'["1"' + b',"1"' * (MAX_UIDS - 1) + b"]")) == MAX_UIDS


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'"1.2"',
        b"[1.2]",
        b'["1.2; --"]',
        b'["1\\u0000"]',
        b'[""]',
        b'["' + b"1" * 65 + b'"]',
        b'["\xd9\xa1"]',
        b'["1"' + b',"1"' * MAX_UIDS + b"]",
        b"[" * 100_000,
    ],
)
def test_what_is_no_list_of_uids_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_uids(body)
