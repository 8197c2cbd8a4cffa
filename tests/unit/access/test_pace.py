"""How fast a person may read, on a clock that is moved by hand."""

from __future__ import annotations

from dataclasses import dataclass, field

from clinic_access.pace import MAX_PEOPLE, PAUSE_S, READS_AT_ONCE, READS_PER_S, Pace
from hypothesis import given
from hypothesis import strategies as st


@dataclass
class Reader:
    """People who read, and their clock."""

    now_s: float = 1000.0
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        self.pace = Pace(lambda: self.now_s)

    def reads(self, times: int, person: str = "anna") -> int:
        """Return how many of so many reads at once are allowed."""
        return sum(self.pace.take(person) for _ in range(times))


def test_some_volumes_at_once_pass_and_a_volume_every_ten_seconds_all_day() -> None:
    reader = Reader()
    assert reader.reads(READS_AT_ONCE) == READS_AT_ONCE
    for _ in range(8640):
        reader.now_s += 10
        assert reader.reads(500) == 500


def test_who_is_too_fast_pauses_and_others_do_not() -> None:
    reader = Reader()
    assert reader.reads(2 * READS_AT_ONCE) == READS_AT_ONCE
    assert not reader.pace.allows("anna")
    assert reader.reads(500, "berta") == 500
    reader.now_s += PAUSE_S - 0.1
    assert reader.reads(10) == 0
    reader.now_s += 0.1
    assert reader.pace.allows("anna")
    assert reader.reads(READS_AT_ONCE) == PAUSE_S * READS_PER_S


def test_to_ask_whether_a_person_pauses_counts_for_nothing() -> None:
    reader = Reader()
    assert all(reader.pace.allows("anna") for _ in range(2 * READS_AT_ONCE))
    assert reader.reads(READS_AT_ONCE) == READS_AT_ONCE


@given(st.lists(st.floats(0, 2), min_size=200, max_size=400))
def test_nobody_reads_more_than_a_bucket_and_what_flows_in(steps: list[float]) -> None:
    reader = Reader()
    read = 0
    for step in steps:
        reader.now_s += step
        read += reader.reads(80)
        assert read <= READS_AT_ONCE + (reader.now_s - 1000) * READS_PER_S + 1


def test_what_is_remembered_of_people_is_bounded() -> None:
    reader = Reader()
    assert reader.reads(READS_AT_ONCE + 1) == READS_AT_ONCE
    for number in range(MAX_PEOPLE):
        assert reader.reads(1, str(number)) == 1
    # Anna was the one who read longest ago.
    assert reader.reads(1) == 1
