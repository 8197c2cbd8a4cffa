"""A small site in a real repository of restic, as a run of the backup leaves it, and a place to bring it back to."""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dicom_backup import record, restic, restore, restore_images, restore_state
from dicom_backup.config import Config, load
from dicom_backup.dumps import Dump, DumpFile

FIRST, LAST = "2026-11-24T10:00:00Z", "2026-11-25T10:00:00Z"


# Removed when the tests end.
_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []


@dataclass
class Site:
    """What was there, by day and name; `data` is where it comes back to."""

    root: Path
    images: dict[str, dict[str, bytes]] = field(default_factory=dict)
    # The repository's packs that hold a day's images.
    packs: dict[str, set[Path]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def data(self) -> Path:
        """The new data directory."""
        return self.root / "data"

    def config(self, **changes: str) -> Config:
        """Return the program's settings for a restore."""
        environment = {
            "BACKUP_TARGET": str(self.root / "repository"),
            "BACKUP_DATA_DIR": str(self.data),
            "SECRETS_DIR": str(self.root / "given"),
            "DATABASE_HOST": "127.0.0.1",
        }
        return load(environment | changes)

    def repository(self) -> restic.Repository:
        """Return the repository."""
        return restic.repository(self.config())

    def all_packs(self) -> set[Path]:
        """Return every pack of the repository."""
        return {p for p in (self.root / "repository/data").glob("*/*") if p.is_file()}

    def run(self, part: str, at: str = "", **changes: str) -> int:
        """Do one part of a restore."""
        words = argparse.Namespace(part=part, at=at, fresh_stack=False)
        return restore.run(self.config(**changes), words, self.said.append)

    def state(self) -> restore_state.State:
        """Return how far the restore has come."""
        found = restore_state.load(self.config().backup_dir)
        assert found
        return found

    def begun(self, *, listed: list[str] | None = None) -> None:
        """Bring back files, and have the databases list these images (all, unless told otherwise)."""
        assert self.run("files") == 0
        names = sorted(n for day in self.images.values() for n in day) if listed is None else listed
        config = self.config()
        (config.backup_dir / restore_images.KNOWN).write_text(
            "".join(f"{n}\n" for n in sorted(names))
        )
        restore_images.announce(config.storage_dir)

    def back(self) -> dict[str, bytes]:
        """Return the images that Orthanc would find, by name."""
        storage = self.config().storage_dir
        return {p.name: p.read_bytes() for p in storage.glob("[0-9a-f][0-9a-f]/*/*")}


def made(root: Path, days: int = 3, images: int = 3, size_bytes: int = 20_000) -> Site:
    """Make a repository that holds one complete run."""
    like = _template(days, images, size_bytes)
    shutil.copytree(like.root, root, dirs_exist_ok=True)
    packs = {d: {root / p.relative_to(like.root) for p in found} for d, found in like.packs.items()}
    return Site(root, {day: dict(found) for day, found in like.images.items()}, packs)


@functools.cache
def _template(days: int, images: int, size_bytes: int) -> Site:
    """Make each kind once: restic takes half a second to open a repository, on purpose."""
    folder = tempfile.TemporaryDirectory()
    _FOLDERS.append(folder)
    site = Site(Path(folder.name))
    (site.root / "given").mkdir(parents=True)
    (site.root / "given" / "backup_key").write_text("a key")
    (site.data / "backup").mkdir(parents=True)
    (site.data / "files").mkdir()
    site.repository().create()
    for number in range(days):
        day = f"2026-11-{20 + number}"
        site.images[day] = {str(uuid.uuid4()): os.urandom(size_bytes) for _ in range(images)}
    back_up(site)
    return site


def back_up(site: Site, *, is_complete: bool = True, orthanc_dump: bytes = b"rows") -> None:
    """Save the site as a run does."""
    lost = site.root / f"lost-{uuid.uuid4()}"
    dump = _dumps(lost / "backup/dumps", orthanc_dump)
    for name, text in {
        "secrets/postgresql.orthanc_db_password": "o",
        "secrets/postgresql.keycloak_db_password": "k",
        "config/settings.env": "TZ=Europe/Vienna\n",
        "audit/access/2026-11.jsonl": "{}\n",
        "backup/journal/journal.sqlite": "journal",
    }.items():
        (lost / name).parent.mkdir(parents=True, exist_ok=True)
        (lost / name).write_text(text)
    for clinic in ("clinic-a", "clinic-b"):
        original = lost / f"files/processed/{clinic}/2026-11-22/export/one.dcm"
        original.parent.mkdir(parents=True)
        original.write_bytes(clinic.encode())
    (lost / "files/inbox/clinic-a/empty").mkdir(parents=True)
    repository = site.repository()
    there = ["audit", "backup/dumps", "backup/journal", "config", "secrets"]
    service = _part(repository.backup([record.SERVICE], there, lost))
    parts = {}
    for day, images in site.images.items():
        folder = lost / "dicom/.by-day" / day
        folder.mkdir(parents=True)
        for name, content in images.items():
            (folder / name).write_bytes(content)
        before = site.all_packs()
        parts[day] = _part(repository.backup([record.IMAGES, day], ["."], folder))
        site.packs[day] = site.all_packs() - before
    originals = _part(repository.backup([record.ORIGINALS], ["inbox", "processed"], lost / "files"))
    if is_complete:
        record.write(
            repository,
            record.Run(record.FORMAT, FIRST, LAST, dump, service, originals, parts),
        )


def _part(saved: restic.Saved) -> record.Part:
    return record.part(saved, LAST, 0)


def _dumps(folder: Path, orthanc: bytes) -> Dump:
    folder.mkdir(parents=True)
    files = {}
    for name, content in {"orthanc.dump": b"rows", "keycloak.dump": b"people"}.items():
        files[name] = DumpFile(len(content), hashlib.sha256(content).hexdigest())
        (folder / name).write_bytes(orthanc if name == "orthanc.dump" else content)
    dump = Dump(1, FIRST, FIRST, "17", "6", "0", files)
    (folder / "dump.json").write_text(json.dumps(asdict(dump)))
    return dump


def now_text() -> str:
    """Return the time of day as AT takes it, to the microsecond."""
    return datetime.now(UTC).isoformat()
