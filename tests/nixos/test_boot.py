"""The NixOS form's whole system, booted with Debian's programs behind the store's paths: all of it works together."""

from __future__ import annotations

import json
import re
import secrets
import sys
from typing import TYPE_CHECKING

import pytest
from faults.end_state import Archive
from faults.load import load
from faults.test_all_killed import wanted
from faults.whole_state import come_to_an_end, faults
from harness.canaries import among, forms, processes
from harness.drop import drop_files
from harness.people import People
from harness.phantom import ct
from harness.wait import wait_until
from nixos.appliance import targets
from stack.settings import PODMAN_DIR, TOP, read_env
from stack.shell import attempt

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixos.appliance import Appliance

MAX_EXPOSURE = 1.5
# Whoever uploads is elsewhere; where accounts open a door it becomes the user that logs in; 104 is one of root's ports.
DOORS_EXPOSURE = {
    "dicom-receiver.service": 1.6,
    "dicom-sftp.service": 2.4,
    "dicom-smb.service": 2.4,
}
SUITE_TIMEOUT_S = 900
# These take minutes and ask only what nginx's configuration and Orthanc's plugin answer, which are the Podman form's.
LEFT_OUT = ("test_limits.py", "test_queries.py")


def test_every_unit_runs_with_its_restrictions(appliance: Appliance) -> None:
    failed = appliance.run("systemctl", "list-units", "--failed", "--plain", "--no-legend")
    assert failed.stdout == ""
    listed = appliance.run("systemd-analyze", "security", "--no-pager").stdout
    exposure = dict(re.findall(r"^(\S+\.service) +([0-9.]+) ", listed, re.MULTILINE))
    running = [unit for unit in appliance.units if unit in exposure]
    assert len(running) >= 8
    limits = dict.fromkeys(running, MAX_EXPOSURE) | DOORS_EXPOSURE
    assert {u: exposure[u] for u in running if float(exposure[u]) > limits[u]} == {}


def test_what_debian_has_no_program_for_is_all_that_does_not_run(appliance: Appliance) -> None:
    absent = sorted(appliance.system.strings("absent"))
    assert absent == ["grafana", "loki", "oauth2-proxy"]
    for name in ("grafana", "loki"):
        # Its user and folder are there all the same.
        folder = appliance.run("stat", "--format=%U %a", f"/srv/dicom-stack/{name}")
        assert folder.stdout.strip() == f"{name} 700"


def test_what_units_say_is_read_and_waits_for_the_store(appliance: Appliance) -> None:
    # Loki does not run here, so all of it waits on the disk, the requests of the front door too. How many lines are
    # counted as queued is no measure: those that are just being tried again are none of them.
    marker = f"/said-{secrets.token_hex(8)}"

    def waiting() -> int:
        kept = (appliance.data / "shipper").glob("*.rqf")
        return sum(path.read_bytes().count(marker.encode()) for path in kept)

    assert waiting() == 0
    for _ in range(30):
        appliance.run("curl", "-sk", f"https://localhost{marker}")
    wait_until(lambda: waiting() >= 30, 60, "30 lines wait", lambda: str(waiting()))

    def told() -> str:
        return appliance.run("curl", "-s", "http://hostmetrics:9100/metrics").stdout

    wait_until(
        lambda: re.search(r'^syslogng_output_events_total\{.*="queued"', told(), re.MULTILINE),
        60,
        "what waits is counted",
        told,
    )


def test_every_program_that_a_unit_names_is_there(appliance: Appliance) -> None:
    services = [name.replace(".timer", ".service") for name in appliance.system.strings("timers")]
    shown = appliance.work("systemctl", "cat", *appliance.units, *services)
    named = set(re.findall(r"^Exec\w+=[-+!@:|]*(/nix/store/\S+)", shown, re.MULTILINE))
    for words in re.findall(r'^Environment="PATH=(\S+)"', shown, re.MULTILINE):
        named |= {path for path in words.split(":") if path.endswith("/bin")}
    assert len(named) > 20
    missing = appliance.run("ls", "-d", *sorted(named)).stderr
    assert missing == ""


def test_systemd_hands_on_an_environment_file_as_it_is(appliance: Appliance) -> None:
    # Grafana, which does not run here, is configured by one with quotes, dollars and brackets.
    shipped = PODMAN_DIR / "grafana" / "grafana.env"
    (appliance.root / "etc" / "shown.env").write_bytes(shipped.read_bytes())
    options = ("--quiet", "--wait", "--pipe", "--property=EnvironmentFile=/etc/shown.env")
    shown = appliance.run("systemd-run", *options, "env").stdout
    found = dict(line.split("=", 1) for line in shown.splitlines() if line.startswith("GF_"))
    assert found == read_env(shipped)


def test_a_service_sees_its_own_secrets_and_no_others(appliance: Appliance) -> None:
    declared = appliance.system.report["readers"]
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


