"""The link farm: every file once more by its day, and what is deleted is held."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from dicom_backup import farm

if TYPE_CHECKING:
    from pathlib import Path

NOW_S = 1_795_608_000.0
TODAY, YESTERDAY = "2026-11-25", "2026-11-24"


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Provide an archive without files."""
    (tmp_path / farm.FOLDER).mkdir()
    return tmp_path


def put(storage: Path, name: str, age_s: float = 60, folder_age_s: float = 60) -> Path:
    path = farm.place(storage, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name)
    os.utime(path, (NOW_S - age_s,) * 2)
    os.utime(path.parent, (NOW_S - folder_age_s,) * 2)
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def linked(storage: Path) -> set[str]:
    root = storage / farm.FOLDER
    return {f"{day}/{name}" for day in farm.days(storage) for name in names(root / day)}


def test_each_file_is_linked_under_the_day_it_was_written_on(storage: Path) -> None:
    put(storage, "aabb-1")
    put(storage, "aabb-2", age_s=86400)
    put(storage, "ffee-3", age_s=12 * 3600 + 1)
    found = farm.scan(storage, NOW_S)
    assert (found.linked, found.days) == (3, {TODAY, YESTERDAY})
    assert linked(storage) == {f"{TODAY}/aabb-1", f"{YESTERDAY}/aabb-2", f"{YESTERDAY}/ffee-3"}
    assert farm.days(storage) == [TODAY, YESTERDAY]
    assert farm.place(storage, "aabb-1").samefile(storage / farm.FOLDER / TODAY / "aabb-1")


def test_only_folders_that_changed_are_looked_into(storage: Path) -> None:
    put(storage, "aabb-1")
    put(storage, "ccdd-2")
    assert farm.scan(storage, NOW_S).folders == 2
    put(storage, "aabb-3", folder_age_s=30)
    second = farm.scan(storage, NOW_S)
    assert (second.folders, second.linked) == (1, 1)
    assert farm.scan(storage, NOW_S).folders == 0


def test_a_file_that_came_within_the_same_tick_of_the_clock_is_found(storage: Path) -> None:
    put(storage, "aabb-1", folder_age_s=0)
    assert farm.scan(storage, NOW_S).linked == 1
    # The folder's time is the same as before.
    put(storage, "aabb-2", folder_age_s=0)
    assert farm.scan(storage, NOW_S + 1).linked == 1
    assert farm.scan(storage, NOW_S + 60).folders == 1
    assert farm.scan(storage, NOW_S + 120).folders == 0


def test_a_clock_that_goes_back_hides_nothing(storage: Path) -> None:
    put(storage, "aabb-1")
    farm.scan(storage, NOW_S)
    put(storage, "aabb-2", age_s=7200, folder_age_s=7200)
    assert farm.scan(storage, NOW_S - 7000).linked == 1


def test_what_orthanc_deletes_is_held_until_it_is_let_go(storage: Path) -> None:
    first, second = put(storage, "aabb-1"), put(storage, "aabb-2")
    farm.scan(storage, NOW_S)
    first.unlink()
    found = farm.dead(storage)
    assert found.names == ((TODAY, "aabb-1"),)
    # Deleted after they were looked for: the dump that follows may still name it.
    second.unlink()
    assert farm.release(storage, found) == {TODAY}
    assert linked(storage) == {f"{TODAY}/aabb-2"}
    assert farm.dead(storage).names == ((TODAY, "aabb-2"),)


def test_what_is_put_back_meanwhile_is_not_let_go(storage: Path) -> None:
    path = put(storage, "aabb-1")
    farm.scan(storage, NOW_S)
    path.unlink()
    found = farm.dead(storage)
    os.link(storage / farm.FOLDER / TODAY / "aabb-1", path)
    farm.release(storage, found)
    assert linked(storage) == {f"{TODAY}/aabb-1"}


def test_another_file_of_the_same_name_takes_the_links_place(storage: Path) -> None:
    path = put(storage, "aabb-1")
    farm.scan(storage, NOW_S)
    path.unlink()
    put(storage, "aabb-1", folder_age_s=30).write_text("another")
    os.utime(path, (NOW_S - 60,) * 2)
    farm.scan(storage, NOW_S)
    assert (storage / farm.FOLDER / TODAY / "aabb-1").read_text() == "another"


def test_a_scan_that_was_cut_off_is_repeated(storage: Path) -> None:
    put(storage, "aabb-1")
    farm.scan(storage, NOW_S)
    put(storage, "aabb-2", folder_age_s=30)
    (storage / farm.FOLDER / farm.KNOWN).write_text("{")
    assert farm.scan(storage, NOW_S).linked == 1


def test_folders_that_seem_unchanged_are_looked_into_on_demand(storage: Path) -> None:
    put(storage, "aabb-1")
    farm.scan(storage, NOW_S)
    (storage / farm.FOLDER / TODAY / "aabb-1").unlink()
    assert farm.scan(storage, NOW_S).linked == 0
    assert farm.scan(storage, NOW_S, every=True).linked == 1


def test_links_are_not_made_where_nobody_prepared_for_them(tmp_path: Path) -> None:
    put(tmp_path, "aabb-1")
    with pytest.raises(farm.FarmError, match="run make up"):
        farm.scan(tmp_path, NOW_S)
