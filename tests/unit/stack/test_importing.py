"""A path that the operator sees is told to the importer as the importer sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from stack.importing import inside
from stack.settings import load

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("data/failed/clinic-a/2026-11-24/it's.dcm", "/files/failed/clinic-a/2026-11-24/it's.dcm"),
        ("data/files/inbox/clinic-a/gone/one.dcm", "/files/inbox/clinic-a/gone/one.dcm"),
        ("data/secrets/x", "data/secrets/x"),
        ("/failed/clinic-a", "/failed/clinic-a"),
        ("clinic-a", "clinic-a"),
        ("--clinic", "--clinic"),
    ],
)
def test_a_path_below_the_data_directory_is_turned_and_nothing_else_is(
    tmp_path: Path, word: str, expected: str
) -> None:
    env = tmp_path / "env"
    env.write_text(f"DATA_DIR={tmp_path}/data\nPUBLIC_URL=https://pacs.example.org\n")
    (tmp_path / "data/files/failed").mkdir(parents=True)
    (tmp_path / "data/failed").symlink_to("files/failed")
    given = word if word.startswith(("/", "-")) or "/" not in word else f"{tmp_path}/{word}"
    wanted = expected if expected.startswith(("/", "-")) or "/" not in expected else given
    assert inside(load(env), given) == wanted


def test_a_link_in_the_inbox_is_not_followed(tmp_path: Path) -> None:
    env = tmp_path / "env"
    env.write_text(f"DATA_DIR={tmp_path}/data\nPUBLIC_URL=https://pacs.example.org\n")
    inbox = tmp_path / "data/files/inbox/clinic-a"
    inbox.mkdir(parents=True)
    (inbox / "link.dcm").symlink_to("/etc/passwd")
    assert inside(load(env), str(inbox / "link.dcm")) == "/files/inbox/clinic-a/link.dcm"
