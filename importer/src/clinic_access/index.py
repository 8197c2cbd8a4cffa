"""What Orthanc's index in PostgreSQL holds of many resources, in one statement that only reads.

Orthanc's own REST API takes a transaction of seven statements for each instance, on the one
connection that its stores take turns on.
"""

import json
import re
import threading
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

Values: TypeAlias = Sequence[str | int | Sequence[str]]

MAX_UIDS = 1_000
# What the importer takes for a UID, whether PS3.5 9.1 allows it or not.
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)

# Orthanc's numbers (its database's version 6): resources of type 3 are instances, files of type 1
# are the DICOM files themselves.
_HELD = """
SELECT
  named.value, instance.publicid, coalesce(attachedfiles.uncompressedhash, ''),
  coalesce(clinic.value, '')
FROM dicomidentifiers AS named
JOIN resources AS instance ON instance.internalid = named.id AND instance.resourcetype = 3
JOIN resources AS series ON series.internalid = instance.parentid
LEFT JOIN attachedfiles ON attachedfiles.id = named.id AND attachedfiles.filetype = 1
LEFT JOIN maindicomtags AS clinic
  ON clinic.id = series.parentid AND clinic.taggroup = 8 AND clinic.tagelement = 128
WHERE named.value = ANY(%s) AND named.taggroup = 8 AND named.tagelement = 24
"""

# Orthanc has indexes by resource, by value and by tag, but none by which the latest of many, or a
# clinic's, are found without a look at all the others.
_PREPARE = """
BEGIN READ WRITE;
SET LOCAL statement_timeout = 0;
CREATE INDEX IF NOT EXISTS clinic_access_study_dates ON dicomidentifiers (value DESC)
WHERE taggroup = 8 AND tagelement = 32;
CREATE INDEX IF NOT EXISTS clinic_access_study_clinics ON maindicomtags (value)
WHERE taggroup = 8 AND tagelement = 128;
COMMIT;
SELECT 'ready'
"""
# The clinic is looked up for so many of the latest as the first number says, and all of a day.
_DATED = """
SELECT named.value, coalesce(clinic.value, '')
FROM (
  SELECT id, value FROM dicomidentifiers
  WHERE taggroup = 8 AND tagelement = 32 AND value BETWEEN %s AND %s
  ORDER BY value DESC FETCH FIRST %s ROWS WITH TIES
) AS dated
JOIN dicomidentifiers AS named
  ON named.id = dated.id AND named.taggroup = 32 AND named.tagelement = 13
LEFT JOIN maindicomtags AS clinic
  ON clinic.id = dated.id AND clinic.taggroup = 8 AND clinic.tagelement = 128
LEFT JOIN maindicomtags AS timed
  ON timed.id = dated.id AND timed.taggroup = 8 AND timed.tagelement = 48
WHERE %s OR clinic.value = ANY(%s)
ORDER BY dated.value DESC, coalesce(timed.value, '') DESC, named.value
LIMIT %s
"""
# One clinic of a few, one of many, and one that made hardly any of the latest.
_WIDTHS = (4, 64, 1_000_000)
_UNDATED = """
SELECT named.value, coalesce(clinic.value, '')
FROM dicomidentifiers AS named
LEFT JOIN maindicomtags AS clinic
  ON clinic.id = named.id AND clinic.taggroup = 8 AND clinic.tagelement = 128
LEFT JOIN maindicomtags AS timed
  ON timed.id = named.id AND timed.taggroup = 8 AND timed.tagelement = 48
WHERE named.taggroup = 32 AND named.tagelement = 13
  AND NOT EXISTS (
    SELECT FROM dicomidentifiers AS dated
    WHERE dated.id = named.id AND dated.taggroup = 8 AND dated.tagelement = 32)
  AND (%s OR clinic.value = ANY(%s))
ORDER BY coalesce(timed.value, '') DESC, named.value
LIMIT %s
"""
_NEWEST_OF = """
SELECT resources.publicid, named.value
FROM resources
JOIN dicomidentifiers AS named
  ON named.id = resources.internalid AND named.taggroup = %s AND named.tagelement = %s
LEFT JOIN maindicomtags AS dated
  ON dated.id = named.id AND dated.taggroup = 8 AND dated.tagelement = 32
LEFT JOIN maindicomtags AS timed
  ON timed.id = named.id AND timed.taggroup = 8 AND timed.tagelement = 48
WHERE resources.publicid = ANY(%s)
ORDER BY coalesce(dated.value, '') DESC, coalesce(timed.value, '') DESC, named.value
"""
_STUDIES = """
SELECT json_build_object(
  'tags', (
    SELECT json_object_agg(
      lpad(upper(to_hex(taggroup)), 4, '0') || lpad(upper(to_hex(tagelement)), 4, '0'), value)
    FROM maindicomtags
    WHERE id IN (study.internalid, study.parentid)),
  'modalities', ARRAY(
    SELECT DISTINCT modality.value
    FROM resources AS series
    JOIN maindicomtags AS modality
      ON modality.id = series.internalid
      AND modality.taggroup = 8 AND modality.tagelement = 96
    WHERE series.parentid = study.internalid
    ORDER BY modality.value),
  'series', (SELECT count(*) FROM resources AS series WHERE series.parentid = study.internalid),
  'instances', (
    SELECT count(*)
    FROM resources AS series
    JOIN resources AS instance ON instance.parentid = series.internalid
    WHERE series.parentid = study.internalid)
)::text
FROM dicomidentifiers AS named
JOIN resources AS study ON study.internalid = named.id AND study.resourcetype = 1
WHERE named.value = ANY(%s) AND named.taggroup = 32 AND named.tagelement = 13
"""
# By the numbers of the resources, so that what comes meanwhile comes last. An image without any file
# is listed too.
_FILES = """
SELECT json_build_object(
  'id', resource.internalid, 'filetype', coalesce(file.filetype, 1),
  'uuid', coalesce(file.uuid, ''), 'size_bytes', coalesce(file.compressedsize, 0),
  'md5', coalesce(file.compressedhash, ''), 'plain_md5', coalesce(file.uncompressedhash, ''),
  'resource', resource.publicid, 'sop_uid', coalesce(sop.value, ''),
  'study', coalesce(study.publicid, ''), 'study_uid', coalesce(named.value, ''),
  'clinic', coalesce(clinic.value, '')
)::text
FROM resources AS resource
LEFT JOIN attachedfiles AS file ON file.id = resource.internalid
LEFT JOIN dicomidentifiers AS sop
  ON sop.id = resource.internalid AND sop.taggroup = 8 AND sop.tagelement = 24
LEFT JOIN resources AS parent ON parent.internalid = resource.parentid
LEFT JOIN resources AS study ON study.internalid = CASE resource.resourcetype
  WHEN 1 THEN resource.internalid WHEN 2 THEN resource.parentid WHEN 3 THEN parent.parentid END
LEFT JOIN dicomidentifiers AS named
  ON named.id = study.internalid AND named.taggroup = 32 AND named.tagelement = 13
LEFT JOIN maindicomtags AS clinic
  ON clinic.id = study.internalid AND clinic.taggroup = 8 AND clinic.tagelement = 128
WHERE resource.internalid >= %s
  AND (resource.internalid, coalesce(file.filetype, 1)) > (%s, %s)
  AND (file.uuid IS NOT NULL OR resource.resourcetype = 3)
ORDER BY resource.internalid, coalesce(file.filetype, 1)
LIMIT %s
"""
_LISTED = "SELECT uuid FROM attachedfiles WHERE uuid = ANY(%s)"

