"""The NixOS form as far as no nixpkgs tree is needed: its files are clean, and what both forms have is the same."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import yaml
from harness import stack as stacks
from stack.compose import (
    ADDITIONS,
    COMPOSE_FILE,
    WITH_BACKUP,
    WITH_INBOX_PAGE,
    WITH_RECEIVER,
    WITH_SFTP,
    WITH_SMB,
)
from stack.credentials import READERS, UIDS
from stack.settings import DEFAULTS, PODMAN_DIR, TOP, load, read_env
from stack.shell import run
from stack.site import CERTIFICATE, STRICT_TRANSPORT, site_conf
from stack.words import words_tmpl

if TYPE_CHECKING:
    from pathlib import Path

    from harness.nix import Nix

MODULES = TOP / "modules"
# NixOS has always what the Podman form has with all that can be added.
COMPOSE_FILES = (
    COMPOSE_FILE,
    *ADDITIONS["grafana"].files,
    *WITH_BACKUP.files,
    *WITH_RECEIVER.files,
    *WITH_INBOX_PAGE.files,
    *WITH_SFTP.files,
    *WITH_SMB.files,
)
NAMES = MODULES / "names.json"
LIBRARY = "import /repo/modules/library.nix"
# Written by Podman's side from the file that is there: tests/nixos compares the results.
GENERATED = {
    *("podman/alertmanager/alertmanager.json", "podman/prober/prober.json"),
    "podman/prometheus/prometheus.yml",
}
# In its image, which Podman shows no file for.
BUILT_IN = {"podman/shipper/entrypoint.sh"}
LISTENS = {
    "grafana": (PODMAN_DIR / "grafana" / "grafana.env", "GF_SERVER_HTTP_PORT"),
    "loki": (PODMAN_DIR / "loki" / "loki.yaml", "http_listen_port"),
}
# The image of a service that has none of its own.
RUN_BY = {
    "auditor": "importer",
    "backup": "importer",
    "dbmetrics": "prober",
    "hostmetrics": "prober",
    "nginxmetrics": "prober",
    "ohif": "nginx",
    "receiver": "importer",
}
# Of another one's group, who moves what it puts there.
GROUPS = {"receiver": "importer"}
# Keycloak's management port is not in its image's EXPOSE for the world, but for the backend.
PORT = re.compile(r"\b([a-z][a-z0-9]*):([0-9]{2,5})\b")


@dataclass(frozen=True, slots=True)
class Service:
    """A service of the compose files: its user and group, its address on the backend, its memory's limit."""

    user: str
    address: str
    memory: str


def compose_services() -> dict[str, Service]:
    """Return the services by name, each from the file that it comes with."""
    found: dict[str, Service] = {}
    for file in COMPOSE_FILES:
        for name, service in yaml.safe_load(file.read_text())["services"].items():
            if "image" in service:
                networks = service["networks"]
                address = networks.get("backend", networks.get("frontend"))["ipv4_address"]
                found[name] = Service(service["user"], address, service["mem_limit"])
    return found


def nix_files() -> list[str]:
    """Return the names of the repository's Nix files, new ones included."""
    listed = run(["git", "-C", str(TOP), "ls-files", "-co", "--exclude-standard", "*.nix"])
    return [name for name in listed.split() if (TOP / name).exists()]


def read_by_modules() -> set[str]:
    """Return the files and folders of podman/<service>/ that a module names."""
    named = set()
    for module in MODULES.glob("*.nix"):
        named |= set(
            re.findall(r"\.\./(podman/[a-z0-9]+(?:/[A-Za-z0-9_.-]+)*)", module.read_text())
        )
    files = {name for name in named if not name.startswith("podman/stack/")}
    return {name for name in files if name.count("/") > 1 or (TOP / name).is_dir()}


def shown_by_compose() -> set[str]:
    """Return the files and folders of podman/<service>/ that a container gets."""
    text = "".join(file.read_text() for file in COMPOSE_FILES)
    found = re.findall(r"\./([a-z0-9]+(?:/[A-Za-z0-9_.-]+)*)(?::/[^:]+:ro|\])", text)
    return {f"podman/{name}" for name in found}


