"""`dicom-importer verify` names each image and each file that is not as it was imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.uid import generate_uid
from unit.importer.building import dataset, encode, instance
from unit.importer.commanding import command
from unit.importer.test_flow import DAY
from unit.importer.test_replace import BY, another_version

if TYPE_CHECKING:
    import pytest
    from unit.importer.archiving import Stored
    from unit.importer.conftest import Importer


def only(importer: Importer) -> Stored:
    """Return the one instance that the archive holds."""
    (held,) = importer.archive.instances.values()
    return held


def test_what_is_as_it_was_imported_is_counted_and_all_is_well(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    content = instance()
    importer.drop("clinic-a/one.dcm", content)
    importer.drop("clinic-a/cut.dcm", content[:-3])
    importer.drop("clinic-b/two.dcm", instance())
    importer.run()
    importer.drop("clinic-a/again.dcm", content)
    importer.run()
    status, said = command(importer, capsys, "verify")
    assert status == 0
    assert said == (
        "2 studies: 2 images compared with their originals, 0 only looked for;"
        " 3 files in processed/; 0 differences.\n"
    )


def test_what_is_kept_beside_images_is_no_study(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/cd/one.dcm", instance())
    importer.drop("clinic-a/cd/README.txt", b"Hello, you")
    importer.run()
    assert importer.counted("clinic-a") == {"success": 1, "kept": 1}
    status, said = command(importer, capsys, "verify")
    assert (status, said.partition(":")[0]) == (0, "1 studies")


def test_an_image_that_the_archive_lacks_is_named_and_its_patient_is_not(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = dataset(PatientName="Doe^John")
    importer.drop("clinic-a/Doe^John/one.dcm", encode(made))
    made.SOPInstanceUID = generate_uid()
    importer.drop("clinic-a/Doe^John/two.dcm", encode(made))
    importer.run()
    held = importer.archive.instances
    del held[next(key for key in held if held[key].uids[2] == made.SOPInstanceUID)]
    status, said = command(importer, capsys, "verify")
    assert status == 1
    assert (
        f"clinic-a: study {made.StudyInstanceUID}, image {made.SOPInstanceUID}"
        " is not in the archive\n"
    ) in said
    assert "Doe" not in said
    held.clear()
    status, said = command(importer, capsys, "verify")
    assert f"study {made.StudyInstanceUID} is not in the archive (2 images)" in said


def test_changed_bytes_in_the_archive_are_named(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    held = only(importer)
    held.content = held.content[:-1] + b"\xff"
    status, said = command(importer, capsys, "verify")
    assert status == 1
    assert f"image {held.uids[2]} differs: The archive holds another version" in said


def test_a_study_that_became_another_clinics_is_named(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    only(importer).tags.InstitutionName = "clinic-b"
    assert "is not this clinic's in the archive" in command(importer, capsys, "verify")[1]


def test_without_its_original_an_image_is_still_looked_for(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    (importer.root / f"processed/clinic-a/{DAY}/one.dcm").unlink()
    status, said = command(importer, capsys, "verify")
    assert (status, "1 only looked for" in said) == (0, True)
    importer.archive.instances.clear()
    assert command(importer, capsys, "verify")[0] == 1


def test_a_file_in_processed_that_the_journal_does_not_know_is_named_without_its_name(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    stray = importer.root / f"processed/clinic-a/{DAY}/Doe^John.dcm"
    stray.write_bytes(instance())
    status, said = command(importer, capsys, "verify", "--clinic", "clinic-a")
    assert status == 1
    assert f"is not in the journal (find {importer.root}/processed/clinic-a -inum" in said
    assert str(stray.stat().st_ino) in said
    assert "Doe" not in said
    assert command(importer, capsys, "verify", "--clinic", "clinic-b")[0] == 0


def test_what_was_replaced_is_compared_with_what_replaced_it(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    command(importer, capsys, "replace", another_version(importer), *BY)
    status, said = command(importer, capsys, "verify")
    assert (status, "1 images compared" in said) == (0, True)


def test_without_an_archive_there_is_no_verdict(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    importer.drop("clinic-a/one.dcm", instance())
    importer.run()
    importer.archive.away = True
    status, said = command(importer, capsys, "verify")
    assert (status, said.startswith("Stopped: the archive does not answer")) == (2, True)
    assert command(importer, capsys, "verify", "--clinic", "clinic-x")[0] == 2
