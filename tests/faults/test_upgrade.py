"""From the version before upgrades to this one and back, with data, killed in the middle of both ways."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from harness import stack as stacks
from harness.dicomweb import Reader
from harness.drop import drop_files
from harness.people import People
from harness.phantom import Identity, ct
from harness.stack import TOP
from stack.settings import read_env
from stack.shell import attempt, environment, podman, run
from stack.upgrading import KEPT_REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.stack import Stack

CLINICS = {"clinic-a": "physician-a", "clinic-b": "physician-b"}
# By what this version's sources are told from those before it.
FIRST = "podman/stack/upgrading.py"
UP_TIMEOUT_S = 900


@dataclass(frozen=True, slots=True)
class Seen:
    """What people see: studies by person, what they are, and how much the audit knows."""

    studies: dict[str, set[str]]
    claims: dict[str, object]
    audit: set[str]


@dataclass(slots=True)
class Journey:
    """There and back: what was seen at each stop, what the commands said, and which images ran."""

    stack: Stack
    people: People
    seen: dict[str, Seen] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    late: str = ""

    def look(self, stop: str) -> None:
        """Look at everything as people do."""
        readers = {
            p: Reader(self.stack, self.people.token(p, fresh=True)) for p in CLINICS.values()
        }
        claims = {p: self.people.claims(p) for p in CLINICS.values()}
        names = ("sub", "preferred_username", "roles", "clinic_ids")
        audit = self.stack.data_dir / "audit"
        self.seen[stop] = Seen(
            {p: reader.study_uids() for p, reader in readers.items()},
            {p: {name: str(found.get(name)) for name in names} for p, found in claims.items()},
            {line for file in audit.glob("*/*.jsonl") for line in file.read_text().splitlines()},
        )
        shown = podman(
            "container", "inspect", "-f", "{{.ImageName}}", self.stack.container("orthanc")
        )
        self.images[stop] = shown.strip()

    def refusal(self, person: str, study: str) -> int:
        """Return the status that somebody gets who asks for a study of another clinic."""
        reader = Reader(self.stack, self.people.token(person, fresh=True))
        return reader.get(f"/dicom-web/studies/{study}/metadata").status_code


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Provide the sources of the newest version that knew no upgrade, as an operator has them."""
    added = run(["git", "-C", str(TOP), "log", "--diff-filter=A", "--format=%H", "--", FIRST])
    top = tmp_path_factory.mktemp("before") / "sources"
    commit = f"{added.split()[-1]}^" if added.split() else "HEAD"
    known = attempt(["git", "-C", str(TOP), "rev-parse", "--verify", "--quiet", commit])
    if known.returncode:
        # A clone without its history: as if these sources had been another version's.
        who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        commit = run(["git", "-C", str(TOP), *who, "commit-tree", "-m", "-", "HEAD^{tree}"]).strip()
    run(["git", "-C", str(TOP), "worktree", "add", "--quiet", "--detach", str(top), commit])
    run([str(top / "podman" / "setup.sh")], timeout_s=UP_TIMEOUT_S)
    yield top
    run(["git", "-C", str(TOP), "worktree", "remove", "--force", str(top)])


@pytest.fixture(scope="module")
def env_file(request: pytest.FixtureRequest, before: Path) -> Iterator[Path]:
    """Provide the settings of a stack beside the tests' own, but for what the version before does not know."""
    env = Path(request.config.getoption("--env"))
    settings = stacks.from_env_file(env).podman_settings
    http, https = (port + 4000 for port in settings.ports)
    target = Path(f"{settings.data_dir}-upgraded-repository")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    made = stacks.temporary_copy(
        env,
        BACKUP_TARGET=str(target),
        BACKEND_SUBNET="172.24.64.0/18",
        EGRESS_SUBNET="172.24.128.0/18",
        FRONTEND_SUBNET="172.24.0.0/18",
        DATA_DIR=f"{settings.data_dir}-upgraded",
        HTTP_PORT=str(http),
        HTTPS_PORT=str(https),
        PROJECT=f"{settings.project}-upgraded",
        PUBLIC_URL=f"https://localhost:{https}",
    )
    known = read_env(before / "podman" / "defaults.env")
    lines = [f"{key}={value}\n" for key, value in read_env(made).items() if key in known]
    made.write_text("".join(lines))
    yield made
    made.unlink()
    shutil.rmtree(target)


@pytest.fixture(scope="module")
def journey(before: Path, env_file: Path) -> Iterator[Journey]:
    """Go there and back."""
    stack = stacks.from_env_file(env_file)
    discard(stack)
    make(before, env_file, "up")
    made = Journey(stack, People(stack))
    made.people.make()
    for number, clinic in enumerate(CLINICS):
        study = ct(number, Identity(patient_name=f"Upgrade^{clinic}"), slices=3)
        assert drop_files(stack, clinic, study.files).failed == {}
    made.look("before")
    commit = run(["git", "-C", str(before), "rev-parse", "HEAD"]).strip()

    # Killed when the databases have been dumped and people are out.
    made.said["upgrade, cut off"] = cut_off(env_file, "upgrade", f"FROM={commit}", at="kept in")
    made.said["up in the middle"] = refused(TOP, env_file, "up")
    made.said["upgrade"] = make(TOP, env_file, "upgrade")
    made.look("after")

    late = ct(9, Identity(patient_name="Upgrade^Late"), slices=2)
    assert drop_files(stack, "clinic-a", late.files).failed == {}
    made.late = late.uid
    cut_off(env_file, "rollback", at="databases: as they were")
    made.said["rollback"] = make(TOP, env_file, "rollback")
    made.look("back")
    made.said["up afterwards"] = refused(TOP, env_file, "up")
    yield made
    discard(stack)


