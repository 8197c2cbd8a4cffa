"""The threat model promises nothing without naming the test that shows it."""

from __future__ import annotations

import re

from stack.settings import TOP

PAGE = (TOP / "docs" / "threat-model.md").read_text()
PLACE = re.compile(r"`((?:[a-z0-9_]+/)+(?:[a-z0-9_]+\.py)?)`")


def test_each_defence_names_tests_that_exist() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 10
    for row in rows:
        *_, shown = row.strip("|").split("|")
        named = PLACE.findall(shown)
        assert named, row
        for place in named:
            found = TOP / "tests" / place
            assert found.exists(), place
            assert (
                any(found.rglob("test_*.py"))
                if found.is_dir()
                else "def test_" in found.read_text()
            )
