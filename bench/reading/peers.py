"""The peers' container: the same viewer behind an nginx of its own, on the bench's archive and on static files."""

from __future__ import annotations

import ssl
import time
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

from stack import certificate
from stack.compose import image_in_use
from stack.settings import TOP
from stack.shell import CommandError, podman

from bench.reading import static
from bench.reading.doors import APP_CONFIG, BARE, STATIC, without_login

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.measure import Bench
    from bench.reading.archive import Study

CONFIG = TOP / "bench" / "reading" / "peer.conf"
# As peer.conf has them.
LISTENS = {BARE: 8443, STATIC: 8444}
ANSWERS_WITHIN_S = 60


def lay_out(folder: Path, ask: Callable[[str, str], bytes | None], study: Study) -> None:
    """Write what the peers serve: the viewer's settings, and a study of the archive as static files."""
    (folder / "viewer").mkdir(parents=True)
    (folder / "viewer" / "app-config.js").write_text(without_login(APP_CONFIG.read_text()))
    static.write(ask, study, folder / "static")


def volumes(folder: Path, tls: Path) -> list[str]:
    """Return podman's options for what was laid out and for the folder of nginx's certificate."""
    mounted = {
        CONFIG: "/etc/nginx/nginx.conf",
        folder / "static": "/srv/static",
        folder / "viewer": "/etc/nginx/peer",
        tls: "/etc/nginx/tls",
    }
    return [f"--volume={host}:{place}:ro" for host, place in mounted.items()]


@contextmanager
def peers(bench: Bench, study: Study) -> Iterator[None]:
    """Hold the peers running, with a study that the archive has as static files too."""
    settings = bench.settings
    folder = bench.folder / "peers"
    lay_out(folder, bench.ask, study)
    name = settings.container("bench-peers")
    podman("rm", "-f", "-i", "-t", "0", name)
    address = settings.values["PUBLISH_ADDRESS"]
    published = [
        word
        for door, port in LISTENS.items()
        for word in ("-p", f"{address}:{door.port(settings)}:{port}")
    ]
    try:
        podman(
            *("run", "-d", "--name", name, "--read-only", "--tmpfs", "/tmp", "--no-healthcheck"),  # noqa: S108 - in the container
            *("--network", f"{settings.project}_frontend"),
            *("--network", f"{settings.project}_backend"),
            *("--add-host", f"orthanc:{settings.prefix('BACKEND')}.13"),
            *("--cap-drop", "all", "--security-opt", "no-new-privileges"),
            *published,
            *volumes(folder, certificate.served(settings).parent),
            image_in_use(settings, "nginx")["nginx"],
        )
        tls = ssl.create_default_context(cafile=settings.data_dir / "tls" / "ca.crt")
        for door in LISTENS:
            _await_answer(f"{door.url(settings)}/dicom-web/studies?limit=1", tls)
        yield
    finally:
        podman("rm", "-f", "-i", "-t", "0", name)


def _await_answer(url: str, tls: ssl.SSLContext) -> None:
    """Wait until an address answers; raises CommandError with what it said last."""
    deadline_s = time.monotonic() + ANSWERS_WITHIN_S
    while True:
        try:
            with urlopen(url, timeout=10, context=tls) as answer:  # noqa: S310 - https, of our own
                if answer.status == HTTPStatus.OK:
                    return
                last = str(answer.status)
        except (URLError, OSError) as error:
            last = str(error)
        if time.monotonic() > deadline_s:
            raise CommandError(f"{url} does not answer: {last}")
        time.sleep(0.2)
