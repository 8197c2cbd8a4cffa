"""Everything is lost but the backup and its key: people, studies, pixels and records are back as they were.

`make drill` runs it with more data and shows the figures.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
import pytest
from harness import stack as stacks
from harness.dicomweb import ANY_SYNTAX, Reader
from harness.drill import (
    Figures,
    Image,
    Watch,
    commands,
    destroy,
    inventory,
    of_its_own,
    run,
    told,
)
from harness.drop import drop_files
from harness.people import People
from harness.phantom import Identity, ct, panoramic
from harness.wait import wait_until
from stack import health

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.stack import Stack

CLINICS = {"clinic-a": "physician-a", "clinic-b": "physician-b", "clinic-c": "physician-c"}
# Real images that pydicom carries, of several kinds and transfer syntaxes.
REAL = {
    "clinic-a": ("CT_small.dcm", "JPEG2000.dcm", "693_J2KI.dcm"),
    "clinic-b": ("MR_small.dcm", "examples_overlay.dcm", "SC_rgb_jpeg_dcmtk.dcm"),
    "clinic-c": ("examples_jpeg2k.dcm", "examples_ybr_color.dcm", "liver_1frame.dcm"),
}
MEGABYTES = int(os.environ.get("DRILL_MEGABYTES", "0"))
SLICES, SLICE_PIXELS = 20, 512
DAY_S = 86400
FILES = """
SELECT f.uuid FROM attachedfiles f JOIN resources i ON i.internalid = f.id AND f.filetype = 1
JOIN resources s ON s.internalid = i.parentid JOIN dicomidentifiers d ON d.id = s.parentid
WHERE d.value = :uid
"""


@dataclass(frozen=True, slots=True)
class Before:
    """What there was: of each physician the images, everybody's claims, and the audit."""

    images: dict[str, dict[str, Image]]
    claims: dict[str, dict[str, object]]
    audit: dict[str, str]
    # Imported after the last dump and backed up, and imported after the last backup.
    replayed: set[str]
    lost: set[str]


@dataclass(frozen=True, slots=True)
class After:
    """What came back, what it said, and who watched."""

    stack: Stack
    people: People
    said: str
    watch: Watch
    figures: Figures


@pytest.fixture(scope="module")
def places(request: pytest.FixtureRequest) -> Iterator[dict[str, Path]]:
    """Provide where backup and key lie: beside the data, which they must outlive."""
    env = Path(request.config.getoption("--env"))
    top = Path(f"{stacks.from_env_file(env).data_dir}-drill-kept")
    shutil.rmtree(top, ignore_errors=True)
    (top / "backup").mkdir(parents=True)
    yield {"/mnt/backup": top / "backup", "/root/backup-key": top / "key"}
    shutil.rmtree(top)


@pytest.fixture(scope="module")
def env_file(request: pytest.FixtureRequest, places: dict[str, Path]) -> Iterator[Path]:
    """Provide the settings of a stack that is there to be lost."""
    env = of_its_own(Path(request.config.getoption("--env")), places["/mnt/backup"])
    yield env
    env.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def drill(env_file: Path, places: dict[str, Path]) -> Iterator[tuple[Before, After]]:
    """Load, back up, go on, lose everything, and bring it back by the commands of the page."""
    stack = stacks.start(env_file, keep=False)
    settings_text = env_file.read_text()
    people = People(stack)
    people.make()
    people.clinic("clinic-c", "Clinic C")
    people.person("physician-c", "physician", "clinic-c")
    for clinic in CLINICS:
        load(stack, clinic)
    spread_over_days(stack)
    # Who looked at what, which the audit must still know.
    for physician in CLINICS.values():
        inventory(Reader(stack, people.token(physician, fresh=True)))
    recorded(stack)
    stacks.make("backup", env_file)
    places["/root/backup-key"].write_text(stacks.make("backup-key", env_file))
    # The next run needs no new dump: this is in images and originals, and in no index.
    replayed = one_more(stack, "Replayed")
    known = audit(stack)
    run_once(stack)
    backed_up_s = time.time()
    before = Before(
        {p: inventory(Reader(stack, people.token(p, fresh=True))) for p in CLINICS.values()},
        {name: comparable(people.claims(name)) for name in people.passwords},
        known,
        replayed,
        one_more(stack, "Lost"),
    )
    lost_s = time.time() - backed_up_s
    destroy(stack)
    env_file.unlink()
    after = bring_back(Watch(stack, people, "physician-a"), env_file, places, before, lost_s)
    assert env_file.read_text() == settings_text
    yield before, after
    stacks.discard(stack)


