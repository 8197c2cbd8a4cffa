"""Old studies are brought in from a folder while daily work goes on: each image once, what fails by name.

`OLD_STUDIES=200 make test T=tests/integration/test_import_archive.py` brings 20,000 images in.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from harness import phantom
from harness.dicomweb import Reader
from harness.drop import drop_files, put
from stack.shell import say

if TYPE_CHECKING:
    from pathlib import Path

    from harness.people import People
    from harness.stack import Stack

STUDIES, SLICES = int(os.environ.get("OLD_STUDIES", "3")), 100


def test_a_folder_of_old_studies_is_brought_in_whole_and_read_only(
    stack: Stack, people: People, tmp_path: Path
) -> None:
    kept = stack.podman_settings.data_dir / "imports"
    clinic, physician = (f"{kind}-{secrets.token_hex(4)}" for kind in ("clinic", "physician"))
    people.clinic(clinic, "Clinic with a past")
    people.person(physician, "physician", clinic)
    studies = set()
    for number in range(STUDIES):
        study = phantom.ct(seed=secrets.randbelow(10**9), slices=SLICES, size=16)
        put(tmp_path / "old" / f"{number % 10}" / f"{number}", study.files)
        studies.add(study.uid)
    (tmp_path / "old" / "0" / "broken.dcm").write_bytes(b"no DICOM at all" * 20)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "old").rglob("*")}

    done = stack.attempt("import-archive", FROM=str(tmp_path / "old"), CLINIC=clinic)
    images = STUDIES * SLICES
    say(done.stdout)
    assert f"{images} of {images + 1} files are imported" in done.stdout
    assert "1 failed: not_dicom" in done.stdout
    (report,) = kept.glob(f"{clinic}-*.failed.txt")
    assert str(report) in done.stdout
    assert report.read_text().split()[1].endswith("/0/broken.dcm")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "old").rglob("*")} == before
    assert not list(stack.inbox(clinic).iterdir())

    reader = Reader(stack, people.token(physician, fresh=True))
    assert reader.study_uids() == studies
    counts = {
        str(row["0020000D"]["Value"][0]): row["00201208"]["Value"][0]
        for row in reader.search("/dicom-web/studies?limit=10000&includefield=00201208")
    }
    assert counts == dict.fromkeys(studies, SLICES)
    # The clinic works on as before.
    today = phantom.ct(seed=secrets.randbelow(10**9), slices=1, size=16)
    assert drop_files(stack, clinic, today.files).failed == {}
    del people.passwords[physician]
