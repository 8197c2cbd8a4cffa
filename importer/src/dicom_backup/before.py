"""`dicom-backup before`: the databases as they were before an upgrade, kept in a folder, and brought back from it.

It needs no target of a backup, and runs while nobody else uses the databases.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from dicom_backup import config, dumps, restore_databases
from dicom_backup.config import DATABASES, Config
from dicom_backup.restore_run import RestoreError

# Which version last used the databases, where each version's dumps have a folder of their own.
MARK = "version"
UNKNOWN = "unknown"
_PORT = 5432
_HAS_TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"


def main(argv: list[str]) -> int:
    """Keep, keep only before another version starts, or bring back; returns the exit status."""
    parser = argparse.ArgumentParser(prog="dicom-backup before", description=__doc__)
    parser.add_argument("what", choices=("keep", "keep-if-changed", "bring"))
    parser.add_argument("--version", default="", help="which version is about to start")
    given = parser.parse_args(argv)
    try:
        # There is no repository here.
        settings = config.load(os.environ | {"BACKUP_TARGET": "none"})
        if given.what == "keep":
            keep(settings, settings.data_dir)
        elif given.what == "keep-if-changed":
            keep_if_changed(settings, given.version)
        else:
            restore_databases.bring(settings, _say)
    except (config.ConfigError, dumps.DumpError, OSError, RestoreError) as error:
        sys.stderr.write(f"dicom-backup: {error}\n")
        return 2
    return 0


def keep(settings: Config, into: Path) -> None:
    """Dump both databases below a folder and read the dumps to their ends; raises DumpError, OSError."""
    with _passwords(settings) as folder:
        where = replace(settings, data_dir=into, secrets_dir=folder)
        where.backup_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = dumps.make(where, lambda: datetime.now(UTC))
    size = sum(file.bytes for file in made.files.values())
    _say(f"databases: {size / 1e6:.1f} MB dumped and read to the end, as of {made.began}")


def keep_if_changed(settings: Config, version: str) -> None:
    """Dump what another version leaves, before this one changes it; raises DumpError, OSError.

    Of the dumps before, those of these two versions stay.
    """
    top = settings.backup_dir
    mark = top / MARK
    last = mark.read_text().strip() if mark.exists() else UNKNOWN
    if last == version:
        _say(f"databases: {version} used them last")
        return
    # A cluster that was made just now holds nothing, and no dump may give way to that.
    if _has_tables(settings):
        _say(f"databases: {version} follows {last}")
        keep(settings, top / last)
        for path in top.iterdir():
            if path.is_dir() and path.name not in (last, version):
                shutil.rmtree(path)
    part = mark.with_name(f"{MARK}.part")
    part.write_text(version + "\n")
    part.rename(mark)


def _has_tables(settings: Config) -> bool:
    with _passwords(settings) as folder:
        words = ("psql", "--no-psqlrc", "--tuples-only", "--no-password", "--username=orthanc")
        env = {"PATH": os.environ["PATH"], "PGPASSFILE": str(folder / "orthanc_pgpass")}
        done = subprocess.run(  # noqa: S603 - argument list of our own, no shell
            [*words, f"--host={settings.database_host}", f"--command={_HAS_TABLES}"],
            check=False,
            capture_output=True,
            text=True,
            env=env,
            timeout=60,
        )
    if done.returncode:
        raise dumps.DumpError(f"the database orthanc cannot be asked: {done.stderr.strip()}")
    return int(done.stdout) > 0


@contextmanager
def _passwords(settings: Config) -> Iterator[Path]:
    """Provide a folder with each role's password as PostgreSQL's programs read it."""
    with tempfile.TemporaryDirectory() as folder:
        for name in DATABASES:
            secret = settings.data_dir / "secrets" / f"postgresql.{name}_db_password"
            path = Path(folder) / f"{name}_pgpass"
            path.touch(mode=0o600)
            path.write_text(
                f"{settings.database_host}:{_PORT}:{name}:{name}:{secret.read_text().strip()}\n"
            )
        yield Path(folder)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