@pytest.mark.parametrize(
    "command", [["nix-instantiate", "--parse"], ["alejandra", "--check"], ["deadnix", "--fail"]]
)
def test_nix_files_are_clean(nix: Nix, command: list[str]) -> None:
    files = nix_files()
    assert len(files) > 15
    done = nix.run(*command, *files)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_linters_find_what_they_are_there_for(nix: Nix, tmp_path: pytest.TempPathFactory) -> None:
    path = tmp_path / "bad.nix"  # type: ignore[operator]
    path.write_text("let unused = 1; in {a=1;}\n")
    for command in (["alejandra", "--check"], ["deadnix", "--fail"]):
        assert nix.run(*command, "/bad/bad.nix", bad=path.parent).returncode != 0


def test_modules_follow_the_house_style() -> None:
    for name in nix_files():
        text = (TOP / name).read_text()
        assert not re.search(r"\bwith (lib|pkgs);", text), name
        if name.startswith("modules/"):
            # A test's nodes may not set them.
            assert not re.search(r"^\s*nixpkgs\.", text, re.MULTILINE), name
        if name != "flake.nix":
            assert text.startswith("# "), f"{name} does not say what it holds"


def test_the_flake_is_small_and_its_one_input_is_pinned() -> None:
    assert len((TOP / "flake.nix").read_text().splitlines()) < 80
    lock = json.loads((TOP / "flake.lock").read_text())
    assert set(lock["nodes"]) == {"nixpkgs", "root"}
    locked = lock["nodes"]["nixpkgs"]["locked"]
    assert re.fullmatch(r"[0-9a-f]{40}", locked["rev"])
    assert re.fullmatch(r"sha256-[A-Za-z0-9+/]{43}=", locked["narHash"])


def test_the_readme_shows_the_configuration_that_is_tested() -> None:
    shown = re.search(r"```nix\n(.*?)```", (TOP / "README.md").read_text(), re.DOTALL)
    assert shown, "README.md shows no NixOS configuration"
    _, _, tested = (TOP / "nixos-tests" / "example.nix").read_text().partition("\n")
    assert shown[1] == tested
    assert len(tested.splitlines()) <= 20


@pytest.mark.parametrize(
    "name",
    [
        *("defaults.env", "versions.env", "grafana/grafana.env"),
        *("importer/importer.conf", "keycloak/keycloak.env"),
    ],
)
def test_both_forms_read_the_same_settings_from_a_file(nix: Nix, name: str) -> None:
    read = nix.evaluate(f"({LIBRARY}).readSettings /repo/podman/{name}")
    assert read == read_env(PODMAN_DIR / name)


def test_postgresqls_and_keycloaks_settings_are_read_whole(nix: Nix) -> None:
    for name in ("postgresql/postgresql.conf", "keycloak/keycloak.conf"):
        lines = (PODMAN_DIR / name).read_text().splitlines()
        pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
        expected = {key.strip(): value.strip().strip("'") for key, _, value in pairs}
        read = nix.evaluate(f"({LIBRARY}).readSettings /repo/podman/{name}")
        assert read == expected


@pytest.mark.parametrize("language", ["en", "de", "fr"])
def test_both_forms_tell_alertmanager_the_same_words(
    nix: Nix, language: str, tmp_path: Path
) -> None:
    (tmp_path / "env").write_text(f"LANGUAGE_TAG={language}\n")
    written = nix.evaluate(f'({LIBRARY}).wordsTmpl "{language}"')
    assert written == words_tmpl(load(tmp_path / "env"))


