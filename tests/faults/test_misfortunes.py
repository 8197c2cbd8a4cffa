"""Six misfortunes, each brought about and told of by mail and webhook, and told once more when it is over.

Rules, thresholds of what is measured and all parts are those that ship. What they wait for is cut
to seconds, unless AS_THEY_ARE is set (`make test-alerts`, an hour).
"""

from __future__ import annotations

import json
import os
import re
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import yaml
from harness.drop import drop_files, put, remaining
from harness.phantom import Identity, ct
from harness.prometheus import query
from harness.receivers import PASSWORD, Servers, http, smtp
from harness.small_disk import small_disk
from harness.stack import make, temporary_copy
from harness.wait import wait_until
from stack import health
from stack.certificate import openssl, served
from stack.compose import COMPOSE_FILE, environment, image_in_use
from stack.credentials import UIDS, write_private
from stack.settings import PODMAN_DIR
from stack.shell import VENV_BIN, podman, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from harness.people import People
    from harness.stack import Stack

AS_THEY_ARE = bool(os.environ.get("AS_THEY_ARE"))
# Half an hour of waiting, five minutes more, and the times to scrape, evaluate and group.
TIMEOUT_S = 45 * 60 if AS_THEY_ARE else 200
# AccessesDenied is over when five minutes are.
OVER_TIMEOUT_S = 400
HURRIED = {
    "prometheus.yml": {
        r"scrape_interval: \w+": "scrape_interval: 2s",
        r"scrape_timeout: \w+": "scrape_timeout: 2s",
        r"evaluation_interval: \w+": "evaluation_interval: 2s",
    },
    "rules": {
        r"for: \w+": "for: 2s",
        r"(dicom_pending_imports_oldest_seconds >) 1800": r"\1 15",
    },
    "alertmanager.json": {
        r'"group_wait": "\w+"': '"group_wait": "1s"',
        r'"group_interval": "\w+"': '"group_interval": "2s"',
    },
}
DENIED = 250
DISK_BYTES = 64 << 20
# Where what the two read lies meanwhile, as they see it.
INSIDE = "/etc/alerts-test"


@dataclass(frozen=True, slots=True)
class Scene:
    """The stack, whose alerts reach the servers, and a clinic that Prometheus knows."""

    stack: Stack
    servers: Servers
    clinic: str

    def told(self, alert: str, state: str, **labels: str) -> bool:
        """Whether both ways told of an alert, by its labels, being firing or resolved."""
        posted = [
            one
            for _, body in self.servers.posted
            for one in body["alerts"]  # type: ignore[attr-defined]
            if one["status"] == state and labels.items() <= one["labels"].items()
            if one["labels"]["alertname"] == alert
        ]
        before = "Over: " if state == "resolved" else ""
        subjects = {mail.splitlines()[0] for mail in self.servers.mails}
        return any(before + one["annotations"]["summary"] in subjects for one in posted)

    def failure(self) -> str:
        """Return what may say why nothing was told."""
        subjects = [mail.splitlines()[0] for mail in self.servers.mails]
        return f"{subjects}\n{self.stack.logs('alertmanager')}\n{self.stack.logs('importer')}"


def hurried(text: str, changes: dict[str, str]) -> str:
    """Return what is read with shorter times; each of them is there to be changed."""
    for pattern, short in changes.items():
        text, count = re.subn(pattern, short, text)
        assert count or "oldest" in pattern, pattern
    return text


@contextmanager
def watched(stack: Stack, folder: Path) -> Iterator[None]:
    """Let Alertmanager believe the mail server's authority, and both of them hurry."""
    settings = stack.podman_settings
    config = settings.data_dir / "config" / "alertmanager.json"
    changes = {} if AS_THEY_ARE else HURRIED
    texts = {
        "alertmanager.json": config.read_text(),
        "prometheus.yml": (PODMAN_DIR / "prometheus" / "prometheus.yml").read_text(),
    }
    for name, text in texts.items():
        made = hurried(text, changes.get(name, {}))
        (folder / name).write_text(made.replace("/etc/prometheus/rules", f"{INSIDE}/rules"))
    (folder / "rules").mkdir()
    for path in (PODMAN_DIR / "prometheus" / "rules").glob("*.yml"):
        text = path.read_text()
        (folder / "rules" / path.name).write_text(hurried(text, changes.get("rules", {})))
    services = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
    laid: dict[str, dict[str, object]] = {
        name: {
            "command": [
                # And what was told of before is forgotten.
                word.replace(f"/etc/{name}/", f"{INSIDE}/").replace(
                    "/var/lib/alertmanager",
                    "/tmp",  # noqa: S108 - a tmpfs in the container
                )
                for word in services[name]["command"]
            ],
            "volumes": [f"{folder}:{INSIDE}:ro"],
        }
        for name in ("alertmanager", "prometheus")
    }
    laid["alertmanager"]["environment"] = {"SSL_CERT_FILE": f"{INSIDE}/mail.crt"}
    overlay = folder / "overlay.json"
    overlay.write_text(json.dumps({"services": laid}))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    built = {image: tag for name in laid for image, tag in image_in_use(settings, name).items()}
    command = [str(VENV_BIN / "podman-compose"), "-f", str(COMPOSE_FILE), "-f", str(overlay)]
    command += ["-p", settings.project, "up", "-d", "--no-deps", "--force-recreate", *laid]
    run(command, env=environment(settings, built), timeout_s=300)
    health.wait_healthy(settings)
    yield


