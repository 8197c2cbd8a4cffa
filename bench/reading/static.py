"""A study as static files: DICOMweb's answers in the layout of Static-DICOMweb, for a server that computes nothing."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from stack.shell import CommandError

from bench.sets import BLOCK, FRAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.reading.archive import Study

# As peer.conf says it.
BOUNDARY = "BENCH"


def frame(pixels: bytes) -> bytes:
    """Return what is answered for a frame (PS3.18 10.4.3.2): one part, of Explicit VR Little Endian."""
    head = "Content-Type: application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + pixels + f"\r\n--{BOUNDARY}--\r\n".encode()


def write(ask: Callable[[str, str], bytes | None], study: Study, top: Path) -> None:
    """Write a study that the archive holds, as it answers `ask`, below a folder; raises CommandError.

    Lists and metadata are the archive's own answers, also packed; a frame is the pixels that it was sent.
    """
    studies = top / "dicom-web" / "studies"
    series = studies / study.uid / "series"
    instances = series / study.series_uid / "instances"
    asked = {
        studies / "index.json": f"/dicom-web/studies?StudyInstanceUID={study.uid}",
        series / "index.json": f"/dicom-web/studies/{study.uid}/series",
        instances / "index.json": f"{study.series_path}/instances",
        instances.with_name("metadata"): f"{study.series_path}/metadata",
    }
    for uid in study.instances:
        (instances / uid / "frames").mkdir(parents=True)
        (instances / uid / "frames" / "1").write_bytes(frame(BLOCK[:FRAME_BYTES]))
    for path, address in asked.items():
        answer = ask("GET", address)
        if answer is None:
            raise CommandError(f"the archive has no {address}")
        path.write_bytes(answer)
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(answer, mtime=0))
