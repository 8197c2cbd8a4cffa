"""How much is on its way to the archive at once."""

from __future__ import annotations

import threading

import pytest
from dicom_importer.in_flight import InFlight
from harness.wait import wait_until


class Stopped(Exception):  # noqa: N818
    """Raised by what says that the service goes on."""


def stop() -> None:
    raise Stopped


def test_what_does_not_fit_waits_and_who_comes_later_does_not_pass_it() -> None:
    flight, order = InFlight(10), []

    def take(name: str, size_bytes: int) -> None:
        with flight.taken(size_bytes, lambda: None):
            order.append(name)

    with flight.taken(6, lambda: None):
        large = threading.Thread(target=take, args=("large", 10))
        large.start()
        wait_until(lambda: len(flight._waiting) == 1, 5, "the large one waits")  # noqa: SLF001
        small = threading.Thread(target=take, args=("small", 1))
        small.start()
        wait_until(lambda: len(flight._waiting) == 2, 5, "both wait")  # noqa: SLF001
        assert order == []
    large.join(5)
    small.join(5)
    assert order == ["large", "small"]


def test_several_that_fit_go_together() -> None:
    flight = InFlight(10)
    with flight.taken(5, stop), flight.taken(5, stop):
        pass


def test_what_is_larger_than_all_flight_goes_alone() -> None:
    with InFlight(10).taken(11, stop):
        pass


def test_who_waits_notices_the_end_and_leaves_the_flight_to_others() -> None:
    flight = InFlight(10)
    with flight.taken(10, stop), pytest.raises(Stopped), flight.taken(1, stop):
        pass
    with flight.taken(10, stop):
        pass
