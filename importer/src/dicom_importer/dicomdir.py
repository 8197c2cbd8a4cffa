"""Makes the index of a DICOM File-set (PS3.3 F): DICOMDIR of one study, from its headers alone.

The content of each record is pydicom's; its own FileSet would keep a copy of each file, and looks
through all that it has for each that is added.
"""

import struct
from dataclasses import dataclass, field
from typing import BinaryIO

import pydicom
from pydicom import fileset
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

_DAYS = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate")
# What records are made of.
_KEYS = (
    "SpecificCharacterSet SOPClassUID SOPInstanceUID PatientName PatientID StudyInstanceUID "
    "StudyID StudyTime StudyDescription AccessionNumber SeriesInstanceUID SeriesNumber Modality "
    "InstanceNumber Manufacturer ImageType NumberOfFrames Rows Columns DataPointRows "
    "DataPointColumns ContentTime ContentLabel ContentDescription ContentCreatorName "
    "PresentationCreationDate PresentationCreationTime ReferencedSeriesSequence "
    "BlendingSequence ConceptNameCodeSequence ContentSequence CompletionFlag VerificationFlag "
    "VerificationDateTime DocumentTitle MIMETypeOfEncapsulatedDocument DoseSummationType "
    "RTPlanDate RTPlanLabel RTPlanTime StructureSetDate StructureSetLabel StructureSetTime "
    "TreatmentDate TreatmentTime InstanceCreationTime ReferencedImageEvidenceSequence "
    "UserContentLabel UserContentLongLabel HL7InstanceIdentifier"
)
# Where a record's own values lie, which comes first: (0004,1400) and (0004,1420), each UL.
_NEXT, _LOWER = 8, 30
_ITEM = 8
_IN_USE = 0xFFFF
_UNDESCRIBED = (AttributeError, KeyError, TypeError, ValueError)


@dataclass(slots=True)
class _Series:
    record: bytes
    number: int
    leaves: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Index:
    """The records of one study so far; its patient's and its own are those of the first instance."""

    above: list[bytes] = field(default_factory=list)
    series: dict[str, _Series] = field(default_factory=dict)

    def add(self, file: BinaryIO, number: int) -> str:
        """Add an instance, the so-manieth; returns its File ID, empty where no record tells of it."""
        header = _header(file, number)
        uid = str(header.SeriesInstanceUID)
        try:
            # Private there, and what knows the kinds of records.
            kind = fileset._four_level_record_type(header)  # noqa: SLF001
            above = self.above or [_encoded(one, header, ()) for one in ("PATIENT", "STUDY")]
            series = self.series.get(uid) or _Series(
                _encoded("SERIES", header, ()), len(self.series) + 1
            )
            prefix = fileset._PREFIXES[kind]  # noqa: SLF001
            path = (f"SE{series.number:06}", f"{prefix}{len(series.leaves) + 1:06}")
            leaf = _encoded(kind, header, path)
        except _UNDESCRIBED:
            return ""
        self.above, self.series[uid] = above, series
        series.leaves.append(leaf)
        return "/".join(path)

    def written(self) -> bytes:
        """Return the file."""
        head = _head()
        records = [*self.above]
        lower = {0: 1, 1: 2}
        following: dict[int, int] = {}
        previous = -1
        for series in self.series.values():
            at = len(records)
            if previous >= 0:
                following[previous] = at
            previous = at
            lower[at] = at + 1
            last = at + len(series.leaves)
            following |= {leaf: leaf + 1 for leaf in range(at + 1, last)}
            records += [series.record, *series.leaves]
        length = sum(_ITEM + len(record) for record in records)
        # The two roots lie before the sequence's own head.
        sequence = struct.pack("<HH2sHL", 0x0004, 0x1220, b"SQ", 0, length)
        first = len(head) + len(_root(0)) + len(sequence)
        places, place = [], first
        for record in records:
            places.append(place)
            place += _ITEM + len(record)
        parts = [head, _root(first), sequence]
        for number, record in enumerate(records):
            content = bytearray(record)
            for at, links in ((_NEXT, following), (_LOWER, lower)):
                struct.pack_into("<L", content, at, places[links[number]] if number in links else 0)
            parts.append(struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content)
        return b"".join(parts)


def _header(file: BinaryIO, number: int) -> Dataset:
    """Read what the records need, with a stand-in for what they must have (F.5) and the instance has not."""
    keys = [*_KEYS.split(), *_DAYS]
    found = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[*keys], force=True)
    day = next((str(found.get(key)) for key in _DAYS if found.get(key)), "19000101")
    needed = {
        "PatientID": "UNKNOWN",
        "StudyDate": day,
        "StudyTime": "000000",
        "StudyID": "1",
        "Modality": "OT",
        "SeriesNumber": 1,
        "InstanceNumber": number,
    }
    for keyword, value in needed.items():
        if found.get(keyword) in (None, ""):
            setattr(found, keyword, value)
    if "MIMETypeOfEncapsulatedDocument" in found:
        found.EncapsulatedDocument = b""
    return found


def _encoded(kind: str, header: Dataset, path: tuple[str, ...]) -> bytes:
    """Encode a record, without its offsets; raises what pydicom does for an instance that lacks something."""
    record = fileset.DIRECTORY_RECORDERS[kind](header)
    record.OffsetOfTheNextDirectoryRecord = 0
    record.RecordInUseFlag = _IN_USE
    record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
    record.DirectoryRecordType = kind
    if "SpecificCharacterSet" in header:
        record.SpecificCharacterSet = header.SpecificCharacterSet
    if path:
        record.ReferencedFileID = [*path]
        record.ReferencedSOPClassUIDInFile = header.SOPClassUID
        record.ReferencedSOPInstanceUIDInFile = header.SOPInstanceUID
        record.ReferencedTransferSyntaxUIDInFile = header.file_meta.TransferSyntaxUID
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, record, header.get("SpecificCharacterSet", "iso8859"))
    return buffer.getvalue()


def _head() -> bytes:
    """Return what comes before the records, without the offsets."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = UID(ExplicitVRLittleEndian)
    buffer = DicomBytesIO()
    write_file_meta_info(buffer, meta)
    return bytes(128) + b"DICM" + buffer.getvalue()


def _root(first: int) -> bytes:
    """Encode File-set ID (none), both offsets of the root and the consistency flag."""
    # The one patient is the first and the last.
    return (
        struct.pack("<HH2sH", 0x0004, 0x1130, b"CS", 0)
        + struct.pack("<HH2sHL", 0x0004, 0x1200, b"UL", 4, first)
        + struct.pack("<HH2sHL", 0x0004, 0x1202, b"UL", 4, first)
        + struct.pack("<HH2sHH", 0x0004, 0x1212, b"US", 2, 0)
    )