def secret(appliance: Appliance, name: str) -> str:
    path = appliance.data / "secrets" / "values.json"
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
    before, old = appliance.show("InvocationID"), secret(appliance, name)
    assert takes(appliance, old)
    done = appliance.run("dicom-stack", "rotate", name)
    assert done.returncode == 0, done.stdout + done.stderr
    appliance.wait_running()
    new = secret(appliance, name)
    assert new != old
    assert new not in done.stdout + done.stderr
    assert takes(appliance, new)
    assert not takes(appliance, old)
    after = appliance.show("InvocationID")
    assert after.keys() == set(appliance.units)
    assert {u for u in after if after[u] != before[u]} == {f"{unit}.service" for unit in units}


def test_no_secret_is_in_a_process_a_unit_or_the_journal(appliance: Appliance) -> None:
    path = appliance.data / "secrets" / "values.json"
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


def test_nothing_but_the_doors_listens_beyond_this_host(appliance: Appliance) -> None:
    listening = appliance.run("ss", "--listening", "--tcp", "--numeric", "--no-header").stdout
    addresses = [line.split()[3] for line in listening.splitlines()]
    assert len(addresses) > 8
    beyond = {a for a in addresses if not re.match(r"\[?(::ffff:)?127\.|\[::1\]", a)}
    # The network share is at the one interface that was named.
    assert beyond == {*(f"0.0.0.0:{port}" for port in (80, 104, 443, 2022)), "[::]:2022"}


def test_prometheus_finds_every_service(appliance: Appliance) -> None:
    expected = dict.fromkeys(
        (
            *(
                "alertmanager",
                "auditor",
                "backup",
                "dbmetrics",
                "hostmetrics",
                "importer",
                "keycloak",
            ),
            *("nginxmetrics", "orthanc", "probe", "prober", "prometheus", "receiver"),
        ),
        "up",
    )
    wait_until(lambda: targets(appliance) == expected, 90, "every target is up", appliance.logs)


@pytest.mark.parametrize("part", ["e2e", "integration", "security"])
def test_the_acceptance_suite_passes(
    appliance: Appliance, part: str, say: Callable[[str], None]
) -> None:
    stack = appliance.stack
    done = attempt(
        [
            *(sys.executable, "-B", "-m", "pytest", "-c", str(TOP / "tests" / "pytest.ini")),
            *(f"--stack={stack.url}", f"--ca={stack.ca_file}", f"--files={stack.files}"),
            f"--journal={' '.join(stack.journal)}",
            *(f"--value={name}={value}" for name, value in stack.values.items()),
            f"--basetemp={appliance.shared / part}",
            *(f"--ignore={TOP / 'tests' / part / name}" for name in LEFT_OUT),
            *(f"--control={' '.join(stack.control)}", str(TOP / "tests" / part)),
        ],
        timeout_s=SUITE_TIMEOUT_S,
    )
    say(
        f"tests/{part} without {', '.join(LEFT_OUT)} over TLS: {done.stdout.splitlines()[-1].strip('= ')}"
    )
    for line in re.findall(r"^SKIPPED (.*)$", done.stdout, re.MULTILINE):
        say(f"skipped: {line}")
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_what_the_browser_suite_viewed_is_in_the_audit(appliance: Appliance) -> None:
    def viewed() -> set[str]:
        folder = appliance.data / "audit" / "access"
        lines = [
            line for path in folder.glob("*-*.jsonl") for line in path.read_text().splitlines()
        ]
        records = [json.loads(line) for line in lines]
        # Who names no study is told of, too.
        return {r["study_instance_uid"] for r in records if r["status"] == "viewed"} - {""}

    study = min(wait_until(viewed, 30, "a view is recorded", appliance.logs))
    command = ("dicom-stack", "access-report", "--study", study)
    shown = appliance.run(*command)
    assert re.search(
        rf" DICOM Instances Accessed +{study} .* viewed$", shown.stdout, re.MULTILINE
    ), f"{shown.stdout}\n{shown.stderr}"
    whole = appliance.run("dicom-stack", "audit-check")
    assert "The audit is whole." in whole.stdout, whole.stderr


def test_another_configuration_is_switched_to_while_work_goes_on(
    appliance: Appliance, say: Callable[[str], None]
) -> None:
    under = load(appliance.stack)
    # Its clinics have been given accounts, with which the network share starts anew.
    before = appliance.show("InvocationID")
    with under.running():
        under.await_progress()
        program = f"{appliance.system.path}/changed/bin/switch-to-configuration"
        said = appliance.work(program, "switch", timeout_s=300)
        under.await_progress()
    appliance.wait_running()
    come_to_an_end(under)
    after = appliance.show("InvocationID")
    assert {unit for unit in before if after[unit] != before[unit]} == {"dicom-importer.service"}
    shown = appliance.work("systemctl", "show", "--property=Environment", "dicom-importer.service")
    assert "PROCESSED_RETENTION_DAYS=90" in shown
    again = sum(one.attempts > 1 for one in under.deliveries)
    say(f"A switch under load: {len(under.deliveries)} uploads ({again} sent again)\n{said}")
    assert faults(under, wanted(under), Archive(appliance.stack)) == []
    # A clinic is no part of the configuration: it is made on the system that was switched to.
    People(appliance.stack).clinic("clinic-new", "Clinic after the switch")
    study = ct(77, slices=2)
    assert drop_files(appliance.stack, "clinic-new", study.files).failed == {}


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
