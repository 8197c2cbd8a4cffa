"""PostgreSQL by itself: dumped before an upgrade, and filled from those dumps in another cluster."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stack import files
from stack.shell import CommandError, attempt, podman, say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stack.settings import Settings

START_TIMEOUT_S = 600
STOP_TIMEOUT_S = 120
RESTORE_TIMEOUT_S = 86400
SECRETS = ("keycloak_db_password", "monitoring_db_password", "orthanc_db_password")
CONFIGURATION = ("postgresql.conf", "pg_hba.conf", "roles.sql")
# The program writes as root, and reads what is PostgreSQL's; nothing else that root may.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER")
_PEOPLE = """
SELECT count(*) FROM user_entity u JOIN realm r ON r.id = u.realm_id
WHERE r.name = 'dicom' AND u.service_account_client_link IS NULL
"""
QUERIES = {
    "studies": ("orthanc", "SELECT count(*) FROM resources WHERE resourcetype = 1"),
    "images": ("orthanc", "SELECT count(*) FROM resources WHERE resourcetype = 3"),
    "people": ("keycloak", _PEOPLE),
}


def major(settings: Settings) -> int | None:
    """Return the major version whose cluster lies in the data directory; None where there is none."""
    found = (settings.data_dir / "postgresql").glob("*/main")
    majors = [int(p.parent.name) for p in found if re.fullmatch(r"\d+", p.parent.name)]
    return max(majors, default=None)


def size_bytes(container: str) -> int:
    """Return how large all databases are; raises CommandError."""
    query = "SELECT sum(pg_database_size(oid)) FROM pg_database"
    return int(_ask(container, "postgres", query))


def counts(container: str) -> dict[str, int]:
    """Count studies, images and people; raises CommandError."""
    return {what: int(_ask(container, *query)) for what, query in QUERIES.items()}


def wait(container: str) -> None:
    """Wait until PostgreSQL takes connections of its roles; raises CommandError with its log's end."""
    ready = ("pg_isready", "--quiet", "--host=127.0.0.1", "--username=orthanc", "--dbname=orthanc")
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while attempt(["podman", "exec", container, *ready], timeout_s=60).returncode:
        state = attempt(["podman", "container", "inspect", "-f", "{{.State.Status}}", container])
        if state.stdout.strip() in ("exited", "stopped", "") or time.monotonic() > deadline_s:
            log = attempt(["podman", "logs", container])
            tail = "\n".join((log.stdout + log.stderr).splitlines()[-15:])
            raise CommandError(f"PostgreSQL does not start:\n{tail}")
        time.sleep(1)


@contextmanager
def serving(settings: Settings, image: str, configuration: Path) -> Iterator[str]:
    """Run a PostgreSQL of this image on the data directory, which nobody else reaches; yields its container."""
    name = settings.container("upgrade-postgresql")
    files.own(settings.data_dir / "postgresql", "postgresql", 0o700)
    words = ["--detach", "--replace", f"--name={name}", "--network=none", "--no-healthcheck"]
    words += ["--user=7105:7105", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"]
    words += ["--security-opt=no-new-privileges", "--env=TZ=UTC"]
    words += [f"--volume={configuration / n}:/etc/postgresql/{n}:ro" for n in CONFIGURATION]
    secrets = settings.data_dir / "secrets"
    # An older version may not have them all.
    there = [n for n in SECRETS if (secrets / f"postgresql.{n}").exists()]
    words += [f"--volume={secrets}/postgresql.{n}:/run/secrets/{n}:ro" for n in there]
    words += [f"--volume={settings.data_dir}/postgresql:/var/lib/postgresql"]
    podman("run", *words, image)
    try:
        wait(name)
        yield name
    finally:
        podman("stop", f"--time={STOP_TIMEOUT_S}", name, timeout_s=STOP_TIMEOUT_S + 60)
        podman("rm", name)


def keep(settings: Settings, program: str, container: str, folder: Path) -> None:
    """Dump both databases of a running PostgreSQL into a folder; raises CommandError."""
    _program(settings, program, container, folder, "keep")


def bring(settings: Settings, program: str, container: str, folder: Path) -> None:
    """Fill a running PostgreSQL from the dumps of a folder; may be done again. Raises CommandError."""
    _program(settings, program, container, folder, "bring")


def _program(settings: Settings, image: str, container: str, folder: Path, what: str) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A killed command leaves its container at work: --replace ends it.
    words = ["--rm", "--replace", f"--name={settings.container('upgrade-databases')}"]
    words += [f"--network=container:{container}", "--env=DATABASE_HOST=127.0.0.1"]
    words += ["--user=0:0", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"]
    words += [f"--cap-add={name}" for name in CAPABILITIES]
    words += ["--security-opt=no-new-privileges", f"--volume={folder}:/data/backup"]
    words += [f"--volume={settings.data_dir}/secrets:/data/secrets:ro"]
    said = podman(
        *("run", *words, image, "dicom-backup", "before", what), timeout_s=RESTORE_TIMEOUT_S
    )
    say(said.rstrip("\n"))


def _ask(container: str, database: str, query: str) -> str:
    words = ["psql", "--no-psqlrc", "--tuples-only", "--no-align", f"--dbname={database}"]
    return podman("exec", container, *words, f"--command={query}", timeout_s=300).strip()
