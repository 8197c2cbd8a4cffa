"""A site to back up, in a folder of the test's own: Orthanc's files, originals, a journal, and a real PostgreSQL."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_backup import farm, record, restic, state
from dicom_backup.config import Config, Keep
from dicom_backup.run import Clocks, Tools, run
from harness.stack import TOP
from harness.wait import wait_until
from stack.shell import attempt, podman

if TYPE_CHECKING:
    from dicom_backup.record import Run
    from dicom_backup.state import State

DAY_S = 86400
# 2026-11-25, noon.
NOON_S = 1_795_608_000.0
ROWS = 20_000
# One for all: a repository is made once, and copied.
KEY = secrets.token_urlsafe(32)
SCHEMA = """
CREATE TABLE globalproperties (property integer, value text);
INSERT INTO globalproperties VALUES (1, '6');
CREATE TABLE attachedfiles AS SELECT gen_random_uuid()::text AS uuid, n FROM generate_series(1, 20000) AS n;
"""

# Of Keycloak's tables what is read of them, with two people in the realm, a service account, and one of another realm.
PEOPLE = """
CREATE TABLE realm (id text, name text, default_role text);
CREATE TABLE client (id text, client_id text);
CREATE TABLE keycloak_role (id text, name text, description text, realm_id text, client_role boolean, client text);
CREATE TABLE keycloak_group (id text, name text, parent_group text, realm_id text);
CREATE TABLE group_attribute (name text, value text, group_id text);
CREATE TABLE group_role_mapping (role_id text, group_id text);
CREATE TABLE user_entity (id text, username text, enabled boolean, email text, email_verified boolean, first_name text,
  last_name text, created_timestamp bigint, not_before int, realm_id text, service_account_client_link text);
CREATE TABLE user_attribute (name text, value text, long_value text, user_id text);
CREATE TABLE user_required_action (user_id text, required_action text);
CREATE TABLE credential (id text, type text, user_label text, created_date bigint, priority int, secret_data text,
  credential_data text, user_id text);
CREATE TABLE user_group_membership (group_id text, user_id text);
CREATE TABLE user_role_mapping (role_id text, user_id text);
INSERT INTO realm VALUES ('r', 'dicom', 'default'), ('m', 'master', 'other');
INSERT INTO client VALUES ('c', 'realm-management');
INSERT INTO keycloak_role VALUES ('default', 'default-roles-dicom', NULL, 'r', false, NULL),
  ('p', 'physician', 'Reads', 'r', false, NULL), ('v', 'view-users', NULL, 'r', true, 'c');
INSERT INTO keycloak_group VALUES ('cs', 'clinics', ' ', 'r'), ('ca', 'clinic-a', 'cs', 'r');
INSERT INTO group_attribute VALUES ('clinic_id', 'clinic-a', 'ca');
INSERT INTO user_entity VALUES ('1', 'jane', true, NULL, false, NULL, NULL, 1, 0, 'r', NULL),
  ('2', 'zoë', true, 'z@example.org', false, 'Zoë', 'Nowhere', 1, 0, 'r', NULL),
  ('3', 'service-account-auditor', true, NULL, false, NULL, NULL, 1, 0, 'r', 'c'),
  ('4', 'root', true, NULL, false, NULL, NULL, 1, 0, 'm', NULL);
INSERT INTO credential VALUES ('h', 'password', NULL, 1, 10, '{"value":"aGFzaA=="}', '{"algorithm":"argon2"}', '1');
INSERT INTO user_group_membership VALUES ('ca', '1');
INSERT INTO user_role_mapping VALUES ('p', '1'), ('v', '1'), ('default', '2');
"""


@dataclass(frozen=True, slots=True)
class Database:
    """A PostgreSQL of the image that ships, reached by a socket in a folder of this host."""

    container: str
    sockets: Path

    def start(self) -> None:
        """Start it, whatever became of it before."""
        podman("start", self.container)
        self.wait()

    def wait(self) -> None:
        """Wait until it answers."""
        wait_until(
            lambda: self.ask("orthanc", "SELECT 1").strip() == "1",
            60,
            "PostgreSQL answers",
            lambda: attempt(["podman", "logs", self.container]).stderr[-2000:],
        )

    def ask(self, database: str, query: str, user: str = "postgres") -> str:
        """Run a query; returns what it said, nothing when it failed."""
        words = ["psql", "-h", "/sockets", "-U", user, "-d", database, "-Atc", query]
        return attempt(["podman", "exec", self.container, *words]).stdout

    def hold(self, table: str) -> subprocess.Popen[bytes]:
        """Keep a table locked, so that a dump waits for it, until the process is ended."""
        query = f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)"
        words = ["psql", "-h", "/sockets", "-U", "postgres", "-d", "orthanc", "-c", query]
        holder = subprocess.Popen(
            ["/usr/bin/podman", "exec", self.container, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        held = f"SELECT count(*) FROM pg_locks WHERE relation = '{table}'::regclass AND granted"  # noqa: S608 - ours
        wait_until(lambda: self.ask("orthanc", held).strip() == "1", 60, f"{table} is locked")
        return holder

    def waiting(self) -> bool:
        """Tell whether a dump waits for a table."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return self.ask("orthanc", query).strip() == "1"

    def kill(self) -> None:
        """End it as a power cut does."""
        podman("kill", "--signal=KILL", self.container)


