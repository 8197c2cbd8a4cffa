"""The bench's report says what was measured, who lost something, and how ours compares."""

from __future__ import annotations

from bench import report
from bench.measure import RESTARTED, Cost, Run

TITLES = {"importer": "ours", "floor": "the floor", "fast": "fast", "leaky": "leaky"}


def run(peer: str, seconds: float, *, lost: int = 0, failed: str = "") -> Run:
    cost = Cost(seconds, 1.5, 30_000_000, 4.0)
    settled_s = 2.1 if peer == "importer" else 0.0
    return Run(peer, "slices", 100, 50_000_000, lost, cost, settled_s, failed)


def lines(*runs: Run) -> list[str]:
    return report.table("a set", runs, TITLES, {"fast", "leaky"}).splitlines()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_line_has_the_median_and_the_spread_of_the_rounds() -> None:
    written = lines(run("floor", 1.0), run("floor", 2.0), run("floor", 4.0))
    line = next(line for line in written if line.startswith("| the floor"))
    assert cells(line) == [
        "the floor",
        "50 (25 to 100)",
        "25",
        "1.5",
        "30",
        "4.0",
        "1.00",
        "",
    ]


def test_who_lost_something_is_named_and_neither_paid_for_it_nor_compared_with() -> None:
    written = lines(run("importer", 2.0), run("fast", 2.5), run("leaky", 1.0, lost=3))
    leaky = next(line for line in written if line.startswith("| leaky"))
    assert cells(leaky)[1] == "97 (97 to 97)"
    assert cells(leaky)[-1] == "lost 3 of 100"
    assert "1.25 of the fastest HTTP peer (fast)" in written[-1]


def test_a_round_that_failed_is_told_and_neither_measured_nor_compared_with() -> None:
    written = lines(
        run("importer", 2.0),
        run("fast", 1.0),
        run("fast", 9.0, lost=100, failed=RESTARTED),
        run("leaky", 2.5, failed=RESTARTED),
    )
    fast, leaky = (
        next(line for line in written if line.startswith(name)) for name in ("| fast", "| leaky")
    )
    assert cells(fast)[1] == "100 (100 to 100)"
    assert cells(fast)[-1] == "1 of 2 failed: the archive was restarted, lost 100 of 100"
    assert cells(leaky) == ["leaky", *[""] * 6, "1 of 1 failed: the archive was restarted"]
    assert "HTTP peer" not in written[-1]


def test_ours_is_compared_with_the_floor() -> None:
    written = lines(run("importer", 2.0), run("floor", 1.0))
    assert written[-1] == "Ours: 0.50 of the floor."


def test_the_fastest_stands_first_and_who_did_not_run_is_left_out() -> None:
    written = lines(run("importer", 2.0), run("floor", 1.0), run("fast", 1.5))
    senders = [cells(line)[0] for line in written if line.startswith("| ")][1:]
    assert senders == ["the floor", "fast", "ours"]


def test_the_cool_down_of_ours_is_told_apart() -> None:
    written = lines(run("importer", 2.0))
    assert any(cells(line)[-1] == "settled after 2.1 s" for line in written if "ours" in line)
