"""Judges the paths that browsers give files: nothing in them may lead elsewhere or mislead who reads them."""

import unicodedata

from dicom_importer import scan

MAX_NAME_BYTES = 200  # what failed/ and free names append must fit into a file system's 255
MAX_PATH_BYTES = 1000
MAX_DEPTH = 20
# Marks that make a reader see another name than is there (UAX #9: embeddings, overrides, isolates).
_MISLEADING = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_OWN = ".dicom-importer"


class BadNameError(ValueError):
    """A path that no file is given; the message is the name of a refusal, which says why."""


def judge(path: str) -> str:
    """Return a path below the drop as it is, its parts joined by slashes; raises BadNameError."""
    try:
        size_bytes = len(path.encode())
    except UnicodeEncodeError:
        raise BadNameError("name_not_unicode") from None
    parts = path.split("/")
    if size_bytes > MAX_PATH_BYTES or len(parts) > MAX_DEPTH:
        raise BadNameError("name_too_deep")
    for part in parts:
        if part in ("", ".", ".."):
            raise BadNameError("name_leads_out")
        if "\\" in part or any(_is_bad(char) for char in part):
            raise BadNameError("name_characters")
        if len(part.encode()) > MAX_NAME_BYTES:
            raise BadNameError("name_too_long")
        if part.lower().startswith(_OWN):
            raise BadNameError("name_own")
    if scan.passing(parts[-1]):
        raise BadNameError("name_passing")
    return path


def _is_bad(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in _MISLEADING
