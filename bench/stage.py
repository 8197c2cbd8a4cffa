"""The stack that is measured: the product's, with the bench's archive and the peers' container beside it."""

from __future__ import annotations

import fcntl
import json
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stack import health, images, people
from stack.__main__ import alone, down, up
from stack.compose import COMPOSE_FILE, environment, image_in_use
from stack.settings import PODMAN_DIR, TOP
from stack.shell import VENV_BIN, CommandError, podman, run

from bench.measure import CLINIC, Bench

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stack.settings import Settings

HERE = TOP / "bench"
IMAGE = images.Image(
    "bench",
    "base",
    HERE / "Containerfile",
    HERE,
    (HERE / "Containerfile", HERE / "requirements.txt"),
)
# Only what the bench made does it remove.
MARK = ".bench"


@contextmanager
def stage(settings: Settings, *, keep: bool, peers: bool = True) -> Iterator[Bench]:
    """Hold a running stack for the bench; its data is deleted at the end unless it is kept."""
    bench = Bench(settings)
    data = settings.data_dir
    if data.exists() and not (data / MARK).exists():
        raise CommandError(
            f"{data} is not the bench's: set another DATA_DIR in {settings.env_file}"
        )
    data.mkdir(parents=True, exist_ok=True)
    with (data / MARK).open("a") as mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"another bench is running in {data}") from None
        with _stage(bench, keep=keep, peers=peers):
            yield bench


@contextmanager
def _stage(bench: Bench, *, keep: bool, peers: bool) -> Iterator[None]:
    settings = bench.settings
    shutil.rmtree(bench.folder, ignore_errors=True)
    (bench.folder / "sets" / "nothing").mkdir(parents=True)
    try:
        with alone(settings):
            up(settings)
            _open_archive(bench)
            people.add_clinic(settings, CLINIC, "Bench")
        if peers:
            _start_peers(bench)
        yield
    finally:
        podman("rm", "-f", "-i", "-t", "0", bench.container)
        # Its configuration stays with an archive that is kept, or it could never start again.
        shutil.rmtree(bench.folder / "sets", ignore_errors=True)
        if not keep:
            down(settings)
            shutil.rmtree(settings.data_dir)


def _open_archive(bench: Bench) -> None:
    """Start Orthanc anew with the bench's overlay."""
    content = json.loads((PODMAN_DIR / "orthanc" / "orthanc.json").read_text())
    content["DicomServerEnabled"] = True
    content["Python"]["Path"] = "/etc/orthanc-bench/open_plugin.py"
    (bench.folder / "orthanc.json").write_text(json.dumps(content, indent=2))
    lay_over(bench, "overlay.yml", "orthanc")


def lay_over(bench: Bench, overlay: str, service: str) -> None:
    """Start a service anew with a file of the bench laid over compose.yml."""
    settings = bench.settings
    files = ("-f", str(COMPOSE_FILE), "-f", str(HERE / overlay))
    command = [str(VENV_BIN / "podman-compose"), *files, "-p", settings.project]
    env = environment(settings, image_in_use(settings, service)) | {"BENCH_DIR": str(HERE)}
    run([*command, "up", "-d", "--no-deps", "--force-recreate", service], env=env, timeout_s=300)
    health.wait_healthy(settings)


def _start_peers(bench: Bench) -> None:
    """Start the container that the peers run in, as far from the archive as the importer is."""
    settings = bench.settings
    image = images.build(settings.values["DEBIAN_MIRROR"], (IMAGE,))["bench"]
    podman("rm", "-f", "-i", "-t", "0", bench.container)
    podman(
        *("run", "-d", "--name", bench.container, "--network", f"{settings.project}_backend"),
        *("--add-host", f"orthanc:{settings.prefix('BACKEND')}.13", "--cap-drop", "all"),
        *("-v", f"{bench.folder / 'sets'}:/sets:ro", "-v", f"{HERE / 'senders'}:/senders:ro"),
        image,
    )
