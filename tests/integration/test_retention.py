"""Retention on the running stack: what has had its time goes when it is told to, and only what a backup holds."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pydicom
import pytest
from harness.dicomweb import Reader
from harness.drop import drop_files
from harness.phantom import ct
from harness.stack import temporary_copy
from stack import files, images
from stack.compose import compose
from stack.compose import images as wanted_images
from stack.settings import load
from stack.shell import podman

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.people import People
    from harness.stack import Stack
    from stack.settings import Settings

CLINIC, PHYSICIAN = "clinic-retention", "physician-retention"
REASON, OVER = "its time is over", "10 years were over on 2020-03-02"
SLICES = 2
LONG_AGO = datetime(2010, 3, 2, 12, tzinfo=UTC)
FILES = """
SELECT file.uuid FROM attachedfiles AS file
JOIN resources AS image ON image.internalid = file.id AND image.resourcetype = 3
JOIN resources AS series ON series.internalid = image.parentid
JOIN dicomidentifiers AS named ON named.id = series.parentid
WHERE named.value = '{uid}' AND named.taggroup = 32 AND named.tagelement = 13
"""
# Orthanc's note of when it last took something in (LastUpdate).
ARRIVED = """
UPDATE metadata SET value = '{when:%Y%m%dT%H%M%S}' FROM dicomidentifiers AS named
WHERE metadata.id = named.id AND metadata.type = 7
  AND named.value = '{uid}' AND named.taggroup = 32 AND named.tagelement = 13
"""
# As after so many years: the journal has forgotten it, and no original is kept.
FORGOTTEN = """
import os, sqlite3, sys
with sqlite3.connect("/var/lib/dicom-importer/journal.sqlite", timeout=30) as journal:
    for (target,) in journal.execute("SELECT target FROM file WHERE study_uid = ?", sys.argv[1:]):
        os.unlink(b"/processed/" + target)
    journal.execute("DELETE FROM file WHERE study_uid = ?", sys.argv[1:])
"""


def deletions(stack: Stack, uid: str) -> list[tuple[str, str]]:
    """Return who deleted a study, and why, by the audit."""
    lines = (stack.data_dir / "audit/importer/import.jsonl").read_text().splitlines()
    found = [one for one in map(json.loads, lines) if one.get("study_instance_uid") == uid]
    return [(one["who"]["operator"], one["reason"]) for one in found if one["status"] == "deleted"]


def imported(stack: Stack, seed: int, day: str) -> str:
    """Import a study of a day; returns its UID."""
    study = ct(seed, slices=SLICES, size=48)
    changed = {}
    for name, content in study.files.items():
        image = pydicom.dcmread(io.BytesIO(content))
        image.StudyDate = day
        written = io.BytesIO()
        image.save_as(written)
        changed[name] = written.getvalue()
    outcome = drop_files(stack, CLINIC, changed)
    assert len(outcome.processed) == SLICES, outcome.reasons
    return study.uid


def ask(stack: Stack, query: str) -> list[str]:
    """Ask the archive's database."""
    done = stack.exec("postgresql", "psql", "-qXAt", "-U", "postgres", "-d", "orthanc", "-c", query)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def came_long_ago(stack: Stack, uid: str) -> None:
    """Have archive, journal and disk say that a study came long ago."""
    ask(stack, ARRIVED.format(uid=uid, when=LONG_AGO))
    done = stack.exec("importer", "python3", "-c", FORGOTTEN, uid)
    assert done.returncode == 0, done.stderr
    names = ask(stack, FILES.format(uid=uid))
    assert len(names) == SLICES
    for name in names:
        at_s = LONG_AGO.timestamp()
        os.utime(stack.data_dir / "dicom" / name[:2] / name[2:4] / name, (at_s, at_s))


@dataclasses.dataclass(frozen=True, slots=True)
class Backup:
    """A backup that is made when these tests say so."""

    stack: Stack
    settings: Settings
    built: dict[str, str]

    def run(self) -> None:
        """Back up once, as the service does."""
        words = ("run", "--rm", "--no-deps", "-T", "backup", "dicom-backup", "run", "--dump")
        said = compose(self.settings, self.built, *words)
        assert "backup: the last one is 0 min old" in said

    def retention(self, *words: str) -> str:
        """Ask the importer, told of this backup; returns what it said."""
        target = f"--env=BACKUP_TARGET={self.settings.values['BACKUP_TARGET']}"
        command = ("dicom-importer", "retention", "--by", "x", *words)
        return podman("exec", target, self.stack.container("importer"), *command)


