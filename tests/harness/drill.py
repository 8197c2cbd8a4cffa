"""Losing a stack and bringing it back: what people could see before and after, and how long it took."""

from __future__ import annotations

import hashlib
import io
import re
import shlex
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pydicom
import requests
from stack.shell import environment, podman

from harness.dicomweb import ANY_SYNTAX, Reader, single_part
from harness.stack import TOP, from_env_file, temporary_copy

if TYPE_CHECKING:
    from pathlib import Path

    from harness.people import People
    from harness.stack import Stack

PAGE = TOP / "docs" / "disaster-recovery.md"
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
ARCHIVE_GB = 3600
# With less, what a call of restic takes by itself is most of the time.
ENOUGH_BYTES = 100_000_000
RESTORE_TIMEOUT_S = 3600


@dataclass(frozen=True, slots=True)
class Image:
    """One instance as a reader gets it: the hash of all its bytes, and of its pixels."""

    study: str
    md5: str
    pixels: str


def of_its_own(env_file: Path, repository: Path) -> Path:
    """Return settings of a stack beside the tests' own, which is there to be lost; it is backed up to `repository`."""
    other = from_env_file(env_file).podman_settings
    http, https = (port + 2010 for port in other.ports)
    return temporary_copy(
        env_file,
        BACKUP_TARGET=str(repository),
        BACKEND_SUBNET="10.97.64.0/18",
        EGRESS_SUBNET="10.97.128.0/18",
        FRONTEND_SUBNET="10.97.0.0/18",
        DATA_DIR=f"{other.data_dir}-drill",
        # The ports of other doors are the tests' own stack's.
        DICOM_PORT="",
        SFTP_PORT="",
        SMB_PORT="",
        HTTP_PORT=str(http),
        HTTPS_PORT=str(https),
        PROJECT=f"{other.project}-drill",
        PUBLIC_URL=f"https://localhost:{https}",
    )


def inventory(reader: Reader) -> dict[str, Image]:
    """Return every instance that a person finds and reads, by SOP Instance UID."""
    found = {}
    for study in sorted(reader.study_uids()):
        for item in reader.search(f"/dicom-web/studies/{study}/instances?limit=10000"):
            series, instance = (str(item[tag]["Value"][0]) for tag in ("0020000E", "00080018"))
            path = f"/dicom-web/studies/{study}/series/{series}/instances/{instance}"
            answer = reader.get(path, ANY_SYNTAX)
            assert answer.status_code == requests.codes.ok, f"{path}: {answer.status_code}"
            content = single_part(answer)
            read = pydicom.dcmread(io.BytesIO(content), force=True)
            pixels = next((bytes(read[name].value) for name in PIXELS if name in read), b"")
            found[instance] = Image(
                study,
                hashlib.md5(content, usedforsecurity=False).hexdigest(),
                hashlib.sha256(pixels).hexdigest(),
            )
    return found


def commands(heading: str) -> list[str]:
    """Return the commands below a heading of the page for three in the morning."""
    section = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert section, f"{PAGE} has no heading {heading}"
    return [
        line
        for block in re.findall(r"```sh\n(.*?)```", section[1], re.DOTALL)
        for line in block.splitlines()
    ]


def told(command: str, env_file: Path, places: dict[str, Path]) -> list[str]:
    """Turn a command of the page into one for the stack of the drill, which has its things in other places."""
    for written, path in places.items():
        command = command.replace(written, str(path))
    program, *words = shlex.split(command)
    assert program == "make", command
    return ["/usr/bin/make", "-s", "-C", str(TOP), *words, f"ENV={env_file}"]


def destroy(stack: Stack) -> None:
    """Lose everything: containers as by a fire, networks, and the data directory."""
    settings = stack.podman_settings
    assert settings.data_dir.name.startswith("dicom-stack-test"), "only the tests' own data"
    own = f"label=io.podman.compose.project={settings.project}"
    names = podman("ps", "-a", "--format", "{{.Names}}", "--filter", own).split()
    podman("rm", "--force", "--time=0", *names)
    for network in podman("network", "ls", "--format", "{{.Name}}", "--filter", own).split():
        podman("network", "rm", "--force", network)
    shutil.rmtree(settings.data_dir)


