"""A mess of real files: each ends in the archive bit for bit, or in failed/ with a reason for people."""

from __future__ import annotations

import io
import json
import secrets
import zipfile
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
import pytest
from harness.dicomweb import Reader
from harness.drop import Outcome, drop_files
from harness.wait import wait_until

if TYPE_CHECKING:
    from harness.people import People
    from harness.stack import Stack

CLINIC = "clinic-mess"
PHYSICIAN = "physician-mess"
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
# Their identifiers have the value representation UN, which Orthanc's STOW-RS takes for missing.
UNTYPED = {f"pydicom/test_files/{name}.dcm" for name in ("rtdose_rle", "rtdose_rle_1frame")}
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def package_files(package: str, folder: str) -> dict[str, Path]:
    """Return every file below a folder of an installed package, by a path that begins with its name."""
    spec = find_spec(package)
    assert spec
    assert spec.origin
    root = Path(spec.origin).parent / folder
    found = {f"{package}/{p.relative_to(root)}": p for p in sorted(root.rglob("*")) if p.is_file()}
    assert found, f"{root} holds no file"
    return {name: path for name, path in found.items() if path.suffix not in (".py", ".pyc")}


def mess() -> dict[str, Path]:
    """Return all sample files of the three packages, DICOM or not, broken or not."""
    return (
        package_files("pydicom", "data")
        | package_files("data_store", "data")
        | package_files("deid_data", "data")
    )


