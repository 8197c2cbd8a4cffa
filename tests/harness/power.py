"""A stack on a disk of its own whose state of one moment can be kept: what it would hold after a power cut.

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
}
# A loop device past the page cache may have sectors of 4 KiB.
_MAKE = {"ext4": ["mkfs.ext4", "-q"], "xfs": ["mkfs.xfs", "-q", "-s", "size=4096"]}
# A clone bears its origin's identifier, which XFS minds while that is held somewhere for a moment.
_OPTIONS = {"ext4": "defaults", "xfs": "nouuid"}
# Kills the containers of a project ($1) and unmounts its disk ($2).
_STOP = """
label=label=io.podman.compose.project=$1
podman ps --all --quiet --filter "$label" | xargs --no-run-if-empty podman rm --force --time 0
unmount() {
  for _ in {1..50}; do
    mountpoint --quiet "$1" || return 0
    umount "$1" || sleep 0.2
  done
  umount --lazy "$1"
}
unmount "$2"
"""
# Removes all that a host leaves, that of one that was killed too; a loop device goes with its mount.
_CLEAN = f"""
{_STOP}
podman network ls --quiet --filter "$label" | xargs --no-run-if-empty podman network rm --force
unmount "$3"
rm -rf --one-file-system "$2" "$3" "$3.img"
"""


@dataclass(frozen=True, slots=True)
class Host:
    """A stack and the disk that its data lies on."""

    stack: Stack
    kind: str

    @property
    def folder(self) -> Path:
        """Where the disk is mounted."""
        return self.stack.podman_settings.data_dir

    @property
    def store(self) -> Path:
        """What holds the disk's file and its clones."""
        return _store(self.folder)

    @property
    def _disk(self) -> Path:
        return self.store / "disk.img"

    def make_disk(self) -> None:
        """Make an empty file system, and mount it."""
        with self._disk.open("wb") as file:
            file.truncate(SIZE_BYTES)
        _run(*_MAKE[self.kind], str(self._disk))
        self.mount(self._disk)

    def cut(self, name: str) -> Path:
        """Keep the disk as it is at this moment."""
        image = self.store / f"{name}.img"
        _run("cp", "--reflink=always", str(self._disk), str(image))
        return image

    def mount(self, image: Path) -> None:
        """Mount a disk; its journal is replayed where it has to be."""
        device = _run("losetup", "--find", "--show", "--direct-io=on", str(image)).strip()
        try:
            _run("mount", "-o", _OPTIONS[self.kind], device, str(self.folder))
        finally:
            # Busy, it goes when it is unmounted.
            _run("losetup", "--detach", device)

    def up(self) -> None:
        """Start the stack as an operator, or the host, does."""
        make("up", self.stack.podman_settings.env_file)

    def go_down(self) -> None:
        """Kill what runs, and unmount."""
        settings = self.stack.podman_settings
        _run("bash", "-c", _STOP, "bash", settings.project, str(self.folder))


def _store(folder: Path) -> Path:
    return folder.with_name(folder.name + "-disk")


def _run(*argv: str) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, f"{' '.join(argv[:4])}: {done.stderr}"
    return done.stdout


@contextmanager
def host(kind: str) -> Iterator[Host]:
    """Provide a stack that is not started yet, on an empty disk (ext4 or xfs).

    What is made goes by the hand of a process of its own, which notices when this one ends,
    however that comes.
    """
    env_file = temporary_copy(TESTS / "stack.env", **SETTINGS)
    folder = Path(SETTINGS["DATA_DIR"])
    store = _store(folder)
    argv = ["bash", "-c", _CLEAN, "bash", SETTINGS["PROJECT"], str(folder), str(store)]
    _run(*argv)
    guard = subprocess.Popen(
        ["/usr/bin/bash", "-c", f"cat >/dev/null\n{_CLEAN}", *argv[3:]],
        stdin=subprocess.PIPE,
        start_new_session=True,
        env=environment(),
    )
    try:
        folder.mkdir()
        store.mkdir()
        outer = store.with_name(store.name + ".img")
        with outer.open("wb") as file:
            file.truncate(OUTER_BYTES)
        _run("mkfs.xfs", "-q", "-m", "reflink=1", str(outer))
        _run("mount", "-o", "loop", str(outer), str(store))
        made = Host(from_env_file(env_file), kind)
        made.make_disk()
        yield made
    finally:
        guard.communicate()
        env_file.unlink()
    assert guard.returncode == 0
    assert not os.path.lexists(folder)
