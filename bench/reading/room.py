"""What studies take on the disk and in the database, beside the architecture document's table."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stack.shell import CommandError

from bench.__main__ import new_stamp, tell
from bench.measure import RUN_TIMEOUT_S
from bench.reading import sizes
from bench.reading.archive import CLINIC, allocated, ct_set

if TYPE_CHECKING:
    from pathlib import Path

    from bench.reading.scene import Scene

# What the importer writes for a study, and what it and the archive keep; the database's log has a bound of its own.
FOLDERS = ("dicom", "files", "postgresql", "importer", "audit", "logs")
ORIGINALS = "files"
LOG_OF_DATABASE = "pg_wal"
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Growth:
    """What an imported study had of bytes, and what each folder of DATA_DIR has more of it."""

    imported_bytes: int
    by_folder: dict[str, int]

    def per_byte(self, folder: str = "") -> float:
        """Return the bytes of disk for a byte that came in, of one folder or of all."""
        grown = self.by_folder[folder] if folder else sum(self.by_folder.values())
        return grown / self.imported_bytes


def taken(data_dir: Path) -> dict[str, int]:
    """Return the bytes of disk of each folder; of a file that several have, the first."""
    known: set[tuple[int, int]] = set()
    return {name: allocated(data_dir / name, known, LOG_OF_DATABASE) for name in FOLDERS}


def import_one(scene: Scene) -> Growth:
    """Drop a CT into the inbox and see what there is more once it is filed away; raises CommandError."""
    bench = scene.bench
    data_dir = bench.settings.data_dir
    sample, stamp = ct_set(scene.sizes.slices, bench.folder / "sets" / "ct"), new_stamp()
    sample.make()
    sample.stamp(stamp)
    before = taken(data_dir)
    inbox = data_dir / "files" / "inbox" / CLINIC / stamp
    sample.folder.rename(inbox)
    deadline_s = time.monotonic() + RUN_TIMEOUT_S
    while any(path.is_file() for path in inbox.rglob("*")):
        if time.monotonic() > deadline_s:
            raise CommandError(f"{inbox} is not empty within {RUN_TIMEOUT_S} s")
        time.sleep(POLL_S)
    after = taken(data_dir)
    shutil.rmtree(inbox, ignore_errors=True)
    return Growth(sample.size_bytes, {name: after[name] - before[name] for name in FOLDERS})


def measure(scene: Scene, rounds: int) -> str:
    """Measure and write the table."""
    found = []
    for turn in range(rounds):
        found.append(one := import_one(scene))
        tell(f"disk {turn + 1}/{rounds}: {one}")
    kept_days = int(scene.bench.settings.values["PROCESSED_RETENTION_DAYS"])
    return report(found, scene.study_bytes, scene.instance_bytes, scene.sizes, kept_days)


def report(
    found: list[Growth],
    study_bytes: float,
    instance_bytes: float,
    size: sizes.Sizes,
    kept_days: int,
) -> str:
    """Write the table; a study of the architecture's size is as many slices as fit into it.

    Originals lie in `files/` for `kept_days`: a year has no more of them than that.
    """
    slices = sizes.STUDY_MB * 1e6 * size.slices / size.volume_bytes
    large_kb = (study_bytes + (slices - 1) * instance_bytes) / 1e3
    day_gb = sizes.DAY_STUDIES * sizes.STUDY_MB / 1e3
    allowed = sizes.STUDY_KB
    most = max(found, key=Growth.per_byte)
    day, originals = most.per_byte() * day_gb, most.per_byte(ORIGINALS) * day_gb
    year = 365 * (day - originals) + kept_days * originals
    whole = round((sizes.STUDY_KB * 1e3 - study_bytes) / instance_bytes) + 1
    rows = [
        ("database, a study of one image", f"{study_bytes / 1e3:.1f} KB", f"{allowed:.0f} KB"),
        ("database, a further image of a series", f"{instance_bytes / 1e3:.2f} KB", ""),
        (
            f"database, a study of {sizes.STUDY_MB} MB ({slices:.0f} slices)",
            f"{large_kb:.0f} KB",
            f"{allowed:.0f} KB",
        ),
        ("images of the study that takes as much as the table allows", f"{whole}", ""),
        (
            f"disk, a day of {sizes.DAY_STUDIES} studies of {sizes.STUDY_MB} MB",
            f"{day:.1f} GB",
            f"{day_gb:.0f} GB",
        ),
        (
            f"of it, once the originals' {kept_days} days are over",
            f"{day - originals:.1f} GB",
            f"{day_gb:.0f} GB",
        ),
        (
            f"disk, a year of such days, and the originals of {kept_days}",
            f"{year / 1e3:.2f} TB",
            f"{day_gb * 365 / 1e3:.2f} TB",
        ),
        *((f"of that day in {n}/", f"{most.per_byte(n) * day_gb:.2f} GB", "") for n in FOLDERS),
    ]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    head = ["| what | measured | the architecture's table |", "|---|---|---|"]
    return "\n".join(["### Database and disk", "", *head, *lines, "", ""])
