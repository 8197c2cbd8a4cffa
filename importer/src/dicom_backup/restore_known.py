"""Which files the archive's index lists: a sorted file of names, however long, looked up without reading it whole."""

import mmap
from collections.abc import Iterator
from pathlib import Path

_NAME_CHARS = 36
_LINE_BYTES = _NAME_CHARS + 1


class Known:
    """The names of a file that holds one of 36 characters a line, in the order of their bytes."""

    def __init__(self, path: Path) -> None:
        size = path.stat().st_size
        if size % _LINE_BYTES:
            raise ValueError(
                f"{path} is not a list of names: run the restore of the databases again"
            )
        self._count = size // _LINE_BYTES
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return (self._at(index).decode() for index in range(self._count))

    def __contains__(self, name: str) -> bool:
        wanted, low, high = name.encode(), 0, self._count
        while low < high:
            middle = (low + high) // 2
            found = self._at(middle)
            if found == wanted:
                return True
            low, high = (middle + 1, high) if found < wanted else (low, middle)
        return False

    def _at(self, index: int) -> bytes:
        assert self._map is not None  # noqa: S101 - nothing is asked for of an empty one
        start = index * _LINE_BYTES
        return self._map[start : start + _NAME_CHARS]
