"""Dumps of the databases: made beside, read to the end, and only then put in the place of the one before."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dicom_backup.config import DATABASES, Config
from dicom_backup.durable import sync, write_json

DOCUMENT = "dump.json"
FORMAT = 1
TIMEOUT_S = 6 * 3600
QUERY_TIMEOUT_S = 60
_ORTHANC_SCHEMA = "SELECT value FROM globalproperties WHERE property = 1"


class DumpError(Exception):
    """A dump could not be made or cannot be trusted; the text says which and what to do."""


@dataclass(frozen=True, slots=True)
class DumpFile:
    """One database's dump as it was when it had been read to its end."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Dump:
    """dump.json: `began` is before the first database was read; times are RFC 3339 in UTC."""

    format: int
    began: str
    ended: str
    postgresql: str
    orthanc_schema: str
    stack: str
    files: Mapping[str, DumpFile]


@dataclass(frozen=True, slots=True)
class Programs:
    """What is called; by their names, unless a test says otherwise."""

    pg_dump: str = "pg_dump"
    pg_restore: str = "pg_restore"
    psql: str = "psql"


def make(config: Config, now: Callable[[], datetime], programs: Programs = Programs()) -> Dump:
    """Dump every database and put the dumps in place; raises DumpError and leaves those before as they are."""
    settle(config.dumps_dir)
    fresh = _beside(config.dumps_dir, "new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir(mode=0o700, parents=True, exist_ok=True)
        began = now()
        files = {}
        for name in DATABASES:
            path = fresh / f"{name}.dump"
            _dump(config, name, path, programs)
            read_to_end(path, programs)
            sync(path)
            files[path.name] = DumpFile(path.stat().st_size, _sha256(path))
        made = Dump(
            format=FORMAT,
            began=stamp(began),
            ended=stamp(now()),
            postgresql=_one(config, "SHOW server_version", programs),
            orthanc_schema=_one(config, _ORTHANC_SCHEMA, programs),
            stack=_stack(),
            files=files,
        )
        write_json(fresh / DOCUMENT, asdict(made))
        _exchange(fresh, config.dumps_dir)
    except OSError as error:
        raise DumpError(
            f"the databases could not be dumped into {fresh}: {error.strerror or error}; the dump before stays"
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return made


def load(folder: Path) -> Dump:
    """Read what the dumps of a folder are and prove each by its size and hash; raises DumpError."""
    try:
        found = json.loads((folder / DOCUMENT).read_text())
        files = {name: DumpFile(**of) for name, of in found.pop("files").items()}
        dump = Dump(**found, files=files)
    except FileNotFoundError as error:
        raise DumpError(f"{folder} holds no finished dump ({DOCUMENT} is missing)") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DumpError(f"{folder / DOCUMENT} cannot be read: the dump is not trusted") from error
    if dump.format != FORMAT or files.keys() != {f"{name}.dump" for name in DATABASES}:
        raise DumpError(f"{folder / DOCUMENT} is of another version of the backup")
    for name, wanted in files.items():
        path = folder / name
        size = path.stat().st_size if path.exists() else 0
        if size != wanted.bytes:
            raise DumpError(
                f"{path} is {size} bytes long and was {wanted.bytes}: it is not trusted"
            )
        if _sha256(path) != wanted.sha256:
            raise DumpError(f"{path} is not as it was made (SHA-256 differs): it is not trusted")
    return dump


def read_to_end(path: Path, programs: Programs = Programs()) -> None:
    """Read a dump as a restore would, every row of it; raises DumpError where it breaks off.

    `pg_restore --list` would not do: the list stands at the front.
    """
    _run([programs.pg_restore, "--file=/dev/null", str(path)], f"the dump {path.name}", {})


def ask(
    config: Config, name: str, queries: Sequence[str], programs: Programs, *, before: str = ""
) -> list[str]:
    """Return the one value, on one line, of each query, all asked in one session; raises DumpError."""
    argv = [programs.psql, "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]
    argv += ["--set=ON_ERROR_STOP=1", *(f"--command={q}" for q in (before, *queries) if q)]
    argv += _login(config, name)
    said = _run(argv, f"the database {name}", _environment(config, name), QUERY_TIMEOUT_S)
    answers = said.rstrip("\n").split("\n")
    if len(answers) != len(queries):
        raise DumpError(f"the database {name}: {len(answers)} answers to {len(queries)} questions")
    return answers


def settle(folder: Path) -> None:
    """Undo an exchange of the dumps that was cut off in its middle."""
    old = _beside(folder, "old")
    if old.exists() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def stamp(time: datetime) -> str:
    """Write a time as RFC 3339 in UTC."""
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _stack() -> str:
    try:
        return version("dicom-importer")
    except PackageNotFoundError:
        return "not installed"


def _exchange(fresh: Path, folder: Path) -> None:
    old = _beside(folder, "old")
    sync(fresh)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _beside(folder: Path, kind: str) -> Path:
    return folder.with_name(f"{folder.name}.{kind}")


def _dump(config: Config, name: str, path: Path, programs: Programs) -> None:
    # Not compressed: restic does that, and finds what is the same as an hour ago.
    argv = [programs.pg_dump, "--format=custom", "--compress=0", f"--file={path}"]
    _run([*argv, *_login(config, name)], f"the database {name}", _environment(config, name))


def _one(config: Config, query: str, programs: Programs) -> str:
    (answer,) = ask(config, "orthanc", (query,), programs)
    return answer


def _login(config: Config, name: str) -> list[str]:
    place = (f"--host={config.database_host}", f"--username={name}", f"--dbname={name}")
    return [*place, "--no-password"]


def _environment(config: Config, name: str) -> dict[str, str]:
    return {"PGPASSFILE": str(config.secrets_dir / f"{name}_pgpass"), "PGCONNECT_TIMEOUT": "10"}


def _run(
    argv: list[str], what: str, environment: dict[str, str], timeout_s: float = TIMEOUT_S
) -> str:
    env = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ} | environment
    try:
        done = subprocess.run(  # noqa: S603 - argument lists of our own, no shell
            argv,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            env=env,
            timeout=timeout_s,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DumpError(f"{what}: {argv[0]} did not do its work ({error})") from error
    if done.returncode:
        said = " ".join(done.stderr.strip().splitlines()[-3:])
        raise DumpError(f"{what}: {Path(argv[0]).name} failed with {done.returncode}: {said}")
    return done.stdout


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
