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
        ("", "leads out"),
        ("/etc/passwd", "leads out"),
        ("../clinic-b/x.dcm", "leads out"),
        ("a/../../x", "leads out"),
        ("a/./x", "leads out"),
        ("a//x", "leads out"),
        ("a/", "leads out"),
        ("a\\..\\x", "characters"),
        ("C:\\x", "characters"),
        ("a\0b", "characters"),
        ("a\nb", "characters"),
        ("a\x7fb", "characters"),
        ("a\u2028b", "characters"),
        ("mcd\u202etxt", "characters"),
        ("a\ud800b", "Unicode"),
        ("a" * (names.MAX_NAME_BYTES + 1), "too long"),
        ("ä" * (names.MAX_NAME_BYTES // 2 + 1), "too long"),
        ("/".join(["d"] * (names.MAX_DEPTH + 1)), "too long"),
        ("/".join(["d" * 199] * 6), "too long"),
        (".dicom-importer-uploading/x/files/y", "itself uses"),
        ("a/.Dicom-Importer-unpacking/x", "itself uses"),
        ("a/x.part", "copy in progress"),
        ("x.TMP", "copy in progress"),
        ("~$x.dcm", "copy in progress"),
    ],
)
def test_what_leads_elsewhere_or_misleads_is_refused_with_the_reason(path: str, why: str) -> None:
    with pytest.raises(names.BadNameError, match=why):
        names.judge(path)