@dataclass(slots=True)
class Watch:
    """What a person meets who tries again and again while a stack comes back; times in seconds since the loss."""

    stack: Stack
    people: People
    name: str
    start_s: float = field(default_factory=time.monotonic)
    login_s: float = 0.0
    first_image_s: float = 0.0
    all_images_s: float = 0.0
    refused: set[tuple[int, str]] = field(default_factory=set)
    partial: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def begin(self, expected: dict[str, Image]) -> None:
        """Start trying."""
        self._thread = threading.Thread(target=self._try_until_all, args=(expected,))
        self._thread.start()

    def end(self) -> None:
        """Stop trying."""
        self._stop.set()
        assert self._thread
        self._thread.join(60)

    def _try_until_all(self, expected: dict[str, Image]) -> None:
        studies = {image.study for image in expected.values()}
        whole: set[str] = set()
        while not self._stop.wait(1) and whole != studies:
            try:
                reader = Reader(self.stack, self.people.token(self.name, fresh=True))
            except (AssertionError, KeyError, OSError, requests.RequestException):
                continue
            self.login_s = self.login_s or time.monotonic() - self.start_s
            for study in studies - whole:
                answer = reader.get(f"/dicom-web/studies/{study}", ANY_SYNTAX)
                if answer.status_code != requests.codes.ok:
                    self.refused.add((answer.status_code, answer.text[:200]))
                    continue
                self.first_image_s = self.first_image_s or time.monotonic() - self.start_s
                count = answer.content.count(b"DICM") if answer.content else 0
                wanted = sum(1 for image in expected.values() if image.study == study)
                if count < wanted:
                    self.partial.append(f"{study}: {count} of {wanted}")
                whole.add(study)
        if whole == studies:
            self.all_images_s = time.monotonic() - self.start_s


def run(argv: list[str]) -> str:
    """Run a command as an operator does, and show what it says."""
    done = subprocess.run(
        argv,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RESTORE_TIMEOUT_S,
        env=environment(),
    )
    assert done.returncode == 0, f"{' '.join(argv)}:\n{done.stdout[-6000:]}"
    return done.stdout


@dataclass(frozen=True, slots=True)
class Figures:
    """What a drill measured: seconds from the loss on, bytes, and the age of what was lost."""

    lost_s: float
    login_s: float
    first_image_s: float
    all_images_s: float
    everything_s: float
    image_bytes: int
    images_took_s: float
    database_bytes: int
    databases_took_s: float

    def table(self) -> str:
        """Write what was measured, and what it means for a large archive where it was enough to tell."""
        rate = self.image_bytes / self.images_took_s
        lines = [
            ("measured", ""),
            ("lost (RPO): what was imported so long before the end", f"{self.lost_s:.0f} s"),
            ("people log in (RTO)", f"{self.login_s:.0f} s"),
            ("the first study opens (RTO)", f"{self.first_image_s:.0f} s"),
            ("every study opens (RTO)", f"{self.all_images_s:.0f} s"),
            ("everything, originals and replay included", f"{self.everything_s:.0f} s"),
            ("images", f"{self.image_bytes / 1e6:.1f} MB at {rate / 1e6:.1f} MB/s"),
            ("databases", f"{self.database_bytes / 1e6:.1f} MB in {self.databases_took_s:.1f} s"),
        ]
        if self.image_bytes < ENOUGH_BYTES:
            lines += [(f"for {ARCHIVE_GB / 1000} TB", "too little to tell: make drill")]
        else:
            hours = ARCHIVE_GB * 1e9 / rate / 3600
            lines += [
                (f"for {ARCHIVE_GB / 1000} TB at this rate", "(calculated)"),
                ("every study opens after", f"{hours:.0f} h"),
                ("the newest 1 % after", f"{hours * 0.6:.0f} min"),
            ]
        return "\n".join(f"| {name:54} | {value:31} |" for name, value in lines)
