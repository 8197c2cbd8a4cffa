"""What the parts offer, asked from themselves: Orthanc with its plugins, and the locations of nginx."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stack.settings import PODMAN_DIR
from stack.shell import attempt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

Offer = frozenset[tuple[str, str]]

METHODS = ("GET", "POST", "PUT", "DELETE")
ORTHANC = PODMAN_DIR / "orthanc"
NGINX = PODMAN_DIR / "nginx"
_NATIVE = {"patients": "patient", "studies": "study", "series": "series", "instances": "instance"}
# What stands for the other parts of Orthanc's paths.
_PARTS = {"name": "dicom", "frame": "0", "index": "0", "path": "0010-0010"}


def orthanc(tag: str, folder: Path) -> Offer:
    """Return method and path of every route of the image's Orthanc, with UIDs to fill in.

    Its own are in its description of itself; the plugins' are what it logs while they register.
    """
    described = _run(tag, "--openapi=/dev/stdout")
    core = {
        (method.upper(), path)
        for path, methods in json.loads(described.stdout)["paths"].items()
        for method in methods
    }
    core |= set(
        re.findall(r"Ignoring URI without API documentation: (\S+) (\S+)", described.stderr)
    )
    counted = re.search(r"over a total of (\d+) paths", described.stderr)
    assert counted, described.stderr[-2000:]
    assert len(core) == int(counted[1])
    configuration = folder / "orthanc.json"
    plugins = json.loads((ORTHANC / "orthanc.json").read_text())["Plugins"]
    # An address that nobody has: it ends when its plugins are in.
    alone = {"HttpBindAddresses": ["192.0.2.1"], "Plugins": plugins}
    folders = dict.fromkeys(("IndexDirectory", "StorageDirectory"), "/tmp")  # noqa: S108 - its own
    configuration.write_text(json.dumps(alone | folders))
    configuration.chmod(0o644)
    log = _run(tag, "--verbose", "/c.json", mount=f"{configuration}:/c.json:ro").stderr
    assert log.count("Registering plugin") == len(plugins), log[-2000:]
    patterns = re.findall(r"registered a REST callback.* on: (/\S+)", log)
    assert len(patterns) > 30
    named = {_named(pattern) for pattern in patterns}
    assert [path for path in named if set(path) & set("()[]*")] == []
    return frozenset(
        {(method, _filled(path)) for method, path in core}
        | {(method, path) for path in named for method in METHODS}
    )


def _run(tag: str, *words: str, mount: str = "") -> CompletedProcess[str]:
    volume = [f"--volume={mount}"] if mount else []
    command = ["podman", "run", "--rm", "--network=none", "--tmpfs=/tmp", "--entrypoint=Orthanc"]
    return attempt([*command, *volume, tag, *words], timeout_s=120)


def _filled(path: str) -> str:
    """Name what a path of Orthanc's own description leaves open."""
    level = _NATIVE.get(path.split("/")[1], "")
    path = path.replace("{id}", f"{{{level}_id}}" if level else "x", 1)
    return re.sub(r"\{(?!\w+_id\})(\w+)\}", lambda part: _PARTS.get(part[1], "x"), path)


def _named(pattern: str) -> str:
    """Name what a plugin's pattern leaves open."""
    ids = {"studies": "{study}", "series": "{series}", "instances": "{instance}", "frames": "1"}
    if not pattern.startswith("/dicom-web"):
        ids = {"studies": "{study_id}"}
    parts = pattern.replace("([^/]*)", "?").split("/")
    for place, part in enumerate(parts):
        if part == "?":
            parts[place] = ids.get(parts[place - 1], "x")
        elif part == "(.*)":
            parts[place] = "7FE00010" if parts[place - 1] == "bulk" else "index.html"
    path = "/".join(parts)
    for short, whole in (
        ("{I}", "/dicom-web/studies/{study}/series/{series}/instances/{instance}"),
        ("{E}", "/dicom-web/studies/{study}/series/{series}"),
        ("{S}", "/dicom-web/studies/{study}"),
    ):
        path = path.replace(whole, short)
    return path


@dataclass(frozen=True, slots=True)
class Location:
    """A location of nginx's: how it is compared, and with what."""

    server: str
    modifier: str
    text: str

    def fits(self, path: str) -> bool:
        """Tell whether a path could be its."""
        if self.modifier == "=":
            return path == self.text
        if self.modifier.startswith("~"):
            return re.search(self.text, path, re.IGNORECASE * (self.modifier == "~*")) is not None
        return path.startswith(self.text)


def locations() -> list[Location]:
    """Return the locations of every server and of the doors, but for those that only errors lead to."""
    text = (NGINX / "nginx.conf").read_text()
    plain, inner, tls = text.split("\n    server {")[1:]
    doors = "".join(door.read_text() for door in sorted((NGINX / "doors").iterdir()))
    # The doors come before nginx.conf's own pattern for what has none.
    return [
        *_read("plain", plain),
        *_read("inner", inner),
        *_read("tls", doors),
        *_read("tls", tls),
    ]


def _read(server: str, text: str) -> Iterator[Location]:
    found = re.findall(r"^ *location (?:(=|\^~|~\*?) )?(\S+) \{", text, re.MULTILINE)
    assert len(found) == len(re.findall(r"\blocation ", re.sub(r"#.*", "", text)))
    return (Location(server, modifier, path) for modifier, path in found)


def chosen(path: str, among: Iterable[Location]) -> Location:
    """Choose as nginx does: an exact one, else the longest prefix, unless a pattern comes first."""
    fitting = [one for one in among if one.fits(path)]
    exact = [one for one in fitting if one.modifier == "="]
    longest = max(
        (one for one in fitting if not one.modifier.startswith("~")), key=lambda one: len(one.text)
    )
    patterns = [one for one in fitting if one.modifier.startswith("~")]
    if exact or longest.modifier == "^~" or not patterns:
        return exact[0] if exact else longest
    return patterns[0]