def bring_back(
    watch: Watch, env_file: Path, places: dict[str, Path], before: Before, lost_s: float
) -> After:
    """Follow the page while somebody tries to read."""
    kept = {k: v for k, v in before.images["physician-a"].items() if v.study not in before.replayed}
    watch.begin(kept)
    try:
        (restore,) = commands("2. Bring it back")
        said = run(told(restore, env_file, places))
        everything_s = time.monotonic() - watch.start_s
        wait_until(lambda: watch.all_images_s, 60, "the one who waits reads every study")
    finally:
        watch.end()
    for command in commands("3. See that it is whole"):
        said += run(told(command, env_file, places))
    return After(watch.stack, watch.people, said, watch, figures(said, watch, everything_s, lost_s))


def figures(said: str, watch: Watch, everything_s: float, lost_s: float) -> Figures:
    """Take what the restore itself said of its rates."""
    whole = re.findall(r"images: (\d+) bytes in ([\d.]+) s", said)
    databases = re.findall(r"databases: (\d+) bytes in ([\d.]+) s", said)
    assert whole, said
    assert databases, said
    return Figures(
        lost_s,
        watch.login_s,
        watch.first_image_s,
        watch.all_images_s,
        everything_s,
        int(whole[0][0]),
        float(whole[0][1]),
        int(databases[0][0]),
        float(databases[0][1]),
    )


def load(stack: Stack, clinic: str) -> None:
    """Import real and made studies of a clinic."""
    top = Path(pydicom.__file__).parent / "data" / "test_files"
    files: dict[str, bytes | Path] = {name: top / name for name in REAL[clinic]}
    files |= ct(len(clinic), Identity(patient_name=f"Drill^{clinic}"), slices=4).files
    files |= panoramic(len(clinic) + 1, Identity(patient_name=f"Drill^{clinic}")).files
    done = drop_files(stack, clinic, files)
    assert done.failed == {}, done.reasons
    for number in range(round(MEGABYTES / len(CLINICS) / (SLICES * SLICE_PIXELS**2 * 2 / 1e6))):
        made = ct(
            100 + number, Identity(patient_name="Drill^Many"), slices=SLICES, size=SLICE_PIXELS
        )
        assert drop_files(stack, clinic, made.files, timeout_s=300).failed == {}


def one_more(stack: Stack, name: str) -> set[str]:
    """Import one more study of clinic-a; returns its UID."""
    study = ct(len(name), Identity(patient_name=f"Drill^{name}"), slices=3)
    assert drop_files(stack, "clinic-a", study.files).failed == {}
    return {study.uid}


def spread_over_days(stack: Stack) -> None:
    """Give the archive a past: a third of its files each is of today, of yesterday and of the day before."""
    storage = stack.data_dir / "dicom"
    for number, path in enumerate(sorted(storage.glob("[0-9a-f][0-9a-f]/*/*"))):
        at = path.stat().st_mtime - DAY_S * (number % 3)
        os.utime(path, (at, at))


def run_once(stack: Stack) -> None:
    """Let the backup run as it does every few minutes."""
    done = stack.exec("backup", "dicom-backup", "run")
    assert done.returncode == 0, done.stdout + done.stderr


def recorded(stack: Stack) -> None:
    """Wait until the audit has views of every clinic's physician."""
    wait_until(
        lambda: all(
            name in text for name in CLINICS.values() for text in ["".join(audit(stack).values())]
        ),
        60,
        "views are recorded",
        lambda: stack.logs("auditor"),
    )


def audit(stack: Stack) -> dict[str, str]:
    """Return every file of audit records."""
    top = stack.data_dir / "audit"
    found = [*(top / "access").glob("*.jsonl"), *(top / "importer").glob("*.jsonl")]
    return {str(path.relative_to(top)): path.read_text() for path in found}


def comparable(claims: dict[str, object]) -> dict[str, object]:
    """Return of a token's claims who somebody is and what for."""
    names = ("sub", "preferred_username", "roles", "clinic_ids", "groups")
    found = {name: claims.get(name) for name in names}
    return {name: sorted(v) if isinstance(v, list) else v for name, v in found.items()}


def test_every_image_is_back_bit_for_bit_and_only_for_its_own_clinic(
    drill: tuple[Before, After],
) -> None:
    before, after = drill
    for physician, images in before.images.items():
        found = inventory(Reader(after.stack, after.people.token(physician, fresh=True)))
        assert len(images) >= 7
        assert found == images, physician
    studies = [{image.study for image in images.values()} for images in before.images.values()]
    assert not any(a & b for a in studies for b in studies if a is not b)
    everybody = set[str]().union(*studies)
    assert Reader(after.stack, after.people.token("admin-x", fresh=True)).study_uids() == everybody
    foreign = next(iter(before.images["physician-b"].values())).study
    reader = Reader(after.stack, after.people.token("physician-a", fresh=True))
    assert reader.get(f"/dicom-web/studies/{foreign}", ANY_SYNTAX).status_code == 404