@pytest.fixture(scope="module")
def scene(
    stack: Stack, people: People, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """Provide the stack with a mailbox and a webhook outside; afterwards it is as before."""
    settings, folder = stack.podman_settings, tmp_path_factory.mktemp("alerts")
    clinic, servers = f"clinic-{secrets.token_hex(4)}", Servers()
    people.clinic(clinic, "Clinic of the alerts")
    # The host, as the network sees it by which Alertmanager sends.
    host = f"{settings.prefix('EGRESS')}.1"
    own = settings.data_dir / "secrets"
    before = {name: (own / name).read_text() for name in ("alert_webhook_url", "smtp_password")}
    with http(servers, host) as hook_port, smtp(servers, folder, host) as mail_port:
        env = temporary_copy(
            settings.env_file,
            ALERT_EMAIL="it@example.org",
            SMTP_FROM="pacs@example.org",
            SMTP_HOST=host,
            SMTP_PORT=str(mail_port),
            SMTP_USER="pacs",
        )
        (own / "alert_webhook_url").write_text(f"http://{host}:{hook_port}/hook")
        (own / "smtp_password").write_text(PASSWORD)
        try:
            make("up", env)
            with watched(stack, folder):
                yield Scene(stack, servers, clinic)
        finally:
            for name, value in before.items():
                (own / name).write_text(value)
            make("up", settings.env_file)
            env.unlink()


@contextmanager
def service_down(scene: Scene) -> Iterator[dict[str, str]]:
    """Stop the archive."""
    container = scene.stack.container("orthanc")
    podman("stop", container)
    try:
        yield {"job": "orthanc"}
    finally:
        podman("start", container)


@contextmanager
def import_failed(scene: Scene) -> Iterator[dict[str, str]]:
    """Export what is no image."""
    outcome = drop_files(scene.stack, scene.clinic, {"note.dcm": b"no DICOM at all" * 20})
    yield {"clinic_id": scene.clinic}
    for path in outcome.failed.values():
        path.unlink()
        path.with_name(path.name + ".error.json").unlink()


@contextmanager
def imports_stalled(scene: Scene) -> Iterator[dict[str, str]]:
    """Let nobody file anything of a clinic away."""
    filed = scene.stack.files / "processed" / scene.clinic
    inbox = scene.stack.inbox(scene.clinic) / "stalled"
    run(["chattr", "+i", str(filed)])
    try:
        put(inbox, ct(1, Identity(), slices=1).files)
        yield {"clinic_id": scene.clinic}
        assert remaining(inbox)
    finally:
        run(["chattr", "-i", str(filed)])
    # It would try again by itself, a minute later.
    podman("restart", scene.stack.container("importer"))
    wait_until(lambda: not remaining(inbox), 60, "it is filed away", scene.stack.logs)


@contextmanager
def disk_low(scene: Scene) -> Iterator[dict[str, str]]:
    """Let the exporter find a disk with a twentieth left where the archive's files lie; the archive keeps its own."""
    exporter, folder = scene.stack.container("hostmetrics"), scene.stack.data_dir / "dicom"
    with small_disk(folder, DISK_BYTES):
        (folder / "filler").write_bytes(bytes(DISK_BYTES * 19 // 20))
        podman("restart", exporter)
        yield {"device": "tmpfs"}
    podman("restart", exporter)


@contextmanager
def certificate_ending(scene: Scene) -> Iterator[dict[str, str]]:
    """Serve a certificate that ends in ten days."""
    settings = scene.stack.podman_settings
    path, tls = served(settings), settings.data_dir / "tls"
    before = path.read_text()
    made = tls / "ending.pem"
    openssl(
        "req -x509 -key {key} -CA {authority} -CAkey {authority_key} -out {out} -days 10"
        " -subj /CN={name} -addext subjectAltName=DNS:{name} -addext basicConstraints=critical,CA:FALSE",
        key=path,
        authority=tls / "ca.crt",
        authority_key=tls / "ca.key",
        out=made,
        name=settings.host_name,
    )
    key = before[before.index("-----BEGIN PRIVATE KEY-----") :]
    write_private(path, made.read_text() + key, UIDS["nginx"])
    made.unlink()
    try:
        yield {}
    finally:
        write_private(path, before, UIDS["nginx"])


@contextmanager
def accesses_denied(scene: Scene) -> Iterator[dict[str, str]]:
    """Ask for studies again and again without a token."""
    with scene.stack.session() as session:
        answers = {
            session.get(f"{scene.stack.url}/dicom-web/studies").status_code for _ in range(DENIED)
        }
    assert answers == {401}
    yield {}


MISFORTUNES = {
    "ServiceDown": service_down,
    "ImportFailed": import_failed,
    "AccessesDenied": accesses_denied,
    "DiskLow": disk_low,
    "CertificateEnding": certificate_ending,
    "ImportsStalled": imports_stalled,
}
# These count what happened within the last minutes, and are over in their time only; or when the importer tries again.
LASTING = {"AccessesDenied", "ImportFailed", "ImportsStalled"}


@pytest.mark.parametrize("alert", MISFORTUNES)
def test_it_is_told_by_mail_and_webhook_when_it_begins_and_when_it_is_over(
    scene: Scene, alert: str
) -> None:
    firing = f'ALERTS{{alertname="{alert}", alertstate="firing", clinic_id=~"|{scene.clinic}"}}'
    wait_until(lambda: not query(scene.stack, firing), OVER_TIMEOUT_S, f"no {alert} of before")
    misfortune: AbstractContextManager[dict[str, str]] = MISFORTUNES[alert](scene)
    with misfortune as labels:
        wait_until(
            lambda: scene.told(alert, "firing", **labels),
            TIMEOUT_S,
            f"{alert} reaches mailbox and webhook",
            scene.failure,
        )
    if alert not in LASTING or AS_THEY_ARE:
        wait_until(
            lambda: scene.told(alert, "resolved", **labels),
            TIMEOUT_S,
            f"the end of {alert} reaches mailbox and webhook",
            scene.failure,
        )
