"""What every object is built from: who it is of, its attributes, and its file."""

from __future__ import annotations

import hashlib
import io
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

if TYPE_CHECKING:
    from os import PathLike
    from typing import BinaryIO

Picture = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who and what a study says it is; its UIDs derive from `key`, new unless it is given."""

    patient_id: str = "PHANTOM-1"
    patient_name: str = "Phantom^One"
    institution: str = "What the modality says"
    description: str = "Phantom"
    key: str = field(default_factory=lambda: secrets.token_hex(8))

    def uid(self, *parts: object) -> UID:
        """Derive a UID: the same parts of the same key give the same one (PS3.5 B.2)."""
        digest = hashlib.sha256("\0".join(map(str, (self.key, *parts))).encode()).digest()
        return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


@dataclass(frozen=True, slots=True)
class Study:
    """A study to drop: files by name, and the pictures in them (0 to 1; frames, rows, columns)."""

    identity: Identity
    files: dict[str, bytes]
    pictures: Picture

    @property
    def uid(self) -> str:
        """Study Instance UID."""
        return self.identity.uid("study")


def put(ds: Dataset, **attributes: object) -> None:
    """Set attributes by their keywords."""
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)


def item(**attributes: object) -> Dataset:
    """Return a sequence's item."""
    ds = Dataset()
    put(ds, **attributes)
    return ds


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return a code's item (PS3.3 8)."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def layout(rows: int, columns: int, *, bits: int, signed: bool = False) -> dict[str, object]:
    """Return what is said of grey pixels of 16 bits, `bits` of which are used (PS3.3 C.7.6.3)."""
    return {
        "BitsAllocated": 16,
        "BitsStored": bits,
        "Columns": columns,
        "HighBit": bits - 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelRepresentation": int(signed),
        "Rows": rows,
        "SamplesPerPixel": 1,
    }


def pixels(stored: NDArray[np.integer], *, bits: int) -> dict[str, object]:
    """Return grey pixels and what is said of them."""
    rows, columns = stored.shape[-2:]
    signed = stored.dtype.kind == "i"
    return {**layout(rows, columns, bits=bits, signed=signed), "PixelData": stored.tobytes()}


def begin(sop_class: UID, modality: str, who: Identity, index: int) -> Dataset:
    """Begin an object with what every class has: patient, study, series, equipment, SOP common."""
    ds = Dataset()
    put(
        ds,
        SOPClassUID=sop_class,
        SOPInstanceUID=who.uid("instance", index),
        InstanceNumber=index + 1,
    )
    put(ds, StudyInstanceUID=who.uid("study"), SeriesInstanceUID=who.uid("series"))
    put(
        ds, SpecificCharacterSet="ISO_IR 192", PatientID=who.patient_id, PatientBirthDate="19700101"
    )
    put(ds, PatientName=who.patient_name, PatientSex="O", InstitutionName=who.institution)
    put(ds, StudyDate="20260102", StudyTime="030405", StudyID="1", AccessionNumber="")
    put(ds, ContentDate="20260102", ContentTime="030405", ReferringPhysicianName="")
    put(ds, StudyDescription=who.description, SeriesDescription=modality, SeriesNumber=1)
    put(ds, Modality=modality, Manufacturer="Phantoms", ManufacturerModelName="Blocks")
    return ds


def write(target: str | PathLike[str] | BinaryIO, ds: Dataset, syntax: UID) -> None:
    """Write an object with its meta header (PS3.10 7)."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = syntax
    dcmwrite(target, ds, enforce_file_format=True)


def as_file(ds: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """Return an object's file."""
    buffer = io.BytesIO()
    write(buffer, ds, syntax)
    return buffer.getvalue()