def test_everybody_logs_in_with_the_old_password_and_role(drill: tuple[Before, After]) -> None:
    before, after = drill
    assert len(before.claims) >= 7
    for name, claims in before.claims.items():
        after.people.token(name, fresh=True)
        assert comparable(after.people.claims(name)) == claims


def test_what_came_after_the_dump_is_replayed_and_what_came_after_the_backup_is_lost(
    drill: tuple[Before, After],
) -> None:
    before, after = drill
    there = Reader(after.stack, after.people.token("physician-a", fresh=True)).study_uids()
    assert before.replayed <= there
    assert not before.lost & there
    assert "clinic-a: 3 stored" in after.said


def test_audit_records_are_there_and_whole(drill: tuple[Before, After]) -> None:
    before, after = drill
    there = audit(after.stack)
    assert before.audit
    for name, text in before.audit.items():
        assert text
        assert there[name].startswith(text), name
    records = [json.loads(line) for text in there.values() for line in text.splitlines()]
    assert any("Replay" in str(r) or "replay" in str(r) for r in records)
    done = after.stack.exec("auditor", "dicom-audit", "check")
    assert done.returncode == 0, done.stdout


def test_the_newest_came_first_and_nobody_was_shown_half_a_study(
    drill: tuple[Before, After],
) -> None:
    _, after = drill
    days = re.findall(r"images of (\S+): ", after.said)
    assert len(days) == 3
    assert days == sorted(days, reverse=True)
    assert after.watch.partial == []
    # Whoever asked too early was told so, or that the service starts.
    assert {status for status, _ in after.watch.refused} <= {502, 503}, after.watch.refused


def test_backups_go_on_into_the_same_repository(
    drill: tuple[Before, After], env_file: Path
) -> None:
    _, after = drill
    assert "backup" in stacks.make("backup", env_file)
    assert health.state(after.stack.podman_settings, "backup") == "healthy"


def test_the_figures_are_told(
    drill: tuple[Before, After], capsys: pytest.CaptureFixture[str]
) -> None:
    _, after = drill
    found = after.figures
    assert 0 < found.login_s <= found.first_image_s <= found.all_images_s <= found.everything_s + 60
    with capsys.disabled():
        print(f"\n{found.table()}")  # noqa: T201 - they are what a drill is for


def test_a_study_that_lacks_an_image_is_refused_until_it_is_back(
    drill: tuple[Before, After],
) -> None:
    before, after = drill
    stack = after.stack
    storage = stack.data_dir / "dicom"
    image = next(i for i in before.images["physician-a"].values() if i.study not in before.replayed)
    other = next(i for i in before.images["physician-a"].values() if i.study != image.study)
    reader = Reader(stack, after.people.token("physician-a", fresh=True))
    path = f"/dicom-web/studies/{image.study}"
    whole = reader.get(f"{path}/metadata", "application/dicom+json").json()
    file = files_of(stack, image.study)[0]
    marker, away = storage / ".returning", storage / "away"
    marker.touch()
    file.rename(away)
    try:
        for ending, accept in (("", ANY_SYNTAX), ("/metadata", "application/dicom+json")):
            answer = reader.get(path + ending, accept)
            assert answer.status_code == 503, answer.text
            assert "back from the backup yet" in answer.json()["error"]
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Retry-After"]
        assert reader.get(f"/dicom-web/studies/{other.study}", ANY_SYNTAX).status_code == 200
        # It is still on the list: nobody takes it for gone.
        assert image.study in reader.study_uids()
    finally:
        away.rename(file)
    assert reader.get(path, ANY_SYNTAX).status_code == 200
    marker.unlink()
    # Nothing wrong was kept meanwhile.
    assert reader.get(f"{path}/metadata", "application/dicom+json").json() == whole


def files_of(stack: Stack, study: str) -> list[Path]:
    """Return the archive's files of a study's images."""
    query = FILES.replace(":uid", f"'{study}'")
    done = stack.exec("postgresql", "psql", "-U", "postgres", "-Atc", query, "orthanc")
    assert done.returncode == 0, done.stderr
    storage = stack.data_dir / "dicom"
    return [storage / n[:2] / n[2:4] / n for n in done.stdout.split()]


def test_a_restore_over_what_is_there_is_refused(
    drill: tuple[Before, After], env_file: Path, places: dict[str, Path]
) -> None:
    del drill
    (restore,) = commands("2. Bring it back")
    done = subprocess.run(
        told(restore, env_file, places), check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode != 0
    assert "was restored already" in done.stderr
