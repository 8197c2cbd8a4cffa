"""The power goes in the middle of work: what was acknowledged is there when the host comes back, and nothing twice.

CUTS and FILE_SYSTEMS scale it: `make test-power` cuts ten times on ext4 and ten times on XFS.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest
from faults.end_state import Archive
from faults.load import load
from faults.test_all_killed import check_people
from faults.whole_state import (
    Key,
    Upload,
    Wanted,
    come_to_an_end,
    faults,
    journal,
    keys,
    records,
)
from harness.power import host
from harness.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from faults.load import Load
    from faults.submission import File, Submission
    from faults.whole_state import Row
    from harness.stack import Stack

CUTS = int(os.environ.get("CUTS", "1"))
FILE_SYSTEMS = os.environ.get("FILE_SYSTEMS", "ext4").split()
LONGEST_WAIT_S = 3.0
STATE_TIMEOUT_S = 30


class Powered(Protocol):
    """A stack on a disk whose power goes."""

    @property
    def stack(self) -> Stack:
        """The stack."""

    def mount(self, image: Path) -> None:
        """Mount a disk of its."""

    def up(self) -> None:
        """Start the stack."""

    def go_down(self) -> None:
        """Kill what runs, and unmount."""


@dataclass(frozen=True, slots=True)
class Known:
    """What was acknowledged before a cut began."""

    answered: list[Submission]
    synced: set[str]
    # Journalled as filed, and those of them that the audit had told.
    done: list[Row]
    accesses: set[str]
    newcomer: str
    tokens: dict[str, str]


@dataclass(frozen=True, slots=True)
class Cut:
    """A disk as it was when the power went."""

    image: Path
    known: Known


def know(under: Load) -> Known:
    """Note what is acknowledged now."""
    data = under.stack.data_dir
    clinic = under.clinics[0]
    newcomer = f"physician-{secrets.token_hex(3)}-{clinic}"
    under.people.person(newcomer, "physician", clinic)
    tokens = under.people.all_tokens(f"physician-{clinic}", fresh=True)
    accesses = access_ids(data)
    state = data / "auditor" / "state.json"
    before = state.stat().st_ino
    # What the auditor has noted as done is on the disk; what was read above may not be yet.
    wait_until(
        lambda: state.stat().st_ino != before, STATE_TIMEOUT_S, "the auditor notes its state"
    )
    answered, synced = under.answered(), set(under.synced)
    done = [row for row in journal(data, under.clinics) if row.state == "done"]
    return Known(answered, synced, done, accesses, newcomer, tokens)


def access_ids(data: Path) -> set[str]:
    """Return the ids of the auditor's records."""
    found = set()
    for path in (data / "audit" / "access").glob("????-??.jsonl"):
        for line in path.read_text().splitlines():
            # A cut may have torn one, which is then written again.
            with contextlib.suppress(ValueError):
                found.add(str(json.loads(line)["id"]))
    return found


def lying(
    data: Path, under: Load
) -> tuple[dict[Key, File], dict[Key, tuple[bytes, File]], set[Key]]:
    """Tell which exported files a disk holds whole, which torn and how, and which not at all."""
    whole: dict[Key, File] = {}
    torn: dict[Key, tuple[bytes, File]] = {}
    lost = set()
    for key, file in keys(under.exports).items():
        clinic, folder, name = key
        places = [data / "files" / "inbox" / clinic / folder / name]
        places += (data / "files" / "processed" / clinic).glob(f"*/{folder}/{name}")
        contents = [path.read_bytes() for path in places if path.exists()]
        if file.content in contents:
            whole[key] = file
        elif contents:
            torn[key] = contents[0], file
        else:
            lost.add(key)
    return whole, torn, lost


def unread(data: Path) -> list[str]:
    """Return what nginx wrote, ends before the place where the auditor goes on reading, and would be skipped."""
    state = data / "auditor" / "state.json"
    offsets = json.loads(state.read_text())["offsets"]
    sizes = {path.name: path.stat().st_size for path in (data / "audit" / "spool").iterdir()}
    return [
        f"{name} ends at {sizes[name]}, before {offset}"
        for name, offset in offsets.items()
        if sizes.get(name, 0) < offset
    ]


def forgotten(data: Path, known: Known, under: Load) -> list[str]:
    """Return what was acknowledged and is not on the disk, before anything is started from it."""
    held = {
        (row.path, row.sop_uid): row for row in journal(data, under.clinics) if row.state == "done"
    }
    told: Counter[str] = Counter()
    for record in records(data):
        told[str(record.get("study_instance_uid"))] += int(str(record["instances"]))
    audited = Counter(row.study_uid for row in known.done if row.is_audited)
    processed = data / "files" / "processed"
    return [
        *(f"the journal lacks {row}" for row in known.done if (row.path, row.sop_uid) not in held),
        *(f"{row} is not there" for row in known.done if not (processed / row.target).exists()),
        *(f"the audit lacks {n} of study {uid}" for uid, n in audited.items() if told[uid] < n),
        *(f"the audit lacks access {one}" for one in known.accesses - access_ids(data)),
        *unread(data),
    ]


def grow_old(storage: Path) -> None:
    """Have a verification judge what lies on the archive's disk, as it would an hour later."""
    then = time.time() - 3600
    for path in storage.glob("??/??/*"):
        os.utime(path, (then, then))


def come_back(powered: Powered, cut: Cut, under: Load) -> tuple[list[str], str]:
    """Start the host from what its disk held; return what is wrong, and what was found."""
    known, data = cut.known, powered.stack.data_dir
    powered.mount(cut.image)
    try:
        wrong = forgotten(data, known, under)
        whole, torn, lost = lying(data, under)
        for _, folder, name in [*torn, *lost]:
            if folder in known.synced:
                wrong.append(f"{folder}/{name} was brought to disk, and is not there")
        powered.up()
        come_to_an_end(under)
        grow_old(data / "dicom")
        uploads = [
            Upload(one.files, one.attempts, one.files in known.answered) for one in under.deliveries
        ]
        wrong += faults(under, Wanted(whole, uploads, torn), Archive(powered.stack))
        check_people(powered.stack, under.people, known.newcomer, known.tokens)
        figures = f"{len(known.answered)} answered, {len(known.done)} filed, {len(whole)} whole"
        return wrong, f"({figures}, {len(torn)} torn)"
    finally:
        powered.go_down()


@pytest.mark.parametrize("kind", FILE_SYSTEMS)
def test_the_power_goes_in_the_middle_of_work(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cuts = []
    with host(kind) as powered:
        powered.up()
        under = load(powered.stack)
        with under.running():
            for number in range(CUTS):
                under.await_progress()
                known = know(under)
                time.sleep(secrets.randbelow(1000) / 1000 * LONGEST_WAIT_S)  # the fault itself
                cuts.append(Cut(powered.cut(f"cut-{number}"), known))
        powered.go_down()
        wrong = {}
        for number, cut in enumerate(cuts):
            wrong[number], words = come_back(powered, cut, under)
            with capsys.disabled():
                found = "".join(f"\n  {one}" for one in wrong[number])
                sys.stdout.write(f" cut {number} on {kind} {words}{found}")
        assert not any(wrong.values()), wrong
