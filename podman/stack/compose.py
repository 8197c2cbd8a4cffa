"""Calling podman-compose with everything that its files expect from the settings."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stack import subnets
from stack.credentials import READERS, ensure_secrets, readers
from stack.images import (
    BACKUP,
    IMAGES,
    OAUTH2PROXY,
    SFTP,
    SHIPPER,
    SMB,
    VICTORIALOGS,
    Image,
    digest,
)
from stack.settings import PODMAN_DIR
from stack.shell import VENV_BIN, CommandError, attempt, run

if TYPE_CHECKING:
    import subprocess

    from stack.settings import Settings

COMPOSE_FILE = PODMAN_DIR / "compose.yml"
SERVICES = (
    "postgresql",
    "keycloak",
    "orthanc",
    "importer",
    "realm",
    "ohif",
    "nginx",
    "auditor",
    "alertmanager",
    "prometheus",
    "hostmetrics",
    "dbmetrics",
    "nginxmetrics",
    "prober",
)
# Services that run for one command each, and the image that each is of.
ONE_SHOT = {"realm": "importer"}
# Where the receiver finds its certificate.
DICOM_TLS = "/etc/dicom-receiver/tls"
NOTED_TIMEOUT_S, NOTED_INTERVAL_S = 30, 0.2
# Where Podman keeps, until the machine starts anew, which container has which address of every network.
ADDRESSES = Path("/run/containers/networks/ipam.db")


@dataclass(frozen=True, slots=True)
class Addition:
    """What a setting adds: files laid over compose.yml, their services, and images that are built for them."""

    files: tuple[Path, ...] = ()
    services: tuple[str, ...] = ()
    images: tuple[Image, ...] = ()


_SHIPPER_FILE = PODMAN_DIR / "compose.shipper.yml"
_OPERATOR_FILE = PODMAN_DIR / "compose.operator.yml"
# By the value of OBSERVABILITY.
ADDITIONS = {
    "": Addition(),
    "embedded": Addition(
        (PODMAN_DIR / "compose.embedded.yml", _SHIPPER_FILE, _OPERATOR_FILE),
        ("victorialogs", "shipper", "victoriametrics", "oauth2proxy"),
        (VICTORIALOGS, SHIPPER, OAUTH2PROXY),
    ),
    "grafana": Addition(
        (PODMAN_DIR / "compose.grafana.yml", _SHIPPER_FILE, _OPERATOR_FILE),
        ("loki", "grafana", "shipper", "oauth2proxy"),
        (SHIPPER, OAUTH2PROXY),
    ),
}
# Where the shipper sends what; both take the same protocol.
LOG_STORES = {
    "": "",
    "embedded": "http://victorialogs:9428/insert/loki/api/v1/push",
    "grafana": "http://loki:3100/loki/api/v1/push",
}
# With BACKUP_TARGET.
WITH_BACKUP = Addition((PODMAN_DIR / "compose.backup.yml",), ("backup",), (BACKUP,))
# With DICOM_PORT; it is run from the importer's image.
WITH_RECEIVER = Addition((PODMAN_DIR / "compose.receiver.yml",), ("receiver",))

# With INBOX_PAGE: nothing runs for it that does not run anyway.
WITH_INBOX_PAGE = Addition((PODMAN_DIR / "compose.inbox.yml",))
# With SFTP_PORT.
WITH_SFTP = Addition((PODMAN_DIR / "compose.sftp.yml",), ("sftp",), (SFTP,))
# With SMB_PORT.
WITH_SMB = Addition((PODMAN_DIR / "compose.smb.yml",), ("smb",), (SMB,))


def inboxes_file(settings: Settings, door: str) -> Path:
    """Return the compose file that shows a door the inboxes of those who have an account."""
    return settings.data_dir / door / "inboxes.yml"


def added(settings: Settings) -> Addition:
    """Return what this stack has beside the services that every stack has."""
    chosen = [ADDITIONS[settings.values["OBSERVABILITY"]]]
    chosen += [WITH_BACKUP] if settings.values["BACKUP_TARGET"] else []
    chosen += [WITH_RECEIVER] if settings.values["DICOM_PORT"] else []
    chosen += [WITH_INBOX_PAGE] if settings.values["INBOX_PAGE"] else []
    chosen += [WITH_SFTP] if settings.values["SFTP_PORT"] else []
    chosen += [WITH_SMB] if settings.values["SMB_PORT"] else []
    inboxes = [inboxes_file(settings, "sftp")] if settings.values["SFTP_PORT"] else []
    return Addition(
        (
            *(file for addition in chosen for file in addition.files),
            *(file for file in inboxes if file.exists()),
        ),
        tuple(service for addition in chosen for service in addition.services),
        tuple(image for addition in chosen for image in addition.images),
    )


def images(settings: Settings) -> tuple[Image, ...]:
    """Return the images that are built for this stack."""
    return (*IMAGES, *added(settings).images)


def services(settings: Settings) -> tuple[str, ...]:
    """Return the services of this stack."""
    return (*SERVICES, *added(settings).services)


def remove_dropped(settings: Settings) -> None:
    """Remove the containers of services that an earlier setting had added."""
    known = (*ADDITIONS.values(), WITH_BACKUP, WITH_RECEIVER, WITH_SFTP, WITH_SMB)
    for service in {s for addition in known for s in addition.services}:
        if service not in services(settings):
            attempt(["podman", "rm", "--force", "--ignore", settings.container(service)])
            # Else Prometheus would go on reading what it last wrote down.
            (settings.data_dir / "metrics" / f"{service}.prom").unlink(missing_ok=True)


def remove_dead(settings: Settings) -> None:
    """Remove the containers that Podman takes for running although their process is gone.

    When a container is killed together with its monitor (conmon), nobody starts it again, nobody
    tells Podman, and `up` would leave it as it is.
    """
    project = f"label=io.podman.compose.project={settings.project}"
    form = "{{.ID}} {{.Pid}}"
    listed = run(["podman", "ps", "--no-trunc", "--filter", project, "--format", form])
    for line in listed.splitlines():
        container, _, pid = line.partition(" ")
        process = Path("/proc", pid)
        if not lives(container, process):
            _await_end(process)
            run(["podman", "rm", "--force", "--time", "0", container])


def forget_addresses() -> None:
    """Free the addresses of containers that are gone, while none runs on this host.

    A start that is killed in its middle keeps its address, and who asks for it next is refused.
    """
    if not run(["podman", "ps", "--quiet"]).strip():
        ADDRESSES.unlink(missing_ok=True)


def _await_end(process: Path) -> None:
    """Wait until the parent of a process that was killed took note: Podman would wait in vain."""
    deadline_s = time.monotonic() + NOTED_TIMEOUT_S
    while _state(process) == "Z" and time.monotonic() < deadline_s:
        time.sleep(NOTED_INTERVAL_S)


def lives(container: str, process: Path) -> bool:
    """Whether a process lives and is this container's: its number may be another one's by now."""
    try:
        return _state(process) not in ("", "Z") and container in (process / "cgroup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _state(process: Path) -> str:
    """Return the letter of a process's state, Z for one whose parent has yet to take note of its end."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def environment(settings: Settings, built: dict[str, str]) -> dict[str, str]:
    """Return every variable that the compose files name."""
    values = dict(settings.values)
    values["PUBLIC_URL"] = settings.public_url
    values["PUBLIC_AUTHORITY"] = settings.public_authority
    values["BACKUP_FOLDER"] = str(backup_folder(settings))
    values["LOGS_URL"] = LOG_STORES[settings.values["OBSERVABILITY"]]
    values["LOGS_BUFFER_BYTES"] = str(int(settings.values["LOGS_BUFFER_MB"]) * 2**20)
    values["REALM_LOG_DRIVER"] = "k8s-file"
    values["DICOM_PUBLISHED_ADDRESS"] = values["DICOM_ADDRESS"] or values["PUBLISH_ADDRESS"]
    values["DICOM_TLS_FILE"] = f"{DICOM_TLS}/server.pem" if values["DICOM_TLS"] else ""
    values["DICOM_CLIENT_CA_FILE"] = f"{DICOM_TLS}/clients.pem" if values["DICOM_CLIENT_CA"] else ""
    values["SFTP_ADDRESS"] = values["SFTP_ADDRESS"] or values["PUBLISH_ADDRESS"]
    for network in subnets.NAMES:
        values[f"{network}_PREFIX"] = settings.prefix(network)
        values[f"{network}_RANGE"] = settings.dynamic_range(network)
    for name, tag in built.items():
        values[f"IMAGE_{name.upper()}"] = tag
    for service in services(settings):
        there = [path for path in inputs(settings, service) if path.exists()]
        values[f"INPUTS_{service.upper()}"] = digest([*there])
    return values


