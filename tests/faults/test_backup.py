"""The backup beside the whole stack: what the archive holds is in the repository, and nobody is in its way."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dicom_backup import realm
from harness.canaries import among, files, forms
from harness.drop import drop_files
from harness.own_importer import backend_url
from harness.phantom import ct
from harness.realm_key import administering
from harness.stack import TOP, make, temporary_copy
from harness.wait import wait_until
from stack import health
from stack.settings import PODMAN_DIR, load
from stack.shell import attempt, podman

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.people import People
    from harness.stack import Stack

CLINIC = "clinic-backup"


@pytest.fixture(scope="module")
def env_file(stack: Stack) -> Iterator[Path]:
    """Provide settings of the stack with a target, up until the end of these tests."""
    data = stack.data_dir
    target = data.with_name(f"{data.name}-repository")
    target.mkdir()
    made = temporary_copy(stack.podman_settings.env_file, BACKUP_TARGET=str(target))
    try:
        make("up", made)
        yield made
    finally:
        make("up", stack.podman_settings.env_file)
        shutil.rmtree(data / "backup")
        shutil.rmtree(data / "dicom" / ".by-day")
        shutil.rmtree(target)
        made.unlink()


def restic(stack: Stack, *words: str) -> str:
    """Run restic as the backup does."""
    program = "import sys; from dicom_backup import config, restic"
    call = "sys.stdout.write(restic.repository(config.load()).run(*sys.argv[1:]).stdout)"
    # The service prunes whenever it likes, and nobody may read meanwhile.
    done = stack.exec("backup", "python3", "-c", f"{program}; {call}", *words, "--retry-lock=2m")
    assert done.returncode == 0, done.stderr
    return done.stdout


def newest(stack: Stack) -> dict[str, Any]:
    """Return the record of the newest complete run."""
    return dict(json.loads(restic(stack, "dump", "--tag=complete", "latest", "/run.json")))


def archived(stack: Stack) -> set[str]:
    """Return the names of Orthanc's files."""
    root = stack.data_dir / "dicom"
    return {path.name for path in root.glob("??/??/*")}


def saved(stack: Stack, run: dict[str, Any]) -> set[str]:
    """Return the names of the files in a run's images."""
    return {
        line.strip("/")
        for part in run["images"].values()
        for line in restic(stack, "ls", part["snapshot"]).splitlines()
    }


def test_the_container_has_two_rights_more_and_writes_where_it_must(
    stack: Stack, env_file: Path
) -> None:
    found = json.loads(podman("container", "inspect", stack.container("backup")))[0]
    assert set(found["BoundingCaps"]) == {"CAP_DAC_READ_SEARCH", "CAP_FOWNER"}
    assert found["Config"]["User"] == "7113:7113"
    assert found["HostConfig"]["ReadonlyRootfs"]
    target = load(env_file).values["BACKUP_TARGET"]
    written = {mount["Destination"] for mount in found["Mounts"] if mount["RW"]}
    assert written == {"/data/backup", "/data/dicom", target}
    networks = found["NetworkSettings"]["Networks"]
    project = stack.podman_settings.project
    assert networks.keys() == {f"{project}_backend", f"{project}_egress"}
    # Orthanc's own files are not among what it may change.
    touched = stack.exec("backup", "sh", "-c", "echo x > /data/dicom/x || echo x > /data/config/x")
    assert touched.returncode != 0
    assert "Permission denied" in touched.stderr
    assert "Read-only file system" in touched.stderr


def test_every_row_of_the_dump_finds_its_file_and_every_file_is_saved(
    stack: Stack, people: People, env_file: Path
) -> None:
    people.clinic(CLINIC, "Clinic of the backup")
    study = ct(41, slices=4)
    assert len(drop_files(stack, CLINIC, study.files).processed) == 4
    said = make("backup", env_file)
    assert "! " not in said, said
    run = newest(stack)
    assert run["unread"] == []
    assert archived(stack) <= saved(stack, run)
    table = ("pg_restore", "--data-only", "--table=attachedfiles", "--file=-")
    dumped = stack.exec("backup", *table, "/data/backup/dumps/orthanc.dump").stdout
    rows = dumped.partition("FROM stdin;\n")[2].partition("\n\\.\n")[0].splitlines()
    names = {field for row in rows for field in row.split("\t") if len(field) == 36}
    assert len(rows) >= 4
    assert len(names) == len(rows)
    assert names <= saved(stack, run)


def test_originals_records_and_secrets_are_saved_and_the_key_is_not(
    stack: Stack, env_file: Path
) -> None:
    run = newest(stack)
    service = restic(stack, "ls", run["service"]["snapshot"]).splitlines()
    assert {
        *("/backup/dumps/keycloak.dump", "/backup/journal/journal.sqlite"),
        *("/config/settings.env", "/secrets/values.json", "/tls/ca.key"),
    } <= set(service)
    assert not [name for name in service if "backup." in name or "/spool" in name]
    originals = restic(stack, "ls", run["originals"]["snapshot"])
    assert f"/processed/{CLINIC}/" in originals
    key = make("backup-key", env_file).strip()
    folder = stack.data_dir / "secrets"
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert [path.name for path in kept if key in path.read_text()] == ["backup.backup_key"]


