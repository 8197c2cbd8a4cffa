"""Calling restic: one repository, its errors in words, its snapshots as records."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dicom_backup import target
from dicom_backup.config import HOST, Config, credentials

# restic's own exit codes, since 0.17.
PARTLY, ABSENT, LOCKED, WRONG_KEY = 3, 10, 11, 12
# A day in which nothing at all comes back is a network that hangs; the first backup of an archive takes that long.
TIMEOUT_S = 7 * 86400
QUERY_TIMEOUT_S = 600
# restic itself asks a server that is away or refuses it for a quarter of an hour.
OPEN_TIMEOUT_S = 20
# The name under which ssh knows the target's host key, whatever its address.
_KNOWN_AS = "backup-target"
# What ssh says, which restic tells of only sometimes.
_SSH_LOG = "ssh.log"
_SHOWN_LINES = 6
_NOT_REMOVED = "unable to remove"
_NO_ROOM = ("no space left on device", "disk quota exceeded", "insufficient storage")


class ResticError(Exception):
    """restic failed; the text says what happened and what to do."""


class WrongKeyError(ResticError):
    """The key does not open the repository."""


class NoRepositoryError(ResticError):
    """There is no repository at the target."""


class LockedError(ResticError):
    """Somebody else works on the repository."""


class NoRoomError(ResticError):
    """The target is full."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One snapshot: its whole id, its time as restic writes it (RFC 3339), its tags."""

    id: str
    time: str
    tags: frozenset[str]
    host: str


