"""`dicom-importer export`: a study as a zip file with a DICOM File-set (PS3.10 8), for whoever asks for it.

Each instance goes as the archive holds it, byte for byte, one after the other: nothing of the size
of a study is in memory or on disk. Its index, DICOMDIR (PS3.3 F), comes last, since it names what
went before; it is made of the headers alone.
"""

import zipfile
from typing import BinaryIO

from dicom_importer import amend, audit
from dicom_importer.dicomdir import Index
from dicom_importer.order import Order
from dicom_importer.replacement import Desk

_INDEX = "DICOMDIR"
_README = """\
This is a copy of medical images of the DICOM standard, in the form of a CD or DVD (DICOM PS3.10).

Unpack the zip file into a folder, and open that folder, or the file DICOMDIR in it, with a viewer
of DICOM images. Every image is as the archive of the clinic {clinic} holds it. Images without an
entry in DICOMDIR are in the folder OTHER.

Study {uid}, {count} images, exported on {day}.

It holds data of a patient, also in the images themselves: keep it as you keep a letter of a doctor.
"""


def export(desk: Desk, study_uid: str, out: BinaryIO, order: Order) -> None:
    """Write a study's zip file; raises Declined, Unavailable and OSError."""
    held, now = amend.find(desk, study_uid), order.now()
    found = sorted(desk.archive.study_instances(held.id).items(), key=lambda one: one[1])
    by = order.who, order.reason
    record = audit.exported(by, held.clinic, study_uid, len(found), audit.stamp(now))
    audit.append(desk.audit_file, [record])
    index = Index()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
        days = now.timetuple()[:6]
        readme = _README.format(
            clinic=held.clinic, uid=study_uid, count=len(found), day=f"{now:%Y-%m-%d}"
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