def unpacked(files: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Return what comes out of the zip files among these, under the names that it must have."""
    found: dict[str, Path] = {}
    for name, path in files.items():
        if path.suffix == ".zip":
            base = f"{name.removesuffix('.zip')}.unpacked"
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder / base)
                found |= {f"{base}/{entry}": folder / base / entry for entry in archive.namelist()}
    return found


@dataclass(frozen=True, slots=True)
class Mess:
    """What was dropped or came out of a zip, and what became of it."""

    dropped: dict[str, Path]
    outcome: Outcome
    reader: Reader

    def images(self) -> dict[str, Path]:
        """Return what was processed and is an image, not a file kept beside images."""
        return {n: p for n, p in self.outcome.processed.items() if is_image(p)}

    def archived_as(self, path: Path) -> bool:
        """Whether the archive holds a file of this clinic with the same pixels, bit for bit."""
        original = pydicom.dcmread(path, force=True)
        uids = (original[tag].value for tag in UIDS)
        archived = self.reader.instance(*map(str, uids))
        same = all(raw(archived, keyword) == raw(original, keyword) for keyword in PIXELS)
        return same and archived.InstitutionName == CLINIC


def is_image(path: Path) -> bool:
    """Whether pydicom finds an instance in it, which an index of a medium is not."""
    return "SOPInstanceUID" in pydicom.dcmread(path, force=True, stop_before_pixels=True)


@pytest.fixture(scope="module")
def sorted_mess(stack: Stack, people: People, tmp_path_factory: pytest.TempPathFactory) -> Mess:
    """Provide the mess, dropped and settled, with a physician of its clinic."""
    people.clinic(CLINIC, "Clinic of the mess")
    people.person(PHYSICIAN, "physician", CLINIC)
    files = mess()
    outcome = drop_files(stack, CLINIC, dict(files), timeout_s=240)
    files |= unpacked(files, tmp_path_factory.mktemp("unpacked"))
    return Mess(files, outcome, Reader(stack, people.token(PHYSICIAN)))


def test_every_file_ends_in_exactly_one_place_with_its_bytes(sorted_mess: Mess) -> None:
    ended = sorted_mess.outcome.processed | sorted_mess.outcome.failed
    assert len(sorted_mess.outcome.processed) + len(sorted_mess.outcome.failed) == len(ended)
    assert ended.keys() == sorted_mess.dropped.keys()
    changed = [
        name
        for name, path in ended.items()
        if path.read_bytes() != sorted_mess.dropped[name].read_bytes()
    ]
    assert changed == []


def test_what_was_processed_is_in_the_archive_with_its_pixels_bit_for_bit(
    sorted_mess: Mess,
) -> None:
    images = sorted_mess.images()
    assert [name for name, path in images.items() if not sorted_mess.archived_as(path)] == []


def test_every_variant_of_an_image_is_stored_under_an_identifier_of_its_own(
    sorted_mess: Mess,
) -> None:
    reasons = sorted_mess.outcome.reasons
    refused = [name for name in reasons if reasons[name]["reason"] == "other_version"]
    variants = {name: renamed(sorted_mess.dropped[name].read_bytes()) for name in refused}
    outcome = drop_files(sorted_mess.reader.stack, CLINIC, dict(variants), timeout_s=120)
    assert outcome.reasons.keys() == UNTYPED
    changed = [n for n, path in outcome.processed.items() if not sorted_mess.archived_as(path)]
    assert changed == []


def renamed(content: bytes) -> bytes:
    """Return a file with another SOP Instance UID of the same length, wherever it stands."""
    uid = str(pydicom.dcmread(io.BytesIO(content), force=True).SOPInstanceUID)
    digits = str(secrets.randbelow(10**6)).zfill(6)
    other = uid[:-7] + ("." if uid[-7] == "." else "1") + "1" + digits[1:]
    return content.replace(uid.encode(), other.encode())


def raw(dataset: pydicom.Dataset, keyword: str) -> bytes | None:
    """Return an element's bytes as they stand in the file."""
    return dataset[keyword].value if keyword in dataset else None


def test_every_failure_has_a_reason_for_people(sorted_mess: Mess) -> None:
    outcome = sorted_mess.outcome
    assert outcome.reasons.keys() == outcome.failed.keys()
    for name, reason in outcome.reasons.items():
        assert len(str(reason["message"]).split()) > 4, f"{name}: {reason}"
        assert len(str(reason["action"]).split()) > 2, f"{name}: {reason}"


def test_each_file_is_in_one_audit_record_and_no_patient_is(sorted_mess: Mess) -> None:
    stack = sorted_mess.reader.stack
    path = stack.data_dir / "audit" / "importer" / "import.jsonl"

    def records() -> list[dict[str, object]]:
        found = [json.loads(line) for line in path.read_text().splitlines()]
        return [record for record in found if record["clinic_id"] == CLINIC]

    def filed() -> int:
        folders = (stack.files / place / CLINIC for place in ("processed", "failed"))
        files = [p for folder in folders for p in folder.rglob("*") if p.is_file()]
        return sum(not p.name.endswith(".error.json") for p in files)

    wait_until(
        lambda: sum(int(str(record["instances"])) for record in records()) == filed(),
        30,
        f"the audit counts {filed()} files",
    )
    assert {str(record["event"]) for record in records()} == {str(records()[0]["event"])}
    assert "110107" in str(records()[0]["event"])
    for name in ("CompressedSamples", "Sssssss", "Doe", "ANON"):
        assert name not in path.read_text()


def test_the_importer_exports_what_it_did(sorted_mess: Mess) -> None:
    ask = "import urllib.request as u; print(u.urlopen('http://importer:8080/metrics').read().decode())"
    text = sorted_mess.reader.stack.exec("importer", "python3", "-c", ask).stdout
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found = dict(line.rsplit(" ", 1) for line in lines)
    label = f'clinic_id="{CLINIC}"'
    assert float(found[f'dicom_imports_total{{{label},status="success"}}']) >= 165
    assert float(found[f'dicom_imports_total{{{label},status="kept"}}']) == 23
    assert float(found[f"dicom_import_missing_total{{{label}}}"]) == 0
    assert float(found[f"dicom_import_duration_seconds_count{{{label}}}"]) >= 165
    assert float(found[f"dicom_pending_imports{{{label}}}"]) == 0


def test_the_counts_are_these(sorted_mess: Mess) -> None:
    reasons = Counter(str(reason["reason"]) for reason in sorted_mess.outcome.reasons.values())
    assert len(sorted_mess.images()) == 168
    # Notes, listings, the indexes of CDs and two zip files, beside images.
    assert len(sorted_mess.outcome.processed) == 168 + 23
    assert reasons == {
        # Samples of one image in many encodings, all under one identifier.
        "other_version": 71,
        # Palettes and fragments without a study or a SOP class.
        "missing_attribute": 19,
        "truncated": 3,
        "packed": 1,
        # What a zip holds is of a study that another file has under another patient ID.
        "other_patient": 1,
        "refused_unreadable": 2,
        "invalid_uid": 1,
        "malformed": 1,
        # It is named as an image.
        "not_dicom": 1,
    }
