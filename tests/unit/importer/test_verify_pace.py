"""How fast a verification reads, and what it tells of its progress."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from dicom_importer.verify.pace import Progress, Throttle, duration


def test_over_all_threads_no_more_is_read_than_was_asked_for() -> None:
    waited: list[float] = []
    throttle = Throttle(100.0, lambda: 0.0, waited.append)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(throttle.take, [50] * 5))
    assert sorted(waited) == [0.5, 1.0, 1.5, 2.0]


def test_without_a_limit_nothing_waits() -> None:
    waited: list[float] = []
    Throttle(0.0, lambda: 0.0, waited.append).take(10**12)
    assert waited == []


def test_progress_tells_how_far_how_fast_and_how_long_yet_without_what_an_earlier_run_did() -> None:
    clock, shown = [0.0], list[str]()
    progress = Progress(shown.append, 1.0, lambda: clock[0])
    progress.begin("files", 4000, 4_000_000_000)
    progress.skip(2000, 2_000_000_000)
    for _ in range(10):
        clock[0] += 0.5
        progress.step(50, 50_000_000)
    assert shown[-1] == "files: 2,500 of 4,000 (2.5 of 4.0 GB), 100 MB/s, 15 s left"
    assert len(shown) == 5
    progress.begin("images", 100)
    clock[0] += 1
    progress.step(100)
    assert shown[-1] == "images: 100 of 100, 100/s"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3661, "1 h 1 min")]
)
def test_a_duration_is_said_to_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
