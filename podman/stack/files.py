"""The data directory: folders with their owners, generated configuration, configuration snapshots."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from stack import accounts
from stack.compose import added, backup_folder
from stack.credentials import UIDS, sync_folder, write_private
from stack.images import digest
from stack.settings import PODMAN_DIR
from stack.shell import CommandError

if TYPE_CHECKING:
    from stack.settings import Settings

CLINIC_FOLDERS = ("inbox", "processed", "failed")


def own(path: Path, service: str, mode: int, reader: str = "") -> None:
    """Make a folder that belongs to a service's user, and to the group of another that reads it."""
    path.mkdir(parents=True, exist_ok=True)
    os.chown(path, UIDS[service], UIDS[reader or service])
    path.chmod(mode)


def prepare(settings: Settings) -> None:
    """Make the data folders; what they hold is left as it is."""
    data = settings.data_dir
    data.mkdir(mode=0o755, parents=True, exist_ok=True)
    (data / "config" / "snapshots").mkdir(parents=True, exist_ok=True)
    own(data / "dicom", "orthanc", 0o700)
    own(data / "postgresql", "postgresql", 0o700)
    own(data / "importer", "importer", 0o700)
    own(data / "prometheus", "prometheus", 0o700)
    own(data / "alertmanager", "alertmanager", 0o700)
    own(data / "metrics", "shipper", 0o755)
    # Podman makes them, for root alone; who may read them all the same must find them.
    (data / "logs").mkdir(exist_ok=True)
    os.chown(data / "logs", 0, UIDS["shipper"])
    (data / "logs").chmod(0o2750)
    for service in added(settings).services:
        own(data / service, service, 0o700)
    if settings.values["SFTP_PORT"] or settings.values["SMB_PORT"]:
        accounts.ensure(data / "secrets" / "accounts")
    if settings.values["BACKUP_TARGET"]:
        _prepare_backup(settings)
    (data / "audit").mkdir(mode=0o755, exist_ok=True)
    own(data / "audit" / "access", "auditor", 0o700)
    # What is made there has the auditor's group (setgid), since its writer is in no group but its own.
    own(data / "audit" / "importer", "importer", 0o2750, "auditor")
    own(data / "audit" / "spool", "nginx", 0o2770, "auditor")
    own(data / "auditor", "auditor", 0o700)
    own(data / "files", "importer", 0o755)
    (data / "acme-challenge").mkdir(mode=0o755, exist_ok=True)
    for name in CLINIC_FOLDERS:
        own(data / "files" / name, "importer", 0o755)
        link = data / name
        if not link.is_symlink() and not link.exists():
            link.symlink_to(f"files/{name}")
    if settings.values["DICOM_PORT"]:
        # What comes lies there until it is whole: below the one mount, that it is shown by a rename.
        own(data / "files" / "inbox" / ".dicom-receiver", "receiver", 0o2770, "importer")


def _prepare_backup(settings: Settings) -> None:
    # It may not write among Orthanc's files, but for the links to them.
    own(settings.data_dir / "dicom" / ".by-day", "backup", 0o700)
    own(settings.data_dir / "backup" / "cache", "backup", 0o700)
    repository = backup_folder(settings)
    # What somebody else put there is not ours to take; a disk that is not mounted must not be replaced by a folder.
    if repository.is_dir() and not any(repository.iterdir()):
        own(repository, "backup", 0o700)


def clinic_folders(settings: Settings, clinic: str) -> Path:
    """Make a clinic's folders; returns its inbox."""
    for name in CLINIC_FOLDERS:
        own(settings.data_dir / "files" / name / clinic, "importer", 0o2775)
    return settings.data_dir / "inbox" / clinic


def inboxes(settings: Settings) -> list[str]:
    """Return the clinics that have an inbox; a folder of no clinic, a door's, bears a dot before its name."""
    folder = settings.data_dir / "files" / "inbox"
    there = folder.iterdir() if folder.is_dir() else ()
    return sorted(p.name for p in there if p.is_dir() and not p.name.startswith("."))


def remove_inbox(settings: Settings, clinic: str) -> None:
    """Take away a clinic's inbox, in which no file may be; raises CommandError."""
    inbox = settings.data_dir / "files" / "inbox" / clinic
    waiting = sum(1 for path in inbox.rglob("*") if not path.is_dir())
    if not waiting:
        # Where something arrives meanwhile, its folders stay.
        for top, _, _ in os.walk(inbox, topdown=False):
            with contextlib.suppress(OSError):
                Path(top).rmdir()
    if inbox.exists():
        raise CommandError(
            f"clinic {clinic} stays open: {waiting or 'new'} files are in {inbox}. "
            "Let them be imported, or move them away, and close it again"
        )


def write_if_changed(path: Path, text: str) -> None:
    """Write a generated file durably in one step, only when its text changes."""
    if path.exists() and path.read_text() == text:
        return
    write_private(path, text, 0, 0o644)


def keep_settings(settings: Settings) -> None:
    """Keep the site's settings among what is backed up."""
    own = settings.env_file.read_text() if settings.env_file.exists() else ""
    write_if_changed(settings.data_dir / "config" / "settings.env", own)


def snapshot(settings: Settings) -> Path | None:
    """Keep a copy of the configuration as it is now, if it differs from the last copy; no secrets."""
    folder = settings.data_dir / "config" / "snapshots"
    sources = [
        p
        for p in sorted(PODMAN_DIR.iterdir())
        if p.is_dir() and p.name not in ("stack", "__pycache__")
    ]
    sources += [
        *sorted(PODMAN_DIR.glob("compose*.yml")),
        PODMAN_DIR / "defaults.env",
        PODMAN_DIR / "versions.env",
    ]
    sources += [
        settings.data_dir / "config" / "site.conf",
        settings.data_dir / "config" / "alertmanager.json",
        settings.data_dir / "config" / "prober.json",
        settings.data_dir / "config" / "prometheus.yml",
        settings.data_dir / "config" / "words.tmpl",
        *([settings.env_file] if settings.env_file.exists() else []),
    ]
    mark = digest([*sources])
    if any(p.name.endswith(f"-{mark}.tar.gz") for p in folder.iterdir()):
        return None
    target = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{mark}.tar.gz"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for source in sources:
            archive.add(
                source,
                arcname=source.name,
                filter=lambda info: None if "__pycache__" in info.name else info,
            )
    part = target.with_suffix(".part")
    with part.open("wb") as file:
        file.write(packed.getvalue())
        file.flush()
        os.fsync(file.fileno())
    part.rename(target)
    sync_folder(folder)
    return target
