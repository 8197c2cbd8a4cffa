"""The archive that is read: studies brought in, what they take in the database, and forgetting what was in memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from stack.shell import podman

from bench.__main__ import new_stamp
from bench.access import CLINICS, fill, instances
from bench.measure import analyze
from bench.sets import FRAME_BYTES, SampleSet, Shape, orthanc_study, patient_id
from bench.template import Kind, encode, uid

if TYPE_CHECKING:
    from bench.measure import Bench

# The one that all studies are of, and all people.
CLINIC = CLINICS[0]
STUDY_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Study:
    """A study of one CT series that was stored by its stamp."""

    stamp: str
    slices: int

    @property
    def uid(self) -> str:
        """Study Instance UID."""
        return uid(self.stamp, 1, 0)

    @property
    def series_uid(self) -> str:
        """Series Instance UID."""
        return uid(self.stamp, 2, 0)

    @property
    def instances(self) -> tuple[str, ...]:
        """SOP Instance UIDs."""
        return tuple(uid(self.stamp, 3, index) for index in range(self.slices))

    @property
    def patient(self) -> str:
        """Patient ID, by which the list is searched."""
        return patient_id(self.stamp, 0)

    @property
    def series_path(self) -> str:
        """Path of the series in DICOMweb (PS3.18 10.4.1)."""
        return f"/dicom-web/studies/{self.uid}/series/{self.series_uid}"


def ct_set(slices: int, folder: Path) -> SampleSet:
    """Describe a CT of 512 x 512."""
    shape = Shape("ct", "", slices, FRAME_BYTES)
    return SampleSet(shape, folder, encode(Kind(shape.name, FRAME_BYTES, 1)))


def store_ct(bench: Bench, slices: int) -> Study:
    """Store a CT with identifiers of its own."""
    study = Study(new_stamp(), slices)
    today = datetime.now(UTC).date()
    sample = ct_set(slices, bench.folder)
    fill(bench.settings, list(instances(sample, study.stamp, today, (CLINIC,))))
    return study


def remove(bench: Bench, study: Study) -> None:
    """Remove a study that was read."""
    bench.ask("DELETE", f"/studies/{orthanc_study(study.stamp, 0)}")


def store_many(bench: Bench, studies: int) -> None:
    """Store studies of one small image each, spread over two years."""
    stamp, today = new_stamp(), datetime.now(UTC).date()
    shape = Shape("studies", "", studies, STUDY_BYTES, studies)
    sample = SampleSet(shape, bench.folder, encode(Kind(shape.name, STUDY_BYTES, 1)))
    fill(bench.settings, list(instances(sample, stamp, today, (CLINIC,))))
    analyze(bench)


def database_bytes(bench: Bench) -> int:
    """Return what Orthanc's database takes on the disk, its indexes included, its log not."""
    psql = ("psql", "-qAt", "-h", "/tmp", "-U", "postgres", "orthanc")  # noqa: S108 - as in measure.py
    asked = ("-c", "CHECKPOINT", "-c", "SELECT pg_database_size('orthanc')")
    return int(podman("exec", bench.settings.container("postgresql"), *psql, *asked).split()[-1])


def chill(bench: Bench) -> None:
    """Start Orthanc anew and have the kernel forget what it read from the disk.

    PostgreSQL keeps its 192 MB of buffers: who started it anew would measure Keycloak's recovery too.
    """
    podman("restart", "-t", "10", bench.settings.container("orthanc"))
    bench.ask("GET", "/system")
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def allocated(folder: Path, known: set[tuple[int, int]], without: str = "") -> int:
    """Return the bytes of disk beneath a folder; of a file with several names once, and of a `known` one nothing."""
    total = 0
    for above, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != without]
        for name in (*names, "."):
            try:
                status = os.lstat(Path(above, name))
            except FileNotFoundError:
                continue  # It was moved on meanwhile.
            if (key := (status.st_dev, status.st_ino)) not in known:
                known.add(key)
                total += status.st_blocks * 512
    return total
