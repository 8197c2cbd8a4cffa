"""What a verification works with, and how it tells of what it finds."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dicom_importer import audit
from dicom_importer.archive import Archive
from dicom_importer.config import Config
from dicom_importer.filing import Folders
from dicom_importer.journal import Journal
from dicom_importer.repair import Tools
from dicom_importer.verify.findings import Finding
from dicom_importer.verify.notes import Notes
from dicom_importer.verify.pace import Progress, Throttle


class Stopped(Exception):  # noqa: N818 - nothing failed
    """Why there is no verdict, in words."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of which clinic (empty: of all), and who lets it be repaired (empty: nobody does).

    `again` begins anew where an earlier run was cut off; 0 MB/s reads as fast as it can.
    """

    clinic: str = ""
    repaired_by: str = ""
    again: bool = False
    mb_per_s: float = 0.0
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class Screen:
    """Where it is told: what was found, a line of progress, and how often that is shown."""

    say: Callable[[str], None]
    progress: Callable[[str], None]
    every_s: float


@dataclass(frozen=True, slots=True)
class Desk:
    """Who works together; `began` is when the index was listed, and `until` the journal's last row then."""

    config: Config
    wanted: Wanted
    screen: Screen
    tools: Tools
    journal: Journal
    folders: Folders
    notes: Notes
    pool: ThreadPoolExecutor
    throttle: Throttle
    progress: Progress
    now: Callable[[], datetime]
    began: datetime
    until: int

    @property
    def archive(self) -> Archive:
        """The archive."""
        return self.tools.archive

    @property
    def repairs(self) -> bool:
        """Whether what can be is repaired."""
        return bool(self.wanted.repaired_by)

    def found(self, finding: Finding) -> None:
        """Note a finding and tell of it, once."""
        if self.notes.find(finding):
            self.tell(finding)

    def tell(self, finding: Finding) -> None:
        """Say it to people or to programs."""
        self.screen.progress("")
        self.screen.say(json.dumps(finding.record) if self.wanted.as_json else finding.words)

    def tell_audit(self) -> None:
        """Have the audit tell of what was repaired, once."""
        tell_audit(self.notes, self.wanted.repaired_by, self.config.audit_file, self.now())


def tell_audit(notes: Notes, who: str, path: Path, now: datetime) -> None:
    """Append what was repaired and no record tells of yet."""
    if counts := notes.unaudited():
        stamp = audit.stamp(now)
        records = [audit.repaired(who, one, count, stamp, keys) for one, count, keys in counts]
        audit.append(path, records)
        notes.audited()
