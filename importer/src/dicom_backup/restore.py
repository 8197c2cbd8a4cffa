"""The steps of a restore, each by itself: what runs between them (PostgreSQL, then the whole stack) is each form's own.

files, then PostgreSQL alone, databases, then the whole stack, images, originals, replay.
"""

import argparse
import os
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from dicom_backup import (
    farm,
    restic,
    restore_databases,
    restore_images,
    restore_originals,
    restore_run,
    restore_state,
    restore_target,
    state,
)
from dicom_backup.config import Config
from dicom_backup.journal import NAME as JOURNAL
from dicom_backup.record import Run
from dicom_backup.restic import NoRoomError
from dicom_backup.restore_images import Tools
from dicom_backup.restore_run import DiskFullError, RestoreError
from dicom_backup.restore_state import State
from dicom_backup.run import alone
from dicom_backup.state import Day

PARTS = ("settings", "check", "files", "databases", "images", "originals", "done")
SETTINGS = "/config/settings.env"
Say = Callable[[str], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what a restore is told."""
    parser.add_argument("part", choices=PARTS)
    parser.add_argument(
        "--at", default="", metavar="TIME", help="the newest backup that had ended by then"
    )
    parser.add_argument(
        "--fresh-stack", action="store_true", help="the target was started, and is unused"
    )


def run(config: Config, arguments: argparse.Namespace, say: Say) -> int:
    """Do one step; returns the exit status. Raises RestoreError, ResticError, OSError, ValueError."""
    config.backup_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return _run(config, arguments, say)
    finally:
        # The backup goes on with it, and is not root.
        owner = config.backup_dir.stat()
        for folder, folders, names in os.walk(config.backup_dir):
            for name in (*folders, *names):
                os.chown(Path(folder) / name, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _run(config: Config, arguments: argparse.Namespace, say: Say) -> int:
    repository = restic.repository(config)
    tools = Tools(config, repository, say)
    if arguments.part == "settings":
        _, chosen = restore_run.choose(repository, arguments.at)
        say(repository.read_text(chosen.service.snapshot, SETTINGS).rstrip("\n"))
        return 0
    if arguments.part == "check":
        restored = restore_state.load(config.backup_dir)
        restore_target.refuse(config.data_dir, restored, fresh_stack=arguments.fresh_stack)
        return 0
    if arguments.part == "files":
        _files(tools, arguments.at, fresh_stack=arguments.fresh_stack)
        return 0
    restored = restore_state.load(config.backup_dir)
    if restored is None:
        raise RestoreError("no restore was begun here")
    return _later(tools, arguments.part, restored)


def _later(tools: Tools, part: str, restored: State) -> int:
    config = tools.config
    if part == "done":
        if "images" in restored.steps:
            (config.backup_dir / restore_images.KNOWN).unlink(missing_ok=True)
            with alone(config):
                _tell_backup(tools, restored)
        _note(config, restored, "replay")
        return 0
    if part in restored.steps:
        tools.say(f"{part}: back already")
        return 0
    if part == "databases":
        # Before the archive starts: it must not show half of a study.
        restore_images.announce(config.storage_dir)
        restore_databases.bring(config, tools.say)
        _note(config, restored, "databases")
        return 0
    chosen = restore_run.read(tools.repository, restored.run)
    if part == "images":
        restored.lost = []
        restore_images.bring(tools, chosen, restored)
        return 0 if "images" in restored.steps else 1
    restore_originals.bring(tools, chosen)
    _note(config, restored, "originals")
    return 0


def _tell_backup(tools: Tools, restored: State) -> None:
    """Let the backup go on where it was, so that it does not read the whole archive again."""
    config, repository = tools.config, tools.repository
    chosen = restore_run.read(repository, restored.run)
    known = state.load(config.state_file)
    known.repositories[config.target] = repository.identity()
    for day, part in chosen.images.items():
        folder = config.storage_dir / farm.FOLDER / day
        if day in restored.days and folder.is_dir():
            began_s = datetime.fromisoformat(part.at).timestamp()
            known.days[day] = Day(part, folder.stat().st_mtime_ns, began_s)
    state.save(config.state_file, known)


def _note(config: Config, restored: State, step: str) -> None:
    if step not in restored.steps:
        restored.steps.append(step)
    restore_state.save(config.backup_dir, restored)


def _files(tools: Tools, at: str, *, fresh_stack: bool) -> None:
    """Bring back what is small: secrets, certificates, settings, audit, journal and the dumps."""
    config, repository = tools.config, tools.repository
    restored = restore_state.load(config.backup_dir)
    restore_target.refuse(config.data_dir, restored, fresh_stack=fresh_stack)
    if at or restored is None:
        found, chosen = restore_run.choose(repository, at)
    else:
        found, chosen = restored.run, restore_run.read(repository, restored.run)
    if restored and restored.run != found and "databases" in restored.steps:
        raise RestoreError(
            f"the restore of the backup that ended {restored.finished} is under way:"
            " give the same command without AT=…,"
            f" or stop the stack, move {config.data_dir} away and begin again"
        )
    if restored and restored.run == found and "files" in restored.steps:
        _tell(tools, chosen)
        tools.say("files: back already")
        return
    _tell(tools, chosen)
    if fresh_stack and restored is None:
        restore_target.put_aside(config.data_dir)
    restored = State(found, chosen.ended, chosen.dump.began)
    restore_state.save(config.backup_dir, restored)
    try:
        repository.run(
            "restore", chosen.service.snapshot, "--no-lock", f"--target={config.data_dir}"
        )
        _journal(config)
    except NoRoomError as error:
        free = shutil.disk_usage(config.data_dir).free
        raise DiskFullError(
            f"the disk of {config.data_dir} is full ({free / 1e9:.1f} GB free) at the first step."
            " Make room, then give the same command again"
        ) from error
    os.sync()
    _note(config, restored, "files")


def _tell(tools: Tools, chosen: Run) -> None:
    tools.say(
        f"backup that ended {chosen.ended}, databases as of {chosen.dump.began}:"
        f" {sum(day.files for day in chosen.images.values())} files of images,"
        f" {restore_run.image_bytes(chosen) / 1e9:.2f} GB, of {len(chosen.images)} days"
    )


def _journal(config: Config) -> None:
    """Put the copy of the journal where the importer has it, as its own."""
    copy = config.backup_dir / "journal" / JOURNAL
    if not copy.exists():
        return
    folder = config.data_dir / "importer"
    folder.mkdir(mode=0o700, exist_ok=True)
    # A log of another journal beside it would be taken for its own.
    for old in folder.glob(f"{JOURNAL}*"):
        old.unlink()
    shutil.copyfile(copy, folder / JOURNAL)
    owner = (config.files_dir if config.files_dir.exists() else folder).stat()
    os.chown(folder / JOURNAL, owner.st_uid, owner.st_gid)