@pytest.mark.parametrize(("trusted", "language"), [(False, "en"), (True, "de"), (True, "fr")])
def test_both_forms_write_the_same_site_conf(nix: Nix, language: str, *, trusted: bool) -> None:
    env_file = stacks.temporary_copy(
        stacks.TESTS / "stack.env",
        PUBLIC_URL="https://pacs.example.org",
        ADMIN_NETWORKS="192.168.7.0/24,10.0.0.0/8",
        LANGUAGE_TAG=language,
        SITE_NAME="Kliniken Süd, Haus 2",
        TRUSTED_PROXIES="192.0.2.0/24, 2001:db8::/32",
    )
    settings = load(env_file)
    env_file.unlink()
    strict = STRICT_TRANSPORT if trusted else ""
    written = nix.evaluate(
        f"""({LIBRARY}).siteConf {{
          adminNetworks = ["192.168.7.0/24" "10.0.0.0/8"];
          certificate = "{CERTIFICATE}";
          certificateKey = "{CERTIFICATE}";
          languageTag = "{language}";
          publicAuthority = "pacs.example.org";
          publicUrl = "https://pacs.example.org";
          siteName = "Kliniken Süd, Haus 2";
          strictTransport = "{strict}";
          trustedProxies = ["192.0.2.0/24" "2001:db8::/32"];
        }}"""
    )
    assert written == site_conf(settings, trusted=trusted)


def test_a_file_that_a_module_reads_is_the_one_that_compose_shows() -> None:
    files, shown = read_by_modules(), shown_by_compose()
    assert len(files) > 10
    # Build options of Keycloak are in its configuration, which the image is built with as well.
    missing = {
        name
        for name in files - GENERATED - BUILT_IN
        if name not in shown and not any(name.startswith(f"{folder}/") for folder in shown)
    }
    assert missing == set()
    assert {name for name in files if not (TOP / name).exists()} == set()


def test_every_address_in_a_shared_file_exists_in_both_forms() -> None:
    services = compose_services()
    names = json.loads(NAMES.read_text())
    found = set()
    for name in read_by_modules():
        top = TOP / name
        for path in [top] if top.is_file() else [p for p in top.rglob("*") if p.is_file()]:
            found |= {pair for pair in PORT.findall(path.read_text()) if pair[0] in names}
    assert {service for service, _ in found} >= {
        *("grafana", "keycloak", "loki", "ohif", "orthanc", "postgresql", "prometheus")
    }
    for service, port in sorted(found):
        assert service in services
        assert port in exposed(service), f"{service}:{port} is not a port of its image"


def exposed(service: str) -> set[str]:
    """Return the ports that a service's image, or the configuration of one not built here, says it listens on."""
    if service in LISTENS:
        file, setting = LISTENS[service]
        return set(re.findall(rf"{setting}[:=] ?(\d+)$", file.read_text(), re.MULTILINE))
    image = RUN_BY.get(service, service)
    recipe = (PODMAN_DIR / image / "Containerfile").read_text()
    return set(re.search(r"^EXPOSE (.*)$", recipe, re.MULTILINE)[1].split())  # type: ignore[index]


def test_names_addresses_and_users_are_the_same_in_both_forms() -> None:
    compose = "".join(file.read_text() for file in COMPOSE_FILES)
    hosts = dict(
        re.findall(r"- ([a-z0-9]+):\$\{BACKEND_PREFIX[^}]*\}\.(\d+)$", compose, re.MULTILINE)
    )
    names = json.loads(NAMES.read_text())
    assert {name: f"127.0.10.{last}" for name, last in hosts.items()} == names
    services = compose_services()
    for name, last in hosts.items():
        assert services[name].address == f"${{BACKEND_PREFIX}}.{last}", name
    modules = "".join(path.read_text() for path in MODULES.glob("*.nix"))
    uids = {int(uid) for uid in re.findall(r"\buid = (?:mkForce )?(\d+);", modules)}
    assert uids <= set(UIDS.values())
    alike = (
        *("auditor", "backup", "grafana", "importer", "loki", "oauth2proxy", "orthanc", "realm"),
        *("receiver", "shipper"),
    )
    assert {UIDS[name] for name in alike} <= uids
    for name, service in services.items():
        assert service.user == f"{UIDS[name]}:{UIDS[GROUPS.get(name, name)]}"


