"""What is refused while images come back from the backup: the study, series or image that lacks a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from clinic_access.returning import MARKER, Returning
from clinic_access.routes import Access, Route

if TYPE_CHECKING:
    from pathlib import Path

HERE, AWAY = "aabb0000-0000", "ccdd0000-0000"
FILES = {
    ("0020000D", "1"): [HERE, AWAY],
    ("0020000E", "1.1"): [HERE],
    ("0020000E", "1.2"): [AWAY],
    ("00080018", "1.1.1"): [HERE],
    ("00080018", "1.2.1"): [AWAY],
}


@pytest.mark.parametrize(
    ("uids", "expected"),
    [
        (("1",), True),
        (("1", "1.1"), False),
        (("1", "1.2"), True),
        (("1", "1.1", "1.1.1"), False),
        (("1", "1.2", "1.2.1"), True),
    ],
)
def test_what_lacks_a_file_is_not_back(
    tmp_path: Path, uids: tuple[str, ...], *, expected: bool
) -> None:
    (tmp_path / "aa/bb").mkdir(parents=True)
    (tmp_path / "aa/bb" / HERE).touch()
    returning = Returning(tmp_path, lambda tag, uid: FILES[tag, uid])
    # Without the marker nobody is asked.
    assert not returning.lacks(Route(Access.RETRIEVE, "never heard of"))
    (tmp_path / MARKER).touch()
    assert returning.lacks(Route(Access.RETRIEVE, *uids)) is expected
    (tmp_path / "cc/dd").mkdir(parents=True)
    (tmp_path / "cc/dd" / AWAY).touch()
    assert not returning.lacks(Route(Access.RETRIEVE, *uids))


def test_a_search_needs_no_files(tmp_path: Path) -> None:
    (tmp_path / MARKER).touch()
    returning = Returning(tmp_path, lambda _tag, _uid: [AWAY])
    assert not returning.lacks(Route(Access.SEARCH, "1"))
