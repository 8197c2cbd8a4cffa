"""Both databases come back from their dumps, each in one transaction: whole, or as it was."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_backup import dumps, restore_images
from dicom_backup.config import DATABASES, Config
from dicom_backup.restore_run import RestoreError

TIMEOUT_S = 86400
_PORT = 5432
# Every file of the archive: images, and what Orthanc keeps beside them.
_LISTED = 'COPY (SELECT uuid FROM attachedfiles ORDER BY uuid COLLATE "C") TO STDOUT'


def bring(config: Config, say: Callable[[str], None]) -> None:
    """Bring both databases back and note which files the archive must hold; raises RestoreError.

    It may be done again, and replaces what is there: PostgreSQL runs, and nobody else uses it.
    """
    try:
        found = dumps.load(config.dumps_dir)
    except dumps.DumpError as error:
        raise RestoreError(
            f"{error}. Nothing of it was brought back. Take the backup before it: the same command with AT=…"
        ) from error
    start_s = time.monotonic()
    for name in DATABASES:
        path = config.dumps_dir / f"{name}.dump"
        say(f"database {name}: {found.files[path.name].bytes / 1e6:.1f} MB …")
        # One transaction: a dump that breaks off leaves nothing.
        words = ("--single-transaction", "--exit-on-error", "--clean", "--if-exists")
        _run(config, name, "pg_restore", *words, "--no-owner", "--no-privileges", str(path))
        _run(config, name, "psql", "--no-psqlrc", "--quiet", "--command=ANALYZE")
    total = sum(file.bytes for file in found.files.values())
    say(f"databases: {total} bytes in {time.monotonic() - start_s:.1f} s")
    listed = config.backup_dir / restore_images.KNOWN
    part = listed.with_name(listed.name + ".part")
    _run(config, "orthanc", "psql", "--no-psqlrc", f"--command={_LISTED}", f"--output={part}")
    part.rename(listed)


def _run(config: Config, name: str, program: str, *words: str) -> None:
    with _password_file(config, name) as file:
        where = (f"--host={config.database_host}", f"--username={name}", f"--dbname={name}")
        env = {"PATH": os.environ["PATH"], "PGPASSFILE": str(file), "PGCONNECT_TIMEOUT": "10"}
        done = subprocess.run(  # noqa: S603 - argument lists of our own, no shell
            [program, "--no-password", *where, *words],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            env=env,
            timeout=TIMEOUT_S,
        )
    if done.returncode:
        said = " ".join(done.stderr.strip().splitlines()[-3:])
        raise RestoreError(
            f"the database {name} did not come back, and is as it was before ({program}: {said})."
            " If its dump is to blame, take the backup before it: the same command with AT=…"
        )


@contextmanager
def _password_file(config: Config, name: str) -> Iterator[Path]:
    """Provide a role's password as PostgreSQL's programs read it; the copies for the backup itself are in no backup."""
    secret = config.data_dir / "secrets" / f"postgresql.{name}_db_password"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pgpass"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(
                f"{config.database_host}:{_PORT}:{name}:{name}:{secret.read_text().strip()}\n"
            )
        yield path
