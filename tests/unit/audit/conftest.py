"""An auditor's desk in a folder of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from unit.audit.building import Desk

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Provide empty folders and a clock."""
    return Desk(tmp_path)
