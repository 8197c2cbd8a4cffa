"""`make status`: health, versions, imports, backup, alerts, disk and certificate at a glance."""

from __future__ import annotations

import json
import shutil
import sys
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from stack import files, health, people
from stack.certificate import served
from stack.compose import services
from stack.shell import CommandError, attempt, say

if TYPE_CHECKING:
    from pathlib import Path

    from stack.settings import Settings

DISK_LOW_PERCENT = 10
CERTIFICATE_LOW_DAYS = 14
RED, PLAIN = "\033[31m", "\033[0m"


def show(settings: Settings) -> bool:
    """Print the state; returns whether all is well."""
    parts = (
        *(_services, _imports, _clinics, _receiver),
        *(_backup, _alerts, _pages, _disk, _certificate),
    )
    checks = [part(settings) for part in parts]
    say("all is well" if all(checks) else "NOT all is well: see the lines marked with !")
    return all(checks)


def _line(text: str, *, well: bool) -> bool:
    line = f"{' ' if well else '!'} {text}"
    say(line if well or not sys.stdout.isatty() else f"{RED}{line}{PLAIN}")
    return well


def _services(settings: Settings) -> bool:
    well = True
    for service, state in health.states(settings, services(settings)).items():
        text = f"{service:12} {state:8} {_versions(settings, service)}"
        well &= _line(text, well=state in ("healthy", "done"))
    return well


def _versions(settings: Settings, service: str) -> str:
    container = settings.container(service)
    versions = attempt(["podman", "exec", container, "cat", "/usr/share/dicom-stack/versions"])
    return " ".join(versions.stdout.split("\n")).strip() if versions.returncode == 0 else ""


def _count(folder: Path, pattern: str) -> int:
    return sum(1 for p in folder.rglob(pattern) if p.is_file())


def _imports(settings: Settings) -> bool:
    well = True
    inbox = settings.data_dir / "files" / "inbox"
    for clinic in files.inboxes(settings):
        pending = _count(inbox / clinic, "*")
        failed = _count(inbox.parent / "failed" / clinic, "*.error.json")
        hint = (
            f"; reasons lie beside the files in {settings.data_dir}/failed/{clinic}"
            if failed
            else ""
        )
        well &= _line(
            f"clinic {clinic}: {pending} files pending, {failed} failed{hint}", well=not failed
        )
    return well


def _clinics(settings: Settings) -> bool:
    # Where Keycloak does not answer, that was said of the service already.
    if health.state(settings, "keycloak") != "healthy":
        return False
    try:
        found = people.differences(settings)
    except CommandError as error:
        found = [f"clinics: {error}"]
    for line in found:
        _line(line, well=False)
    return not found


def _receiver(settings: Settings) -> bool:
    if not settings.values["DICOM_PORT"]:
        return True
    asked = attempt(["podman", "exec", settings.container("receiver"), "dicom-receiver", "status"])
    # That nobody may store yet is what a new door looks like; that it does not run was said of the service.
    for line in asked.stdout.splitlines():
        _line(line[2:], well=not line.startswith("!"))
    return True


def _backup(settings: Settings) -> bool:
    if not settings.values["BACKUP_TARGET"]:
        # It is the operator's choice, who is told each time.
        _line("backup: there is NONE: set BACKUP_TARGET", well=False)
        return True
    asked = attempt(["podman", "exec", settings.container("backup"), "dicom-backup", "status"])
    well = True
    # Where it does not run, that was said of the service already.
    for line in asked.stdout.splitlines():
        well &= _line(line[2:], well=not line.startswith("!"))
    return well and asked.returncode == 0


def _alerts(settings: Settings) -> bool:
    amtool = ("amtool", "alert", "query", "--alertmanager.url=http://alertmanager:9093", "-ojson")
    asked = attempt(["podman", "exec", settings.container("alertmanager"), *amtool])
    well = True
    # Where nobody answers, that was said of the service already.
    held = json.loads(asked.stdout) if asked.returncode == 0 else []
    for alert in (one for one in held if one["labels"].get("severity") != "none"):
        text = alert["annotations"].get("summary") or alert["labels"]["alertname"]
        well &= _line(f"alert: {text}", well=alert["labels"].get("severity") != "critical")
    return well


def _pages(settings: Settings) -> bool:
    where = f"for admins: {settings.public_url}/operator/"
    told = {
        "": "none: OBSERVABILITY is empty",
        "embedded": where,
        "grafana": f"{where}; Grafana and Loki were checked and never run before (README, Limits)",
    }
    return _line(f"operator's pages: {told[settings.values['OBSERVABILITY']]}", well=True)


def _disk(settings: Settings) -> bool:
    use = shutil.disk_usage(settings.data_dir)
    percent = 100 * use.free / use.total
    return _line(
        f"disk {settings.data_dir}: {use.free / 2**30:.1f} GiB free ({percent:.0f} %)",
        well=percent >= DISK_LOW_PERCENT,
    )


def _certificate(settings: Settings) -> bool:
    found = attempt(
        [
            "openssl",
            "x509",
            "-in",
            str(served(settings)),
            "-noout",
            "-enddate",
        ]
    )
    if found.returncode:
        return _line("certificate: there is none; run make up", well=False)
    end = parsedate_to_datetime(_rfc2822(found.stdout.partition("=")[2]))
    days = (end.timestamp() - time.time()) / 86400
    return _line(
        f"certificate for {settings.host_name}: {days:.0f} days left",
        well=days > CERTIFICATE_LOW_DAYS,
    )


def _rfc2822(openssl_date: str) -> str:
    month, day, clock, year, _ = openssl_date.split()
    return f"{day} {month} {year} {clock} +0000"
