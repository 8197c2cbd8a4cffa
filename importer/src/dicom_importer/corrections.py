"""What was done with a study by hand, and what that makes of each file of it, then and later.

A correction is a rule for its study: an original of it, replayed, verified or coming late, gets the
same values as what was archived, and what was deleted on purpose is not taken in again.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from dicom_importer.coerce import Step
from dicom_importer.header import BIRTH_DATE, INSTITUTION, NAME, PATIENT, SEX, Header
from dicom_importer.reasons import Rejected

Kind = Literal["move", "correct", "delete"]
# By the name that an operator gives it.
ATTRIBUTES = {
    "NAME": (NAME, "PN"),
    "PATIENT_ID": (PATIENT, "LO"),
    "BIRTH_DATE": (BIRTH_DATE, "DA"),
    "SEX": (SEX, "CS"),
}
_MAX_CHARS = 64
_DATE_CHARS = 8


class BadValueError(ValueError):
    """A value is none that DICOM takes; the message names it without telling it."""


@dataclass(frozen=True, slots=True)
class Correction:
    """One of a study's, as of a time (DICOM's DT, UTC), in their order.

    `clinic` is whose the study was; a move's is the new one in `to_clinic`. `patient` holds what is
    set, by the names of ATTRIBUTES. A deletion without a series is of all; once lifted it refuses
    nothing.
    """

    study_uid: str
    at: str
    kind: Kind
    clinic: str
    who: str
    reason: str
    to_clinic: str = ""
    series_uid: str = ""
    patient: dict[str, str] = field(default_factory=dict)
    lifted: bool = False


def steps(clinic: str, coerced_at: str, corrections: Sequence[Correction]) -> list[Step]:
    """Return what a file of a clinic goes through that was first coerced at a time (DT, UTC).

    What came before a move was another clinic's first. A correction is dated by when it changed
    the file: a late one as of its own arrival.
    """
    moves = [one for one in corrections if one.kind == "move" and one.at > coerced_at]
    first = moves[0].clinic if moves else clinic
    made = [Step(((INSTITUTION, "LO", first),), coerced_at, first, "COERCE")]
    return made + [
        step(one, max(one.at, coerced_at))
        for one in corrections
        if one in moves or one.kind == "correct"
    ]


def step(one: Correction, time: str) -> Step:
    """Return what a move or a correction does to a file (PS3.3 C.12.1.1.9: CORRECT)."""
    if one.kind == "move":
        values: tuple[tuple[int, str, str], ...] = ((INSTITUTION, "LO", one.to_clinic),)
    else:
        values = tuple((*ATTRIBUTES[key], text) for key, text in one.patient.items())
    return Step(values, time, one.clinic, "CORRECT")


def patient_id(corrections: Sequence[Correction]) -> str | None:
    """Return the patient ID that they end with, None when they leave it."""
    given = [one.patient["PATIENT_ID"] for one in corrections if "PATIENT_ID" in one.patient]
    return given[-1] if given else None


def overridden(corrections: Sequence[Correction]) -> frozenset[int]:
    """Return the attributes of which a file's own values count no more."""
    return frozenset(ATTRIBUTES[key][0] for one in corrections for key in one.patient)


def check(corrections: Sequence[Correction], header: Header, clinic: str) -> None:
    """Raise Rejected for what was deleted on purpose, or belongs to another clinic since a move."""
    for one in corrections:
        is_this = one.series_uid in ("", header.series_uid)
        if one.kind == "delete" and is_this and not one.lifted:
            raise Rejected("deleted")
    moves = [one for one in corrections if one.kind == "move"]
    if moves and moves[-1].to_clinic != clinic:
        raise Rejected("other_clinic", "StudyInstanceUID (0020,000D)")


def values(lines: Sequence[str]) -> dict[str, str]:
    """Read KEY=VALUE lines, of which the empty ones are not given; raises BadValueError."""
    found = {}
    for line in lines:
        key, _, text = line.partition("=")
        if text.strip():
            if key not in ATTRIBUTES:
                raise BadValueError(f"there is no {key}; give {', '.join(ATTRIBUTES)}")
            found[key] = _checked(key, unicodedata.normalize("NFC", text.strip()))
    return found


def _checked(key: str, text: str) -> str:
    if "\\" in text or any(unicodedata.category(letter) == "Cc" for letter in text):
        raise BadValueError(f"{key} has a backslash or a control character in it")
    if key == "SEX" and text not in ("M", "F", "O"):
        raise BadValueError("SEX is M, F or O")
    if key == "BIRTH_DATE":
        try:
            return f"{date.fromisoformat(text):%Y%m%d}".zfill(_DATE_CHARS)
        except ValueError:
            raise BadValueError("BIRTH_DATE is no day: give it as 1970-12-31") from None
    # PN: so many in each of its groups (PS3.5 6.2).
    groups = text.split("=") if key == "NAME" else [text]
    if max(map(len, groups)) > _MAX_CHARS:
        raise BadValueError(f"{key} is longer than {_MAX_CHARS} characters")
    return text
