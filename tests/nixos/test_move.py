"""A site is lost and comes back from its backup on another machine, moves to the Podman form, and moves back.

Each time everything else is gone: what people see is compared, image by image, and what the audit tells.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faults import test_drill as site
from harness import stack as stacks
from harness.dicomweb import Reader
from harness.drill import destroy, inventory
from harness.people import People
from harness.wait import wait_until
from nixos import appliance as appliances

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.drill import Image
    from harness.stack import Stack
    from nixos.appliance import Appliance
    from nixos.bridge import System

KEPT = Path("/var/tmp/dicom-stack-test-moving")  # noqa: S108 - restic's folder outlives every stack
RESTORE_TIMEOUT_S = 600
# The timer waits two minutes after a boot.
TIMER_TIMEOUT_S = 240
PODMAN = {
    "BACKEND_SUBNET": "10.91.64.0/18",
    "BACKUP_TARGET": str(KEPT / "backup"),
    "DICOM_PORT": "",
    "SFTP_PORT": "",
    "SMB_PORT": "",
    "DATA_DIR": "/var/tmp/dicom-stack-test-moved",  # noqa: S108 - root alone makes it
    "EGRESS_SUBNET": "10.91.128.0/18",
    "FRONTEND_SUBNET": "10.91.0.0/18",
    "HTTPS_PORT": "25543",
    "HTTP_PORT": "25180",
    "PROJECT": "dicom-stack-test-moved",
    "PUBLIC_URL": "https://localhost:25543",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What a site is to its people: each physician's images, who everybody is, and what the audit tells."""

    images: dict[str, dict[str, Image]]
    claims: dict[str, dict[str, object]]
    audit: dict[str, str]
    people: People


def look(stack: Stack, people: People) -> Seen:
    """Log in as everybody, with the passwords that they had, and read everything."""
    # Phones go with their people.
    there = replace(people, stack=stack, tokens={})
    images = {
        name: inventory(Reader(stack, there.token(name, fresh=True)))
        for name in site.CLINICS.values()
    }
    claims = {name: site.comparable(there.claims(name)) for name in there.passwords}
    return Seen(images, claims, site.audit(stack), there)


def same(now: Seen, then: Seen) -> None:
    """Compare what is seen now with what was seen there."""
    assert now.images == then.images
    assert now.claims == then.claims
    for name, text in then.audit.items():
        assert now.audit[name].startswith(text), name


@contextmanager
def machine(system: System) -> Iterator[Appliance]:
    """Provide a running machine that has the backup's disk; the tests are in its network."""
    with appliances.machine(system) as made:
        mounted = made.root / "mnt" / "backup"
        mounted.rmdir()
        (KEPT / "backup").rename(mounted)
        try:
            made.start()
            with made.beside_it():
                yield made
                made.stop()
        finally:
            made.kill()
            mounted.rename(KEPT / "backup")


def bring_back(appliance: Appliance, say: Callable[[str], None]) -> None:
    """Restore as the page says."""
    key = appliance.root / "root" / "backup-key"
    key.parent.mkdir(exist_ok=True)
    shutil.copy(KEPT / "key", key)
    words = ("dicom-stack", "restore", "/mnt/backup", "/root/backup-key")
    said = appliance.work(*words, timeout_s=RESTORE_TIMEOUT_S)
    say(said)
    assert "restored: everything is back" in said
    appliance.wait_running()


def leave(stack: Stack, people: People) -> Seen:
    """Back up by hand and keep the key elsewhere; returns what must come back."""
    # What is read from here on is told to an audit that is lost.
    known = site.audit(stack)
    stack.operate("backup")
    (KEPT / "key").write_text(stack.operate("backup-key"))
    return replace(look(stack, people), audit=known)


@pytest.fixture(scope="module")
def first(system: System) -> Iterator[Seen]:
    """Provide what was seen of a machine that worked, was backed up by its timer and by hand, and is gone."""
    shutil.rmtree(KEPT, ignore_errors=True)
    (KEPT / "backup").mkdir(parents=True)
    with machine(system) as appliance:
        stack = appliance.stack
        people = People(stack)
        people.make()
        people.clinic("clinic-c", "Clinic C")
        people.person("physician-c", "physician", "clinic-c")
        for clinic in site.CLINICS:
            site.load(stack, clinic)
        site.spread_over_days(stack)
        look(stack, people)
        site.recorded(stack)
        for timer in appliance.system.strings("timers"):
            assert appliance.work("systemctl", "is-active", timer).strip() == "active"
        show = ("systemctl", "show", "--property=Result,ExecMainExitTimestamp", "dicom-backup")
        # No run has ended yet: no time.
        wait_until(
            lambda: "ExecMainExitTimestamp=\n" not in appliance.run(*show).stdout,
            TIMER_TIMEOUT_S,
            "the timer has started a backup, which has ended",
            appliance.logs,
        )
        assert "Result=success" in appliance.work(*show)
        site.one_more(stack, "Later")
        seen = leave(stack, people)
        told = appliance.run("dicom-stack", "status").stdout
        absent = {f"{name} inactive" for name in appliance.system.strings("absent")}
        assert {line for line in told.splitlines() if line.endswith(" inactive")} == absent
        assert "backup: 7 people exported" in told
    yield seen
    shutil.rmtree(KEPT)


@pytest.fixture(scope="module")
def restored(system: System, first: Seen, say: Callable[[str], None]) -> Seen:
    """Provide what was seen after a restore on another machine, which is gone too."""
    with machine(system) as appliance:
        bring_back(appliance, say)
        assert " 0 differences." in appliance.stack.operate("verify")
        assert "The audit is whole." in appliance.stack.operate("audit-check")
        seen = look(appliance.stack, first.people)
        site.one_more(appliance.stack, "After the restore")
        later = leave(appliance.stack, first.people)
    same(seen, first)
    return later


@pytest.fixture(scope="module")
def moved(restored: Seen, request: pytest.FixtureRequest) -> Seen:
    """Provide what was seen in the Podman form, to which the site moved, and where it worked on."""
    env_file = stacks.temporary_copy(Path(request.config.getoption("--env")), **PODMAN)
    stack = stacks.from_env_file(env_file)
    try:
        stacks.discard(stack)
        stacks.make("restore", env_file, FROM=str(KEPT / "backup"), KEY_FILE=str(KEPT / "key"))
        assert " 0 differences." in stack.operate("verify")
        assert "The audit is whole." in stack.operate("audit-check")
        seen = look(stack, restored.people)
        site.one_more(stack, "In the Podman form")
        later = leave(stack, restored.people)
    finally:
        if stack.data_dir.exists():
            destroy(stack)
        env_file.unlink()
    same(seen, restored)
    return later


def test_a_lost_machine_is_back_on_another_one(first: Seen, restored: Seen) -> None:
    assert sum(map(len, first.images.values())) > 20
    assert len(restored.images["physician-a"]) == len(first.images["physician-a"]) + 3


def test_a_site_moves_to_the_podman_form(restored: Seen, moved: Seen) -> None:
    assert len(moved.images["physician-a"]) == len(restored.images["physician-a"]) + 3


def test_a_site_moves_from_the_podman_form(
    system: System, moved: Seen, say: Callable[[str], None]
) -> None:
    with machine(system) as appliance:
        bring_back(appliance, say)
        assert " 0 differences." in appliance.stack.operate("verify")
        assert "The audit is whole." in appliance.stack.operate("audit-check")
        same(look(appliance.stack, moved.people), moved)