# What a study, series or instance has on the disk, caches of its metadata included.
_FILES_BELOW = """
WITH RECURSIVE below (id) AS (
  SELECT id FROM dicomidentifiers WHERE value = %s AND taggroup = %s AND tagelement = %s
  UNION
  SELECT resources.internalid FROM resources JOIN below ON resources.parentid = below.id
)
SELECT attachedfiles.uuid FROM attachedfiles JOIN below ON below.id = attachedfiles.id
"""

# A date (DA) is compared as text: whoever asks reads it again. Metadata 7 is when Orthanc last took
# in something of a study.
_AGED = """
SELECT json_build_object(
  'number', study.internalid, 'study', study.publicid, 'uid', named.value,
  'clinic', coalesce(clinic.value, ''), 'date', coalesce(dated.value, ''),
  'updated', coalesce(updated.value, ''),
  'images', (
    SELECT coalesce(json_agg(json_build_array(
      image.publicid, coalesce(file.uuid, ''), coalesce(file.compressedsize, 0))), '[]')
    FROM resources AS series
    JOIN resources AS image ON image.parentid = series.internalid
    LEFT JOIN attachedfiles AS file ON file.id = image.internalid AND file.filetype = 1
    WHERE series.parentid = study.internalid)
)::text
FROM resources AS study
JOIN dicomidentifiers AS named
  ON named.id = study.internalid AND named.taggroup = 32 AND named.tagelement = 13
LEFT JOIN dicomidentifiers AS dated
  ON dated.id = study.internalid AND dated.taggroup = 8 AND dated.tagelement = 32
LEFT JOIN maindicomtags AS clinic
  ON clinic.id = study.internalid AND clinic.taggroup = 8 AND clinic.tagelement = 128
LEFT JOIN metadata AS updated ON updated.id = study.internalid AND updated.type = 7
WHERE study.resourcetype = 1 AND study.internalid > %s AND coalesce(dated.value, '') < %s
ORDER BY study.internalid
LIMIT %s
"""


class Cursor(Protocol):
    """What is used of a cursor (PEP 249)."""

    def execute(self, statement: str, values: Values, /) -> object: ...  # noqa: D102
    def fetchall(self) -> list[tuple[str, ...]]: ...  # noqa: D102


