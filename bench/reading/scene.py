"""What is read, and by whom: the archive filled, the people made, and what that took in the database."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stack import people
from stack.__main__ import alone

from bench.__main__ import tell
from bench.access import wait_settled
from bench.login import add_person, token
from bench.measure import analyze
from bench.reading.archive import CLINIC, Study, database_bytes, store_ct, store_many
from bench.reading.window import Person
from bench.sets import orthanc_study

if TYPE_CHECKING:
    from bench.measure import Bench
    from bench.reading.sizes import Sizes


@dataclass(frozen=True, slots=True)
class Scene:
    """A filled archive: a CT for each person, the first of which is also in static files.

    Nobody reads at another's pace: the access plugin counts what one person reads.
    """

    bench: Bench
    sizes: Sizes
    people: tuple[Person, ...]
    studies: tuple[Study, ...]
    study_bytes: float
    instance_bytes: float

    @property
    def study(self) -> Study:
        """The CT that browsers open."""
        return self.studies[0]

    def person(self, turn: int) -> Person:
        """Return whose turn it is."""
        return self.people[turn % len(self.people)]

    def tls(self) -> ssl.SSLContext:
        """Return what trusts the stack."""
        return ssl.create_default_context(cafile=self.bench.settings.data_dir / "tls" / "ca.crt")

    def token(self, person: Person) -> str:
        """Return a new access token."""
        return token(self.bench.settings, self.tls(), person.name, person.password)


def set_up(bench: Bench, sizes: Sizes) -> Scene:
    """Make a clinic, its physicians and all studies."""
    settings = bench.settings
    names = [f"bench-physician-{number:02}" for number in range(1, max(sizes.people) + 1)]
    with alone(settings):
        people.add_clinic(settings, CLINIC, CLINIC)
        readers = tuple(
            Person(name, add_person(settings, name, CLINIC, "physician")) for name in names
        )
    empty = database_bytes(bench)
    tell(f"storing {sizes.studies} studies of one image")
    store_many(bench, sizes.studies)
    listed = database_bytes(bench)
    tell(f"storing {len(names)} CTs of {sizes.slices} slices")
    studies = tuple(store_ct(bench, sizes.slices) for _ in names)
    analyze(bench)
    filled = database_bytes(bench)
    tell("waiting until the archive rests")
    wait_settled(bench, orthanc_study(studies[-1].stamp, 0))
    return Scene(
        bench,
        sizes,
        readers,
        studies,
        (listed - empty) / sizes.studies,
        (filled - listed) / (len(names) * sizes.slices),
    )
