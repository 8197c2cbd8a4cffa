"""`make outdated`: of what the images are made of, what is newer by now, and what is below its floor."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stack import images
from stack.compose import images as wanted_images
from stack.settings import PODMAN_DIR, TOP, read_env
from stack.shell import CommandError, attempt, run, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from stack.images import Image
    from stack.settings import Settings

TRUSTED = Path("/usr/local/share/ca-certificates")
KEYCLOAK = "org.keycloak:keycloak-quarkus-dist"
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin"
OHIF = "@ohif/app"
LOCKS = (TOP / "importer" / "requirements.txt", PODMAN_DIR / "requirements.txt")
GO_LOCKS = tuple(PODMAN_DIR / name / "go.mod" for name in ("oauth2proxy", "victorialogs"))
# What an image holds and what Debian has by now, told apart by the first word of a line.
_HOLDS = """
while read -r name version; do echo "Pin $name $version"; done </usr/share/dicom-stack/versions
dpkg-query --show --showformat 'Has ${Package} ${Version}\\n'
apt-get update -qq >&2 && apt-get --simulate dist-upgrade
"""
# The clients' own ways of asking for the newest version; the last word is the version.
_NEWEST = """
exec 3>&1 >&2
update-ca-certificates
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qy maven npm python3-pip python3-venv
echo "{ohif} $(npm view {ohif} version)" >&3
for artifact in {artifacts}; do
  mvn --batch-mode --quiet -Dmaven.repo.local=/tmp/repository {plugin}:{plugin_version}:get \\
    "-Dartifact=$artifact:RELEASE:pom" -Dtransitive=false
  folder=/tmp/repository/$(echo "${{artifact%%:*}}" | tr . /)/${{artifact##*:}}
  echo "$artifact $(ls -t "$folder" | grep '^[0-9]' | sort -V | tail -n 1)" >&3
done
python3 -m venv --without-pip /tmp/venv
python3 -m pip --python /tmp/venv install --quiet --dry-run --no-deps --report /tmp/report {packages}
python3 -c 'import json
for one in json.load(open("/tmp/report"))["install"]: print(one["metadata"]["name"], one["metadata"]["version"])' >&3
"""
# Modules that want a newer compiler than stable has are asked for with testing's.
_NEWEST_GO = """
exec 3>&1 >&2
update-ca-certificates
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends golang-go
export GOTOOLCHAIN=local HOME=/tmp
for module in {modules}; do
  go list -m -f '{{{{.Path}}}} {{{{slice .Version 1}}}}' "$module@latest" >&3
done
"""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an image or of the host's tools: what is there, the least that may be, the newest."""

    where: str
    name: str
    version: str
    floor: str = ""
    newest: str = ""


def show(settings: Settings) -> bool:
    """Print what is newer or below its floor; returns whether nothing is below. Raises CommandError."""
    versions = read_env(images.VERSIONS)
    parts: list[Part] = []
    for image in wanted_images(settings):
        said = _inside(_image(settings, image), _HOLDS)
        parts += of_image(image.name, said, floors(image.recipe.read_text(), versions))
    packages = {name for lock in LOCKS for name, _ in pinned(lock.read_text())}
    modules = {name for lock in GO_LOCKS for name, _ in pinned(lock.read_text())}
    asked = _inside(
        images.tags()["base"],
        "set -e\n"
        + _NEWEST.format(
            ohif=OHIF,
            artifacts=f"{KEYCLOAK} {PLUGIN}",
            plugin=PLUGIN,
            plugin_version=versions["MAVEN_DEPENDENCY_PLUGIN_VERSION"],
            packages=" ".join(sorted(packages)),
        ),
    )
    asked += _inside(
        images.tags()["base-testing"],
        "set -e\n" + _NEWEST_GO.format(modules=" ".join(sorted(modules))),
    )
    locks = {lock: lock.read_text() for lock in (*LOCKS, *GO_LOCKS)}
    parts += of_pins(versions, locks, newest(asked))
    for line in table(parts, _is_older):
        say(line)
    return not [part for part in parts if is_low(part)]


def is_low(part: Part) -> bool:
    """Whether a part is below its floor, as Debian compares versions."""
    return below(part, _is_older)


def floors(recipe: str, versions: Mapping[str, str]) -> dict[str, str]:
    """Return the floor of each program that a recipe proves, by the program's name."""
    proved = re.findall(r'require-version "?([^"\s]+)"? "\$\{(\w+_FLOOR)\}"', recipe)
    named = ((re.sub(r"\$\{(\w+)\}", lambda m: versions[m[1]], n), f) for n, f in proved)
    return {name: versions[floor] for name, floor in named}


def of_image(where: str, said: str, floors: Mapping[str, str]) -> list[Part]:
    """Return of an image what has a floor and what Debian has newer."""
    has = dict(re.findall(r"^Has (\S+) (\S+)$", said, re.MULTILINE))
    pins = dict(re.findall(r"^Pin (\S+) (\S+)$", said, re.MULTILINE))
    newer = dict(re.findall(r"^Inst (\S+) \[\S+\] \((\S+) ", said, re.MULTILINE))
    if missing := floors.keys() - has.keys() - pins.keys():
        raise CommandError(f"the image {where} has no {', '.join(sorted(missing))}")
    return [
        Part(where, name, has.get(name) or pins[name], floors.get(name, ""), newer.get(name, ""))
        for name in sorted(floors.keys() | newer.keys())
    ]


def pinned(lock: str) -> list[tuple[str, str]]:
    """Return name and version of what a lock file pins: pip's packages, or of a go.mod the modules of its tools."""
    if not lock.startswith("module "):
        return re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock, re.MULTILINE)
    tools = re.findall(r"^(?:tool |\t)(\S+)$", lock, re.MULTILINE)
    required = re.findall(r"^\t(\S+) v(\S+)", lock, re.MULTILINE)
    return [
        (module, version)
        for module, version in required
        if any(f"{tool}/".startswith(f"{module}/") for tool in tools)
    ]


def newest(said: str) -> dict[str, str]:
    """Read lines of a name and its newest version, names as pip writes them in lower case."""
    pairs = (line.rsplit(" ", 1) for line in said.splitlines() if " " in line)
    return {normal(name): version for name, version in pairs}


def normal(name: str) -> str:
    """Return a package's name as it is compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def of_pins(
    versions: Mapping[str, str], locks: Mapping[Path, str], newest: Mapping[str, str]
) -> list[Part]:
    """Return what versions.env and the lock files pin; raises CommandError for what nobody answered for."""
    found = [
        ("versions.env", "KEYCLOAK", KEYCLOAK),
        ("versions.env", "OHIF", OHIF),
        ("versions.env", "MAVEN_DEPENDENCY_PLUGIN", PLUGIN),
    ]
    parts = [
        Part(where, name, versions[f"{key}_VERSION"], versions.get(f"{key}_FLOOR", ""), name)
        for where, key, name in found
    ]
    for lock, text in locks.items():
        for name, version in pinned(text):
            parts.append(Part(f"{lock.parent.name}/{lock.name}", name, version, "", name))
    known = [part for part in parts if newest.get(normal(part.newest))]
    if missing := [part.name for part in parts if part not in known]:
        raise CommandError(f"no newest version was told of {', '.join(missing)}")
    return [Part(p.where, p.name, p.version, p.floor, newest[normal(p.newest)]) for p in known]


def below(part: Part, is_older: Callable[[str, str], bool]) -> bool:
    """Whether a part is below its floor."""
    return bool(part.floor) and is_older(part.version, part.floor)


def table(parts: Iterable[Part], is_older: Callable[[str, str], bool]) -> list[str]:
    """Return lines for people: what is below its floor, then what is newer, and how many are neither."""
    rows: list[tuple[str, ...]] = []
    current = 0
    for part in parts:
        is_below = below(part, is_older)
        is_newer = bool(part.newest) and is_older(part.version, part.newest)
        if not is_below and not is_newer:
            current += 1
            continue
        note = "! below its floor" if is_below else "newer"
        floor, newest = part.floor or "-", part.newest if is_newer else "-"
        rows.append((note, part.where, part.name, part.version, floor, newest))
    rows.sort()
    head = ("", "where", "what", "is", "floor", "newest")
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [
        "  ".join(f"{c:{w}}" for c, w in zip(r, widths, strict=True)).rstrip()
        for r in (head, *rows)
    ]
    return [
        *(lines if rows else []),
        f"{current} others are at their newest, or Debian has none newer",
    ]


def _image(settings: Settings, image: Image) -> str:
    """Return the image that runs, else the one that would; raises CommandError where there is none."""
    form = ("-f", "{{.ImageName}}", settings.container(image.name))
    shown = attempt(["podman", "container", "inspect", *form])
    tag = (
        shown.stdout.strip()
        or images.tags((image,) if image.base in images.BASES else (*images.IMAGES, image))[
            image.name
        ]
    )
    if not images.exists(tag):
        raise CommandError(f"the image {image.name} is not built: make build first")
    return tag


def _inside(image: str, program: str) -> str:
    words = ["--rm", "--user=0", "--no-healthcheck", "--entrypoint=/bin/bash"]
    # Hosts whose way out is inspected have an authority of their own, as when the images are built.
    words += [f"--volume={TRUSTED}:{TRUSTED}:ro"] if TRUSTED.is_dir() else []
    return run(["podman", "run", *words, image, "-c", program], timeout_s=1800)


def _is_older(one: str, other: str) -> bool:
    return attempt(["dpkg", "--compare-versions", one, "lt", other]).returncode == 0