@dataclass(slots=True)
class Site:
    """What is backed up, by what, and the time of day there."""

    tools: Tools
    now_s: float = NOON_S
    written: dict[str, bytes] = field(default_factory=dict)

    @property
    def config(self) -> Config:
        """The backup's settings."""
        return self.tools.config

    @property
    def target(self) -> Path:
        """Where the repository lies."""
        return Path(self.config.target)

    def store(self, age_days: float = 0.0, size_bytes: int = 3000) -> str:
        """Put a file into the archive as Orthanc does; returns its name."""
        content = secrets.token_bytes(size_bytes)
        name = f"{secrets.token_hex(4)}-{secrets.token_hex(2)}-4000-8000-{secrets.token_hex(6)}"
        path = farm.place(self.config.storage_dir, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        at_s = self.now_s - age_days * DAY_S
        os.utime(path, (at_s, at_s))
        self.written[name] = content
        return name

    def delete(self, name: str) -> None:
        """Remove a file from the archive as Orthanc does."""
        farm.place(self.config.storage_dir, name).unlink()

    def back_up(self, *, dump: bool = False) -> State:
        """Make a run."""
        return run(self.tools, dump=dump)

    def state(self) -> State:
        """Return what the backup knows of itself."""
        return state.load(self.config.state_file)

    def complete(self) -> list[Run]:
        """Return the records of the complete runs, eldest first."""
        repository = self.tools.repository
        return [record.read(repository, s.id) for s in record.complete(repository)]

    def restored(self, run: Run, where: Path) -> dict[str, bytes]:
        """Bring back the images of a run by restic alone; returns them by name."""
        shutil.rmtree(where, ignore_errors=True)
        for part in run.images.values():
            self.tools.repository.run("restore", part.snapshot, f"--target={where}")
        return {path.name: path.read_bytes() for path in where.iterdir() if path.is_file()}

    def packs(self) -> list[Path]:
        """Return the repository's packs, the largest first, without what is being written."""
        found = [
            p for p in (self.target / "data").rglob("*") if p.is_file() and "-tmp-" not in p.name
        ]
        return sorted(found, key=lambda path: path.stat().st_size, reverse=True)

    def with_key(self, text: str) -> Tools:
        """Return the tools of somebody who has another key."""
        other = self.config.backup_dir / "another_key"
        other.write_text(text)
        return replace(self.tools, repository=replace(self.tools.repository, key_file=other))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `dicom-backup` as a program of its own, with the time of day of this host."""
        config = self.config
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(TOP / "importer" / "src"),
            "BACKUP_DATA_DIR": str(config.data_dir),
            "BACKUP_TARGET": config.target,
            "DATABASE_HOST": config.database_host,
            "SECRETS_DIR": str(config.secrets_dir),
        }
        code = "import sys; from dicom_backup.cli import main; sys.exit(main())"
        return subprocess.Popen(
            [sys.executable, "-B", "-c", code, *words],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def make(root: Path, database: Database) -> Site:
    """Make a site with two days of images, originals, a journal that is open, and secrets."""
    config = Config(
        data_dir=root / "data",
        target=str(root / "repository"),
        interval_min=15,
        dump_interval_min=60,
        keep=Keep(7, 4, 12),
        prune=True,
        secrets_dir=root / "secrets",
        database_host=str(database.sockets),
        listen_host="127.0.0.1",
        listen_port=0,
        settings_file=None,
    )
    for place in (config.backup_dir, config.storage_dir / farm.FOLDER, config.secrets_dir):
        place.mkdir(parents=True)
    config.key_file.write_text(KEY)
    originals = config.files_dir / "processed" / "clinic-a" / "2026-11-25"
    originals.mkdir(parents=True)
    (originals / "image.dcm").write_bytes(secrets.token_bytes(5000))
    for name in ("config", "secrets", "tls", "audit/access", "audit/spool"):
        (config.data_dir / name).mkdir(parents=True)
    (config.data_dir / "secrets" / "values.json").write_text('{"orthanc_db_password": "x"}')
    (config.data_dir / "secrets" / "backup.backup_key").write_text(config.key_file.read_text())
    (config.data_dir / "audit" / "spool" / "requests").write_text("GET /")
    (config.data_dir / "importer").mkdir()
    with sqlite3.connect(config.data_dir / "importer" / "journal.sqlite") as journal:
        journal.execute("PRAGMA journal_mode = WAL")
        journal.execute("CREATE TABLE arrival (path TEXT)")
        journal.execute("INSERT INTO arrival VALUES ('clinic-a/image.dcm')")
    journal.close()
    site = Site(Tools(config, restic.repository(config)))
    site.tools = replace(site.tools, clocks=Clocks(now_s=lambda: site.now_s, sleep=lambda _: None))
    for age_days in (0, 0, 1):
        site.store(age_days)
    return site
