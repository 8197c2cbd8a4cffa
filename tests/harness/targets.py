"""Servers that backups go to, each in a container beside the stack: OpenSSH, SeaweedFS (S3), rclone (REST).

Of restic's own rest-server no registry has a copy; rclone serves the same protocol and can only let add, too.
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stack import images
from stack.certificate import openssl
from stack.credentials import UIDS, write_private
from stack.shell import VENV_BIN, attempt, podman

from harness import cheap_key
from harness.wait import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from harness.stack import Stack

SSHD_RECIPE = """
FROM {image}
USER 0
RUN export PATH="/usr/sbin:/sbin:$PATH" && apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends openssh-server \
    && useradd --create-home --shell /usr/sbin/nologin nas && install -d -o nas /home/nas/.ssh && mkdir -p /run/sshd
"""
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"
# Where a server keeps the keys of a repository; that for S3 keeps no files.
KEYS = {"sftp": "/home/nas/stack/keys", "rest": "/tmp/stack/keys"}  # noqa: S108 - the container's own
ADDRESSES = {"sftp": 201, "s3": 202, "rest": 203}


@dataclass(frozen=True, slots=True)
class Server:
    """A server, what opens it, and what it proves itself by."""

    kind: str
    container: str
    target: str
    credentials: str = ""
    ssh_key: str = ""
    host_key: str = ""
    # Who signed its certificate, where nobody else knows them.
    ca: str = ""


@contextmanager
def serving(stack: Stack, kind: str) -> Iterator[Server]:
    """Provide a server of a kind (sftp, s3, rest) on the network by which the backup goes out."""
    settings = stack.podman_settings
    name = f"{settings.project}-target-{kind}"
    address = f"{settings.prefix('EGRESS')}.{ADDRESSES[kind]}"
    image = images.build("", (*images.IMAGES, images.BACKUP))["backup"]
    network = (f"--network={settings.project}_egress", f"--ip={address}")
    common = ("--detach", f"--name={name}", *network, "--no-healthcheck")
    podman("rm", "--force", "--time=0", "--ignore", name)
    with tempfile.TemporaryDirectory() as folder:
        start = {"sftp": _sshd, "s3": _s3, "rest": _rest}[kind]
        try:
            yield start(image, name, address, common, Path(folder))
        finally:
            podman("rm", "--force", "--time=0", "--ignore", name)


def _sshd(image: str, name: str, address: str, common: tuple[str, ...], folder: Path) -> Server:
    tag = "localhost/dicom-stack-test-sshd"
    trusted = Path("/usr/local/share/ca-certificates")
    mount = ("--volume", f"{trusted}:{trusted}:ro") if trusted.is_dir() else ()
    words = ["podman", "build", "-q", "-t", tag, *mount, "-f", "-", str(folder)]
    built = attempt(words, stdin=SSHD_RECIPE.format(image=image))
    assert built.returncode == 0, built.stderr
    options = ("ForceCommand=internal-sftp", "PasswordAuthentication=no")
    podman(
        *("run", *common, "--user=0", "--entrypoint=/usr/sbin/sshd", tag, "-D", "-e"),
        *(word for option in options for word in ("-o", option)),
    )
    make_key = 'ssh-keygen -q -t ed25519 -N "" -f /tmp/key && cat /tmp/key.pub >/home/nas/.ssh/authorized_keys'
    key = podman("exec", name, "sh", "-c", f"{make_key} && cat /tmp/key")
    host_key = podman("exec", name, "cat", HOST_KEY).strip()
    target = f"sftp:nas@{address}:stack"
    return Server("sftp", name, target, ssh_key=key, host_key=host_key)


def _s3(image: str, name: str, address: str, common: tuple[str, ...], folder: Path) -> Server:
    word = secrets.token_urlsafe(24)
    allowed = {"actions": ["Admin", "Read", "List", "Tagging", "Write"], "name": "stack"}
    allowed["credentials"] = [{"accessKey": "stack", "secretKey": word}]  # type: ignore[list-item]
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [allowed]}))
    config.chmod(0o644)
    folder.chmod(0o755)
    mounts = (
        f"--volume={VENV_BIN / 'weed'}:/usr/local/bin/weed:ro",
        f"--volume={config}:/s3.json:ro",
    )
    options = (
        "-dir=/tmp",
        "-ip=127.0.0.1",
        "-ip.bind=0.0.0.0",
        "-s3",
        "-s3.config=/s3.json",
        "-s3.port=8333",
    )
    podman("run", *common, "--tmpfs=/tmp", *mounts, "--entrypoint=weed", image, "server", *options)
    wait_until(
        lambda: "Start Seaweed S3 API Server" in _log(name),
        60,
        "the S3 server is up",
        lambda: _log(name),
    )
    lines = f"AWS_ACCESS_KEY_ID=stack\nAWS_SECRET_ACCESS_KEY={word}\n"
    return Server("s3", name, f"s3:http://{address}:8333/clinic-backup", lines)


def _log(container: str) -> str:
    return attempt(["podman", "logs", container]).stderr


def _rest(image: str, name: str, address: str, common: tuple[str, ...], folder: Path) -> Server:
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 1 -subj /CN=nas"
        " -addext subjectAltName=IP:{address} -keyout {folder}/nas.key -out {folder}/nas.crt",
        address=address,
        folder=folder,
    )
    for path in (folder, folder / "nas.key"):
        path.chmod(0o755)
    word = secrets.token_urlsafe(24)
    lines = f"RESTIC_REST_USERNAME=stack\nRESTIC_REST_PASSWORD={word}\n"
    given = ("--env=RCLONE_USER=stack", f"--env=RCLONE_PASS={word}")
    mounts = (
        f"--volume={VENV_BIN / 'rclone'}:/usr/local/bin/rclone:ro",
        f"--volume={folder}:/tls:ro",
    )
    serve = ("serve", "restic", "/tmp/stack", "--cert=/tls/nas.crt", "--key=/tls/nas.key")  # noqa: S108 - the container's own
    # Beside it one that lets remove, as an operator starts it to make room.
    both = (
        f"rclone {' '.join(serve)} --addr=0.0.0.0:8001 & "
        f"exec rclone {' '.join(serve)} --append-only --addr=0.0.0.0:8000"
    )
    podman("run", *common, "--tmpfs=/tmp", *given, *mounts, "--entrypoint=sh", image, "-c", both)
    ca = (folder / "nas.crt").read_text()
    return Server("rest", name, f"rest:https://{address}:8000/", lines, ca=ca)


@dataclass(frozen=True, slots=True)
class Backup:
    """`dicom-backup` in the stack's container for it, told of another target than the stack's own."""

    stack: Stack
    server: Server

    @property
    def folder(self) -> Path:
        """Its secrets."""
        return self.stack.data_dir / "backup" / f"secrets-{self.server.kind}"

    def prepare(self) -> None:
        """Give it its secrets."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        secret = self.stack.data_dir / "secrets"
        for name in ("backup_key", "keycloak_pgpass", "orthanc_pgpass"):
            self.give(name, (secret / f"backup.{name}").read_text())
        self.give("backup_ca", self.server.ca)
        self.give("backup_credentials", self.server.credentials)
        self.give("backup_ssh_key", self.server.ssh_key)
        self.folder.chmod(0o755)

    def give(self, name: str, text: str) -> None:
        """Give it one secret."""
        write_private(self.folder / name, text, UIDS["backup"])

    def open_at_once(self) -> None:
        """Have the repository open with the least work from now on, where its key is a file."""
        if self.server.kind not in KEYS:
            return
        folder, container = KEYS[self.server.kind], self.server.container
        (old,) = podman("exec", container, "ls", folder).split()
        password = (self.folder / "backup_key").read_text().strip()
        new, text = cheap_key.anew(podman("exec", container, "cat", f"{folder}/{old}"), password)
        write = f"cd {folder} && cp -p {old} {new} && chmod u+w {new} && cat >{new} && rm {old}"
        done = attempt(["podman", "exec", "-i", container, "sh", "-c", write], stdin=text)
        assert done.returncode == 0, done.stderr

    def call(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program with its settings."""
        env = {
            "BACKUP_HOST_KEY": self.server.host_key,
            "BACKUP_TARGET": self.server.target,
            "SECRETS_DIR": f"/data/backup/{self.folder.name}",
            **environment,
        }
        given = [f"--env={name}={value}" for name, value in env.items()]
        container = self.stack.container("backup")
        return attempt(["podman", "exec", *given, container, *argv], timeout_s=180)

    def work(self, *words: str, **environment: str) -> str:
        """Run `dicom-backup` and expect that all is well; returns what it said."""
        done = self.call("dicom-backup", *words, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "! " not in done.stdout, done.stdout
        return done.stdout

    def fail(self, *words: str, **environment: str) -> str:
        """Run `dicom-backup` and expect that it says what is wrong; returns that."""
        done = self.call("dicom-backup", *words, **environment)
        assert done.returncode != 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def restic(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run restic as the backup does."""
        program = (
            "import sys; from dicom_backup import config, restic\n"
            "try: sys.stdout.write(restic.repository(config.load()).run(*sys.argv[1:]).stdout)\n"
            "except restic.ResticError as error: sys.exit(str(error))"
        )
        return self.call("python3", "-c", program, *words, **environment)
