"""Names that browsers send: kept as they are, or refused in words."""

from __future__ import annotations

import pytest
from dicom_importer.page import names


@pytest.mark.parametrize(
    "path",
    [
        "one.dcm",
        "Export/CT 1/IM0001",
        "Müller^Änne/снимок.dcm",
        "DICOM/00000001/DICOMDIR",
        " leading and trailing /x",
        "..dots../...",
        "a" * names.MAX_NAME_BYTES,
        "/".join(["d"] * names.MAX_DEPTH),
    ],
)
def test_what_a_folder_may_hold_is_kept_as_it_is(path: str) -> None:
    assert names.judge(path) == path


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "name_leads_out"),
        ("/etc/passwd", "name_leads_out"),
        ("../clinic-b/x.dcm", "name_leads_out"),
        ("a/../../x", "name_leads_out"),
        ("a/./x", "name_leads_out"),
        ("a//x", "name_leads_out"),
        ("a/", "name_leads_out"),
        ("a\\..\\x", "name_characters"),
        ("C:\\x", "name_characters"),
        ("a\0b", "name_characters"),
        ("a\nb", "name_characters"),
        ("a\x7fb", "name_characters"),
        ("a\u2028b", "name_characters"),
        ("mcd\u202etxt", "name_characters"),
        ("a\ud800b", "name_not_unicode"),
        ("a" * (names.MAX_NAME_BYTES + 1), "name_too_long"),
        ("ä" * (names.MAX_NAME_BYTES // 2 + 1), "name_too_long"),
        ("/".join(["d"] * (names.MAX_DEPTH + 1)), "name_too_deep"),
        ("/".join(["d" * 199] * 6), "name_too_deep"),
        (".dicom-importer-uploading/x/files/y", "name_own"),
        ("a/.Dicom-Importer-unpacking/x", "name_own"),
        ("a/x.part", "name_passing"),
        ("x.TMP", "name_passing"),
        ("~$x.dcm", "name_passing"),
    ],
)
def test_what_leads_elsewhere_or_misleads_is_refused_with_the_reason(path: str, why: str) -> None:
    with pytest.raises(names.BadNameError, match=why):
        names.judge(path)
