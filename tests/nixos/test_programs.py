"""Every file that the NixOS form generates is accepted by the program that reads it."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from stack.certificate import openssl
from stack.settings import PODMAN_DIR, TOP
from stack.shell import attempt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.nix import Nix
    from nixos.conftest import Example

# Of ten: what `systemd-analyze security` calls the exposure of a unit.
MAX_EXPOSURE = 1.5
UPSTREAMS = (
    *("alertmanager", "grafana", "importer", "keycloak", "nginx", "oauth2proxy", "ohif", "orthanc"),
    "prometheus",
)
START_ORTHANC = """
# The plugins of the store are not built here: Debian's, of the same versions, stand in for them.
sed "s#/nix/store/[^/]*/#/usr/share/orthanc/plugins/#g" /files/orthanc.json >/tmp/orthanc.json
timeout 20 Orthanc --logs-no-context /tmp/orthanc.json 2>&1
"""
# The programs of the store are not built: verification asks only whether they are there and can be run.
VERIFY_UNITS = """
cp -r /units /tmp/units && cd /tmp/units
sed -nE 's/^Exec[A-Za-z]+=[-+!@:]*([^ ]+).*/\\1/p' * | sort -u | while read -r program; do
  mkdir -p "$(dirname "$program")"
  [ -e "$program" ] || install -m 755 /bin/true "$program"
