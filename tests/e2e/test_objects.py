"""Real objects open to what the table in docs/reading.md says: an image, a text, a sentence, and never to black."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import TYPE_CHECKING

from harness.drop import drop_files
from harness.objects import BLACK, bundled, described, fetched, real_objects, refusal, shown, table
from stack.settings import TOP

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.objects import RealObject
    from harness.people import People
    from harness.stack import Stack
    from harness.viewer import Viewer

DOCUMENT = TOP / "docs" / "reading.md"
BEGIN, END = "<!-- by make reading-table -->\n", "<!-- end -->\n"
# One of each thing that went black, or lost the whole page, and what is most common.
FEW = {
    *("693_J2KI.dcm", "chrJapMulti.dcm", "liver_1frame.dcm", "rtplan.dcm", "rtstruct.dcm"),
    # Without Number of Frames: it stopped the archive.
    "rtdose_1frame.dcm",
    *("SC_jpeg_no_color_transform.dcm", "test-SR.dcm", "waveform_ecg.dcm"),
}
# How many of each package, SOP class and transfer syntax; none: those few.
EACH = int(os.environ.get("READING_TABLE", "0"))


def test_real_objects_open_as_the_table_says(
    stack: Stack, people: People, new_window: Callable[[], Viewer], tmp_path: Path
) -> None:
    folders = {"pydicom": bundled()} | (fetched(tmp_path) if EACH else {})
    found = [one for source, folder in folders.items() for one in real_objects(source, folder)]
    objects = of_each(found, EACH) if EACH else [one for one in found if one.name in FEW]
    assert {one.source for one in objects} == folders.keys()
    assert EACH or {one.name for one in objects} == FEW
    files = {f"{number:03}.dcm": one for number, one in enumerate(objects)}
    outcome = drop_files(
        stack, "clinic-a", {name: one.content for name, one in files.items()}, timeout_s=600
    )
    rows = [
        (one, refusal(outcome.reasons[name]))
        for name, one in files.items()
        if name in outcome.failed
    ]

    viewer = new_window()
    viewer.open()
    viewer.log_in("physician-a", people.passwords["physician-a"])
    viewer.search("Nobody")
    for name, one in files.items():
        if name not in outcome.failed:
            rows.append((one, shown(viewer, one.study)))
            sys.stdout.write(f"{one.name}: {one.sop_class}, {one.syntax}: {rows[-1][1]}\n")

    if EACH:
        write(rows)
    assert [one.name for one, what in rows if what == BLACK] == []
    said = described(DOCUMENT.read_text())
    assert [
        (one.name, what) for one, what in rows if (one.sop_class, one.syntax, what) not in said
    ] == []
    assert viewer.watch.policy_violations() == []


def of_each(found: list[RealObject], most: int) -> list[RealObject]:
    """Leave out what exceeds a number of each package, SOP class and transfer syntax."""
    count: Counter[tuple[str, str, str]] = Counter()
    kept = []
    for one in found:
        kind = one.source, one.sop_class, one.syntax
        count[kind] += 1
        kept += [one] if count[kind] <= most else []
    return kept


def write(rows: list[tuple[RealObject, str]]) -> None:
    """Write the table into the document, between its marks."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}{table(rows)}{END}{rest.partition(END)[2]}")
