"""What lies beside images without being any, and what a copy in progress leaves."""

from __future__ import annotations

import io
import json
import os
from typing import TYPE_CHECKING

import pydicom
import pytest
from dicom_importer import cli, holes, index
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from unit.importer.building import dataset, encode, instance, shipped

if TYPE_CHECKING:
    from pathlib import Path

    from unit.importer.conftest import Importer

DAY = "2026-11-24"
FILED = f"processed/clinic-a/{DAY}"
PDF = b"%PDF-1.7 " * 50


def reason(importer: Importer, path: str) -> dict[str, object]:
    """Read what stands beside a failed file."""
    content = (importer.root / f"failed/clinic-a/{DAY}/{path}.error.json").read_text()
    found: dict[str, object] = json.loads(content)
    return found


@pytest.mark.parametrize(
    "name", ["README.TXT", "report.pdf", "autorun.inf", "VIEWER/Viewer.exe", "a", "z.jar"]
)
def test_a_file_beside_images_is_kept_and_no_failure(importer: Importer, name: str) -> None:
    importer.drop("clinic-a/cd/DICOM/m.dcm", instance())
    importer.drop(f"clinic-a/cd/{name}", PDF)
    importer.run()
    assert importer.tree() == sorted([f"{FILED}/cd/DICOM/m.dcm", f"{FILED}/cd/{name}"])
    assert importer.counted("clinic-a") == {"success": 1, "kept": 1}
    records = map(json.loads, importer.config.audit_file.read_text().splitlines())
    assert {(r["status"], r["outcome"], r["instances"]) for r in records} == {
        ("success", 0, 1),
        ("kept", 0, 1),
    }


def test_it_is_kept_also_where_the_images_failed_or_went_before(importer: Importer) -> None:
    importer.drop("clinic-a/cd/cut.dcm", instance()[:-3])
    importer.run()
    importer.restart()
    importer.drop("clinic-a/cd/readme.txt", PDF)
    importer.run()
    assert importer.counted("clinic-a") == {"kept": 1}


def test_a_kept_file_is_no_sign_that_the_archive_takes_anything(importer: Importer) -> None:
    importer.archive.away = True
    importer.drop("clinic-a/cd/m.dcm", instance())
    importer.drop("clinic-a/cd/readme.txt", PDF)
    importer.run()
    assert importer.counted("clinic-a") == {"kept": 1}
    assert importer.service.worker.last_success_s == 0
    get = importer.service.metrics.registry.get_sample_value
    assert get("dicom_import_bytes_total", {"clinic_id": "clinic-a"}) == 0


def test_a_folder_without_any_image_fails_so_that_somebody_notices(importer: Importer) -> None:
    importer.drop("clinic-a/other/m.dcm", instance())
    importer.drop("clinic-b/papers/m.dcm", instance())
    importer.drop("clinic-a/papers/one.pdf", PDF)
    importer.drop("clinic-a/papers/two.pdf", PDF)
    importer.drop("clinic-a/loose.pdf", PDF)
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1, "not_dicom": 3}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("lost.dcm", b"no image " * 50),
        ("IM000001", bytes(4096)),
        ("empty", b""),
        ("lost.IMA", PDF),
    ],
)
def test_what_may_have_been_an_image_fails_also_beside_images(
    importer: Importer, name: str, content: bytes
) -> None:
    importer.drop("clinic-a/cd/m.dcm", instance())
    importer.drop(f"clinic-a/cd/{name}", content)
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1, "not_dicom": 1}


@pytest.mark.parametrize(
    ("name", "code"),
    [("study.zip", "packed_broken"), ("study.7z", "packed"), ("study.tar.gz", "packed")],
)
def test_a_packed_file_is_never_put_aside_in_silence(
    importer: Importer, name: str, code: str
) -> None:
    importer.drop("clinic-a/cd/m.dcm", instance())
    importer.drop(f"clinic-a/cd/{name}", b"PK\3\4" + PDF)
    importer.run()
    assert reason(importer, f"cd/{name}")["reason"] == code


@pytest.mark.parametrize("name", ["Thumbs.db", ".DS_Store", "desktop.ini", "._m.dcm"])
def test_what_a_desktop_leaves_is_kept_wherever_it_lies(importer: Importer, name: str) -> None:
    importer.drop(f"clinic-a/{name}", b"\0\5\x16\7")
    importer.drop(f"clinic-a/old/{name}", b"")
    importer.run()
    assert importer.tree() == [f"{FILED}/{name}", f"{FILED}/old/{name}"]
    assert importer.counted("clinic-a") == {"kept": 2}


def test_an_image_is_an_image_whatever_a_desktop_would_call_so(importer: Importer) -> None:
    importer.drop("clinic-a/cd/._m.dcm", instance())
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1}


def listing(importer: Importer) -> float | None:
    """Return how many files that an index lists did not come."""
    get = importer.service.metrics.registry.get_sample_value
    return get("dicom_import_missing_total", {"clinic_id": "clinic-a"})


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-implicit", "DICOMDIR-bigEnd"])
def test_an_index_lists_what_pydicom_reads_in_it(name: str) -> None:
    content = shipped(f"dicomdirtests/{name}").read_bytes()
    records = pydicom.dcmread(io.BytesIO(content)).DirectoryRecordSequence
    named = [r.ReferencedFileID for r in records if "ReferencedFileID" in r]
    found = list(index.listed(io.BytesIO(content)))
    assert found == ["/".join(one) for one in named]
    assert len(found) > 20