done
systemd-analyze verify --man=no --recursive-errors=no /tmp/units/*.service 2>&1
"""


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write texts under their names below a folder, readable by containers' users."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def test_nginx_accepts_the_front_door(
    example: Example, image: Callable[[str], str], tmp_path: Path
) -> None:
    etc = write(
        tmp_path / "etc",
        {
            "nginx.conf": example.content("nginx/nginx.conf"),
            "site.conf": example.content("nginx/site.conf"),
            "doors/grafana.conf": example.content("nginx/doors/grafana.conf"),
            "doors/inbox.conf": example.content("nginx/doors/inbox.conf"),
            "doors/operator.conf": example.content("nginx/doors/operator.conf"),
        },
    )
    tls = tmp_path / "tls"
    tls.mkdir()
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 1 -subj /CN=pacs"
        " -keyout {key} -out {chain}",
        key=tls / "key.pem",
        chain=tls / "fullchain.pem",
    )
    done = attempt(
        [
            *("podman", "run", "--rm", "--network=none", "--no-healthcheck", "--user=0"),
            *(f"--add-host={name}:127.0.10.1" for name in UPSTREAMS),
            *("--tmpfs=/run/nginx", "-v", f"{tls}:/var/lib/acme/pacs.example.org:ro"),
            *("-v", f"{etc}/nginx.conf:/etc/nginx/nginx.conf:ro"),
            *("-v", f"{etc}/site.conf:/etc/nginx/site.conf:ro"),
            *("-v", f"{PODMAN_DIR}/nginx/includes:/etc/nginx/includes:ro"),
            *("-v", f"{etc}/doors:/etc/nginx/doors:ro"),
            *(image("nginx"), "nginx", "-e", "stderr", "-t"),
        ]
    )
    assert done.returncode == 0, done.stderr
    assert "test is successful" in done.stderr


def test_promtool_and_amtool_accept_theirs(nix: Nix, example: Example, tmp_path: Path) -> None:
    files = write(
        tmp_path,
        {
            "prometheus.yml": example.texts["prometheus.yml"],
            "alertmanager.json": json.dumps(example.get("alertmanager")),
            # No whole configuration, but of its form.
            "scrape.yml": example.content("prometheus/scrape/grafana.yml"),
        },
    )
    for command in (
        "promtool check config --syntax-only /files/prometheus.yml",
        "promtool check config --syntax-only /files/scrape.yml",
        "promtool check rules /repo/podman/prometheus/rules/days.yml",
        "promtool check rules /repo/podman/prometheus/rules/stack.yml",
        "amtool check-config /files/alertmanager.json",
    ):
        done = nix.run(*shlex.split(command), files=files)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "mistake", ["", "source s_broken { jurnal(); };"], ids=["as it is", "broken"]
)
def test_syslog_ng_accepts_what_it_is_told(
    mistake: str, example: Example, image: Callable[[str], str], tmp_path: Path
) -> None:
    files = write(
        tmp_path,
        {
            "syslog-ng.conf": example.content("shipper/syslog-ng.conf") + mistake,
            "store.conf": example.content("shipper/store.conf"),
        },
    )
    done = attempt(
        [
            *("podman", "run", "--rm", "--network=none", "--no-healthcheck", "--entrypoint="),
            *("-e", "LOGS_URL=http://loki:3100/", "-e", "LOGS_BUFFER_BYTES=268435456"),
            *("-v", f"{files}:/etc/shipper:ro", image("shipper"), "syslog-ng", "--syntax-only"),
            *("--no-caps", "--cfgfile=/etc/shipper/syslog-ng.conf"),
        ]
    )
    assert (done.returncode == 0) is not bool(mistake), done.stderr


def test_the_prober_accepts_what_it_is_told(
    example: Example, image: Callable[[str], str], tmp_path: Path
) -> None:
    files = write(
        tmp_path,
        {
            "good.json": str(example.get("prober")),
            "bad.json": str(example.get("prober")).replace("oauth2", "oauth"),
        },
    )
    for name, works in (("good", True), ("bad", False)):
        done = attempt(
            [
                *("podman", "run", "--rm", "--network=none", "--no-healthcheck"),
                *("-v", f"{files}:/files:ro", image("prober"), "prometheus-blackbox-exporter"),
                *("--config.check", f"--config.file=/files/{name}.json"),
            ]
        )
        assert (done.returncode == 0) is works, done.stderr


def test_orthanc_starts_with_its_settings(
    example: Example, image: Callable[[str], str], tmp_path: Path
) -> None:
    settings = example.get("orthanc")
    assert isinstance(settings, dict)
    files = write(tmp_path, {"orthanc.json": json.dumps(settings)})
    done = attempt(
        [
            *("podman", "run", "--rm", "--network=none", "--no-healthcheck", "--entrypoint=sh"),
            *("-v", f"{files}:/files:ro", "-v", f"{PODMAN_DIR}/orthanc:/etc/orthanc:ro"),
            *("-v", f"{TOP}/importer/src/clinic_access:/etc/orthanc-lib/clinic_access:ro"),
            *("-e", "BIND_ADDRESS=127.0.10.13", "-e", "PUBLIC_URL=https://pacs.example.org"),
            *("-e", "PUBLIC_AUTHORITY=pacs.example.org", "--user=0", image("orthanc"), "-c"),
            START_ORTHANC,
        ],
        timeout_s=60,
    )
    said = done.stdout
    for name in ("dicom-web", "gdcm", "postgresql-index", "python"):
        assert f"Registering plugin '{name}'" in said, said[-3000:]
    # No server answers in this container: that is what ends it, and nothing before.
    errors = [line for line in said.splitlines() if line.startswith("E") or "Bad " in line]
    assert errors
    assert all("PostgreSQL" in line or "database" in line.lower() for line in errors), errors


def test_keycloak_accepts_its_options(
    example: Example, image: Callable[[str], str], tmp_path: Path
) -> None:
    text = example.texts["keycloak.conf"]
    shipped = (PODMAN_DIR / "keycloak" / "keycloak.conf").read_text().splitlines()
    lines = set(text.splitlines())
    assert {line for line in shipped if line and not line.startswith("#")} <= lines
    files = write(
        tmp_path, {"good.conf": text, "bad.conf": text + "\nhostname-typo=1\nproxy-headers=none\n"}
    )
    for name, works in (("good", True), ("bad", False)):
        done = attempt(
            [
                *("podman", "run", "--rm", "--network=none", "--no-healthcheck", "--tmpfs=/tmp"),
                *("-e", "PUBLIC_URL=https://pacs.example.org", "-e", "BIND_ADDRESS=127.0.10.11"),
                *("-e", "PROXY_TRUSTED_ADDRESSES=127.0.0.1", "-v", f"{files}:/files:ro"),
                *("--entrypoint=/opt/keycloak/bin/kc.sh", image("keycloak")),
                *(f"--config-file=/files/{name}.conf", "start", "--optimized"),
            ],
            timeout_s=180,
        )
        said = done.stdout + done.stderr
        # Options are checked before the database is looked for, which is not there.
        assert ("postgresql" in said) is works, said[-3000:]


def test_systemd_accepts_our_units(nix: Nix, example: Example, tmp_path: Path) -> None:
    # The control: a misspelt key of a unit beside them is found.
    broken = {"broken.service": "[Service]\nExecStart=/bin/true\nNoNewPrivilege=true\n"}
    units = write(tmp_path / "units", example.strings("units") | broken)
    # In a store of its own: programs that are none must not get into the one that is kept.
    done = replace(nix, nixpkgs=None).run("bash", "-c", VERIFY_UNITS, units=units)
    found = {
        name
        for line in done.stdout.splitlines()
        for name in (*example.strings("units"), *broken)
        if f"{name}:" in line
    }
    assert found == set(broken), done.stdout


def test_no_unit_is_more_exposed_than_it_must_be(
    nix: Nix, example: Example, tmp_path: Path
) -> None:
    hardened = example.get("hardened")
    assert isinstance(hardened, list)
    units = write(tmp_path / "units", example.strings("units"))
    done = nix.run(
        *("bash", "-c"),
        "for unit; do systemd-analyze security --offline=true --no-pager /units/$unit.service"
        " | sed -nE 's/.*exposure level for (.*): ([0-9.]+) .*/\\1 \\2/p'; done",
        "-",
        *map(str, hardened),
        units=units,
    )
    exposure = {name: float(level) for name, level in map(str.split, done.stdout.splitlines())}
    assert set(exposure) == {f"{name}.service" for name in hardened}, done.stderr
    assert {name: level for name, level in exposure.items() if level > MAX_EXPOSURE} == {}


@pytest.mark.parametrize("script", ["dicom-stack", "unit-script-postgresql-roles-start"])
def test_scripts_of_ours_are_clean(nix: Nix, example: Example, tmp_path: Path, script: str) -> None:
    text = re.sub(r"^#!.*", "#!/usr/bin/env bash", example.texts[script])
    folder = write(tmp_path / "scripts", {"script": text})
    done = nix.run("shellcheck", "/scripts/script", scripts=folder)
    assert done.returncode == 0, done.stdout
