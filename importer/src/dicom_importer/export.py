"""`dicom-importer export`: a study as a zip file with a DICOM File-set (PS3.10 8), for whoever asks for it.

Each instance goes as the archive holds it, byte for byte, one after the other: nothing of the size
of a study is in memory or on disk. Its index, DICOMDIR (PS3.3 F), comes last, since it names what
went before; it is made of the headers alone.
"""

import zipfile
from datetime import tzinfo
from typing import BinaryIO

from dicom_importer import amend, audit, words
from dicom_importer.dicomdir import Index
from dicom_importer.order import Order
from dicom_importer.replacement import Desk

_INDEX = "DICOMDIR"


def export(desk: Desk, study_uid: str, out: BinaryIO, zone: tzinfo, order: Order) -> None:
    """Write a study's zip file, with the times of a zone; raises Declined, Unavailable and OSError."""
    held, now = amend.find(desk, study_uid), order.now()
    found = sorted(desk.archive.study_instances(held.id).items(), key=lambda one: one[1])
    by = order.who, order.reason
    record = audit.exported(by, held.clinic, study_uid, len(found), audit.stamp(now))
    audit.append(desk.audit_file, [record])
    index = Index()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
        here = now.astimezone(zone)
        days = here.timetuple()[:6]
        said = words.load(desk.folders.language_tag).export["readme"]
        readme = said.format(
            clinic=held.clinic, uid=study_uid, count=len(found), day=f"{here:%Y-%m-%d}"
        )
        target.writestr(_entry("README.txt", days), readme)
        for number, (identifier, _) in enumerate(found, 1):
            with desk.archive.copy(identifier, desk.limits.spool) as copy:
                name = index.add(copy, number) or f"OTHER/OB{number:06}"
                _add(target, _entry(name, days), copy)
        if index.series:
            target.writestr(_entry(_INDEX, days), index.written())
    out.flush()


def _entry(name: str, days: tuple[int, ...]) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name, days)  # type: ignore[arg-type]
    made.external_attr = 0o600 << 16
    return made


def _add(target: zipfile.ZipFile, entry: zipfile.ZipInfo, copy: BinaryIO) -> None:
    copy.seek(0)
    # An instance may be larger than a zip file's own entries once could be.
    with target.open(entry, "w", force_zip64=True) as out:
        while chunk := copy.read(1 << 18):
            out.write(chunk)
