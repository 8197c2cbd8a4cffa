"""The reading bench's peers, with nobody behind them: nginx takes their file, and serves a study in its layout."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from bench.reading.archive import Study
from bench.reading.doors import STATIC
from bench.reading.peers import LISTENS, lay_out, volumes
from bench.sets import FRAME_BYTES
from harness import stack as stacks
from harness.wait import wait_until
from stack.certificate import ensure_certificate
from stack.settings import load
from stack.shell import attempt, podman

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STUDY = Study("12345678901234567890", 2)
SERIES = f"/dicom-web/studies/{STUDY.uid}/series"
# What the viewer asks of a study, with what it adds, and where the archive was asked for it.
ASKED = {
    f"/dicom-web/studies?limit=101&StudyInstanceUID={STUDY.uid}": f"/dicom-web/studies?StudyInstanceUID={STUDY.uid}",
    f"{SERIES}?includefield=00080021": SERIES,
    f"{STUDY.series_path}/metadata": f"{STUDY.series_path}/metadata",
    f"{STUDY.series_path}/instances?limit=1": f"{STUDY.series_path}/instances",
}


@pytest.fixture(scope="module")
def session(
    tmp_path_factory: pytest.TempPathFactory, image: Callable[[str], str]
) -> Iterator[tuple[str, stacks.Session]]:
    """Provide the static peer's address and a session that trusts it."""
    data_dir: Path = tmp_path_factory.mktemp("peers")
    data_dir.chmod(0o755)
    own = {"DATA_DIR": str(data_dir), "PUBLIC_URL": "https://localhost:1"}
    certificate = ensure_certificate(load(stacks.temporary_copy(stacks.TESTS / "stack.env", **own)))
    lay_out(data_dir / "peers", lambda _method, path: path.encode(), STUDY)
    name = f"peers-alone-{secrets.token_hex(4)}"
    podman(
        *("run", "--detach", f"--name={name}", "--read-only", "--tmpfs=/tmp", "--no-healthcheck"),
        *("--cap-drop=all", "--add-host=orthanc:127.0.0.1"),
        f"--publish=127.0.0.1::{LISTENS[STATIC]}",
        *volumes(data_dir / "peers", certificate.path.parent),
        image("nginx"),
    )
    try:
        address = podman("port", name, str(LISTENS[STATIC])).strip()
        asking = stacks.Session(data_dir / "tls" / "ca.crt")
        url = f"https://localhost:{address.rpartition(':')[2]}"

        def log() -> str:
            return attempt(["podman", "logs", name]).stderr

        wait_until(lambda: "start worker process" in log(), 20, "nginx has started", log)
        assert "[warn]" not in log()
        yield url, asking
    finally:
        podman("rm", "--force", "--time=0", name)


def test_static_files_answer_what_the_viewer_asks(session: tuple[str, stacks.Session]) -> None:
    url, asking = session
    for path, origin in ASKED.items():
        answer = asking.get(url + path)
        assert (answer.status_code, answer.text) == (200, origin)
        assert answer.headers["Content-Type"] == "application/dicom+json"
        assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Encoding"] == "gzip"
    assert asking.get(f"{url}/dicom-web/studies/1.2.3/series").status_code == 404


def test_a_static_frame_is_answered_as_a_part_with_its_boundary(
    session: tuple[str, stacks.Session],
) -> None:
    url, asking = session
    for uid in STUDY.instances:
        frame = asking.get(f"{url}{STUDY.series_path}/instances/{uid}/frames/1")
        assert frame.headers["Content-Type"].startswith("multipart/related;")
        boundary = frame.headers["Content-Type"].partition("boundary=")[2].encode()
        _, part, end = frame.content.split(b"--" + boundary)
        assert len(part.partition(b"\r\n\r\n")[2]) == FRAME_BYTES + len(b"\r\n")
        assert end == b"--\r\n"


def test_the_peers_viewer_is_there_and_isolated(session: tuple[str, stacks.Session]) -> None:
    url, asking = session
    page = asking.get(f"{url}/viewer?StudyInstanceUIDs={STUDY.uid}")
    assert page.headers["Content-Type"] == "text/html"
    assert page.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert page.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    settings = asking.get(f"{url}/app-config.js").text
    assert "window.config" in settings
    assert "oidc" not in settings
