"""What the importer may ask of Orthanc's storage, and what is moved aside there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from clinic_access import storage
from clinic_access.storage import (
    MAX_FILES,
    MIN_AGE_S,
    QUARANTINE,
    parse_aged,
    parse_names,
    parse_page,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAME = "0123abcd-0000-4000-8000-0123456789ab"
NOW_S = 1_800_000_000.0


def put(root: Path, name: str, age_s: float = MIN_AGE_S) -> Path:
    """Write a file as old as this into the storage."""
    file = storage.path(root, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(name)
    os.utime(file, (NOW_S - age_s, NOW_S - age_s))
    return file


def nothing(_: Sequence[str]) -> list[str]:
    """List no file."""
    return []


def test_a_page_is_read() -> None:
    assert parse_page(b"[0, 0, 1]") == (0, 0, 1)
    assert parse_page(f"[{2**63 - 1}, 4301, {MAX_FILES}]".encode()) == (2**63 - 1, 4301, MAX_FILES)


def test_a_page_of_studies_begins_after_one_and_ends_before_a_day() -> None:
    assert parse_aged(b"[7, 20161125, 50]") == (7, "20161125", 50)
    with pytest.raises(ValueError, match="not a list of numbers"):
        parse_aged(b'[7, "20161125", 50]')


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b"[]", b"[0, 0]", b"[0, 0, 0]", b"[-1, 0, 1]", b"[0, 0, 5001]"),
        *(b"[0, 0, true]", b"[0, 0, 1.0]", b'["0", 0, 1]', b"[0, 2147483648, 1]"),
        *(f"[{2**63}, 0, 1]".encode(), b"[" * 100_000),
    ],
)
def test_what_is_no_page_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_page(body)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b'["../../etc/passwd"]', b'["0123abcd"]', f'["{NAME}\\n"]'.encode(), b"[1]"),
        *(f'["{NAME.upper()}"]'.encode(), b"[" * 100_000, b"[" + b"1," * MAX_FILES + b"1]"),
    ],
)
def test_what_is_no_list_of_names_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_names(body)


def test_names_are_read() -> None:
    assert parse_names(f'["{NAME}"]'.encode()) == [NAME]


def test_only_what_is_not_listed_and_not_new_is_moved_aside(tmp_path: Path) -> None:
    names = [NAME, "ff" + NAME[2:], "fe" + NAME[2:], "fd" + NAME[2:]]
    put(tmp_path, names[0])
    listed, new = put(tmp_path, names[1]), put(tmp_path, names[2], MIN_AGE_S - 1)
    moved = storage.set_aside(tmp_path, names, lambda _: [names[1]], NOW_S)
    assert moved == [NAME]
    assert (tmp_path / QUARANTINE / NAME).read_text() == NAME
    assert (storage.path(tmp_path, NAME).exists(), listed.exists(), new.exists()) == (
        False,
        True,
        True,
    )


def test_what_lies_in_quarantine_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / QUARANTINE).mkdir()
    (tmp_path / QUARANTINE / NAME).write_text("before")
    file = put(tmp_path, NAME)
    assert storage.set_aside(tmp_path, [NAME], nothing, NOW_S) == []
    assert (file.read_text(), (tmp_path / QUARANTINE / NAME).read_text()) == (NAME, "before")
