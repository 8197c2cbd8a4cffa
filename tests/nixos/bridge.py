"""The store's paths that NixOS's units name, made in a Debian root: generated texts, else Debian's programs."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stack.settings import TOP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

STORE_PATH = re.compile(r"/nix/store/[A-Za-z0-9+._?=/-]+")
PROGRAM_FOLDERS = ("/usr/bin", "/usr/sbin", "/usr/lib/postgresql/18/bin", "/opt/bridge/bin")
# Nothing of NixOS's own PATH is there; these are where its programs are found instead.
PATH = ":".join(("/opt/keycloak/bin", *reversed(PROGRAM_FOLDERS)))
SCRIPTS = {
    # nixpkgs' envsubst, for a file that has nothing to substitute: -o OUT -i IN.
    "envsubst": '#!/bin/sh\ncp "$4" "$2"\n',
    "alertmanager": '#!/bin/sh\nexec prometheus-alertmanager "$@"\n',
    "blackbox_exporter": '#!/bin/sh\nexec prometheus-blackbox-exporter "$@"\n',
    "nginx-prometheus-exporter": '#!/bin/sh\nexec prometheus-nginx-exporter "$@"\n',
    "node_exporter": '#!/bin/sh\nexec prometheus-node-exporter "$@"\n',
    "postgres_exporter": '#!/bin/sh\nexec prometheus-postgres-exporter "$@"\n',
    "dicom-importer": (
        "#!/bin/sh\nPYTHONPATH=/opt/bridge/importer exec python3 -B -c"
        ' "from dicom_importer.cli import main; raise SystemExit(main())" "$@"\n'
    ),
    "dicom-audit": (
        "#!/bin/sh\nPYTHONPATH=/opt/bridge/importer exec python3 -B -c"
        ' "from access_audit.cli import main; raise SystemExit(main())" "$@"\n'
    ),
    "dicom-backup": (
        "#!/bin/sh\nPYTHONPATH=/opt/bridge/importer exec python3 -B -c"
        ' "from dicom_backup.cli import main; raise SystemExit(main())" "$@"\n'
    ),
    # nixpkgs' replace-secret: NEEDLE FILE-WITH-SECRET FILE.
    "replace-secret": (
        "#!/usr/bin/python3\nimport pathlib, sys\nneedle, secret, file = sys.argv[1:]\n"
        "file = pathlib.Path(file)\n"
        "file.write_text(file.read_text().replace(needle, pathlib.Path(secret).read_text().strip('\\n')))\n"
    ),
}


class MissingError(Exception):
    """A path of the store that nothing stands in for."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """The root to fill, the generated texts by their path in the store, and where the store's copied sources lie."""

    root: Path
    texts: Mapping[str, str]
    sources: Callable[[str], Path]

    def place(self, path: str) -> Path:
        """Return where an absolute path lies in the root, with its folder made."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the root, whatever was there."""
        target = self.place(path)
        target.unlink(missing_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def provide(self, text: str, stand_ins: Mapping[str, Callable[[Path], object]]) -> None:
        """Make every path of the store that a text names, and those that these name in turn."""
        waiting, seen = set(STORE_PATH.findall(text)), set()
        while waiting:
            path = waiting.pop().rstrip(".")
            if path in seen:
                continue
            seen.add(path)
            waiting |= set(STORE_PATH.findall(self._provide(path, stand_ins)))

    def _provide(self, path: str, stand_ins: Mapping[str, Callable[[Path], object]]) -> str:
        output = "/".join(path.split("/")[:4])
        texts = {p: t for p, t in self.texts.items() if p == path or p.startswith(output + "/")}
        for file, text in texts.items():
            self.write(file, text, 0o755)
        if texts:
            return "\n".join(texts.values())
        target = self.place(path)
        stand_in = next((make for suffix, make in stand_ins.items() if path.endswith(suffix)), None)
        if stand_in:
            if not (target.exists() or target.is_symlink()):
                stand_in(target)
        elif not (self._copied(output) or self._program(target, path) or _unneeded(path)):
            raise MissingError(path)
        return ""

    def _copied(self, output: str) -> bool:
        """Copy a file or folder of the sources that the store holds."""
        source, target = self.sources(output), self.place(output)
        if source.exists() and not target.exists():
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        return source.exists()

    def _program(self, target: Path, path: str) -> bool:
        """Link a program to the one of its name."""
        name = path.rsplit("/", 1)[-1]
        if not re.search(r"/s?bin/[^/]+$", path):
            return False
        for folder in PROGRAM_FOLDERS:
            if (self.root / folder.lstrip("/") / name).exists():
                target.unlink(missing_ok=True)
                target.symlink_to(f"{folder}/{name}")
                return True
        return False


def _unneeded(path: str) -> bool:
    return bool(re.search(r"/s?bin$|X-Restart-Triggers|/locale-archive$|/zoneinfo$", path))


def fill(bridge: Bridge, report: Mapping[str, object], keycloak: Path, viewer: Path) -> None:
    """Make the root what the report describes; `keycloak` and `viewer` are the built programs' folders."""
    for name, text in SCRIPTS.items():
        bridge.write(f"/opt/bridge/bin/{name}", text, 0o755)
    shutil.copytree(
        TOP / "importer" / "src", bridge.place("/opt/bridge/importer"), dirs_exist_ok=True
    )
    _put_keycloak(bridge, keycloak)
    units = _strings(report, "unitTexts")
    etc = _strings(report, "etc")
    everything = "\n".join([*units.values(), *etc.values(), str(report["command"])])
    bridge.provide(
        re.sub(r'Environment="(PATH|PYTHONPATH|LOCALE_ARCHIVE|TZDIR)=[^"]*"', "", everything),
        {
            "-keycloak-themes": Path.mkdir,
            "/lib": lambda target: target.symlink_to("/opt/keycloak/lib"),
            "/providers": lambda target: target.symlink_to("/opt/keycloak/providers"),
            "/share": lambda target: shutil.copytree(viewer, target / "ohif"),
            "-orthanc-config.json": lambda target: _orthanc(target, report),
            "-checked": lambda target: shutil.copy(
                TOP / "podman/prometheus/prometheus.yml", target
            ),
            "-checked-config": lambda target: target.write_text(
                next(t for p, t in bridge.texts.items() if p.endswith("-alertmanager.yml"))
            ),
            "/conf/mime.types": lambda target: target.write_text(
                (keycloak.parent / "mime.types").read_text()
            ),
        },
    )
    for name, text in units.items():
        _put_unit(bridge, name, text)
    for name, source in etc.items():
        ours = Path(source.replace("/repo", str(TOP), 1))
        target = bridge.place(f"/etc/{name}")
        if ours.is_dir():
            shutil.copytree(ours, target, dirs_exist_ok=True)
        else:
            inside = bridge.root / source.lstrip("/")
            shutil.copy(ours if ours.exists() else inside, target)
    hosts = "".join(f"{address} {' '.join(n)}\n" for address, n in _lists(report, "hosts").items())
    bridge.write("/etc/hosts", f"127.0.0.1 localhost\n{hosts}")
    rules = [
        f"{kind} {path} {r['mode']} {r['user']} {r['group']} - {r['argument']}\n"
        for path, kinds in _rules(report).items()
        for kind, r in kinds.items()
    ]
    bridge.write("/etc/tmpfiles.d/dicom-stack.conf", "".join(rules))
    users = [f'u {name} {uid} "" / -\n' for name, uid in _strings(report, "uids").items()]
    bridge.write("/etc/sysusers.d/dicom-stack.conf", "".join(users))
    command = bridge.texts[f"{report['command']}/bin/dicom-stack"]
    bridge.write("/usr/local/bin/dicom-stack", re.sub(r'export PATH=".*"', "", command), 0o755)


def _put_unit(bridge: Bridge, name: str, text: str) -> None:
    text = re.sub(r'Environment="PATH=[^"]*"', f'Environment="PATH={PATH}"', text)
    text = re.sub(r'Environment="(PYTHONPATH|LOCALE_ARCHIVE|TZDIR)=[^"]*"\n', "", text)
    if name == "keycloak.service":
        # Its extension that tells systemd when it is ready is nixpkgs' to build.
        text = text.replace("Type=notify", "Type=exec")
    bridge.write(f"/etc/systemd/system/{name}", text)
    for target in re.findall(r"^WantedBy=(.*)$", text, re.MULTILINE):
        link = bridge.place(f"/etc/systemd/system/{target}.wants/{name}")
        if not link.is_symlink():
            link.symlink_to(f"/etc/systemd/system/{name}")


def _put_keycloak(bridge: Bridge, keycloak: Path) -> None:
    target = bridge.place("/opt/keycloak")
    if not target.exists():
        shutil.copytree(keycloak, target, symlinks=True)
        # What nixpkgs' patch does: home and configuration lie where the unit says.
        script = target / "bin" / "kc.sh"
        changed = script.read_text()
        for found, variable in (
            ("'$(abs_path '..')'", "HOME"),
            ("'$(abs_path '../conf')'", "CONF"),
        ):
            assert found in changed, "kc.sh has changed: look at nixpkgs' patch"
            changed = changed.replace(found, f"$KC_{variable}_DIR", 1)
        script.write_text(changed)


def _orthanc(target: Path, report: Mapping[str, object]) -> None:
    settings = report["orthanc"]
    assert isinstance(settings, dict)
    plugins = [f"/usr/share/orthanc/plugins/{Path(path).name}" for path in settings["Plugins"]]
    target.write_text(json.dumps(settings | {"Plugins": plugins}))


def _strings(report: Mapping[str, object], key: str) -> dict[str, str]:
    value = report[key]
    assert isinstance(value, dict)
    return {str(name): str(item) for name, item in value.items()}


def _lists(report: Mapping[str, object], key: str) -> dict[str, list[str]]:
    value = report[key]
    assert isinstance(value, dict)
    return {str(name): [str(item) for item in items] for name, items in value.items()}


def _rules(report: Mapping[str, object]) -> dict[str, dict[str, dict[str, str]]]:
    value = report["tmpfiles"]
    assert isinstance(value, dict)
    return value
