"""Building the images: each one again only when its inputs change, tagged by their hash."""

from __future__ import annotations

import fcntl
import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path

from stack.settings import PODMAN_DIR, TOP, read_env
from stack.shell import attempt, podman, run, say

REPOSITORY = "localhost/dicom-stack"
VERSIONS = PODMAN_DIR / "versions.env"


@dataclass(frozen=True, slots=True)
class Image:
    """One image: its base image's name, its recipe, the build context and what counts as input.

    `builder` is the base image of what is only needed to build it, where that is another one.
    """

    name: str
    base: str
    recipe: Path
    context: Path
    inputs: tuple[Path, ...]
    builder: str = ""


def _image(name: str, base: str = "base", context: Path | None = None, *inputs: Path) -> Image:
    folder = PODMAN_DIR / name
    own = [p for p in (folder / "Containerfile", folder / "entrypoint.sh") if p.exists()]
    return Image(name, base, folder / "Containerfile", context or folder, (*own, *inputs))


IMPORTER = TOP / "importer"
BASES = {"base": "trixie", "base-testing": "forky"}
IMAGES = (
    _image("postgresql"),
    _image("orthanc", "base-testing", None, PODMAN_DIR / "orthanc" / "least_stack.c"),
    _image("nginx"),
    _image(
        "importer",
        "base",
        IMPORTER,
        IMPORTER / "src",
        IMPORTER / "pyproject.toml",
        IMPORTER / "requirements.txt",
    ),
    _image("keycloak", "base", None, PODMAN_DIR / "keycloak" / "keycloak.conf"),
    _image("prometheus"),
    _image("alertmanager"),
    _image("prober"),
)
# Of services that are not everywhere.
BACKUP = _image("backup", "importer")
SHIPPER = _image("shipper")
SFTP = _image("sftp")
SMB = _image("smb")
_VICTORIA = PODMAN_DIR / "victorialogs"
# What it is written in needs a newer compiler than stable has.
VICTORIALOGS = replace(
    _image("victorialogs", "base", None, _VICTORIA / "go.mod", _VICTORIA / "go.sum"),
    builder="base-testing",
)
_OAUTH2PROXY = PODMAN_DIR / "oauth2proxy"
OAUTH2PROXY = replace(
    _image("oauth2proxy", "base", None, _OAUTH2PROXY / "go.mod", _OAUTH2PROXY / "go.sum"),
    builder="base-testing",
)
OPTIONAL = (BACKUP, SFTP, SHIPPER, SMB, VICTORIALOGS, OAUTH2PROXY)


def digest(parts: list[bytes | Path]) -> str:
    """Hash bytes, files and folders (names and contents) to twelve hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, bytes):
            total.update(part + b"\0")
            continue
        files = sorted(p for p in part.rglob("*") if p.is_file()) if part.is_dir() else [part]
        for file in files:
            if "__pycache__" in file.parts or file.suffix == ".egg-info":
                continue
            total.update(str(file.relative_to(part)).encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()[:12]


def tags(images: tuple[Image, ...] = IMAGES) -> dict[str, str]:
    """Return the tag of each image for the files as they are now, whether built or not."""
    versions = VERSIONS.read_bytes()
    found = {}
    for name, suite in BASES.items():
        found[name] = f"{REPOSITORY}/{name}:{digest([suite.encode(), PODMAN_DIR / 'base'])}"
    for image in images:
        under = [found[name].encode() for name in _under(image)]
        found[image.name] = f"{REPOSITORY}/{image.name}:{digest([versions, *under, *image.inputs])}"
    return found


def _under(image: Image) -> list[str]:
    return [name for name in (image.base, image.builder) if name]


def exists(tag: str) -> bool:
    """Whether podman has this image."""
    return attempt(["podman", "image", "exists", tag]).returncode == 0


def build(mirror: str, images: tuple[Image, ...] = IMAGES) -> dict[str, str]:
    """Build what is missing, with progress; returns the tag of each image.

    Two that build at once run one after the other, else both would build the same.
    """
    with (PODMAN_DIR / "base" / "build.sh").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build(mirror, images)


def _build(mirror: str, images: tuple[Image, ...]) -> dict[str, str]:
    wanted = tags(images)
    missing = [image for image in images if not exists(wanted[image.name])]
    bases = [
        name
        for name in BASES
        if any(name in _under(i) for i in missing) and not exists(wanted[name])
    ]
    total = len(bases) + len(missing)
    steps = iter(range(1, total + 1))
    for name in bases:
        with _Step(f"image {next(steps)}/{total}: {name} (Debian {BASES[name]})"):
            run(
                [str(PODMAN_DIR / "base" / "build.sh"), BASES[name], wanted[name]],
                env={"DEBIAN_MIRROR": mirror},
            )
    versions = read_env(VERSIONS)
    for image in missing:
        with _Step(f"image {next(steps)}/{total}: {image.name}"):
            _build_one(image, wanted, versions)
    if missing:
        _remove_unused(wanted)
    return wanted


def pull(names: list[str]) -> None:
    """Fetch what is missing of the images that are not built here; raises CommandError."""
    for name in names:
        if not exists(name):
            with _Step(f"image {name.partition('@')[0]}"):
                podman("pull", "-q", name, timeout_s=1800)


def _build_one(image: Image, wanted: dict[str, str], versions: dict[str, str]) -> None:
    declared = {
        line.split()[1].partition("=")[0]
        for line in image.recipe.read_text().splitlines()
        if line.startswith("ARG ")
    }
    arguments = {"BASE": wanted[image.base]}
    arguments |= {"BUILDER": wanted[image.builder]} if image.builder else {}
    arguments |= {k: v for k, v in versions.items() if k in declared}
    # Hosts whose way out is inspected have an authority of their own, which the downloads must trust.
    trusted = Path("/usr/local/share/ca-certificates")
    mount = ("--volume", f"{trusted}:{trusted}:ro") if trusted.is_dir() else ()
    given = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    podman(
        *(
            "build",
            "--format",
            "docker",
            "--layers",
            "-q",
            *mount,
            "-t",
            wanted[image.name],
            *given,
        ),
        *("-f", str(image.recipe), str(image.context)),
        timeout_s=1800,
    )


def _remove_unused(wanted: dict[str, str]) -> None:
    """Remove images of earlier builds, but for the one before; what is in use or fails to go stays."""
    # A name whose image has another one would go although a stack runs by it.
    running = attempt(["podman", "ps", "--all", "--format", "{{.Image}}"]).stdout.split()
    for name, tag_in_use in wanted.items():
        form = ("--format", "{{.Repository}}:{{.Tag}}", "--sort", "created")
        listed = attempt(["podman", "images", *form, f"{REPOSITORY}/{name}"]).stdout.split()
        older = [tag for tag in listed if tag != tag_in_use]
        for tag in set(older[1:]) - set(running):
            attempt(["podman", "image", "rm", tag])
    # Layers of builds that nobody needs for the next one; everything of ours carries its base's label.
    stale = ("--filter", "until=24h", "--filter", "label=dicom-stack.suite")
    attempt(["podman", "image", "prune", "-f", *stale])


class _Step:
    """Says what is being done and how long it took."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __enter__(self) -> None:
        say(f"{self._text} …")
        self._start = time.monotonic()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            say(f"{self._text}: {time.monotonic() - self._start:.0f} s")
