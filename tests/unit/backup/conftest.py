"""The programs of the image that ships, and a database to dump."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dicom_backup.restic import Repository
from harness import cheap_key
from harness.wait import wait_until
from stack import images
from stack.shell import environment, podman
from unit.backup import site as sites
from unit.backup.site import KEY, PEOPLE, SCHEMA, Database, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

# Run where the tests' files are, as the user who owns them; only restic itself runs on any host.
SHIM = """#!/bin/sh
exec {words} "$@"
"""
ANEW = """#!/bin/sh
{settings}
exec podman run --rm {options} --env=PGPASSFILE --env=PGCONNECT_TIMEOUT {image} "$@"
"""
SERVER = """
[ -e /tmp/cluster/PG_VERSION ] || initdb --pgdata=/tmp/cluster --username=postgres --auth=trust >/dev/null
exec postgres -D /tmp/cluster -k /sockets -c listen_addresses= -c fsync=off
"""


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide where a new repository is kept that opens at once, once there is one."""
    return tmp_path_factory.mktemp("empty") / "repository"


@pytest.fixture(autouse=True)
def cheap_repositories(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have repositories that open at once; a test's first is a copy, since restic takes seconds to make one."""
    create = Repository.create
    copied: list[str] = []

    def cheaply(repository: Repository) -> None:
        target, key = Path(repository.target), repository.key_file.read_text().strip()
        is_new = not target.exists() or not any(target.iterdir())
        if empty.exists() and is_new and key == KEY and not copied:
            shutil.copytree(empty, target, dirs_exist_ok=True)
            copied.append(repository.target)
            return
        create(repository)
        if ":" not in repository.target:
            cheap_key.give(target, key)
            if key == KEY and not empty.exists():
                shutil.copytree(target, empty)

    monkeypatch.setattr(Repository, "create", cheaply)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Provide a folder with restic and PostgreSQL's programs, which comes first in the path."""
    image = images.build("", (*images.IMAGES, images.BACKUP))["backup"]
    base, folder = tmp_path_factory.getbasetemp(), tmp_path_factory.mktemp("programs")
    options = ("--network=none", "--no-healthcheck", "--user=0", f"--volume={base}:{base}")
    tools = f"tools-{secrets.token_hex(4)}"
    podman("run", "--detach", f"--name={tools}", *options, "--entrypoint=sleep", image, "infinity")
    podman("cp", f"{tools}:/usr/bin/restic", str(folder / "restic"))
    # The backup gives its programs a bare environment.
    own = {key: value for key, value in environment().items() if key.startswith("CONTAINERS_")}
    settings = "\n".join(f"export {key}={value}" for key, value in own.items())
    pid = podman("inspect", "--format={{.State.Pid}}", tools).strip()
    for program in ("pg_dump", "pg_restore", "psql"):
        # By its whole name: the path leads here.
        there = podman("exec", tools, "sh", "-c", f"command -v {program}").strip()
        inside = f"nsenter --target={pid} --mount --net --root --wd=/ {there}"
        # One that sees file systems which are mounted later.
        anew = f"{' '.join(options)} --entrypoint={program}"
        for name, text in (
            (program, SHIM.format(words=inside)),
            (f"{program}-anew", ANEW.format(settings=settings, options=anew, image=image)),
        ):
            path = folder / name
            path.write_text(text)
            path.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder), prepend=":")
        yield folder
    podman("rm", "--force", "--time=0", tools)


@pytest.fixture(scope="session")
def database(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:  # noqa: ARG001 - the image is built
    """Provide a PostgreSQL with two databases, of which one has Orthanc's table of its version."""
    sockets = tmp_path_factory.mktemp("sockets")
    sockets.chmod(0o777)
    name = f"dumped-{secrets.token_hex(4)}"
    image = images.tags()["postgresql"]
    podman(
        *("run", "--detach", f"--name={name}", "--network=none", "--no-healthcheck"),
        *(f"--volume={sockets}:/sockets", "--entrypoint=/bin/bash", image, "-c", SERVER),
    )
    made = Database(name, sockets)
    try:
        for role in ("orthanc", "keycloak"):
            wait_until(lambda: "1" in made.ask("postgres", "SELECT 1"), 60, "PostgreSQL answers")
            made.ask("postgres", f"CREATE ROLE {role} LOGIN")
            made.ask("postgres", f"CREATE DATABASE {role} OWNER {role}")
        made.ask("orthanc", SCHEMA, user="orthanc")
        made.ask("keycloak", PEOPLE, user="keycloak")
        yield made
    finally:
        podman("rm", "--force", "--time=0", name)


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Site:
    """Provide a site that was never backed up."""
    return sites.make(tmp_path, database)
