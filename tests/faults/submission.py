"""A submission of several kinds of files, and what must become of each."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.phantom import Identity, ct

if TYPE_CHECKING:
    from pathlib import Path

    from harness.own_importer import OwnImporter

SECOND_CHUNK_PIXELS = 400  # a slice of so many pixels a side is read and sent in two pieces


@dataclass(frozen=True, slots=True)
class File:
    """A dropped file and what must become of it."""

    content: bytes
    status: str
    reason: str = ""
    study_uid: str = ""
    sop_uid: str = ""


@dataclass(frozen=True, slots=True)
class Submission:
    """A folder to drop into a clinic's inbox, and what comes out of the zip files in it."""

    clinic: str
    folder: str
    files: dict[str, File]
    unpacked: dict[str, File] = field(default_factory=dict)

    @property
    def expected(self) -> dict[str, File]:
        """All that something must become of."""
        return self.files | self.unpacked

    def stage(self, importer: OwnImporter) -> Path:
        """Write it beside the inbox, as what is dropped at once must lie on its disk."""
        staging = importer.files / "staging" / self.folder
        staging.mkdir(parents=True)
        for name, file in self.files.items():
            (staging / name).write_bytes(file.content)
        (importer.inbox / self.clinic).mkdir(exist_ok=True)
        return staging

    def drop(self, importer: OwnImporter, staged: Path | None = None) -> None:
        """Put all of it there at once, as a rename does."""
        staged = staged or self.stage(importer)
        staged.rename(importer.inbox / self.clinic / self.folder)


def submission(
    clinic: str, folder: str, foreign: Identity, *, slices: int = 2, studies: int = 2
) -> Submission:
    """Build studies, a letter, an image of another clinic's study, and a duplicate, which sorts last."""
    files: dict[str, File] = {}
    for number in range(studies):
        who = Identity(key=f"{clinic} {folder} {number}")
        size = 9 if number else SECOND_CHUNK_PIXELS
        images = ct(number, who, slices=slices if number else 1, size=size)
        for index, (name, content) in enumerate(images.files.items()):
            sop = who.uid("instance", index)
            files[f"{number:02}-{name}"] = File(content, "success", "", images.uid, sop)
    last = list(files.values())[-1]
    files["same.dcm"] = File(last.content, "duplicate", "", last.study_uid, last.sop_uid)
    files["letter.dcm"] = File(b"Dear colleague, " * 20, "not_dicom", "not_dicom")
    stolen = Identity(key=foreign.key, description=folder)
    image = File(ct(9, stolen, slices=1, size=9).files["CT0001.dcm"], "rejected", "other_clinic")
    files["other.dcm"] = File(
        image.content, image.status, image.reason, foreign.uid("study"), foreign.uid("instance", 0)
    )
    return Submission(clinic, folder, files)


def packed(clinic: str, folder: str) -> Submission:
    """Build a zip file of two studies, one of them in a folder."""
    names = ("a/CT0001.dcm", "CT0001.dcm")
    unpacked: dict[str, File] = {}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, name in enumerate(names):
            who = Identity(key=f"{clinic} {folder} {number}")
            images = ct(number, who, slices=1, size=9)
            (content,) = images.files.values()
            archive.writestr(name, content)
            file = File(content, "success", "", images.uid, who.uid("instance", 0))
            unpacked[f"study.unpacked/{name}"] = file
    files = {"study.zip": File(buffer.getvalue(), "kept")}
    return Submission(clinic, folder, files, unpacked)
