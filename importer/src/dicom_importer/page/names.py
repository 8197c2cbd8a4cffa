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
    """A path that no file is given; the message says why, for people."""


def judge(path: str) -> str:
    """Return a path below the drop as it is, its parts joined by slashes; raises BadNameError."""
    try:
        size_bytes = len(path.encode())
    except UnicodeEncodeError:
        raise BadNameError("The name of a file is not Unicode text.") from None
    parts = path.split("/")
    if size_bytes > MAX_PATH_BYTES or len(parts) > MAX_DEPTH:
        raise BadNameError("The path of a file is too long; put its folder higher up.")
    for part in parts:
        if part in ("", ".", ".."):
            raise BadNameError("The path of a file leads out of its folder.")
        if "\\" in part or any(_is_bad(char) for char in part):
            raise BadNameError("The name of a file or folder holds characters that no name has.")
        if len(part.encode()) > MAX_NAME_BYTES:
            raise BadNameError("The name of a file or folder is too long; please shorten it.")
        if part.lower().startswith(_OWN):
            raise BadNameError("The name of a folder is one that the archive itself uses.")
    if scan.passing(parts[-1]):
        raise BadNameError(
            "The name is that of a copy in progress (.part, .tmp, .crdownload, ~$…); files of"
            " such names are never taken. Rename the file if it is whole."
        )
    return path


def _is_bad(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in _MISLEADING
