"""Whether the repository is whole: its structure every day, its data part by part, and what can be mended."""

import re
from dataclasses import dataclass

from dicom_backup import record, restic
from dicom_backup.restic import Repository

# A part of the data is read each day, all of it within two months.
PARTS = 60
_PACKS = re.compile(r"\bpacks? ((?:[0-9a-f]{64}\b ?)+)", re.IGNORECASE)
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found: its errors in restic's words, and the damaged or missing packs (files below data/)."""

    errors: tuple[str, ...] = ()
    packs: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What is wrong and what to do, empty when all is well."""
        if not self.errors:
            return ""
        which = (
            f"damaged or missing: {', '.join(p[:12] for p in self.packs)}. " if self.packs else ""
        )
        said = "; ".join(self.errors[:_SHOWN])
        return (
            f"the backup is NOT whole: {which}restic says: {said}. Look at the target's disk; "
            "then `make backup-repair` takes what is damaged out and reads everything here anew, "
            "which brings back whatever still lies on this machine"
        )


def check(repository: Repository, part: int, parts: int = PARTS) -> Check:
    """Check the structure and read one part of the data, 1 to `parts`; raises ResticError where it cannot."""
    given = [f"--read-data-subset={part}/{parts}"] if parts > 1 else ["--read-data"]
    done = repository.run(
        "check", "--retry-lock=5m", *given, accept=(0, 1), timeout_s=restic.TIMEOUT_S
    )
    if done.returncode:
        # On its standard output it tells how far it is.
        return _of(restic.messages(done.stderr) or restic.messages(done.stdout))
    return _newest(repository)


def packs_in(repository: Repository) -> set[str]:
    """Return the packs that lie in the repository."""
    return set(repository.run("list", "packs", "--no-lock").stdout.split())


def repair(repository: Repository, packs: list[str]) -> list[str]:
    """Take damaged packs out, keeping what can still be read of them; returns what restic said.

    What they held is missing afterwards, until a run that reads everything anew has put it back.
    Raises ResticError.
    """
    there = packs_in(repository)
    said = []
    damaged = [pack for pack in packs if pack in there]
    if damaged:
        # It leaves copies of the packs in its working directory.
        done = repository.run(
            *("repair", "packs", *damaged), cwd=repository.cache_dir, timeout_s=restic.TIMEOUT_S
        )
        said += done.stdout.splitlines()
    done = repository.run("repair", "index", timeout_s=restic.TIMEOUT_S)
    return [*said, *done.stdout.splitlines()]


def _of(said: list[str]) -> Check:
    packs = {pack for line in said for found in _PACKS.findall(line) for pack in found.split()}
    return Check(tuple(said), tuple(sorted(packs)))


def _newest(repository: Repository) -> Check:
    """Prove that the newest complete run can be begun with, and that all it names is there."""
    runs = record.complete(repository)
    if not runs:
        return Check()
    newest = record.read(repository, runs[-1].id)
    missing = newest.snapshots - {snapshot.id for snapshot in repository.snapshots()}
    return Check(
        tuple(f"the newest run names snapshot {m[:8]}, which is not there" for m in sorted(missing))
    )
