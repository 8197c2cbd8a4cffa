"""What a verification has listed, done and found so far, on disk: killed, it goes on from there."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Any

from dicom_importer.listing import IMAGE, Listed
from dicom_importer.verify.findings import Finding

_COLUMNS = ", ".join(field.name for field in fields(Listed))
# Without a uuid an image sorts before all others.
_SCHEMA = """
CREATE TABLE listed (
  id INTEGER NOT NULL, filetype INTEGER NOT NULL, uuid TEXT NOT NULL, size_bytes INTEGER NOT NULL,
  md5 TEXT NOT NULL, plain_md5 TEXT NOT NULL, resource TEXT NOT NULL, study TEXT NOT NULL,
  study_uid TEXT NOT NULL, sop_uid TEXT NOT NULL, clinic TEXT NOT NULL,
  damaged INTEGER NOT NULL DEFAULT 0,
  journalled INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (id, filetype)
) WITHOUT ROWID;
CREATE INDEX listed_uuid ON listed (uuid);
CREATE INDEX listed_study ON listed (study_uid);
CREATE INDEX listed_sop ON listed (sop_uid) WHERE filetype = 1;
CREATE TABLE finding (
  key TEXT PRIMARY KEY, kind TEXT NOT NULL, clinic TEXT NOT NULL, content TEXT NOT NULL,
  repaired INTEGER NOT NULL, audited INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE fact (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""


class Notes:
    """A working file of one run, used by one thread; what it lost at a power cut is done again."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA cache_size = -16384")
        if not self._all("SELECT name FROM sqlite_master WHERE name = 'fact'"):
            self._db.executescript(f"BEGIN; {_SCHEMA} COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _all(self, question: str, *values: object) -> list[tuple[Any, ...]]:
        return self._db.execute(question, values).fetchall()

    def fact(self, name: str, default: Any) -> Any:  # noqa: ANN401 - text or number, as it was noted
        """Return what was noted under a name."""
        found = self._all("SELECT value FROM fact WHERE name = ?", name)
        return found[0][0] if found else default

    def note(self, **facts: str | int) -> None:
        """Note values under their names."""
        self._db.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", facts.items())

    def passed(self, stage: str, key: str, **counts: int) -> None:
        """Note how far a stage is, and add to what was counted."""
        self._db.execute("BEGIN")
        self.note(**{stage: key})
        for name, count in counts.items():
            self.note(**{name: self.fact(name, 0) + count})
        self._db.execute("COMMIT")

    def list_all(self, page: Iterable[Listed]) -> None:
        """Add files as the index lists them."""
        marks = ", ".join("?" * len(fields(Listed)))
        self._db.execute("BEGIN")
        self._db.executemany(
            f"INSERT OR REPLACE INTO listed ({_COLUMNS}) VALUES ({marks})",  # noqa: S608 - our own names
            map(astuple, page),
        )
        self._db.execute("COMMIT")

    def last(self) -> tuple[int, int]:
        """Return the key of the last file that was listed."""
        found = self._all("SELECT id, filetype FROM listed ORDER BY id DESC, filetype DESC LIMIT 1")
        return found[0] if found else (0, 0)

    def total(self, clinic: str) -> tuple[int, int]:
        """Return number and bytes of a clinic's files, of all where it is empty."""
        found = self._all(
            "SELECT count(*), coalesce(sum(size_bytes), 0) FROM listed"
            " WHERE uuid <> '' AND (? = '' OR clinic = ?)",
            clinic,
            clinic,
        )
        return found[0][0], found[0][1]

    def begins_with(self, start: str) -> list[Listed]:
        """Return the files of which the name begins so, or those without a name."""
        where = "uuid = '' AND ? = ''" if not start else "uuid >= ? AND uuid < ? || 'g'"
        return self._listed(where, *([start, start] if start else [start]))

    def of_study(self, study_uid: str) -> list[tuple[Listed, bool]]:
        """Return a study's images, and whether each was found damaged."""
        found = self._all(
            f"SELECT damaged, {_COLUMNS} FROM listed WHERE study_uid = ? AND filetype = ?",  # noqa: S608
            study_uid,
            IMAGE,
        )
        return [(Listed(*row[1:]), bool(row[0])) for row in found if row[10]]

    def images(self, sop_uid: str) -> list[Listed]:
        """Return the files of images with this identifier, of any clinic."""
        return self._listed("sop_uid = ? AND filetype = 1 AND uuid <> ''", sop_uid)

    def damaged(self, one: Listed) -> None:
        """Note that a file is damaged: it was told of, and is compared with nothing."""
        self._db.execute("UPDATE listed SET damaged = 1 WHERE id = ? AND filetype = ?", [*one.key])

    def damaged_not_images(self) -> list[Listed]:
        """Return the damaged files that the archive made of images."""
        return self._listed("damaged AND NOT (filetype = ? AND sop_uid <> '')", IMAGE)

    def journalled(self, each: Iterable[Listed]) -> None:
        """Note that the journal knows these."""
        self._db.execute("BEGIN")
        self._db.executemany(
            "UPDATE listed SET journalled = 1 WHERE id = ? AND filetype = ?",
            [one.key for one in each],
        )
        self._db.execute("COMMIT")

    def unjournalled(self, after: str, clinic: str, count: int) -> list[str]:
        """Return studies, after one, with images that the journal does not know."""
        found = self._all(
            "SELECT DISTINCT study_uid FROM listed WHERE study_uid > ? AND filetype = ?"
            " AND NOT journalled AND NOT damaged AND (? = '' OR clinic = ?)"
            " ORDER BY study_uid LIMIT ?",
            *(after, IMAGE, clinic, clinic, count),
        )
        return [study for (study,) in found]

    def unjournalled_of(self, study_uid: str) -> list[Listed]:
        """Return a study's images that the journal does not know."""
        where = "study_uid = ? AND filetype = ? AND NOT journalled AND NOT damaged"
        return self._listed(where, study_uid, IMAGE)

    def _listed(self, where: str, *values: object) -> list[Listed]:
        found = self._all(f"SELECT {_COLUMNS} FROM listed WHERE {where} ORDER BY uuid", *values)  # noqa: S608
        return [Listed(*row) for row in found]

    def find(self, finding: Finding) -> bool:
        """Note a finding; False when it was noted before."""
        values = json.dumps(finding.key), finding.kind, finding.clinic, json.dumps(asdict(finding))
        done = self._db.execute(
            "INSERT OR IGNORE INTO finding (key, kind, clinic, content, repaired)"
            " VALUES (?, ?, ?, ?, ?)",
            (*values, finding.repaired),
        )
        return bool(done.rowcount)

    def found(self) -> Iterator[Finding]:
        """Yield every finding, in the order in which they were found."""
        for (content,) in self._db.execute("SELECT content FROM finding ORDER BY rowid"):
            yield Finding(**json.loads(content))

    def kinds(self) -> dict[str, tuple[int, int]]:
        """Count the findings of each kind, and those that were repaired."""
        found = self._all("SELECT kind, count(*), sum(repaired) FROM finding GROUP BY kind")
        return {kind: (count, repaired) for kind, count, repaired in found}

    def unaudited(self) -> list[tuple[str, int, str]]:
        """Count the images of each clinic that were repaired and that no audit tells of yet, and name them."""
        return self._all(
            "SELECT clinic, count(*), group_concat(key) FROM finding"
            " WHERE repaired AND NOT audited AND json_extract(content, '$.sop_uid') <> ''"
            " GROUP BY clinic"
        )

    def audited(self) -> None:
        """Note that the audit tells of everything so far."""
        self._db.execute("UPDATE finding SET audited = 1")
