"""The flake and its example appliance, evaluated with a nixpkgs tree: whole, consistent, and with no secret in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import stack as stacks
from nixos.conftest import CANARY, on_this_host
from stack.alerts import alertmanager_json
from stack.probes import BASE as PROBES
from stack.probes import prober_json
from stack.settings import PODMAN_DIR, TOP, load, read_env
from stack.words import LANGUAGES

if TYPE_CHECKING:
    from concurrent.futures import Future
    from subprocess import CompletedProcess

    from nixos.conftest import Example

COMPLAINTS = {
    "noCertificate": "set either acmeEmail, or both certificateFile and certificateKeyFile",
    "halfACertificate": "set either acmeEmail, or both certificateFile and certificateKeyFile",
    "bothCertificates": "set either acmeEmail, or both certificateFile and certificateKeyFile",
    "keyInStore": "certificateKeyFile lies in the Nix store",
    "secretInStore": "secretFiles.smtp_password lies in the Nix store",
    "alertsWithoutMail": "alertEmail and mail.user need mail.host",
    "mailWithoutSender": "mail.host needs mail.from",
    "backupWithinDataDir": "backup.target lies within dataDir",
    "backupWithoutHostKey": "set backup.hostKey to the line that the server has",
    "backupWithPassword": "backup.target holds a password",
    "shareWithoutInterface": "doors.smb.enable needs doors.smb.interfaces",
    "devicesCertificatesWithoutTls": "set doors.dicom.tls",
    "studiesBelowMinimum": "studies would go before 10 years are over; where your law asks for less, set minimumYears",
    "telegramWithoutToken": "alertTelegramChat needs secretFiles.telegram_token",
    "userWithoutPassword": "mail.user needs secretFiles.smtp_password",
}


def test_the_example_is_a_whole_system_without_warnings(example: Example) -> None:
    assert str(example.get("toplevel")).endswith(".drv")
    assert len(example.derivations) > 1000
    assert example.get("warnings") == []
    assert example.get("complaints", "nothingWrong") == []


@pytest.mark.parametrize("wrong", COMPLAINTS)
def test_what_cannot_work_is_refused_with_what_to_set(example: Example, wrong: str) -> None:
    found = example.get("complaints", wrong)
    assert isinstance(found, list)
    assert any(COMPLAINTS[wrong] in str(message) for message in found), found


def test_options_are_about_a_dozen(example: Example) -> None:
    found = example.get("options")
    assert isinstance(found, list)
    assert 10 <= len(found) <= 20, found


def test_no_secret_is_in_anything_that_was_generated(example: Example) -> None:
    # The control: a value of the same configuration that may be there is found by the same search.
    found = {CANARY: 0, "pacs.example.org": 0}
    nixpkgs = {path for path in example.sources if (path / "pkgs").is_dir()}
    files = [
        file
        for path in {*example.derivations, *example.sources} - nixpkgs
        for file in ([path] if path.is_file() else path.rglob("*"))
        if file.is_file() and "tests" not in file.parts
    ]
    for file in files:
        content = file.read_bytes()
        for value in found:
            found[value] += value.encode() in content
    assert found[CANARY] == 0
    assert found["pacs.example.org"] > 5


def test_files_below_etc_are_those_that_the_containers_get(example: Example) -> None:
    compose = "".join(file.read_text() for file in PODMAN_DIR.glob("compose*.yml"))
    mounts = dict(re.findall(r"- \./(\S+?):/etc/(\S+?):ro$", compose, re.MULTILINE))
    etc = example.strings("etc")
    compared = 0
    for source, target in mounts.items():
        ours, theirs = PODMAN_DIR / source, on_this_host(etc.get(target, "/nix/absent"))
        if not theirs.exists():
            # Read by Nix into settings of nixpkgs' modules: the next test's part.
            continue
        for file in [ours] if ours.is_file() else [p for p in ours.rglob("*") if p.is_file()]:
            copy = theirs / file.relative_to(ours) if ours.is_dir() else theirs
            assert copy.read_bytes() == file.read_bytes(), file
            compared += 1
    assert compared >= 10
    for file in LANGUAGES.glob("*.json"):
        copy = on_this_host(etc["nginx/languages"]) / file.name
        assert copy.read_bytes() == file.read_bytes(), file
    for name in (
        *(
            "grafana/dashboards",
            "grafana/provisioning",
            "keycloak/realm.json",
            "loki/loki.yaml",
            "nginx/doors/grafana.conf",
            "nginx/doors/inbox.conf",
            "nginx/doors/operator.conf",
            "nginx/inbox",
            "nginx/pages",
            "oauth2proxy/oauth2-proxy.cfg",
            "prometheus/scrape/oauth2proxy.yml",
        ),
        *("nginx/includes", "ohif", "prometheus/rules", "prometheus/scrape/grafana.yml"),
    ):
        assert name in mounts.values()
        assert name in etc


def test_what_is_read_into_settings_is_unchanged(example: Example) -> None:
    nginx = (PODMAN_DIR / "nginx" / "nginx.conf").read_text()
    assert nginx in example.content("nginx/nginx.conf")
    assert (PODMAN_DIR / "prometheus" / "prometheus.yml").read_text() == example.texts[
        "prometheus.yml"
    ]
    assert (PODMAN_DIR / "postgresql" / "pg_hba.conf").read_text() == example.texts["pg_hba.conf"]
    shipped = json.loads((PODMAN_DIR / "orthanc" / "orthanc.json").read_text())
    orthanc = example.get("orthanc")
    assert isinstance(orthanc, dict)
    assert {key for key in shipped if orthanc[key] != shipped[key]} == {"Plugins"}
    assert [Path(p).name for p in orthanc["Plugins"]] == [Path(p).name for p in shipped["Plugins"]]


def test_grafana_and_loki_read_the_files_of_the_containers(example: Example) -> None:
    units = example.strings("units")
    read = re.search(r"^EnvironmentFile=(.*)$", units["grafana.service"], re.MULTILINE)
    assert read
    shipped = PODMAN_DIR / "grafana" / "grafana.env"
    assert on_this_host(read[1]).read_bytes() == shipped.read_bytes()
    started = re.search(r"^ExecStart=(.*)$", units["loki.service"], re.MULTILINE)
    assert started
    assert "--config.file=/etc/loki/loki.yaml '-config.expand-env=true'" in started[1]


def test_the_shipper_knows_every_unit_and_its_service(example: Example) -> None:
    text = example.content("shipper/syslog-ng.conf")
    told = re.findall(
        r'set\("(\w+)" value\("label\.service"\) condition\(.* eq "(\S+)\.service"', text
    )
    hardened = example.get("hardened")
    assert isinstance(hardened, list)
    assert set(hardened) - {"postgresql-roles"} <= {unit for _, unit in told}
    names = json.loads((TOP / "modules" / "names.json").read_text())
    assert {service for service, _ in told} == names.keys() | {
        "before",
        "realm",
        "secrets",
        "sftp",
        "shipper",
        "smb",
    }
    unit = example.strings("units")["dicom-shipper.service"]
    assert '"LOGS_URL=http://loki:3100/loki/api/v1/push"' in unit
    assert '"LOGS_BUFFER_BYTES=268435456"' in unit
    loki = example.strings("units")["loki.service"]
    assert '"LOGS_RETENTION_DAYS=30"' in loki


def test_oauth2_proxy_is_told_the_same_in_both_forms(example: Example) -> None:
    unit = example.strings("units")["oauth2-proxy.service"]
    # Arguments would count for more than the file.
    (started,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert started.endswith("/bin/oauth2-proxy --config=/etc/oauth2proxy/oauth2-proxy.cfg")
    told = dict(re.findall(r'^Environment="(OAUTH2_PROXY_\w+)=(.*)"$', unit, re.MULTILINE))
    compose = (PODMAN_DIR / "compose.operator.yml").read_text()
    wanted = dict(re.findall(r"^ +(OAUTH2_PROXY_\w+): (.*)$", compose, re.MULTILINE))
    assert told.keys() == wanted.keys()
    for name, value in wanted.items():
        if "${BACKEND_PREFIX}" not in value:
            assert told[name] == value.replace("${PUBLIC_URL}", "https://pacs.example.org")
    assert told["OAUTH2_PROXY_HTTP_ADDRESS"] == "127.0.10.30:4180"


def test_alerts_link_to_the_pages_of_the_front_door(example: Example) -> None:
    units = example.strings("units")
    for name in ("alertmanager", "prometheus"):
        unit = units[f"{name}.service"]
        assert re.search(rf"--web.external-url[= ]https://pacs.example.org/{name}/", unit), unit
        assert "--web.route-prefix=/" in unit


def test_what_nixpkgs_writes_for_grafana_does_not_contradict_its_environment(
    example: Example,
) -> None:
    environment = read_env(PODMAN_DIR / "grafana" / "grafana.env")
    environment["GF_SERVER_HTTP_ADDR"] = json.loads((TOP / "modules" / "names.json").read_text())[
        "grafana"
    ]
    settings = example.get("grafana")
    assert isinstance(settings, dict)
    compared = 0
    for section, values in settings.items():
        for key, value in values.items():
            name = f"GF_{section}_{key}".upper().replace(".", "_")
            if name in environment:
                written = str(value).lower() if isinstance(value, bool) else str(value)
                assert written == environment[name], name
                compared += 1
    assert compared > 15
    ini = example.texts["config.ini"]
    assert "\nsecret_key=$__file{/run/secrets/grafana_secret_key}\n" in ini
    assert not re.search(r"^(client_secret|password)=.", ini, re.MULTILINE)


@pytest.mark.parametrize("name", ["alertmanager", "alertmanagerOfAll"])
def test_alertmanager_is_told_the_same_in_both_forms(example: Example, name: str) -> None:
    by_all = name == "alertmanagerOfAll"
    given = {"alert_heartbeat_url", "alert_webhook_url", "telegram_token"} if by_all else set()
    env_file = stacks.temporary_copy(
        stacks.TESTS / "stack.env",
        ALERT_EMAIL="it@example.org",
        SMTP_HOST="mail.example.org",
        SMTP_FROM="pacs@example.org",
        SMTP_USER="pacs",
        ALERT_TELEGRAM_CHAT="-1001" if by_all else "",
    )
    base = (PODMAN_DIR / "alertmanager" / "alertmanager.json").read_text()
    podman_form = json.loads(alertmanager_json(base, load(env_file), given))
    env_file.unlink()
    assert example.get(name) == podman_form


def test_the_prober_is_told_the_same_in_both_forms(example: Example) -> None:
    env_file = stacks.temporary_copy(
        stacks.TESTS / "stack.env", PUBLIC_URL="https://pacs.example.org"
    )
    podman_form = json.loads(prober_json(PROBES.read_text(), load(env_file)))
    env_file.unlink()
    assert json.loads(str(example.get("prober"))) == podman_form


def test_the_exporters_count_the_same_in_both_forms(example: Example) -> None:
    compose = (PODMAN_DIR / "compose.yml").read_text().replace("$$", "$")
    host = re.search(r"- prometheus-node-exporter\n(.*?)--web", compose, re.DOTALL)
    assert host
    units = example.strings("units")
    unit = units["prometheus-node-exporter.service"]
    flags = re.findall(r"--collector[a-z.-]+(?:=[^\s']+)?", unit)
    assert sorted(flags) == sorted(re.findall(r"- (--collector\S+)", host[1]))
    login = read_env(PODMAN_DIR / "prober" / "database.env")
    for name, value in login.items():
        assert f'"{name}={value}"' in units["prometheus-postgres-exporter.service"]
    assert "--collector.postmaster" in compose
    assert "--collector.postmaster" in units["prometheus-postgres-exporter.service"]
    for name in ("blackbox", "nginx", "node", "postgres"):
        lines = units[f"prometheus-{name}-exporter.service"].splitlines()
        assert "CapabilityBoundingSet=" in lines
        assert not [line for line in lines if line.startswith("AmbientCapabilities=CAP")]


def test_no_unit_reads_the_flakes_own_sources(example: Example) -> None:
    # A path that was not copied by itself is no dependency of the system: the garbage collector takes it.
    for name, text in example.strings("units").items():
        assert "-source/" not in text, name
        assert "/repo/" not in text, name


def test_a_refused_system_call_does_not_kill_a_unit(example: Example) -> None:
    # sed, in Keycloak's start script, tries to keep a file's owner and would end the service.
    units = example.strings("units")
    hardened = example.get("hardened")
    assert isinstance(hardened, list)
    for name in hardened:
        assert "\nSystemCallErrorNumber=EPERM\n" in units[f"{name}.service"], name


def test_the_importer_does_not_wait_for_the_identity_provider(example: Example) -> None:
    after = re.search(
        r"^After=(.*)$", example.strings("units")["dicom-importer.service"], re.MULTILINE
    )
    assert after
    assert not {"keycloak.service", "dicom-realm.service"} & set(after[1].split())


def test_each_service_name_has_an_address_and_its_port(example: Example) -> None:
    names = json.loads((TOP / "modules" / "names.json").read_text())
    assert example.get("hosts") == {address: [name] for name, address in names.items()}
    assert example.get("ports") == {
        "alertmanager": 9093,
        "dbmetrics": 9187,
        "grafana": 3000,
        "hostmetrics": 9100,
        "keycloak": 8080,
        "nginxmetrics": 9113,
        "orthanc": 8042,
        "postgresql": 5432,
        "prober": 9115,
        "prometheus": 9090,
    }
    assert example.get("postgresql", "listen_addresses") == names["postgresql"]
    for service in ("grafana", "keycloak", "loki", "orthanc"):
        assert f'"BIND_ADDRESS={names[service]}"' in example.strings("units")[f"{service}.service"]


@pytest.mark.parametrize("where", ["elsewhere", "onThisHost"])
def test_the_backup_is_timers_and_units_that_end(example: Example, where: str) -> None:
    assert example.get("backups", where, "warnings") == []
    assert example.get("backups", where, "complaints") == []
    units = example.strings("backups", where, "units")
    assert units.keys() == {
        *("dicom-backup.service", "dicom-backup-check.service", "dicom-backup-metrics.service"),
        *("dicom-backup.timer", "dicom-backup-check.timer"),
    }
    hardened = example.get("backups", where, "hardened")
    assert isinstance(hardened, list)
    assert {"dicom-backup", "dicom-backup-check", "dicom-backup-metrics"} <= set(hardened)
    assert "OnUnitActiveSec=15min" in units["dicom-backup.timer"]
    assert "OnCalendar=daily" in units["dicom-backup-check.timer"]
    for name in ("dicom-backup.service", "dicom-backup-check.service"):
        lines = units[name].splitlines()
        assert "Type=oneshot" in lines
        assert [line for line in lines if line.startswith("AmbientCapabilities=")] == [
            "AmbientCapabilities=CAP_DAC_READ_SEARCH",
            "AmbientCapabilities=CAP_FOWNER",
        ]
        # Only a repository elsewhere is a reason to speak with others.
        assert ("IPAddressDeny=any" in lines) is (where == "onThisHost")
        assert ("ReadWritePaths=/mnt/backup" in lines) is (where == "onThisHost")
        assert "/secrets/backup.backup_key:/run/secrets/backup_key" in units[name]
    assert "/run/secrets/" not in units["dicom-backup-metrics.service"].replace(
        "TemporaryFileSystem=/run/secrets", ""
    )


@pytest.mark.parametrize("where", ["elsewhere", "onThisHost"])
def test_a_backup_by_hand_begins_as_one_of_the_timer_does(example: Example, where: str) -> None:
    # Else the first one by hand would find a repository that is root's.
    unit = example.strings("backups", where, "units")["dicom-backup.service"]
    prepared = re.findall(r"^ExecStartPre=\+(.*)$", unit, re.MULTILINE)
    assert len(prepared) == 2 + (where == "onThisHost")
    # A restore on a machine that never backed up leaves the folders of the days to Orthanc.
    assert "dicom/.by-day -maxdepth 1 ! -user dicom-backup -exec " in prepared[1]
    command = str(example.get("backups", where, "command"))
    assert all(f"\n{line}\n" in re.sub(r"\n +", "\n", command) for line in prepared)


def test_a_rotated_secret_starts_no_backup(example: Example) -> None:
    command = str(example.get("backups", "elsewhere", "command"))
    told = re.search(r"for reader in (.*); do", command)
    assert told
    readers = dict(word.strip("'").split(":", 1) for word in re.findall(r"'[^']+'|\S+", told[1]))
    assert readers["orthanc"] == "orthanc"
    assert readers["postgresql"] == "postgresql-roles"
    assert "backup" not in readers


def test_the_importer_gets_the_years_of_studies_as_in_the_podman_form(example: Example) -> None:
    defaults = read_env(PODMAN_DIR / "importer" / "importer.conf")
    unset = example.strings("retention", "unset")
    assert unset.keys() == {name for name in defaults if name.startswith("STUDY_")} | {
        "BACKUP_TARGET"
    }
    assert unset.items() <= defaults.items()
    assert example.strings("retention", "set") == {
        **unset,
        "BACKUP_TARGET": "/mnt/backup",
        "STUDY_RETENTION_CLINICS": "clinic-b=30,clinic-c=never",
        "STUDY_RETENTION_YEARS": "10",
    }


def test_the_backup_holds_the_settings_and_is_watched(example: Example) -> None:
    settings = json.loads(str(example.get("backups", "elsewhere", "settings")))
    assert settings["domain"] == "pacs.example.org"
    assert settings["backup"]["target"] == "sftp:backup@nas.example.org:stack"
    etc = example.strings("backups", "elsewhere", "etc")
    shipped = PODMAN_DIR / "prometheus" / "scrape" / "backup.yml"
    assert on_this_host(etc["prometheus/scrape/backup.yml"]).read_bytes() == shipped.read_bytes()


def test_without_a_target_there_is_no_backup(example: Example) -> None:
    assert not [name for name in example.strings("units") if "backup" in name]
    assert "prometheus/scrape/backup.yml" not in example.strings("etc")


def orders(unit: str, key: str, other: str) -> bool:
    """Tell whether a unit names another one so."""
    return other in " ".join(re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)).split()


def test_databases_are_dumped_before_another_version_uses_them(example: Example) -> None:
    units = example.strings("units")
    before = units["dicom-stack-before.service"]
    for name in ("orthanc.service", "keycloak.service"):
        assert orders(units[name], "After", "dicom-stack-before.service")
        assert orders(units[name], "Requires", "dicom-stack-before.service")
    for name in ("dicom-stack-secrets.service", "postgresql-roles.service"):
        assert orders(before, "After", name)
    assert orders(before, "Requires", "dicom-stack-secrets.service")
    # A rotated password of one role would start both users of the databases anew.
    assert not orders(before, "Requires", "postgresql-roles.service")
    versions = read_env(PODMAN_DIR / "versions.env")
    asked = re.search(r"before keep-if-changed --version (\S+)$", before, re.MULTILINE)
    assert asked
    assert asked[1].startswith(f"orthanc-{versions['ORTHANC_FLOOR'].partition('-')[0][:4]}")
    assert f"keycloak-{versions['KEYCLOAK_VERSION']}-" in asked[1]
    assert asked[1].endswith(f"-postgresql-{versions['POSTGRESQL_MAJOR']}")


def test_only_the_front_doors_ports_are_open(example: Example) -> None:
    assert example.get("firewall", "allowedTCPPorts") == [80, 443]
    assert example.get("firewall", "allowedUDPPorts") == []
    assert example.get("firewallOnOneInterface", "allowedTCPPorts") == []
    interfaces = example.get("firewallOnOneInterface", "interfaces")
    assert isinstance(interfaces, dict)
    assert interfaces["enp3s0"]["allowedTCPPorts"] == [80, 443]


def test_the_dicom_door_is_closed_unless_it_is_opened(example: Example) -> None:
    assert "dicom-receiver" not in example.strings("units")
    assert "prometheus/scrape/receiver.yml" not in example.strings("etc")
    shipped = PODMAN_DIR / "prometheus" / "scrape" / "receiver.yml"
    for which in ("plain", "encrypted"):
        assert example.get("receivers", which, "warnings") == []
        assert example.get("receivers", which, "complaints") == []
        hardened = example.get("receivers", which, "hardened")
        assert isinstance(hardened, list)
        assert "dicom-receiver" in hardened
        scrape = on_this_host(str(example.get("receivers", which, "scrape")))
        assert scrape.read_bytes() == shipped.read_bytes()
        command = str(example.get("receivers", which, "command"))
        assert 'sender | senders | remove-sender)\n  receiver "$@"' in command


def test_the_dicom_door_has_no_right_beyond_need(example: Example) -> None:
    plain = str(example.get("receivers", "plain", "unit"))
    encrypted = str(example.get("receivers", "encrypted", "unit"))
    for unit in (plain, encrypted):
        for line in (
            *("User=dicom-receiver", "Group=dicom-importer", "ProtectSystem=strict"),
            *("NoNewPrivileges=true", "ReadWritePaths=/srv/dicom-stack/files/inbox"),
            "InaccessiblePaths=-/srv/dicom-stack/files/processed",
        ):
            assert line in unit.splitlines()
    # The port that modalities take by custom is one of root's; no other one needs a capability.
    assert "CapabilityBoundingSet=CAP_NET_BIND_SERVICE" in plain.splitlines()
    assert "CapabilityBoundingSet=" in encrypted.splitlines()
    assert "TLS_FILE" not in plain
    assert '"TLS_FILE=/var/lib/acme/pacs.example.org/fullchain.pem"' in encrypted
    assert '"TLS_CLIENT_CA_FILE=/var/lib/pacs/modalities-ca.pem"' in encrypted


def test_the_firewall_opens_the_dicom_door_where_it_is_said(example: Example) -> None:
    assert example.get("receivers", "plain", "firewall", "allowedTCPPorts") == [80, 104, 443]
    assert example.get("receivers", "encrypted", "firewall", "allowedTCPPorts") == [80, 443]
    interfaces = example.get("receivers", "encrypted", "firewall", "interfaces")
    assert isinstance(interfaces, dict)
    assert interfaces["enp4s0"]["allowedTCPPorts"] == [11112]


def test_a_door_is_a_unit_of_its_own_that_knows_the_accounts_alone(example: Example) -> None:
    assert not {"dicom-sftp.service", "dicom-smb.service"} & example.strings("units").keys()
    assert example.get("doors", "complaints") == []
    assert example.get("doors", "firewall", "allowedTCPPorts") == [80, 443, 2022]
    unit = str(example.get("doors", "sftp"))
    (started,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert re.search(r"/bin/sshd -D -e -f /etc/sftp/sshd_config -p 2022$", started)
    lines = unit.splitlines()
    # Many accounts in a row start it as often.
    assert "StartLimitIntervalSec=0" in lines
    assert "NoNewPrivileges=true" in lines
    assert [line for line in lines if line.startswith("CapabilityBoundingSet=")] == [
        f"CapabilityBoundingSet=CAP_{name}"
        for name in ("NET_BIND_SERVICE", "SETGID", "SETUID", "SYS_CHROOT")
    ]
    assert "BindReadOnlyPaths=/srv/dicom-stack/secrets/accounts:/etc/accounts" in lines
    assert "/secrets/sftp.sftp_host_key:/run/secrets/sftp_host_key" in unit
    assert "InaccessiblePaths=-/run/nscd" in lines
    # Two that wrote the accounts at once would be in each other's way.
    ensured = {
        name
        for name in ("accounts", "inboxes", "sftp", "smb")
        if "/bin/dicom-accounts ensure" in str(example.get("doors", name))
    }
    assert ensured == {"accounts"}
    # What a unit with a view of files of its own mounts nobody else sees.
    assert re.search(r"^Requires=.*\bdicom-sftp-inboxes\.service", unit, re.MULTILINE)
    shows = str(example.get("doors", "inboxes"))
    assert "/bin/dicom-sftp-show" in shows
    assert not re.search(
        r"^(Bind|Private|Protect|TemporaryFile|ReadWrite|ReadOnly)", shows, re.MULTILINE
    )


def test_shares_are_seen_at_the_interfaces_that_are_named_and_know_the_accounts_alone(
    example: Example,
) -> None:
    opened = example.get("doors", "firewall", "interfaces")
    assert isinstance(opened, dict)
    assert {name: one["allowedTCPPorts"] for name, one in opened.items()} == {"enp3s0": [445]}
    unit = str(example.get("doors", "smb"))
    lines = unit.splitlines()
    (started,) = [line for line in lines if line.startswith("ExecStart=")]
    assert "/bin/smbd --foreground " in started
    assert " --configfile=/etc/smb/smb.conf --port=445 " in started
    assert "StartLimitIntervalSec=0" in lines
    assert started.endswith('"--option=interfaces=lo enp3s0" "--option=bind interfaces only=yes"')
    assert "NoNewPrivileges=true" in lines
    assert [line for line in lines if line.startswith("CapabilityBoundingSet=")] == [
        f"CapabilityBoundingSet=CAP_{name}" for name in ("NET_BIND_SERVICE", "SETGID", "SETUID")
    ]
    assert "BindPaths=/srv/dicom-stack/files/inbox:/srv/smb" in lines
    assert "BindReadOnlyPaths=/srv/dicom-stack/secrets/accounts:/etc/accounts" in lines
    assert "InaccessiblePaths=-/run/nscd" in lines


def test_one_command_gives_the_account_that_both_doors_know(example: Example) -> None:
    command = str(example.get("doors", "command"))
    assert len(re.findall(r"/bin/dicom-accounts ", command)) == 1
    shown = command.index("/bin/dicom-sftp-show")
    ended = command.index("systemctl try-restart dicom-smb.service")
    assert command.index("/bin/dicom-accounts ") < min(shown, ended)


def test_a_certificate_comes_by_acme_or_from_the_operator(example: Example) -> None:
    assert example.get("acme", "pacs.example.org") == {
        "group": "nginx",
        "webroot": "/var/lib/acme/acme-challenge",
    }
    front = (PODMAN_DIR / "nginx" / "nginx.conf").read_text()
    assert "root /var/lib/acme/acme-challenge;" in front
    assert 'default "/var/lib/acme/pacs.example.org/fullchain.pem";' in example.content(
        "nginx/site.conf"
    )
    own = example.get("ownCertificate", "siteConf")
    assert 'default "/run/secrets/pacs.key";' in str(own)
    assert example.get("ownCertificate", "acme") == []


def test_the_flake_passes_its_check(flake_check: Future[CompletedProcess[str]]) -> None:
    done = flake_check.result()
    assert done.returncode == 0, done.stderr[-4000:]
    for name in ("acceptance", "power-loss"):
        assert f"vm-test-run-dicom-stack-{name}.drv" in done.stderr