def make(top: Path, env_file: Path, *words: str) -> str:
    """Run a target of a version's Makefile; returns what it said. On a busy machine it may take a second time."""
    argv = ["make", "-s", "-C", str(top), *words, f"ENV={env_file}"]
    done = attempt(argv, timeout_s=UP_TIMEOUT_S)
    if "not healthy after" in done.stderr:
        done = attempt(argv, timeout_s=UP_TIMEOUT_S)
    assert done.returncode == 0, f"{words}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout + done.stderr


def refused(top: Path, env_file: Path, *words: str) -> str:
    """Run a target that must refuse; returns what it said."""
    done = attempt(["make", "-s", "-C", str(top), *words, f"ENV={env_file}"], timeout_s=300)
    assert done.returncode, done.stdout
    return done.stderr


def cut_off(env_file: Path, *words: str, at: str) -> str:
    """Run a target and kill it, with all that it started here, when it says something; returns what it said."""
    running = subprocess.Popen(
        ["/usr/bin/make", "-s", "-C", str(TOP), *words, f"ENV={env_file}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    said = []
    assert running.stdout
    for line in running.stdout:
        said.append(line)
        if at in line:
            break
    assert any(at in line for line in said), "".join(said[-40:])
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    return "".join(said)


def discard(stack: Stack) -> None:
    """Remove a stack of whichever version, and its data."""
    settings = stack.podman_settings
    assert settings.data_dir.name.startswith("dicom-stack-test"), "only the tests' own data"
    own = f"label=io.podman.compose.project={settings.project}"
    names = podman("ps", "-a", "--format", "{{.Names}}", "--filter", own).split()
    if names:
        podman("rm", "--force", "--time=0", *names)
    for network in podman("network", "ls", "--format", "{{.Name}}", "--filter", own).split():
        podman("network", "rm", "--force", network)
    shutil.rmtree(settings.data_dir, ignore_errors=True)
    for tag in podman("images", "--format", "{{.Repository}}:{{.Tag}}").split():
        if tag.startswith(f"{KEPT_REPOSITORY}/{settings.project}/"):
            podman("image", "rm", tag)


@pytest.mark.parametrize("stop", ["after", "back"])
def test_people_and_studies_are_there_as_before(journey: Journey, stop: str) -> None:
    was, found = journey.seen["before"], journey.seen[stop]
    assert found.claims == was.claims
    late = {journey.late} if stop == "back" else set()
    assert found.studies["physician-a"] == was.studies["physician-a"] | late
    assert found.studies["physician-b"] == was.studies["physician-b"]
    assert all(len(studies) == 1 for studies in was.studies.values())
    assert was.audit
    assert was.audit <= found.audit


def test_a_study_that_came_after_the_upgrade_is_there_after_the_way_back(journey: Journey) -> None:
    assert journey.late
    assert journey.late in journey.seen["back"].studies["physician-a"]
    assert journey.refusal("physician-b", journey.late) in (403, 404)
    (own,) = journey.seen["back"].studies["physician-b"]
    assert journey.refusal("physician-b", own) == requests.codes.ok


def test_the_images_are_those_of_each_version(journey: Journey) -> None:
    versions = [journey.images[stop] for stop in ("before", "after", "back")]
    assert versions[0] == versions[2]


def test_the_upgrade_says_how_long_people_were_without_it(journey: Journey) -> None:
    said = journey.said["upgrade"]
    assert "going on with the upgrade" in said
    assert re.search(r"people were without it for \d+ s", said)
    assert "2 studies, 6 images" in said
    assert "make rollback goes back to" in said


def test_everything_is_backed_up_before_anything_changes(journey: Journey) -> None:
    said = journey.said["upgrade, cut off"]
    assert re.search(
        r"backup …\n(.*\n)*.*backup: the last one is (.*\n)*the stack stops\n", said
    ), said


def test_what_is_half_done_or_gone_back_from_is_not_started_by_accident(journey: Journey) -> None:
    assert (
        "make upgrade goes on with it, make rollback goes back" in journey.said["up in the middle"]
    )
    assert "this stack went back to" in journey.said["up afterwards"]


def test_what_the_newer_version_made_stays(journey: Journey) -> None:
    backup = journey.stack.data_dir / "backup"
    state = json.loads((backup / "upgrade.json").read_text())
    assert state["phase"] == "back"
    assert (backup / state["aside"] / "postgresql-17" / "main" / "PG_VERSION").exists()
