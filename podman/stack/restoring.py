"""`make restore`: a stack comes back from its backup; people log in first, and read while the rest comes."""

from __future__ import annotations

import getpass
import json
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stack import certificate, credentials, files, health, images, importing
from stack.compose import compose, services
from stack.credentials import UIDS, write_private
from stack.settings import SettingsError, load
from stack.shell import CommandError, environment, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from stack.settings import Settings

STATE = "backup/restore.json"
POSTGRESQL_TIMEOUT_S = 120
# Every owner and mode comes back as it was; nothing else that root may.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID")
# What the program ends with when everything went well but for what it named.
NOT_ALL = 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """From which repository, opened by which key, as of when; who wants it, for the audit."""

    source: str
    key: str
    credentials_file: str
    ssh_key_file: str
    ca_file: str
    host_key: str
    at: str
    who: str


@dataclass(frozen=True, slots=True)
class _Program:
    """`dicom-backup restore`, in a container of its own."""

    settings: Settings
    image: str
    source: str
    host_key: str
    secrets: Path
    data_dir: Path
    at: str

    def run(
        self, part: str, *, network: str = "", capture: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Do one part; what it says is seen at once, or returned."""
        at = ["--at", self.at] if self.at and part in ("files", "settings") else []
        argv = [*self._podman(network), self.image, "dicom-backup", "restore", part, *at]
        return subprocess.run(  # noqa: S603 - argument lists of our own, no shell
            argv,
            check=False,
            env=environment(),
            text=True,
            stdout=subprocess.PIPE if capture else None,
        )

    def must(self, part: str, *, network: str = "") -> None:
        """Do one part; raises CommandError when it did not succeed, which it has said why."""
        if self.run(part, network=network).returncode:
            raise CommandError(f"the restore stopped at: {part} (see above)")

    def _podman(self, network: str) -> list[str]:
        settings = self.settings
        # A killed command leaves its container at work: --replace ends it.
        words = ["podman", "run", "--rm", "--replace", f"--name={settings.container('restore')}"]
        words += ["--user=0:0", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"]
        words += [f"--cap-add={name}" for name in CAPABILITIES]
        words += ["--security-opt=no-new-privileges"]
        words += [f"--env=BACKUP_TARGET={self.source}", "--env=TZ=UTC"]
        words += [f"--env=BACKUP_HOST_KEY={self.host_key}"]
        words += [f"--volume={self.data_dir}:/data", f"--volume={self.secrets}:/run/secrets:ro"]
        if self.source.startswith("/"):
            words += [f"--volume={self.source}:{self.source}:ro"]
        if network:
            prefix = settings.prefix("BACKEND")
            return [*words, f"--network={network}", f"--add-host=postgresql:{prefix}.14"]
        return [*words, "--network=none"] if self.source.startswith("/") else words


def wanted(given: argparse.Namespace) -> Wanted:
    """Read the words of the command; raises SettingsError. A key without a file is asked for."""
    source = _source(given.source)
    files = (given.credentials_file, given.ssh_key_file, given.ca_file)
    key = _key(given.key_file)
    return Wanted(source, key, *files, given.host_key, given.at, given.by)


def settings_of(settings: Settings, wanted: Wanted) -> Settings:
    """Return the site's settings: where this machine has none yet, they come from the backup.

    Raises SettingsError, CommandError.
    """
    if settings.env_file.exists():
        return settings
    built = images.build(settings.values["DEBIAN_MIRROR"], (*images.IMAGES, images.BACKUP))
    with _secrets(wanted) as secrets, tempfile.TemporaryDirectory() as scratch:
        program = _Program(
            settings,
            built["backup"],
            wanted.source,
            _host_key(settings, wanted),
            secrets,
            Path(scratch),
            wanted.at,
        )
        done = program.run("settings", capture=True)
    if done.returncode:
        raise CommandError("the settings did not come back (see above)")
    settings.env_file.write_text(done.stdout)
    say(f"settings: {settings.env_file} is as it was")
    return load(settings.env_file)


def restore(settings: Settings, wanted: Wanted, up: Callable[[Settings], None]) -> None:
    """Bring everything back; raises SettingsError, CommandError. Interrupted, it is run again and goes on."""
    start_s = time.monotonic()
    if not (settings.data_dir / STATE).exists():
        _refuse_running(settings)
    built = images.build(settings.values["DEBIAN_MIRROR"], (*images.IMAGES, images.BACKUP))
    with _secrets(wanted) as secrets:
        program = _Program(
            settings,
            built["backup"],
            wanted.source,
            _host_key(settings, wanted),
            secrets,
            settings.data_dir,
            wanted.at,
        )
        files.own(settings.data_dir / "backup", "backup", 0o700)
        say("1 of 6: secrets, certificates, settings, audit, journal, dumps")
        program.must("check")
        files.prepare(settings)
        program.must("files")
        _keep_key(settings, wanted.key)
        _keep_given(settings, wanted, secrets)
        credentials.ensure_secrets(settings.data_dir / "secrets")
        _own_certificate(settings)
        if "databases" not in _state(settings)["steps"]:
            say("2 of 6: databases")
            compose(settings, built, "up", "-d", "--no-deps", "postgresql")
            _wait_for_postgresql(settings)
            program.must("databases", network=f"{settings.project}_backend")
        say("3 of 6: the stack comes up")
        up(_without_absent_target(settings))
        say(
            f"people can log in ({time.monotonic() - start_s:.0f} s after the beginning);"
            " studies open as their images come back"
        )
        say("4 of 6: images, the newest first")
        are_all = _images(program)
        say("5 of 6: originals")
        program.must("originals")
        say("6 of 6: what came in after the databases were dumped")
        since = str(_state(settings)["dumped"])[:10]
        words = ["replay", "--since", since, "--by", wanted.who]
        if importing.run(settings, "importer", words):
            raise CommandError(
                "not everything could be replayed (see above): give the same command again"
            )
        program.must("done")
    if not are_all:
        raise CommandError(
            "everything is back but the images named above: give the same command again when the repository is whole;"
            f" to take it as it is, delete {settings.data_dir / STATE}, by which backups go on"
        )
    say(
        f"restored: everything is back after {time.monotonic() - start_s:.0f} s; make verify compares it all"
    )


def _refuse_running(settings: Settings) -> None:
    there = [name for name in services(settings) if health.state(settings, name) != "absent"]
    if there:
        raise CommandError(
            f"the stack is there (containers of {', '.join(there)}); nothing was changed: make down first,"
            f" and move {settings.data_dir} away, for a restore overwrites nothing"
        )


def _images(program: _Program) -> bool:
    """Bring images back; returns whether they all are. A full disk is no reason to go on."""
    status = program.run("images").returncode
    if status not in (0, NOT_ALL):
        raise CommandError("the restore stopped at: images (see above)")
    return status == 0


def _state(settings: Settings) -> dict[str, list[str] | str]:
    return dict(json.loads((settings.data_dir / STATE).read_text()))


def _host_key(settings: Settings, wanted: Wanted) -> str:
    return wanted.host_key or settings.values["BACKUP_HOST_KEY"]


def _source(text: str) -> str:
    if not text:
        raise SettingsError("say where the backup is: make restore FROM=/mnt/backup KEY_FILE=…")
    if ":" in text:
        return text
    path = Path(text).resolve()
    if not path.is_dir():
        raise SettingsError(f"FROM={text}: there is no such folder; is the disk mounted?")
    return str(path)


@contextmanager
def _secrets(wanted: Wanted) -> Iterator[Path]:
    """Provide a folder with the key, and what the target asks for, as the program reads them."""
    given = {
        "backup_ca": wanted.ca_file,
        "backup_credentials": wanted.credentials_file,
        "backup_ssh_key": wanted.ssh_key_file,
    }
    with tempfile.TemporaryDirectory() as folder:
        write_private(Path(folder) / "backup_key", wanted.key + "\n", 0)
        for name, file in given.items():
            if file:
                write_private(Path(folder) / name, _read(file), 0)
        yield Path(folder)


def _key(file: str) -> str:
    if file:
        return _read(file).strip()
    if sys.stdin.isatty():
        return getpass.getpass("the backup's key: ").strip()
    return sys.stdin.readline().strip()


def _read(file: str) -> str:
    try:
        return Path(file).read_text()
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error


def _without_absent_target(settings: Settings) -> Settings:
    """Leave the backup out where its folder is not on this machine: people come first."""
    target = settings.values["BACKUP_TARGET"]
    if not target.startswith("/") or Path(target).is_dir():
        return settings
    say(
        f"! BACKUP_TARGET={target}: there is no such folder, so no backup is made;"
        " mount it or set another, then make up"
    )
    return replace(settings, values=settings.values | {"BACKUP_TARGET": ""})


def _keep_key(settings: Settings, key: str) -> None:
    """Keep the key, which is in no backup: the backups to come go into the same repository."""
    path = settings.data_dir / "secrets" / "backup.backup_key"
    if not path.exists():
        write_private(path, key, UIDS["backup"])


def _keep_given(settings: Settings, wanted: Wanted, secrets: Path) -> None:
    """Keep what opens the target, where the backups to come go there too."""
    if wanted.source != settings.values["BACKUP_TARGET"]:
        return
    for name in ("backup_ca", "backup_credentials", "backup_ssh_key"):
        given, kept = secrets / name, settings.data_dir / "secrets" / name
        if given.exists() and not (kept.exists() and kept.read_text().strip()):
            write_private(kept, given.read_text(), 0, 0o600)


def _own_certificate(settings: Settings) -> None:
    """Put the operator's certificate back where the settings name it, from the copy that nginx reads."""
    names = ("TLS_CERTIFICATE", "TLS_CERTIFICATE_KEY")
    chain, key = (Path(settings.values[name]) for name in names)
    served = certificate.served(settings)
    if not settings.values[names[0]] or (chain.exists() and key.exists()) or not served.exists():
        return
    text = served.read_text()
    at = text.index("-----BEGIN", text.rindex("-----END CERTIFICATE-----"))
    for path, part in ((chain, text[:at]), (key, text[at:])):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, part, 0)
    say(f"certificate: {chain} and {key} are back, from the copy that was in use")


def _wait_for_postgresql(settings: Settings) -> None:
    deadline_s = time.monotonic() + POSTGRESQL_TIMEOUT_S
    while health.state(settings, "postgresql") != "healthy":
        if time.monotonic() > deadline_s:
            raise CommandError(
                f"PostgreSQL does not start:\n{health.log_tail(settings, 'postgresql')}"
            )
        time.sleep(1)