@pytest.fixture
def backup(stack: Stack) -> Iterator[Backup]:
    """Provide a backup beside the running stack, which none was made of yet."""
    data = stack.data_dir
    target = data.with_name(f"{data.name}-retained")
    target.mkdir()
    env_file = temporary_copy(stack.podman_settings.env_file, BACKUP_TARGET=str(target))
    settings = load(env_file)
    built = images.build(settings.values["DEBIAN_MIRROR"], wanted_images(settings))
    files.prepare(settings)
    try:
        yield Backup(stack, settings, built)
    finally:
        for folder in (data / "backup", data / "dicom/.by-day", target):
            shutil.rmtree(folder)
        env_file.unlink()


def told(said: str) -> dict[str, tuple[str, str]]:
    """Return state and reason of each study that a report lists."""
    found = re.findall(r"^(goes|held back|deleted) .*? (2\.25\.\d+)  (.*)$", said, re.MULTILINE)
    return {uid: (state, why) for state, uid, why in found}


def test_nothing_goes_without_a_reason(stack: Stack) -> None:
    refused = stack.attempt("retention", YES="1")
    assert refused.returncode != 0
    assert "--yes needs --reason TEXT: say why" in refused.stderr
    stack.operate("retention")


def test_a_study_goes_when_its_time_is_over_and_only_while_the_backup_holds_it(
    stack: Stack, people: People, backup: Backup
) -> None:
    people.clinic(CLINIC, "Clinic of the retention")
    people.person(PHYSICIAN, "physician", CLINIC)
    reader = Reader(stack, people.token(PHYSICIAN, fresh=True))
    today = f"{datetime.now(UTC):%Y%m%d}"
    days = ("20100301", "20100301", today)
    held, later, young = (imported(stack, 61 + n, day) for n, day in enumerate(days))
    said = told(backup.retention())
    for uid in (held, later):
        assert said[uid][0] == "held back"
        assert said[uid][1].startswith(f"the last of it came on {datetime.now(UTC):%Y}-")
    came_long_ago(stack, held)
    assert told(backup.retention())[held] == ("held back", "there is no backup yet")
    backup.run()
    came_long_ago(stack, later)
    said = told(backup.retention())
    assert said[held] == ("goes", OVER)
    # It was linked by the day on which it came indeed.
    not_held = f"{SLICES} of its {SLICES} files are not in the last backup"
    assert said[later] == ("held back", not_held)
    assert {held, later, young} <= {*reader.study_uids()}
    said = told(backup.retention("--yes", "--reason", REASON))
    assert (said[held], said[later]) == (("deleted", OVER), ("held back", not_held))
    assert {held, later, young} & {*reader.study_uids()} == {later, young}
    assert deletions(stack, held) == [("x", f"retention: {REASON}")]
    assert " 0 differences." in stack.operate("verify", CLINIC=CLINIC)


def test_without_a_backup_what_has_had_its_time_goes_by_make_alone(
    stack: Stack, people: People
) -> None:
    assert stack.podman_settings.values["STUDY_RETENTION_YEARS"] == "10"
    people.clinic(CLINIC, "Clinic of the retention")
    old, young = imported(stack, 64, "20100301"), imported(stack, 65, "20260101")
    came_long_ago(stack, old)
    report = stack.operate("retention", CSV="1").splitlines()
    (row,) = (line for line in report if old in line)
    assert row.startswith(f"goes,{CLINIC},2010-03-01,")
    assert not [line for line in report if young in line or "Phantom" in line]
    said = stack.operate("retention", YES="1", REASON=REASON, WHO="an-operator")
    assert told(said)[old] == ("deleted", OVER)
    assert "no backup holds it" in said
    assert deletions(stack, old) == [("an-operator", f"retention: {REASON}")]
    assert old not in stack.operate("retention")
    assert " 0 differences." in stack.operate("verify", CLINIC=CLINIC)