def backup_folder(settings: Settings) -> Path:
    """Return the folder of this host that holds the repository; one without use for a target elsewhere."""
    target = settings.values["BACKUP_TARGET"]
    return Path(target) if target.startswith("/") else settings.data_dir / "backup" / "cache"


def inputs(settings: Settings, service: str) -> list[Path]:
    """Return what a service reads at start: when it changes, the container is made anew."""
    block = "".join(
        found
        for file in (COMPOSE_FILE, *added(settings).files)
        for found in re.findall(
            rf"^  {service}:\n(.*?)(?=^\S|^  \S|\Z)", file.read_text(), re.MULTILINE | re.DOTALL
        )
    )
    if not block:
        message = f"{COMPOSE_FILE} has no service {service}"
        raise CommandError(message)
    # Of what lies in DATA_DIR only what was written for services to read at start; the rest is theirs, terabytes of it.
    written = r"\./|\.\./|\$\{DATA_DIR\}/config/"
    mounted = re.findall(rf"^      - ((?:{written})\S+?):\S+:ro$", block, re.MULTILINE)
    mounted += re.findall(r"^    env_file: \[(\S+)\]$", block, re.MULTILINE)
    paths = [Path(m.replace("${DATA_DIR}", str(settings.data_dir))) for m in mounted]
    # PostgreSQL learns of new passwords while it runs.
    secrets = [
        settings.data_dir / "secrets" / f"{service}.{copies[service][0]}"
        for name, copies in READERS.items()
        if service in readers(name) and service != "postgresql"
    ]
    return sorted(
        {(p if p.is_absolute() else (PODMAN_DIR / p).resolve()) for p in paths} | set(secrets)
    )


