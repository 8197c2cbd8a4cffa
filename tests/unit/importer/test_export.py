"""`dicom-importer export`: a zip file that any viewer of a DICOM CD opens."""

from __future__ import annotations

import io
import json
import re
import sys
import zipfile
from typing import TYPE_CHECKING
from unittest import mock

from dicom_importer import cli
from pydicom.fileset import FileSet
from unit.importer.building import dataset, encode
from unit.importer.commanding import command, conf
from unit.importer.test_corrections import imported, study

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from unit.importer.conftest import Importer

BY = ("--by", "an-admin", "--reason", "the patient asked")
ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
# It lacks what the record of a dose must have.
RT_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"


class Pipe(io.RawIOBase):
    """What a command writes to and cannot go back in."""

    def __init__(self) -> None:
        super().__init__()
        self.content = b""

    def writable(self) -> bool:
        """Say that it takes something."""
        return True

    def write(self, data: object) -> int:
        """Take it."""
        self.content += bytes(data)  # type: ignore[call-overload]
        return len(bytes(data))  # type: ignore[call-overload]


def export(importer: Importer, capsys: pytest.CaptureFixture[str], uid: str) -> zipfile.ZipFile:
    """Export a study as through a pipe."""
    pipe = Pipe()
    with mock.patch.object(sys, "stdout", mock.Mock(buffer=pipe)):
        made = cli.main([*conf(importer), "export", "--study", uid, *BY])
    assert made == 0, capsys.readouterr()
    return zipfile.ZipFile(io.BytesIO(pipe.content))


def test_every_image_is_in_it_as_archived_and_in_its_index(
    importer: Importer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made = study(StudyID="7", Modality="CT")
    document = dataset(SOPClassUID=ENCAPSULATED_PDF, StudyInstanceUID=made[0].StudyInstanceUID)
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    unknown = dataset(SOPClassUID=RT_DOSE, StudyInstanceUID=made[0].StudyInstanceUID)
    uid = imported(importer, [*made, document, unknown])
    with export(importer, capsys, uid) as found:
        assert found.testzip() is None
        names = found.namelist()
        found.extractall(tmp_path / "cd")
    assert names[0] == "README.txt"
    assert names[-1] == "DICOMDIR"
    assert len([one for one in names if one.startswith("OTHER/")]) == 1
    assert all(re.fullmatch(r"([A-Z0-9]{1,8}/){1,3}[A-Z0-9]{1,8}", one) for one in names[1:-1])
    kept = sorted(held.content for held in importer.archive.instances.values())
    assert sorted((tmp_path / "cd" / name).read_bytes() for name in names[1:-1]) == kept
    index = FileSet(tmp_path / "cd/DICOMDIR")
    try:
        listed = {str(one.SOPInstanceUID): one.load().SOPInstanceUID for one in index}
        assert index.find_values("StudyInstanceUID") == [uid]
    finally:
        index._stage["t"].cleanup()  # noqa: SLF001 - pydicom leaves it to the interpreter's end
    assert {*listed} == {str(one.SOPInstanceUID) for one in (*made, document)}
    assert all(key == value for key, value in listed.items())
    lines = importer.config.audit_file.read_text().splitlines()
    (record,) = [one for one in map(json.loads, lines) if one["status"] == "exported"]
    assert record["event"]["code"] == "110106"
    assert (record["instances"], record["reason"]) == (5, "the patient asked")


def test_a_study_that_is_not_there_gives_no_file(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    imported(importer, [dataset()])
    status, said = command(importer, capsys, "export", "--study", "1.2.3", *BY)
    assert (status, said) == (1, "")


def test_the_index_is_made_of_headers_alone(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    one = dataset(StudyDate="20261124")
    one.Rows = one.Columns = 2000
    one.PixelData = bytes(4_000_000)
    uid = imported(importer, [one])
    with export(importer, capsys, uid) as found:
        assert len(found.read("DICOMDIR")) < 4000
        (name,) = found.namelist()[1:-1]
        assert len(found.read(name)) > len(encode(one)) - 200
