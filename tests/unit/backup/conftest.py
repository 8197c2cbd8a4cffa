"""The programs of the image that ships, and a database to dump."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dicom_backup.restic import Repository
from harness import cheap_key
from harness.wait import wait_until
from stack import images
from stack.shell import environment, podman
from unit.backup import site as sites
from unit.backup.site import PEOPLE, SCHEMA, Database, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

# Run where the tests' files are, as the user who owns them; only restic itself runs on any host.
SHIM = """#!/bin/sh
{settings}
exec podman {how} --env=PGPASSFILE --env=PGCONNECT_TIMEOUT {there} "$@"
"""
SERVER = """
[ -e /tmp/cluster/PG_VERSION ] || initdb --pgdata=/tmp/cluster --username=postgres --auth=trust >/dev/null
exec postgres -D /tmp/cluster -k /sockets -c listen_addresses= -c fsync=off
"""


@pytest.fixture(scope="session", autouse=True)
def cheap_keys() -> Iterator[None]:
    """Have repositories that open at once."""
    create = Repository.create

    def cheaply(repository: Repository) -> None:
        create(repository)
        if ":" not in repository.target:
            cheap_key.give(Path(repository.target), repository.key_file.read_text().strip())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Repository, "create", cheaply)
        yield


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
    for program in ("pg_dump", "pg_restore", "psql"):
        anew = f"run --rm {' '.join(options)} --entrypoint={program}"
        for name, how, there in (
            (program, "exec --user=0", f"{tools} {program}"),
            # One that sees file systems which are mounted later.
            (f"{program}-anew", anew, image),
        ):
            path = folder / name
            path.write_text(SHIM.format(settings=settings, how=how, there=there))
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
