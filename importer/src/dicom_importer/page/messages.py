"""A request of the page and the answer to it, without HTTP's own matters."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """Method, path below /page, the query's first values, headers in lower case, and the body as it comes."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


class Refused(Exception):  # noqa: N818 - an answer, no fault
    """A request is refused: a status, a name of the language's `refusals`, and what fills its text."""

    def __init__(self, status: int, name: str, **values: object) -> None:
        super().__init__(status, name)
        self.status = status
        self.name = name
        self.values = values


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers, and a body that becomes JSON; None for none."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, object] | None = None