@pytest.mark.parametrize("undefined", [True, False])
def test_an_index_may_hold_icons(*, undefined: bool) -> None:
    records = []
    for number in range(3):
        record = Dataset()
        record.ReferencedFileID = ["DICOM", f"I{number}"]
        record.IconImageSequence = Sequence([Dataset()])
        record.IconImageSequence[0].ImageComments = "icon"
        record["IconImageSequence"].is_undefined_length = undefined
        record.is_undefined_length_sequence_item = undefined
        records.append(record)
    made = dataset(PixelData=None, DirectoryRecordSequence=Sequence(records))
    assert list(index.listed(io.BytesIO(encode(made)))) == [f"DICOM/I{n}" for n in range(3)]


def test_an_index_is_kept_and_what_it_lists_is_looked_for(
    importer: Importer, conf: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    content = shipped("dicomdirtests/DICOMDIR").read_bytes()
    names = list(index.listed(io.BytesIO(content)))
    file = importer.drop("clinic-a/cd/DICOMDIR", content)
    for name in names[2:]:
        importer.drop(f"clinic-a/cd/{name.lower()}", instance())
    importer.run()
    came = len(names) - 2
    assert importer.counted("clinic-a") == {"success": came, "kept": 1}
    assert listing(importer) == 2
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (told,) = [line for line in lines if line["event"] == "index"]
    assert (told["clinic"], told["listed"], told["missing"]) == ("clinic-a", len(names), 2)
    cli.main([*conf, "explain", str(file)])
    assert f"It lists {len(names)} files, of which 2 did not come." in capsys.readouterr().out


def test_an_index_waits_for_files_that_are_still_coming(importer: Importer) -> None:
    content = shipped("dicomdirtests/DICOMDIR").read_bytes()
    names = list(index.listed(io.BytesIO(content)))
    importer.drop("clinic-a/cd/DICOMDIR", content)
    for name in names[2:]:
        importer.drop(f"clinic-a/cd/{name}", instance())
    importer.settle()
    importer.work()
    assert listing(importer) == 0
    for name in names[:2]:
        importer.drop(f"clinic-a/cd/{name}", instance())
    importer.run()
    importer.run()
    assert importer.counted("clinic-a") == {"success": len(names), "kept": 1}
    assert listing(importer) == 0


def test_a_broken_index_is_kept_and_lists_nothing(importer: Importer) -> None:
    content = shipped("dicomdirtests/DICOMDIR").read_bytes()
    importer.drop("clinic-a/cd/DICOMDIR", content[:700])
    importer.run()
    assert importer.counted("clinic-a") == {"kept": 1}
    assert listing(importer) == 0


def test_a_copy_in_progress_is_shown_and_never_failed(
    importer: Importer, conf: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/cd/m.dcm.part", instance()[:-3])
    importer.drop("clinic-a/~$report.doc", b"lock")
    importer.run()
    importer.clock.now_s += 30 * 86400
    importer.run()
    assert importer.tree() == ["inbox/clinic-a/cd/m.dcm.part", "inbox/clinic-a/~$report.doc"]
    capsys.readouterr()
    assert cli.main([*conf, "status"]) == 0
    assert "0 waiting, 0 failed; 2 bear the name of a copy in" in capsys.readouterr().out
    labels = {"clinic_id": "clinic-a", "why": "unfinished"}
    assert importer.service.metrics.registry.get_sample_value("dicom_inbox_left_alone", labels) == 2


@pytest.mark.parametrize(
    ("content", "status"),
    [(instance()[:-3], "rejected"), (b"", "not_dicom"), (bytes(999), "not_dicom")],
)
def test_what_may_still_be_growing_is_given_ten_cool_downs(
    importer: Importer, content: bytes, status: str
) -> None:
    file = importer.drop("clinic-a/slow.dcm", content)
    importer.settle()
    importer.work()
    importer.clock.now_s += 8 * importer.config.cooldown_s
    importer.work()
    assert importer.tree() == ["inbox/clinic-a/slow.dcm"]
    file.write_bytes(instance())
    importer.run()
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1}
    importer.drop("clinic-a/dead.dcm", content)
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1, status: 1}


def test_a_copy_that_has_its_full_size_and_not_its_content_is_no_image_with_a_black_half(
    importer: Importer,
) -> None:
    content = instance(Rows=128, Columns=128, PixelData=b"\1" * (128 * 128))
    half = len(content) // 2
    for name in ("slow.dcm", "dead.dcm"):
        file = importer.drop(f"clinic-a/{name}", content[:half])
        # As Windows and robocopy begin a copy.
        os.truncate(file, len(content))
    importer.settle()
    importer.work()
    assert importer.tree() == ["inbox/clinic-a/dead.dcm", "inbox/clinic-a/slow.dcm"]
    with (importer.root / "inbox/clinic-a/slow.dcm").open("r+b") as slow:
        slow.seek(half)
        slow.write(content[half:])
    importer.run()
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1, "rejected": 1}
    assert (importer.root / FILED / "slow.dcm").read_bytes() == content
    told = reason(importer, "dead.dcm")
    assert (told["reason"], told["detail"]) == (
        "truncated",
        "it has its full size, and its end was never written",
    )


def test_an_image_that_ends_in_zeros_that_were_written_is_whole(importer: Importer) -> None:
    importer.drop("clinic-a/black.dcm", instance(Rows=128, Columns=128, PixelData=bytes(128 * 128)))
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1}


def test_where_the_file_system_makes_holes_of_zeros_none_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "half.dcm"
    path.write_bytes(b"begun")
    os.truncate(path, 1 << 16)
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = tmp_path / "mountinfo"
    for kind, expected in (("ext4", True), ("zfs", False)):
        mounts.write_text(f"36 35 {number} / /files rw,noatime master:1 - {kind} /dev/vda rw\n")
        with path.open("rb") as file:
            file.read(3)
            assert holes.unfinished(file, mounts) is expected
            assert file.read(2) == b"un"