def test_no_secret_lies_open_in_the_target_or_in_what_waits_to_be_saved(
    stack: Stack, env_file: Path
) -> None:
    data = stack.data_dir
    values = dict(json.loads((data / "secrets" / "values.json").read_text()))
    values["backup_key"] = (data / "secrets" / "backup.backup_key").read_text()
    target = Path(load(env_file).values["BACKUP_TARGET"])
    # What Keycloak keeps of its clients is in its dump, as in its database.
    waiting = files(data / "backup", [data / "backup" / "dumps"])
    wanted = forms(values, {}) | {CLINIC.encode(): "a clinic"}
    assert {name for _, name in among(waiting, wanted)} == {"a clinic"}
    assert not among(files(target), wanted)
    assert len(list(files(target))) > 20


def without_ids(value: object) -> object:
    """Return what an import makes anew where the first realm's rows are still there."""
    if isinstance(value, list):
        return [without_ids(item) for item in value]
    if isinstance(value, dict):
        return {key: without_ids(item) for key, item in value.items() if key != "id"}
    return value


def test_everybody_is_exported_and_another_realm_takes_them_with_their_passwords(
    stack: Stack, people: People, env_file: Path
) -> None:
    del env_file
    done = stack.exec("backup", "dicom-backup", "run", "--dump")
    assert done.returncode == 0, done.stdout
    assert " people exported 0 min ago, as many as Keycloak has" in done.stdout
    inside = f"/backup/realm/{realm.NAME}"
    text = restic(stack, "dump", newest(stack)["service"]["snapshot"], inside)
    assert (stack.data_dir / inside.lstrip("/")).read_text() == text
    exported = json.loads(text)
    found = {user["username"]: user for user in exported["users"]}
    assert people.passwords.keys() <= found.keys()
    assert found["physician-ab"]["groups"] == ["/clinics/clinic-a", "/clinics/clinic-b"]
    assert "physician" in found["physician-ab"]["realmRoles"]
    copy = f"copy-{secrets.token_hex(4)}"
    with administering(stack) as (session, address):
        top = address.removesuffix("/dicom")
        made = session.post(top, json=without_ids({**exported, "realm": copy}))
        assert made.status_code == 201, made.text
    try:
        with administering(stack) as (session, _):
            # Else it wants everybody's mail address and full name first.
            profile = session.get(f"{address}/users/profile").json()
            given = session.put(f"{top}/{copy}/users/profile", json=profile)
            assert given.status_code == 200, given.text
        for name in ("physician-ab", "technician-a"):
            for password, status in ((people.passwords[name], 200), ("another", 400)):
                asked = {"client_id": "admin-cli", "grant_type": "password", "username": name}
                where = f"{backend_url(stack, 'keycloak')}/auth/realms/{copy}"
                with stack.session() as session:
                    answer = session.post(
                        f"{where}/protocol/openid-connect/token",
                        data={**asked, "password": password},
                    )
                assert answer.status_code == status, answer.text
    finally:
        with administering(stack) as (session, _):
            assert session.delete(f"{top}/{copy}").status_code == 204


def test_it_is_watched_and_status_says_how_old_it_is(stack: Stack, env_file: Path) -> None:
    query = ("promtool", "query", "instant", "http://prometheus:9090", "dicom_backup_age_seconds")
    wait_until(
        lambda: 'job="backup"' in stack.exec("prometheus", *query).stdout,
        90,
        "Prometheus watches the backup",
    )
    words = ["-m", "stack", "--env-file", str(env_file), "backup", "drilled"]
    assert attempt([sys.executable, *words], env={"PYTHONPATH": str(PODMAN_DIR)}).returncode == 0
    text = attempt(["make", "-s", "-C", str(TOP), "status", f"ENV={env_file}"]).stdout
    # A machine may be busy.
    assert re.search(r"^  backup: a restore was practised \d min ago", text, re.MULTILINE), text
    assert re.search(r"^  backup: the last one is \d min old", text, re.MULTILINE), text
    assert "! backup" not in text


def test_killed_in_its_middle_it_goes_on_and_the_run_before_counts(
    stack: Stack, env_file: Path
) -> None:
    before = restic(stack, "snapshots", "--json", "--tag=complete")
    locks = Path(load(env_file).values["BACKUP_TARGET"]) / "locks"
    # Anything of some size: the archive's own file system has it by a link too.
    folder = stack.data_dir / "files" / "processed" / CLINIC / "large"
    folder.mkdir()
    try:
        with (folder / "file").open("wb") as file, Path("/dev/urandom").open("rb") as source:
            for _ in range(400):
                file.write(source.read(1 << 20))
        started = attempt(
            ["podman", "exec", "--detach", stack.container("backup"), "dicom-backup", "run"]
        )
        assert started.returncode == 0, started.stderr
        wait_until(lambda: any(locks.iterdir()), 30, "restic works")
        podman("kill", "--signal=KILL", stack.container("backup"))
        podman("start", stack.container("backup"))
        assert restic(stack, "snapshots", "--json", "--tag=complete") == before
        wait_until(
            lambda: health.state(stack.podman_settings, "backup") == "healthy", 60, "it is back"
        )
        said = make("backup", env_file)
        assert "! " not in said, said
        assert not any(locks.iterdir())
        assert "found it whole" in make("backup-check", env_file, EVERYTHING="1")
    finally:
        shutil.rmtree(folder)
