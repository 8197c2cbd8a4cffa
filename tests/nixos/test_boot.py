"""The NixOS form's units, run by systemd with Debian's programs behind the store's paths: they work together."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import pytest
from harness.canaries import among, forms, processes
from harness.wait import wait_until
from nixos.appliance import targets
from stack.settings import PODMAN_DIR, TOP, read_env
from stack.shell import attempt

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixos.appliance import Appliance

MAX_EXPOSURE = 1.5
SUITE_TIMEOUT_S = 900


def test_every_unit_runs_with_its_restrictions(appliance: Appliance) -> None:
    failed = appliance.run("systemctl", "list-units", "--failed", "--plain", "--no-legend")
    assert failed.stdout == ""
    listed = appliance.run("systemd-analyze", "security", "--no-pager").stdout
    exposure = dict(re.findall(r"^(\S+\.service) +([0-9.]+) ", listed, re.MULTILINE))
    running = [unit for unit in appliance.units if unit in exposure]
    assert len(running) >= 8
    assert {unit: exposure[unit] for unit in running if float(exposure[unit]) > MAX_EXPOSURE} == {}


@pytest.mark.parametrize("name", ["grafana", "loki"])
def test_what_debian_has_no_program_for_does_not_run_here(appliance: Appliance, name: str) -> None:
    assert appliance.report["absent"] == ["grafana", "loki"]
    assert f"{name}.service" not in appliance.units
    # Its user, folder and door are there all the same.
    folder = appliance.run("stat", "--format=%U %a", f"/srv/dicom-stack/{name}")
    assert folder.stdout.strip() == f"{name} 700"
    pytest.skip(f"{name}.service was not run: Debian has no such program")


def test_systemd_hands_on_an_environment_file_as_it_is(appliance: Appliance) -> None:
    # Grafana, which does not run here, is configured by one with quotes, dollars and brackets.
    shipped = PODMAN_DIR / "grafana" / "grafana.env"
    (appliance.root / "etc" / "shown.env").write_bytes(shipped.read_bytes())
    options = ("--quiet", "--wait", "--pipe", "--property=EnvironmentFile=/etc/shown.env")
    shown = appliance.run("systemd-run", *options, "env").stdout
    found = dict(line.split("=", 1) for line in shown.splitlines() if line.startswith("GF_"))
    assert found == read_env(shipped)


def test_a_service_sees_its_own_secrets_and_no_others(appliance: Appliance) -> None:
    declared = appliance.report["secretFiles"]
    assert isinstance(declared, dict)
    seen = 0
    for reader in declared.values():
        for unit in reader["units"]:
            shown = appliance.run(
                "systemctl", "show", "--property=MainPID", "--value", f"{unit}.service"
            )
            pid = shown.stdout.strip()
            if pid in ("", "0"):
                continue
            found = appliance.run("ls", f"/proc/{pid}/root/run/secrets")
            assert set(found.stdout.split()) == set(reader["files"]), unit
            seen += 1
    assert seen >= 4


def started(appliance: Appliance) -> dict[str, str]:
    """Return by what each unit of the stack that is active came to be so."""
    shown = appliance.run("systemctl", "show", "--property=Id,InvocationID", *appliance.units)
    blocks = [
        dict(re.findall(r"^(\w+)=(.*)$", b, re.MULTILINE)) for b in shown.stdout.split("\n\n")
    ]
    found = {block["Id"]: block["InvocationID"] for block in blocks if "Id" in block}
    assert found.keys() == set(appliance.units)
    return found


def secret(appliance: Appliance, name: str) -> str:
    path = appliance.root / "srv" / "dicom-stack" / "secrets" / "values.json"
    return str(json.loads(path.read_text())[name])


def database_takes(appliance: Appliance, role: str, password: str) -> bool:
    address = ("--host=postgresql", f"--username={role}", f"--dbname={role}", "--no-password")
    psql = ("psql", "--no-psqlrc", "--command=select 1", *address)
    asked = appliance.run("env", f"PGPASSWORD={password}", *psql)
    assert asked.returncode == 0 or "password authentication failed" in asked.stderr, asked.stderr
    return asked.returncode == 0


def keycloak_takes(appliance: Appliance, where: str, client: str, given: str) -> bool:
    address = f"http://127.0.10.11:8080/auth/realms/{where}/protocol/openid-connect/token"
    form = ("-d", "grant_type=client_credentials", "-u", f"{client}:{given}")

    said = [""]

    def has_answered() -> bool:
        """Tell whether it answers in its own words: not while it starts with a new password of its own."""
        said[0] = attempt(appliance.beside("curl", "-s", *form, address)).stdout
        return said[0].startswith("{")

    wait_until(
        has_answered, 120, "Keycloak answers", lambda: f"{said[0][:500]}\n{appliance.logs()}"
    )
    answer = json.loads(said[0])
    assert "access_token" in answer or answer["error"] in ("unauthorized_client", "invalid_client")
    return "access_token" in answer


@pytest.mark.parametrize(
    ("name", "takes", "units"),
    [
        (
            "orthanc_db_password",
            lambda a, v: database_takes(a, "orthanc", v),
            {"postgresql-roles", "orthanc"},
        ),
        (
            "keycloak_db_password",
            lambda a, v: database_takes(a, "keycloak", v),
            {"postgresql-roles", "keycloak"},
        ),
        (
            "orthanc_api_secret",
            lambda a, v: keycloak_takes(a, "dicom", "orthanc-api", v),
            {"dicom-realm", "dicom-importer"},
        ),
        (
            "realm_reconciler_secret",
            lambda a, v: keycloak_takes(a, "master", "realm-reconciler", v),
            {"dicom-realm"},
        ),
    ],
)
def test_a_secret_is_rotated_by_one_command(
    appliance: Appliance, name: str, takes: Callable[[Appliance, str], bool], units: set[str]
) -> None:
    before, old = started(appliance), secret(appliance, name)
    assert takes(appliance, old)
    done = appliance.run("/usr/local/bin/dicom-stack", "rotate", name)
    assert done.returncode == 0, done.stdout + done.stderr
    appliance.wait_running()
    new = secret(appliance, name)
    assert new != old
    assert new not in done.stdout + done.stderr
    assert takes(appliance, new)
    assert not takes(appliance, old)
    after = started(appliance)
    assert {u for u in after if after[u] != before[u]} == {f"{unit}.service" for unit in units}


def test_no_secret_is_in_a_process_a_unit_or_the_journal(appliance: Appliance) -> None:
    path = appliance.root / "srv" / "dicom-stack" / "secrets" / "values.json"
    wanted = forms(json.loads(path.read_text()), {"orthanc_api_secret": "orthanc-api"})
    told = [
        ("unit", appliance.run("systemctl", "show", *appliance.units).stdout.encode()),
        ("journal", appliance.run("journalctl", "--no-pager", "--output=export").stdout.encode()),
        *processes(),
    ]
    control = {b"PUBLIC_URL=https://localhost": "a setting", b"database system is ready": "a line"}
    found = among(told, {**wanted, **control})
    assert found >= {("unit", "a setting"), ("environ", "a setting"), ("journal", "a line")}
    assert {name for _, name in found} == set(control.values())


def test_nothing_but_the_front_door_listens_beyond_this_host(appliance: Appliance) -> None:
    listening = appliance.run("ss", "--listening", "--tcp", "--numeric", "--no-header").stdout
    addresses = [line.split()[3] for line in listening.splitlines()]
    assert len(addresses) > 8
    beyond = {a for a in addresses if not re.match(r"\[?(::ffff:)?127\.", a)}
    assert beyond == {"0.0.0.0:80", "0.0.0.0:443"}


def test_prometheus_finds_every_service(appliance: Appliance) -> None:
    expected = dict.fromkeys(
        (
            *("alertmanager", "auditor", "dbmetrics", "hostmetrics", "importer", "keycloak"),
            *("nginxmetrics", "orthanc", "probe", "prober", "prometheus"),
        ),
        "up",
    )
    wait_until(lambda: targets(appliance) == expected, 90, "every target is up", appliance.logs)


def test_the_browser_suite_passes(appliance: Appliance) -> None:
    control = " ".join(appliance.inside("/usr/local/bin/dicom-stack"))
    done = attempt(
        appliance.beside(
            *(sys.executable, "-B", "-m", "pytest", "-c", str(TOP / "tests" / "pytest.ini")),
            *("--stack=https://localhost", f"--ca={appliance.authority}", f"--control={control}"),
            *(f"--files={appliance.root}/srv/dicom-stack/files", str(TOP / "tests" / "e2e")),
        ),
        timeout_s=SUITE_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_what_the_browser_suite_viewed_is_in_the_audit(appliance: Appliance) -> None:
    def viewed() -> set[str]:
        folder = appliance.root / "srv" / "dicom-stack" / "audit" / "access"
        lines = [
            line for path in folder.glob("*-*.jsonl") for line in path.read_text().splitlines()
        ]
        records = [json.loads(line) for line in lines]
        return {r["study_instance_uid"] for r in records if r["status"] == "viewed"}

    study = min(wait_until(viewed, 30, "a view is recorded", appliance.logs))
    command = ("/usr/local/bin/dicom-stack", "access-report", "--study", study)
    shown = appliance.run(*command)
    assert re.search(
        rf" DICOM Instances Accessed +{study} .* viewed$", shown.stdout, re.MULTILINE
    ), f"{shown.stdout}\n{shown.stderr}"
    whole = appliance.run("/usr/local/bin/dicom-stack", "audit-check")
    assert "The audit is whole." in whole.stdout, whole.stderr


def test_a_reboot_brings_everything_back(appliance: Appliance) -> None:
    # The browser suite has left studies; after it in this file's order.
    def stored() -> str:
        count = "select count(*) from resources where resourcetype = 3"
        psql = ("runuser", "-u", "postgres", "--", "psql", "-At", "-d", "orthanc", "-c", count)
        return appliance.run(*psql).stdout.strip()

    before = stored()
    assert int(before) > 0
    appliance.stop()
    appliance.start()
    appliance.wait_running()
    assert stored() == before
