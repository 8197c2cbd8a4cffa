"""PostgreSQL's major version changes by dump and restore, with the real programs of both versions."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from stack import cluster, images, upgrading
from stack.credentials import ensure_secrets
from stack.settings import PODMAN_DIR, load
from stack.shell import podman
from stack.upgrade_state import State, kept
from stack.version import Version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stack.settings import Settings

NEWER = 18
ROWS = 50_000
# What only its own tables need: text that no other order of sorting would keep, an index, a sequence, large values.
ORTHANC = """
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE TABLE globalproperties (property integer PRIMARY KEY, value text);
INSERT INTO globalproperties VALUES (1, '6');
CREATE TABLE resources (internalid bigserial PRIMARY KEY, resourcetype integer, name text);
INSERT INTO resources (resourcetype, name) SELECT n % 4, 'Ärztin^' || n FROM generate_series(1, 50000) n;
CREATE TABLE attachedfiles (id bigint, uuid text, content bytea);
INSERT INTO attachedfiles
  SELECT n, gen_random_uuid(), decode(repeat('00ff', 50000), 'hex') FROM generate_series(1, 20) n;
CREATE INDEX named ON resources USING gin (name gin_trgm_ops);
CREATE FUNCTION twice(n integer) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RETURN 2 * n; END $$;
"""
KEYCLOAK = """
CREATE TABLE realm (id text PRIMARY KEY, name text);
INSERT INTO realm VALUES ('r', 'dicom'), ('m', 'master');
CREATE TABLE user_entity (id text PRIMARY KEY, realm_id text REFERENCES realm, service_account_client_link text);
INSERT INTO user_entity VALUES ('1', 'r', NULL), ('2', 'r', NULL), ('3', 'r', 'importer'), ('4', 'm', NULL);
"""
CONTENT = (
    "SELECT md5(string_agg(r::text, '|' ORDER BY internalid)) FROM resources r",
    "SELECT md5(string_agg(f::text, '|' ORDER BY id)) FROM attachedfiles f",
    "SELECT nextval('resources_internalid_seq') > max(internalid) FROM resources",
    "SELECT count(*) FROM resources WHERE name LIKE '%rztin^4242%'",
    "SELECT twice(21)",
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Provide settings of a stack with secrets, and nothing else."""
    env = tmp_path / "env"
    env.write_text(f"DATA_DIR={tmp_path}/data\nPROJECT=migrated\n")
    (tmp_path / "data").mkdir()
    ensure_secrets(tmp_path / "data" / "secrets")
    (tmp_path / "data" / "backup").mkdir()
    return load(env)


@pytest.fixture(scope="session")
def newer_image() -> Iterator[str]:
    """Provide the image of the next major version, by the recipe that ships, on Debian testing."""
    images.build("")
    tag = f"{images.REPOSITORY}/postgresql-{NEWER}:test"
    arguments = {
        "BASE": images.tags()["base-testing"],
        "POSTGRESQL_MAJOR": NEWER,
        "POSTGRESQL_FLOOR": NEWER,
    }
    words = [word for k, v in arguments.items() for word in ("--build-arg", f"{k}={v}")]
    recipe = PODMAN_DIR / "postgresql" / "Containerfile"
    form = ("--format", "docker", "--layers", "-q", "-t", tag)
    podman("build", *form, *words, "-f", str(recipe), str(recipe.parent), timeout_s=1800)
    yield tag
    podman("image", "rm", tag)


def ask(container: str, *queries: str, database: str = "orthanc") -> list[str]:
    """Ask as the operator does, as the role that owns everything."""
    words = [
        "psql",
        "--no-psqlrc",
        "--quiet",
        "-At",
        "-v",
        "ON_ERROR_STOP=1",
        f"--dbname={database}",
    ]
    role = f"SET ROLE {database};"
    return [
        podman("exec", container, *words, f"--command={role}", f"--command={query}").strip()
        for query in queries
    ]


def test_databases_move_to_the_next_major_version_and_the_old_cluster_stays(
    settings: Settings,
    image: Callable[[str], str],
    newer_image: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = images.build("", (*images.IMAGES, images.BACKUP))["backup"]
    version = Version("before", "0" * 40)
    state = State(version, Version("after", "1" * 40), 17, program=program)
    configuration = PODMAN_DIR / "postgresql"
    with cluster.serving(settings, image("postgresql"), configuration) as database:
        ask(database, ORTHANC)
        ask(database, KEYCLOAK, database="keycloak")
        assert cluster.size_bytes(database) > ROWS
        state.counts = cluster.counts(database)
        was = ask(database, *CONTENT)
        cluster.keep(settings, program, database, kept(settings, state))
    assert state.counts == {"studies": ROWS / 4, "images": ROWS / 4, "people": 2}
    assert cluster.major(settings) == 17

    monkeypatch.setattr(upgrading, "major", lambda: NEWER)
    monkeypatch.setattr(images, "tags", lambda: {"postgresql": newer_image})
    # Cut off after the old cluster was moved, or in the middle of filling the new one, it goes on.
    for _ in range(2):
        upgrading._migrate(settings, state)  # noqa: SLF001 - the step itself
        assert state.steps.pop() == "migrated"
        assert cluster.major(settings) == NEWER
    with cluster.serving(settings, newer_image, configuration) as database:
        (number,) = ask(database, "SHOW server_version_num")
        assert number.startswith(str(NEWER))
        assert cluster.counts(database) == state.counts
        assert ask(database, *CONTENT) == was
    old = kept(settings, state) / "postgresql-17" / "main" / "PG_VERSION"
    assert old.read_text().strip() == "17"
    shutil.rmtree(settings.data_dir)
