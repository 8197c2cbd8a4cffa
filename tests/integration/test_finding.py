"""A study is found by its patient's name in every script, as the viewer's list asks: any part, capital or small."""

from __future__ import annotations

import io
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import pydicom
import pytest
from harness.dicomweb import Reader
from harness.drop import drop_files
from harness.phantom import Identity, ct

if TYPE_CHECKING:
    from harness.people import People
    from harness.stack import Stack

PREFIX = f"F{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class Named:
    """A patient's name, the character sets that it is written in (PS3.3 C.12.1.1.2), and what finds it."""

    name: str
    character_sets: tuple[str, ...]
    parts: tuple[str, ...]


NAMES = {
    "western": Named("Müller^José", ("ISO_IR 100",), ("müll", "MÜLLER", "José")),
    "unicode": Named("Øster^Zoë", ("ISO_IR 192",), ("Øster", "øST", "zoë")),
    "cyrillic": Named("Иванов^Пётр", ("ISO_IR 144",), ("Иван", "ИВАНОВ", "пётр")),
    "greek": Named("Διονυσιος", ("ISO_IR 126",), ("Διον", "διον")),
    "chinese": Named("Zhang^XiaoDong=张^小东", ("GB18030",), ("zhang", "张", "小东")),
    "japanese": Named(
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ("", "ISO 2022 IR 87"),
        ("YAMADA", "山田", "太郎", "やまだ"),
    ),
    "korean": Named("Hong^Gildong=洪^吉洞=홍^길동", ("", "ISO 2022 IR 149"), ("gil", "洪", "홍")),
    # Western letters without a word on their character set, as old devices write them.
    "silent": Named("Jäger^Fehlt", (), ("Jäger", "jäg")),
}


@pytest.fixture(scope="module")
def reader(stack: Stack, people: People) -> Reader:
    """Provide a physician's access to one study of each name."""
    files: dict[str, bytes] = {}
    for kind, named in NAMES.items():
        for file, content in ct(5, Identity(f"{PREFIX}-{kind}"), slices=1).files.items():
            files[f"{kind}/{file}"] = written(content, named)
    outcome = drop_files(stack, "clinic-a", files)
    assert not outcome.failed, outcome.reasons
    return Reader(stack, people.token("physician-a"))


def written(content: bytes, named: Named) -> bytes:
    """Write a name into an object in its own character sets."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    dataset.SpecificCharacterSet = list(named.character_sets) or "ISO_IR 100"
    dataset.PatientName = named.name
    dataset.save_as(encoded := io.BytesIO())
    if named.character_sets:
        return encoded.getvalue()
    silent = pydicom.dcmread(io.BytesIO(encoded.getvalue()))
    del silent["SpecificCharacterSet"]
    silent.save_as(encoded := io.BytesIO())
    assert "Jäger".encode("latin-1") in encoded.getvalue()
    return encoded.getvalue()


def found(reader: Reader, **matches: str) -> list[str]:
    """Return the PatientIDs of what a search finds among these studies, in their order."""
    query = "&".join(f"{key}={quote(value)}" for key, value in matches.items())
    rows = reader.search(f"/dicom-web/studies?PatientID={PREFIX}*&{query}")
    return [str(row["00100020"]["Value"][0]) for row in rows]


@pytest.mark.parametrize("kind", NAMES)
def test_any_part_of_a_name_finds_it_and_no_other(reader: Reader, kind: str) -> None:
    for part in NAMES[kind].parts:
        assert found(reader, PatientName=f"*{part}*") == [f"{PREFIX}-{kind}"], part


def test_all_names_are_shown_as_they_were_written(reader: Reader) -> None:
    rows = reader.search(f"/dicom-web/studies?PatientID={PREFIX}*")
    groups = ("Alphabetic", "Ideographic", "Phonetic")
    shown = {}
    for row in rows:
        (patient_id,), (name,) = row["00100020"]["Value"], row["00100010"]["Value"]
        assert isinstance(name, dict)
        written_out = "=".join(name.get(group, "") for group in groups).rstrip("=")
        shown[str(patient_id).rpartition("-")[2]] = written_out
    assert shown == {kind: named.name for kind, named in NAMES.items()}


def test_conditions_narrow_each_other(reader: Reader) -> None:
    everything = sorted(f"{PREFIX}-{kind}" for kind in NAMES)
    assert (
        sorted(found(reader, ModalitiesInStudy="CT", StudyDate="20260101-20260103")) == everything
    )
    assert found(reader, ModalitiesInStudy="CT", PatientName="*müller*") == [f"{PREFIX}-western"]
    assert found(reader, ModalitiesInStudy="MR", PatientName="*müller*") == []
    assert found(reader, StudyDate="20260103-", PatientName="*müller*") == []