def _command(settings: Settings, *args: str) -> list[str]:
    compose = VENV_BIN / "podman-compose"
    laid = [word for file in (COMPOSE_FILE, *added(settings).files) for word in ("-f", str(file))]
    return [str(compose), *laid, "-p", settings.project, *args]


def compose(settings: Settings, built: dict[str, str], *args: str) -> str:
    """Run podman-compose; raises CommandError."""
    try:
        return run(
            _command(settings, *args), env=environment(settings, built), timeout_s=300, apart=True
        )
    except CommandError as error:
        if "is already allocated to container" not in str(error):
            raise
        message = (
            f"{error}\nan earlier start was cut off and its address is still held: stop every container of "
            "this host (make down, of each stack) and say make up again, or start the machine anew"
        )
        raise CommandError(message) from error


def image_in_use(settings: Settings, name: str) -> dict[str, str]:
    """Return, by its name, the image that a container of the stack was made of; raises CommandError without one."""
    container = settings.container(name)
    shown = attempt(["podman", "container", "inspect", "-f", "{{.ImageName}}", container])
    if shown.returncode:
        raise CommandError(f"the stack is not up (there is no {container}): run make up first")
    return {name: shown.stdout.strip()}


def one_shot(
    settings: Settings, service: str, *args: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a service of ONE_SHOT once more with other arguments; its container goes afterwards."""
    # These sources may read a secret that the version which runs has not.
    ensure_secrets(settings.data_dir / "secrets")
    command = _command(settings, "run", "--rm", "--no-deps", "-T", service, *args)
    env = environment(settings, image_in_use(settings, ONE_SHOT[service]))
    # What is printed for the operator alone, one-time passwords among it, is no log.
    env["REALM_LOG_DRIVER"] = "none"
    return attempt(command, env=env, timeout_s=180, stdin=stdin)
