"""The NixOS form's system under systemd: a machine of its own in a folder, with a network of its own."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.stack import Stack
from harness.wait import wait_until
from stack.certificate import ensure_certificate
from stack.settings import load
from stack.shell import attempt, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixos.bridge import System

START_TIMEOUT_S = 300
# Where the doors of the example are.
DOORS = {
    "DICOM_PORT": "104",
    "SFTP_PORT": "2022",
    "SMB_ADDRESS": "127.0.0.1",
    "SMB_PORT": "445",
}
# What Debian's libraries and programs look for.
KEPT_OF_ETC = (
    *("alternatives", "java-21-openjdk", "ld.so.cache", "ld.so.conf", "ld.so.conf.d"),
    *("python3", "ssl"),
)
LOADER = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
# Debian's own units, and what it would have made at a start.
HIDDEN = ("systemd/system", "sysctl.d", "sysusers.d", "tmpfiles.d")
# Runs a command ($2 and on) in control groups of its own ($1), or two machines would share theirs.
_CONTROL_GROUPS = "/sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified"
_APART = f"""
for top in {_CONTROL_GROUPS}; do
  [[ -e $top/cgroup.procs ]] || continue
  mkdir -p "$top/$1"
  echo $$ >"$top/$1/cgroup.procs"
done
exec "${{@:2}}"
"""
_FORGET = f"""
for top in {_CONTROL_GROUPS}; do
  [[ ! -e $top/$1 ]] || find "$top/$1" -depth -type d -exec rmdir {{}} \\;
done
"""
_CLONE_NEWNET = 0x40000000
PROGRAMS = "/run/current-system/sw/bin"


@dataclass(slots=True)
class Appliance:
    """A machine: its folder, what it runs, the name of its network, and the process that holds it."""

    system: System
    folder: Path
    network: str
    nspawn: subprocess.Popen[bytes] | None = None
    boot_s: float = 0.0

    @property
    def root(self) -> Path:
        """Its root directory."""
        return self.folder / "root"

    @property
    def shared(self) -> Path:
        """A folder that bears the same name in it and here."""
        return self.folder / "shared"

    @property
    def data(self) -> Path:
        """Its data."""
        return self.root / "srv" / "dicom-stack"

    @property
    def stack(self) -> Stack:
        """It, as the acceptance suite sees it; for who is in its network."""
        return Stack(
            "https://localhost",
            self.folder / "tls" / "tls" / "ca.crt",
            self.data / "files",
            control=tuple(self.inside("dicom-stack")),
            journal=tuple(self.inside("journalctl", "--no-pager", "--output=cat")),
            values=DOORS,
        )

    def start(self) -> None:
        """Boot it, and wait until all of it runs."""
        began_s = time.monotonic()
        binds = {
            self.system.store: "/nix/store",
            self.system.usr: "/usr",
            **{path: f"/opt/{name}" for name, path in self.system.others.items()},
        }
        with (self.folder / "console").open("ab") as console:
            self.nspawn = subprocess.Popen(
                [
                    *("bash", "-c", _APART, "bash", self.network),
                    # It ends with these tests, however they end.
                    *("setpriv", "--pdeathsig=TERM", "systemd-nspawn", "--quiet"),
                    *(f"--directory={self.root}", f"--machine={self.network}"),
                    f"--network-namespace-path=/run/netns/{self.network}",
                    *("--register=no", "--keep-unit", "--console=pipe"),
                    *(f"--bind-ro={here}:{there}" for here, there in binds.items()),
                    f"--bind={self.shared}",
                    *(f"--tmpfs=/usr/lib/{name}:mode=0755" for name in HIDDEN),
                    f"{self.system.path}/toplevel/init",
                ],
                # The manager of Debian testing knows no other control groups.
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        wait_until(self._answers, 90, "systemd answers", self.console)
        self.wait_running()
        self.boot_s = time.monotonic() - began_s

    def _answers(self) -> bool:
        assert self.nspawn
        assert self.nspawn.poll() is None, self.console()
        pid = self.nspawn.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if not children:
            return False
        words = f"nsenter --target={children[0]} -m -u -i -n -p -C -r -w"
        path = f"env PATH={PROGRAMS}:/usr/bin:/usr/sbin"
        enter = self.folder / "enter"
        enter.write_text(f'#!/bin/sh\nexec {words} {path} "$@"\n')
        enter.chmod(0o755)
        # Its first child sets it up and ends: there no systemd runs.
        return self.run("systemctl", "is-system-running").stdout.strip() not in {"", "offline"}

    def console(self) -> str:
        """Return the end of what it said."""
        return (self.folder / "console").read_text(errors="replace")[-4000:]

    def stop(self) -> None:
        """Shut it down as a reboot would."""
        assert self.nspawn
        self.run("systemctl", "poweroff")
        self.nspawn.wait(timeout=120)
        self.nspawn = None

    def kill(self) -> None:
        """End every process of it at once, if it runs."""
        if self.nspawn:
            with contextlib.suppress(IndexError, OSError):
                os.kill(self.leader, signal.SIGKILL)
            self.nspawn.wait(timeout=60)
            self.nspawn = None

    def inside(self, *argv: str) -> list[str]:
        """Return the command that runs a program in it."""
        return [str(self.folder / "enter"), *argv]

    def beside(self, *argv: str) -> list[str]:
        """Return the command that runs a program of this host in its network."""
        return ["nsenter", f"--net=/run/netns/{self.network}", *argv]

    @contextmanager
    def beside_it(self) -> Iterator[None]:
        """Be in its network for a while."""
        with (
            Path("/proc/thread-self/ns/net").open("rb") as home,
            Path(f"/run/netns/{self.network}").open("rb") as there,
        ):
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def run(self, *argv: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a program in it."""
        return attempt(self.inside(*argv), timeout_s=timeout_s)

    def work(self, *argv: str, timeout_s: float = 120) -> str:
        """Run a program in it and expect that all is well; returns what it said."""
        done = self.run(*argv, timeout_s=timeout_s)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}\n{self.logs()}"
        return done.stdout + done.stderr

    @property
    def units(self) -> list[str]:
        """Names of the units of the stack that last."""
        return self.system.strings("units")

    def show(self, key: str) -> dict[str, str]:
        """Return a property of each unit of the stack."""
        shown = self.run("systemctl", "show", f"--property=Id,{key}", *self.units)
        blocks = [
            dict(re.findall(r"^(\w+)=(.*)$", b, re.MULTILINE)) for b in shown.stdout.split("\n\n")
        ]
        return {b["Id"]: b[key] for b in blocks if "Id" in b}

    def wait_running(self) -> None:
        """Wait until every unit is active."""

        def waiting() -> dict[str, str]:
            state = self.show("ActiveState")
            return {u: state.get(u, "?") for u in self.units if state.get(u) != "active"}

        wait_until(lambda: not waiting(), START_TIMEOUT_S, "every unit is active", self.logs)

    def memory_mb(self) -> int:
        """Return what its processes take, each page of memory counted once."""
        space = Path(f"/proc/{self.leader}/ns/pid").readlink()
        total = 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (folder / "ns" / "pid").readlink() == space:
                    found = re.search(
                        r"^Pss: +(\d+)", (folder / "smaps_rollup").read_text(), re.MULTILINE
                    )
                    total += int(found[1]) if found else 0
            except OSError:  # It has ended meanwhile.
                continue
        return total // 1024

    @property
    def leader(self) -> int:
        """Process id of its systemd, as seen here."""
        assert self.nspawn
        pid = self.nspawn.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def logs(self) -> str:
        """Return the units' states and the end of the journal."""
        tail = self.run("journalctl", "--no-pager", "--priority=warning", "--lines=40").stdout
        return f"{self.show('ActiveState')}\n{tail}"