@dataclass(frozen=True, slots=True)
class Saved:
    """What one call of backup came to: `unread` are files that could not be read, in restic's words."""

    snapshot: str
    files: int
    bytes: int
    added_bytes: int
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lock:
    """Who works on the repository."""

    id: str
    host: str
    pid: int
    time: str
    exclusive: bool


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of restic, with the key that opens it."""

    target: str
    key_file: Path
    cache_dir: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    program: str = "restic"

    def run(
        self,
        *args: str,
        cwd: Path | None = None,
        stdin: str | None = None,
        accept: Sequence[int] = (0,),
        timeout_s: float = QUERY_TIMEOUT_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run restic; raises ResticError, or the one of it that fits."""
        env = {
            **{k: os.environ[k] for k in ("PATH", "SSL_CERT_FILE", "TZ") if k in os.environ},
            **self.environment,
            "HOME": str(self.cache_dir),
            "RESTIC_CACHE_DIR": str(self.cache_dir),
            "RESTIC_PASSWORD_FILE": str(self.key_file),
            "RESTIC_REPOSITORY": self.target,
        }
        argv = [self.program, *self.options, *args]
        (self.cache_dir / _SSH_LOG).unlink(missing_ok=True)
        try:
            done = subprocess.run(  # noqa: S603 - argument lists of our own, no shell
                argv,
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                cwd=cwd,
                env=env,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                timeout=timeout_s,
            )
        except FileNotFoundError as error:
            raise ResticError(f"{self.program} cannot be run: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise self._too_late(args[0], timeout_s, error) from error
        if done.returncode not in accept:
            raise self._error(args[0], done)
        return done

    def _too_late(
        self, what: str, timeout_s: float, error: subprocess.TimeoutExpired
    ) -> ResticError:
        text = (error.stderr or b"").decode(errors="replace")
        if target.has_no_bucket(text):
            return self._absent()
        by_ssh = self._by_ssh()
        last = _reason(messages(text), by_ssh)
        why = target.why(self.target, text + by_ssh) or f"the target {self.target} does not answer"
        return ResticError(f"{why} (restic {what} did not end within {timeout_s:.0f} s: {last})")

    def _by_ssh(self) -> str:
        try:
            return (self.cache_dir / _SSH_LOG).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def _absent(self) -> NoRepositoryError:
        return NoRepositoryError(
            f"there is no repository at {self.target}: is the disk mounted, is the address right?"
        )

    def _error(self, what: str, done: subprocess.CompletedProcess[str]) -> ResticError:
        said = messages(done.stderr) or messages(done.stdout)
        text = "\n".join(said[-_SHOWN_LINES:])
        if any(mark in done.stderr.lower() + done.stdout.lower() for mark in _NO_ROOM):
            return NoRoomError(
                f"the target {self.target} is full: make room there or lower BACKUP_KEEP_…;"
                " what was backed up before is whole, the next run goes on"
            )
        if done.returncode == WRONG_KEY:
            return WrongKeyError(
                f"the key {self.key_file} does not open the repository {self.target}:"
                " give the one that this repository was made with (make backup-key printed it), or another target"
            )
        if done.returncode == ABSENT:
            return self._absent()
        if done.returncode == LOCKED:
            return LockedError(f"the repository {self.target} is in use: {text}")
        by_ssh = self._by_ssh()
        if why := target.why(self.target, by_ssh or done.stderr + done.stdout):
            return ResticError(f"{why} (restic {what}: {_reason(said, by_ssh)})")
        return ResticError(f"restic {what} failed with {done.returncode}: {text}")

    def identity(self) -> str:
        """Return what tells this repository from others; raises ResticError, NoRepositoryError where there is none."""
        done = self.run("cat", "config", "--no-lock", timeout_s=OPEN_TIMEOUT_S)
        return str(json.loads(done.stdout)["id"])

    def create(self) -> None:
        """Make the repository."""
        self.run("init")

    def backup(
        self,
        tags: Sequence[str],
        paths: Sequence[str],
        cwd: Path,
        *,
        exclude: Sequence[str] = (),
        force: bool = False,
    ) -> Saved:
        """Save paths relative to `cwd`, as they are named there; `.` saves what lies in it.

        Files that vanish meanwhile and such are in `unread`; nothing saved at all is an error.
        """
        given = [f"--tag={','.join(tags)}", f"--host={HOST}", "--group-by=host,tags", "--json"]
        # A link that comes or goes changes a file's time of change, and not the file.
        given += ["--ignore-ctime", *(f"--exclude={pattern}" for pattern in exclude)]
        given += ["--force"] if force else []
        done = self.run(
            *("backup", "--retry-lock=5m", *given, "--", *paths),
            cwd=cwd,
            accept=(0, PARTLY),
            timeout_s=TIMEOUT_S,
        )
        return self._saved(done)

    def backup_text(self, tags: Sequence[str], name: str, text: str) -> Saved:
        """Save one text as a file of that name."""
        given = [f"--tag={','.join(tags)}", f"--host={HOST}", "--group-by=host,tags", "--json"]
        named = ("--stdin", f"--stdin-filename={name}")
        return self._saved(self.run("backup", "--retry-lock=5m", *given, *named, stdin=text))

    def _saved(self, done: subprocess.CompletedProcess[str]) -> Saved:
        for line in _objects(done.stdout):
            if line.get("message_type") == "summary" and line.get("snapshot_id"):
                return Saved(
                    snapshot=str(line["snapshot_id"]),
                    files=int(str(line["total_files_processed"])),
                    bytes=int(str(line["total_bytes_processed"])),
                    added_bytes=int(str(line.get("data_added_packed", line["data_added"]))),
                    unread=tuple(messages(done.stderr)) if done.returncode == PARTLY else (),
                )
        raise ResticError(f"restic backup told of no snapshot: {' '.join(messages(done.stderr))}")

    def remove(self, *args: str, timeout_s: float = QUERY_TIMEOUT_S) -> None:
        """Run what removes something; raises ResticError also where restic succeeds and the target refused."""
        done = self.run(*args, timeout_s=timeout_s)
        if _NOT_REMOVED in done.stderr.lower():
            raise self._error(args[0], done)

    def snapshots(self, *tags: str) -> list[Snapshot]:
        """List the snapshots that have all of the tags, eldest first."""
        given = [f"--tag={','.join(tags)}"] if tags else []
        listed = json.loads(
            self.run("snapshots", "--json", "--no-lock", f"--host={HOST}", *given).stdout
        )
        found = [
            Snapshot(str(s["id"]), str(s["time"]), frozenset(s.get("tags") or ()), s["hostname"])
            for s in listed or []
        ]
        return sorted(found, key=lambda snapshot: snapshot.time)

    def read_text(self, snapshot: str, path: str) -> str:
        """Return a file of a snapshot."""
        return self.run("dump", "--no-lock", snapshot, path).stdout

    def locks(self) -> list[Lock]:
        """List who works on the repository."""
        found = []
        for name in self.run("list", "locks", "--no-lock").stdout.split():
            try:
                lock = json.loads(self.run("cat", "lock", name, "--no-lock").stdout)
            except ResticError:  # It has gone meanwhile.
                continue
            found.append(
                Lock(
                    name,
                    str(lock["hostname"]),
                    int(lock["pid"]),
                    str(lock["time"]),
                    bool(lock["exclusive"]),
                )
            )
        return found

    def clear_own_locks(self) -> int:
        """Remove what killed runs of this machine left locked; returns how many there were.

        The caller holds `alone`, so that nobody else on this machine works on the repository. Locks
        of other machines stay; restic itself drops those that are too old to be true.
        """
        locks = self.locks()
        own = [lock for lock in locks if lock.host == socket.gethostname()]
        if own and len(own) == len(locks):
            self.run("unlock", "--remove-all")
        elif locks:
            self.run("unlock")
        return len(own)


def repository(config: Config, program: str = "restic") -> Repository:
    """Return the repository of the settings; raises ConfigError."""
    cache = config.backup_dir / "cache"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Repository(
        config.target,
        config.key_file,
        cache,
        credentials(config.credentials_file),
        (*_ssh(config), *_authority(config)),
        program,
    )


def _ssh(config: Config) -> tuple[str, ...]:
    if not config.target.startswith("sftp:"):
        return ()
    known, line = config.known_hosts_file, f"{_KNOWN_AS} {config.host_key}\n"
    if not known.exists() or known.read_text() != line:
        known.write_text(line)
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": "15",
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": _KNOWN_AS,
        "IdentitiesOnly": "yes",
        "ServerAliveInterval": "30",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(known),
    }
    words = " ".join(f"-o {name}={value}" for name, value in options.items())
    log = config.backup_dir / "cache" / _SSH_LOG
    return ("-o", f"sftp.args=-i {config.ssh_key_file} -E {log} {words}")


def _authority(config: Config) -> tuple[str, ...]:
    is_given = config.ca_file.exists() and config.ca_file.read_text().strip()
    return ("--cacert", str(config.ca_file)) if is_given else ()


def messages(text: str) -> list[str]:
    """Return what restic said, whether as JSON or as plain lines."""
    found = []
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            said = json.loads(line)
        except ValueError:
            found.append(line.strip())
            continue
        if not isinstance(said, dict):
            continue
        kind = said.get("message_type")
        if kind == "error":
            error = said.get("error")
            detail = (
                error.get("message", "") if isinstance(error, dict) else said.get("message", "")
            )
            found.append(
                " ".join(part for part in (str(said.get("item", "")), str(detail)) if part)
            )
        elif kind == "exit_error":
            found.append(str(said.get("message", "")))
    return found


def _reason(said: list[str], by_ssh: str) -> str:
    """Return the line that says most: ssh's own last one, else restic's first, which is followed by guesses."""
    return next(iter([*by_ssh.splitlines()[-1:], *said]), "it said nothing")


def _objects(text: str) -> Iterator[dict[str, object]]:
    for line in text.splitlines():
        if line.startswith("{"):
            yield json.loads(line)
