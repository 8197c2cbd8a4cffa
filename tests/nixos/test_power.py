"""A booted machine of the NixOS form is rebooted in the middle of work, and loses its power: nothing is lost or twice.

CUTS and FILE_SYSTEMS scale it as they do for the Podman form.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faults.end_state import Archive
from faults.load import load
from faults.test_all_killed import check_people, wanted
from faults.test_power_cut import CUTS, FILE_SYSTEMS, LONGEST_WAIT_S, Cut, come_back, know
from faults.whole_state import come_to_an_end, faults
from harness.power import disk
from nixos import appliance as appliances

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.power import Disk
    from harness.stack import Stack
    from nixos.appliance import Appliance
    from nixos.bridge import System

# A connection that ends with the machine may be left to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
FOLDER = Path("/var/tmp/dicom-appliance-power")  # noqa: S108 - sparse files want room, and root alone makes it


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, and the disk that all of it lies on."""

    appliance: Appliance
    disk: Disk

    @property
    def stack(self) -> Stack:
        """It, as the acceptance suite sees it."""
        return self.appliance.stack

    def mount(self, image: Path) -> None:
        """Mount a disk of its."""
        self.disk.mount(image)

    def up(self) -> None:
        """Boot it."""
        self.appliance.start()

    def go_down(self) -> None:
        """Kill what runs, and unmount."""
        self.appliance.kill()
        self.disk.unmount()


@pytest.fixture(scope="module", params=FILE_SYSTEMS)
def powered(system: System, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """Provide a running machine; the tests are in its network."""
    with disk(request.param, FOLDER) as made:
        appliance = appliances.install(system, FOLDER)
        try:
            appliance.start()
            with appliance.beside_it():
                yield Machine(appliance, made)
        finally:
            appliances.remove(appliance)


def test_a_reboot_in_the_middle_of_work_loses_nothing(
    powered: Machine, say: Callable[[str], None]
) -> None:
    under = load(powered.stack)
    name = f"physician-{under.clinics[0]}"
    with under.running():
        under.await_progress()
        tokens = under.people.all_tokens(name, fresh=True)
        powered.appliance.stop()
        powered.up()
        check_people(powered.stack, under.people, name, tokens)
        under.await_progress()
    come_to_an_end(under)
    files = sum(len(one.files) for one in under.exports)
    again = sum(one.attempts > 1 for one in under.deliveries)
    say(f"A reboot under load: {files} files, {len(under.deliveries)} uploads ({again} sent again)")
    assert faults(under, wanted(under), Archive(powered.stack)) == []


def test_the_power_goes_in_the_middle_of_work(powered: Machine, say: Callable[[str], None]) -> None:
    cuts = []
    under = load(powered.stack)
    with under.running():
        for number in range(CUTS):
            under.await_progress()
            known = know(under)
            time.sleep(secrets.randbelow(1000) / 1000 * LONGEST_WAIT_S)  # the fault itself
            cuts.append(Cut(powered.disk.cut(f"cut-{number}"), known))
    powered.go_down()
    wrong = {}
    for number, cut in enumerate(cuts):
        wrong[number], words = come_back(powered, cut, under)
        say(f"Cut {number} of the power: {words}")
    assert not any(wrong.values()), wrong