def _enter(network: int) -> None:
    """Let this thread, and whom it starts, be in a network; `os.setns` came with Python 3.12."""
    if ctypes.CDLL(None, use_errno=True).setns(network, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "the network cannot be entered")


def install(system: System, folder: Path, network: str = "") -> Appliance:
    """Make a machine in an empty folder, as an installation of NixOS would, and a network for it."""
    made = Appliance(system, folder, network or f"dicom-{secrets.token_hex(3)}")
    root = made.root
    made.shared.mkdir()
    for name in ("bin", "etc", "lib64", "mnt/backup", "nix/store", "usr", "var"):
        (root / name).mkdir(parents=True)
    for program in (system.usr / "bin").iterdir():
        (root / "bin" / program.name).symlink_to(f"/usr/bin/{program.name}")
    (root / "lib").symlink_to("usr/lib")
    (root / "sbin").symlink_to("usr/sbin")
    (root / "lib64" / "ld-linux-x86-64.so.2").symlink_to(f"/{LOADER}")
    for name in KEPT_OF_ETC:
        source, target = system.etc / name, root / "etc" / name
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy(source, target)
    (root / "etc" / "machine-id").write_text(f"{secrets.token_hex(16)}\n")
    _certificate(root / "etc" / "tls", folder / "tls")
    run(["ip", "netns", "add", made.network])
    run(["ip", "-n", made.network, "link", "set", "lo", "up"])
    return made


def _certificate(target: Path, folder: Path) -> None:
    folder.mkdir()
    target.mkdir()
    with tempfile.NamedTemporaryFile("w", suffix=".env") as env:
        env.write(f"PUBLIC_URL=https://localhost\nDATA_DIR={folder}\n")
        env.flush()
        made = ensure_certificate(load(Path(env.name)))
    for name in ("server.crt", "server.key"):
        # For everyone: the users are made at the first start only.
        (target / name).write_text(made.path.read_text())


def remove(appliance: Appliance) -> None:
    """End it and take its network away; its folder stays."""
    appliance.kill()
    run(["ip", "netns", "delete", appliance.network])
    attempt(["bash", "-c", _FORGET, "bash", appliance.network])


@contextmanager
def machine(system: System) -> Iterator[Appliance]:
    """Provide a machine on which nothing was started yet; afterwards nothing of it is left."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="dicom-appliance-") as folder:
        made = install(system, Path(folder))
        try:
            yield made
        finally:
            remove(made)
            # NixOS makes it immutable, so that nothing gets into it.
            attempt(["chattr", "-i", str(made.root / "var" / "empty")])


def targets(appliance: Appliance) -> dict[str, str]:
    """Return the health of Prometheus' targets by job."""
    asked = appliance.run("curl", "-s", "http://prometheus:9090/api/v1/targets?state=active")
    try:
        found = json.loads(asked.stdout)["data"]["activeTargets"]
    except ValueError:
        return {}
    return {target["labels"]["job"]: target["health"] for target in found}