def test_a_memory_limit_that_both_forms_have_is_the_same() -> None:
    services = compose_services()
    found = {
        module.stem: set(listed)
        for module in MODULES.glob("*.nix")
        if (listed := re.findall(r'MemoryMax = "(\d+M)";', module.read_text()))
    }
    assert found.keys() == {
        *("backup", "exporters", "grafana", "loki", "operator", "receiver"),
        *("sftp", "shipper", "smb"),
    }
    exporters = {name for name, image in RUN_BY.items() if image == "prober"} | {"prober"}
    found["oauth2proxy"] = found.pop("operator")
    for name in (*(found.keys() - {"exporters"}), *exporters):
        limits = found["exporters" if name in exporters else name]
        assert limits == {services[name].memory.upper()}, name


def test_each_secret_is_declared_beside_its_reader() -> None:
    declared = set()
    for module in MODULES.glob("*.nix"):
        for service, body in re.findall(
            r"secretReaders\.([a-z0-9]+) = \{(.*?)\n +\};", module.read_text(), re.DOTALL
        ):
            listed = re.search(r"files = (.*?\]?);", body, re.DOTALL)
            assert listed, f"{module}: {service}"
            declared |= {(service, file) for file in re.findall(r'"([a-z_]+)"', listed[1])}
    # PostgreSQL's are named by its databases.
    declared |= {
        ("postgresql", f"{name}_db_password") for name in ("orthanc", "keycloak", "monitoring")
    }
    made = {
        (service, file) for readers in READERS.values() for service, (file, _) in readers.items()
    }
    assert declared == made


def test_defaults_of_options_come_from_the_shared_file() -> None:
    text = (MODULES / "options.nix").read_text()
    used = set(re.findall(r"defaults\.([A-Z_]+)", text))
    assert used <= set(read_env(DEFAULTS))
    assert len(used) > 4


# What is used of nixpkgs, in its simplest form.
RESTORE = """
let
  named = name: "/nix/${name}";
  pkgs = {
    coreutils = named "coreutils";
    dicom-importer = named "dicom-importer";
    jq = named "jq";
    openssh = named "openssh";
    restic = named "restic";
    systemd = named "systemd";
    util-linux = named "util-linux";
    writeShellApplication = given: given.text;
  };
  lib = {
    concatMapStringsSep = separator: f: list: builtins.concatStringsSep separator (map f list);
    escapeShellArg = text: "'${text}'";
    getExe = package: "${package}/bin/main";
    getExe' = package: name: "${package}/bin/${name}";
    makeBinPath = packages: builtins.concatStringsSep ":" (map (package: "${package}/bin") packages);
    optional = condition: value: if condition then [value] else [];
    inherit (builtins) toString;
  };
  script = target: import /repo/modules/restore.nix {
    inherit lib pkgs;
    config = {
      services.postgresql.finalPackage = named "postgresql";
      services.dicom-stack = {
        dataDir = "/srv/dicom-stack";
        backup = {
          inherit target;
          hostKey = null;
        };
      };
    };
  };
in {
  backedUp = script "/mnt/backup";
  alone = script null;
}
"""


def test_both_forms_restore_by_the_same_steps(nix: Nix, tmp_path: Path) -> None:
    scripts = nix.evaluate(RESTORE)
    assert isinstance(scripts, dict)
    podman = (PODMAN_DIR / "stack" / "restoring.py").read_text()
    taken = re.findall(r'program\.(?:must|run)\("([a-z]+)"', podman[podman.index("def restore(") :])
    assert taken.index("check") < taken.index("files") < taken.index("databases")
    for name, text in scripts.items():
        steps = re.findall(r'^ *part "?([a-z]+)', text, re.MULTILINE)
        assert steps == ["check", "files", "databases", "images", "originals", "done"]
        assert set(taken) == set(steps), taken
        # Who would see half of it is not there while it comes back.
        order = [
            text.index(words)
            for words in (
                "part check",
                "systemctl stop nginx.service",
                "part files",
                "systemctl start postgresql.service",
                "dropdb",
                "part databases",
                "systemctl start nginx.service",
                "part images",
                "dicom-stack replay",
            )
        ]
        assert order == sorted(order), name
        assert ("dicom-backup.timer" in text) is (name == "backedUp")
        path = tmp_path / f"{name}.sh"
        path.write_text(f"#!/usr/bin/env bash\nset -euo pipefail\n{text}")
        run(["/usr/bin/shellcheck", str(path)])
