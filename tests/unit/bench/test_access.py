"""What access control costs is told from the right samples; the unchecked door differs by its checks alone."""

from __future__ import annotations

import io
from datetime import date
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pydicom
import pytest
from bench import access_report
from bench.access import CLINICS, instances
from bench.access_report import Round
from bench.sets import SampleSet, Shape
from bench.template import NO_INSTITUTION, Kind, encode
from bench.ways import ARCHIVE_CONF, BARE, DIRECT_GATE, GATE, WAYS, WHOLE, unchecked_conf

if TYPE_CHECKING:
    from pathlib import Path

STAMP = "12345678901234567890"


def a_round(*, whole_s: float = 0.010, slowed_s: float = 0.030) -> Round:
    """Make a round in which bare Orthanc takes 8 ms a frame, 16 under a search, and 20 a search."""
    frames = {way: [0.008] * 3 for way in WAYS} | {WHOLE: [whole_s, whole_s, 1.0]}
    searches = {way: [0.020] for way in WAYS} | {WHOLE: [0.040]}
    slowed = {WHOLE: [slowed_s] * 3, BARE: [0.016] * 3}
    return Round(frames, searches, slowed, {WHOLE: [2.0], BARE: [1.0]})


def test_a_round_compares_with_and_without_access_control_at_the_median() -> None:
    one = a_round()
    assert one.added_ms == pytest.approx(2.0)
    assert one.search_ratio == pytest.approx(2.0)
    assert one.slowing_ratio == pytest.approx(3.0 / 2.0)
    # The mean of its frames is 340 ms: the search did not slow them on average.
    assert one.mean_slowing_ratio == pytest.approx(0.030 / 0.340 / 2.0)


def test_the_report_has_every_way_and_says_what_is_not_within_its_bound() -> None:
    rounds = [a_round(whole_s=0.0085), a_round(whole_s=0.0087), a_round(whole_s=0.012)]
    lines = access_report.write(rounds, 2000, 25, 1000).splitlines()
    assert "| added to a frame | 0.7 (0.5 to 4) ms | 1 ms | yes |" in lines
    assert "| search | 2 (2 to 2) | 1.5 | **no** |" in lines
    assert f"| {WHOLE.title} | 8.7 (8.5 to 12) | 340 | 1000 | 9 |" in lines
    for way in WAYS:
        expected = 4 if way in {WHOLE, BARE} else 2
        assert sum(line.startswith(f"| {way.title} |") for line in lines) == expected


def test_the_unchecked_door_is_the_archives_but_for_whom_it_lets_in() -> None:
    theirs = ARCHIVE_CONF.read_text()
    ours = unchecked_conf(theirs)
    assert "auth_request" not in ours
    assert "$bearer" not in ours
    lost = set(theirs.splitlines()) - set(ours.splitlines())
    asked = {"auth_request /session-check;", "auth_request_set $session_status $status;"}
    assert lost == asked | {'if ($bearer = "") {', "    return 401;"}


def test_a_check_that_is_written_otherwise_is_not_left_in_unseen() -> None:
    with pytest.raises(ValueError, match="auth_request"):
        unchecked_conf(ARCHIVE_CONF.read_text().replace("auth_request /", "auth_request  /"))


def test_bare_orthanc_is_asked_for_the_same_clinic() -> None:
    asked = urlsplit(BARE.search("clinic-a", 25))
    assert asked.path == "/unchecked/dicom-web/studies"
    assert parse_qs(asked.query) == {"limit": ["25"], "InstitutionName": ["clinic-a"]}
    assert WHOLE.search("clinic-a", 25) == "/dicom-web/studies?limit=25"
    assert GATE.search("clinic-a", 25) == "/unchecked/clinic-search/studies?limit=25"
    assert DIRECT_GATE.search("clinic-a", 25) == "/clinic-search/studies?limit=25"


def test_studies_are_of_both_clinics_and_of_two_years(tmp_path: Path) -> None:
    sample = SampleSet(Shape("some", "", 8, 2048, 8), tmp_path, encode(Kind("some", 2048, 1)))
    files = instances(sample, STAMP, date(2026, 11, 25))
    read = [pydicom.dcmread(io.BytesIO(file)) for file in files]
    assert [ds.InstitutionName for ds in read] == [*CLINICS] * 4
    assert read[0].StudyDate == "20261125"
    assert read[-1].StudyDate == "20250225"
    assert all(ds.pixel_array.shape == (32, 32) for ds in read)
    assert len({ds.StudyInstanceUID for ds in read}) == 8
    assert {len(clinic) for clinic in CLINICS} == {len(NO_INSTITUTION)}
