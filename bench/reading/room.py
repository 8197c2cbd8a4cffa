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
    return report(found, scene.study_bytes, scene.instance_bytes, scene.sizes)


def report(
    found: list[Growth], study_bytes: float, instance_bytes: float, size: sizes.Sizes
) -> str:
    """Write the table; a study of the architecture's size is as many slices as fit into it."""
    slices = sizes.STUDY_MB * 1e6 * size.slices / size.volume_bytes
    large_kb = (study_bytes + (slices - 1) * instance_bytes) / 1e3
    day_gb = sizes.DAY_STUDIES * sizes.STUDY_MB / 1e3
    allowed = sizes.STUDY_KB
    days = [one.per_byte() * day_gb for one in found]
    rows = [
        ("database, a study of one image", f"{study_bytes / 1e3:.1f} KB", f"{allowed:.0f} KB"),
        ("database, a further image of a series", f"{instance_bytes / 1e3:.2f} KB", ""),
        (
            f"database, a study of {sizes.STUDY_MB} MB ({slices:.0f} slices)",
            f"{large_kb:.0f} KB",
            f"{allowed:.0f} KB",
        ),
        (
            f"disk, a day of {sizes.DAY_STUDIES} studies of {sizes.STUDY_MB} MB",
            f"{max(days):.1f} GB",
            f"{day_gb:.0f} GB",
        ),
        (
            "disk, a year of such days",
            f"{max(days) * 365 / 1e3:.2f} TB",
            f"{day_gb * 365 / 1e3:.2f} TB",
        ),
        *(
            (
                f"of that day in {name}/",
                f"{max(one.per_byte(name) for one in found) * day_gb:.2f} GB",
                "",
            )
            for name in FOLDERS
        ),
    ]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    head = ["| what | measured | the architecture's table |", "|---|---|---|"]
    return "\n".join(["### Database and disk", "", *head, *lines, "", ""])
