"""`dicom-importer probe` says whether a login and a search succeed, by its exit status too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unit.importer.commanding import command

if TYPE_CHECKING:
    import pytest
    from unit.importer.conftest import Importer


def test_a_login_and_a_search_are_proved(
    importer: Importer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(importer, capsys, "probe") == (0, "A login and a search succeed.\n")
    importer.archive.away = True
    assert command(importer, capsys, "probe") == (
        1,
        "The archive does not answer: status 503.\n",
    )
