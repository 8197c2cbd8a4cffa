"""What people of the clinics read, in the site's language: one file a language, languages/<tag>.json."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "languages"
ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a file is in failed/: what was found, and what to do."""

    found: str
    advice: str


@dataclass(frozen=True, slots=True)
class Words:
    """Those texts of a language that the importer says; {names} in them are filled by str.format."""

    language: str
    reasons: Mapping[str, Reason]
    refusals: Mapping[str, str]
    causes: Mapping[str, str]
    export: Mapping[str, str]


@functools.cache
def load(tag: str = ENGLISH) -> Words:
    """Return the words of a language, English where it has no file."""
    file = FOLDER / f"{tag}.json"
    content = json.loads((file if file.exists() else FOLDER / f"{ENGLISH}.json").read_text("utf-8"))
    return Words(
        content["language"],
        {name: Reason(**reason) for name, reason in content["reasons"].items()},
        content["refusals"],
        content["causes"],
        content["export"],
    )
