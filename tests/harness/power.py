"""A disk whose state of one moment can be kept, and the Podman form on it: what it would hold after a power cut.

The data directory's file system lies in a file, and that file on an XFS that clones files. A clone
(`cp --reflink=always`) waits for the writes under way and holds off the next ones, so it is the
device at one moment: what the kernel had written is in it, in the order in which it was written;
what lay in the kernel's memory is not. The device is opened past the page cache, so that nothing
else is in between. Not imitated: a disk that loses what it has confirmed because its own cache is
volatile and it ignores, or was not sent, a flush.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stack.shell import environment

from harness.stack import TESTS, from_env_file, make, temporary_copy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.stack import Stack

# Both are sparse; a stack wants 5 GiB free.
SIZE_BYTES = 10 << 30
OUTER_BYTES = 64 << 30
SETTINGS = {
    "PROJECT": "dicom-stack-test-cut",
    "DATA_DIR": "/var/tmp/dicom-stack-test-cut",  # noqa: S108 - sparse files want room, and root alone makes it
    "PUBLIC_URL": "https://localhost:24543",
    "HTTP_PORT": "24180",
    "HTTPS_PORT": "24543",
    "FRONTEND_SUBNET": "10.93.0.0/16",
    "BACKEND_SUBNET": "10.94.0.0/16",
    "EGRESS_SUBNET": "10.95.0.0/16",
    # Nothing comes in by another door.
    "DICOM_PORT": "",
    "SFTP_PORT": "",
    "SMB_PORT": "",
}
# A loop device past the page cache may have sectors of 4 KiB.
_MAKE = {"ext4": ["mkfs.ext4", "-q"], "xfs": ["mkfs.xfs", "-q", "-s", "size=4096"]}
# A clone bears its origin's identifier, which XFS minds while that is held somewhere for a moment.
_OPTIONS = {"ext4": "defaults", "xfs": "nouuid"}
# Kills the containers of a project ($4).
_KILL = """
label=label=io.podman.compose.project=$4
podman ps --all --quiet --filter "$label" | xargs --no-run-if-empty podman rm --force --time 0
"""
_REMOVE_NETWORKS = """
podman network ls --quiet --filter "$label" | xargs --no-run-if-empty podman network rm --force
"""
_UNMOUNT = """
unmount() {
  for _ in {1..50}; do
    mountpoint --quiet "$1" || return 0
    umount "$1" || sleep 0.2
  done
  umount --lazy "$1"
}
"""
# Removes a disk ($1) and what holds it ($2); a loop device goes with its mount.
_CLEAN = f"""
{_UNMOUNT}
unmount "$1"
unmount "$2"
rm -rf --one-file-system "$1" "$2" "$3"
"""


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk: where it is mounted, and its kind (ext4 or xfs)."""

    folder: Path
    kind: str

    @property
    def store(self) -> Path:
        """What holds the disk's file and its clones."""
        return self.folder.with_name(self.folder.name + "-disk")

    @property
    def _file(self) -> Path:
        return self.store / "disk.img"

    def make(self) -> None:
        """Make an empty file system, and mount it."""
        with self._file.open("wb") as file:
            file.truncate(SIZE_BYTES)
        _run(*_MAKE[self.kind], str(self._file))
        self.mount(self._file)

    def cut(self, name: str) -> Path:
        """Keep the disk as it is at this moment."""
        image = self.store / f"{name}.img"
        _run("cp", "--reflink=always", str(self._file), str(image))
        return image

    def mount(self, image: Path) -> None:
        """Mount a disk; its journal is replayed where it has to be."""
        device = _run("losetup", "--find", "--show", "--direct-io=on", str(image)).strip()
        try:
            _run("mount", "-o", _OPTIONS[self.kind], device, str(self.folder))
        finally:
            # Busy, it goes when it is unmounted.
            _run("losetup", "--detach", device)

    def unmount(self) -> None:
        """Unmount it, whatever still ends there."""
        _run("bash", "-c", f'{_UNMOUNT}\nunmount "$1"', "bash", str(self.folder))


@dataclass(frozen=True, slots=True)
class Host:
    """The Podman form, and the disk that its data lies on."""

    stack: Stack
    disk: Disk

    def mount(self, image: Path) -> None:
        """Mount a disk of its."""
        self.disk.mount(image)

    def cut(self, name: str) -> Path:
        """Keep the disk as it is at this moment."""
        return self.disk.cut(name)

    def up(self) -> None:
        """Start the stack as an operator, or the host, does."""
        make("up", self.stack.podman_settings.env_file)

    def go_down(self) -> None:
        """Kill what runs, and unmount."""
        _run("bash", "-c", _KILL, "bash", "", "", "", self.stack.podman_settings.project)
        self.disk.unmount()


def _run(*argv: str) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, f"{' '.join(argv[:4])}: {done.stderr}"
    return done.stdout


@contextmanager
def disk(
    kind: str, folder: Path, *, first: str = "", last: str = "", word: str = ""
) -> Iterator[Disk]:
    """Provide an empty disk (ext4 or xfs), mounted.

    What is made goes by the hand of a process of its own, which notices when this one ends,
    however that comes; before and after it does what `first` and `last` say of `word` ($4).
    """
    made = Disk(folder, kind)
    outer = made.store.with_name(made.store.name + ".img")
    clean = f"{first}\n{_CLEAN}\n{last}"
    words = [str(folder), str(made.store), str(outer), word]
    _run("bash", "-c", clean, "bash", *words)
    guard = subprocess.Popen(
        ["/usr/bin/bash", "-c", f"cat >/dev/null\n{clean}", "bash", *words],
        stdin=subprocess.PIPE,
        start_new_session=True,
        env=environment(),
    )
    try:
        folder.mkdir()
        made.store.mkdir()
        with outer.open("wb") as file:
            file.truncate(OUTER_BYTES)
        _run("mkfs.xfs", "-q", "-m", "reflink=1", str(outer))
        _run("mount", "-o", "loop", str(outer), str(made.store))
        made.make()
        yield made
    finally:
        guard.communicate()
    assert guard.returncode == 0
    assert not os.path.lexists(folder)


@contextmanager
def host(kind: str) -> Iterator[Host]:
    """Provide the Podman form, not started yet, on an empty disk (ext4 or xfs)."""
    env_file = temporary_copy(TESTS / "stack.env", **SETTINGS)
    try:
        folder, project = Path(SETTINGS["DATA_DIR"]), SETTINGS["PROJECT"]
        with disk(kind, folder, first=_KILL, last=_REMOVE_NETWORKS, word=project) as made:
            yield Host(from_env_file(env_file), made)
    finally:
        env_file.unlink()