class Connection(Protocol):
    """What is used of a connection (PEP 249) that commits each statement."""

    def cursor(self) -> Cursor: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class IndexMissingError(Exception):
    """The database does not answer."""


def parse_uids(body: bytes) -> list[str]:
    """Read a JSON list of UIDs; raises ValueError."""
    try:
        uids = json.loads(body)
    except RecursionError as error:
        raise ValueError("too deep") from error
    if not isinstance(uids, list) or len(uids) > MAX_UIDS:
        raise ValueError(f"not a list of at most {MAX_UIDS} UIDs")
    if not all(isinstance(uid, str) and _UID.fullmatch(uid) for uid in uids):
        raise ValueError("not a list of UIDs")
    return uids


class Index:
    """Asks over one connection, which is made anew when it broke; from any thread."""

    def __init__(
        self, connect: Callable[[], Connection], broken: tuple[type[Exception], ...]
    ) -> None:
        self._connect = connect
        self._broken = broken
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._is_prepared = False

    def held(self, sop_uids: Sequence[str]) -> list[tuple[str, ...]]:
        """Return SOP Instance UID, Orthanc's identifier, MD5 (empty: no file) and clinic of each instance.

        One UID may name several instances, of several patients. Raises IndexMissingError.
        """
        return self._ask(_HELD, [list(sop_uids)])

    def newest(
        self, clinics: Sequence[str] | None, first: str, last: str, count: int
    ) -> list[tuple[str, str]]:
        """Return UID and clinic of so many studies of these clinics (None: all), the newest first.

        The dates (DA) are inclusive, and open where empty. As in Orthanc's own search an empty date
        is before all others; studies without the attribute are among those of any date, the last.
        Raises IndexMissingError.
        """
        if not self._is_prepared:
            self._ask(_PREPARE, ())
            self._is_prepared = True
        whose: Values = [clinics is None, list(clinics or ())]
        found: list[tuple[str, ...]] = []
        for width in _WIDTHS:
            found = self._ask(_DATED, [first, last or "~", width * count, *whose, count])
            if len(found) == count:
                break
        if not first and not last and len(found) < count:
            found += self._ask(_UNDATED, [*whose, count - len(found)])
        return [(uid, clinic) for uid, clinic in found]

    def newest_of(self, uid_tag: str, identifiers: Sequence[str]) -> list[tuple[str, str]]:
        """Return Orthanc's identifier and UID, whose tag this is, of those that exist, the newest first.

        Raises IndexMissingError.
        """
        tag = int(uid_tag[:4], 16), int(uid_tag[4:], 16)
        found = self._ask(_NEWEST_OF, [*tag, list(identifiers)])
        return [(identifier, uid) for identifier, uid in found]

    def studies(self, uids: Sequence[str]) -> list[str]:
        """Return what is held of the studies of these UIDs, as JSON, in no order.

        `tags` are the attributes of study and patient; one UID may name several studies. Raises
        IndexMissingError.
        """
        return [held for (held,) in self._ask(_STUDIES, [list(uids)])]

    def files(self, resource: int, filetype: int, count: int) -> list[str]:
        """Return so many files of the storage, as JSON, from after a resource's number and a file's type.

        `size_bytes` and `md5` are those of the file, `plain_md5` that of what it holds. Raises
        IndexMissingError.
        """
        found = self._ask(_FILES, [resource, resource, filetype, count])
        return [described for (described,) in found]

    def aged(self, after: int, before: str, count: int) -> list[str]:
        """Return so many studies after Orthanc's number of one, as JSON, dated before a day (DA) or not at all.

        Each `images` is Orthanc's identifier, the name of its file (empty: none) and that one's size
        in bytes. Raises IndexMissingError.
        """
        return [described for (described,) in self._ask(_AGED, [after, before, count])]

    def listed(self, names: Sequence[str]) -> list[str]:
        """Return which of these names of files the index knows. Raises IndexMissingError."""
        return [name for (name,) in self._ask(_LISTED, [list(names)])]

    def files_below(self, uid_tag: str, uid: str) -> list[str]:
        """Return the names of all files below what has this UID, whose tag this is; raises IndexMissingError."""
        tag = int(uid_tag[:4], 16), int(uid_tag[4:], 16)
        return [name for (name,) in self._ask(_FILES_BELOW, [uid, *tag])]

    def _ask(self, statement: str, values: Values) -> list[tuple[str, ...]]:
        with self._lock:
            try:
                # A database that restarted is noticed when the kept connection is used.
                return self._try(statement, values, tries=2 if self._connection else 1)
            except self._broken as error:
                raise IndexMissingError(str(error)) from error

    def _try(self, statement: str, values: Values, tries: int) -> list[tuple[str, ...]]:
        try:
            if self._connection is None:
                self._connection = self._connect()
            cursor = self._connection.cursor()
            cursor.execute(statement, values)
            return cursor.fetchall()
        except self._broken:
            if self._connection:
                self._connection.close()
                self._connection = None
            if tries == 1:
                raise
        return self._try(statement, values, tries - 1)
