"""Scripted traffic of a clinic group: exports, some of them bad, physicians at work, people who mistype passwords."""

from __future__ import annotations

import io
import random
import secrets
import time
from typing import TYPE_CHECKING

import pydicom

from harness.dicomweb import ANY_SYNTAX, Reader
from harness.drop import put, settled
from harness.people import form_action, open_login_form
from harness.phantom import KINDS, Identity
from harness.second_factor import send_form

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.people import People
    from harness.phantom import Study
    from harness.stack import Stack

CLINICS = ("clinic-a", "clinic-b")
TOKEN_LEFT_S = 60
READERS = {"clinic-a": ("physician-a", "physician-ab"), "clinic-b": ("physician-b", "physician-ab")}


def export(stack: Stack, clinic: str, seed: int, *, bad: bool = False) -> Study:
    """Drop a study, with a file that is none if it shall be bad; returns when it is filed away."""
    patient = f"Day{secrets.token_hex(4)}"
    kind = sorted(KINDS)[seed % len(KINDS)]
    study = KINDS[kind](seed, Identity(patient, f"{patient}^Traffic"))
    files = {**study.files, **({"broken.dcm": b"no DICOM at all" * 20} if bad else {})}
    folder = f"export-{patient}"
    put(stack.inbox(clinic) / folder, files)
    outcome = settled(stack, clinic, folder, timeout_s=120)
    for path in outcome.failed.values():
        # What it left would be for a person to look after.
        path.unlink()
        path.with_name(path.name + ".error.json").unlink()
    return study


def log_in(people: People) -> None:
    """Let everybody log in, since what was before may have logged somebody out."""
    for name in {*READERS["clinic-a"], *READERS["clinic-b"], "no-clinic"}:
        people.token(name, fresh=True)


def living(people: People, name: str) -> str:
    """Return a token of a person who logs in anew when it is about to end, as a viewer would."""
    is_ending = float(str(people.claims(name)["exp"])) < time.time() + TOKEN_LEFT_S
    return people.token(name, fresh=is_ending)


def look(stack: Stack, people: People, name: str, study: Study) -> None:
    """Do what the viewer does with a study: search, metadata, and a picture of each instance."""
    reader = Reader(stack, living(people, name))
    reader.search("/dicom-web/studies?limit=101")
    reader.search(f"/dicom-web/studies?StudyInstanceUID={study.uid}")
    top = f"/dicom-web/studies/{study.uid}"
    for item in reader.search(f"{top}/series"):
        series = f"{top}/series/{item['0020000E']['Value'][0]}"
        reader.get(f"{series}/metadata", "application/dicom+json")
    for content in study.files.values():
        head = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
        instance = f"{top}/series/{head.SeriesInstanceUID}/instances/{head.SOPInstanceUID}"
        reader.get(f"{instance}/frames/1", 'multipart/related; type="application/octet-stream"')
    reader.get(instance, ANY_SYNTAX)


def mistype(stack: Stack, name: str) -> None:
    """Try a wrong password."""
    with stack.session() as session:
        page, _ = open_login_form(stack, session)
        send_form(session, form_action(page.text), {"username": name, "password": "mistyped-it-1"})


def hour(stack: Stack, people: People) -> None:
    """Let everything that is counted happen once or twice, as fast as it goes."""
    log_in(people)
    for number, clinic in enumerate(CLINICS):
        study = export(stack, clinic, number, bad=True)
        for name in READERS[clinic]:
            look(stack, people, name, study)
        # What another clinic holds is denied.
        look_elsewhere(stack, people, "no-clinic", study)
    mistype(stack, "physician-a")


def look_elsewhere(stack: Stack, people: People, name: str, study: Study) -> None:
    """Ask for a study that one may not see."""
    Reader(stack, living(people, name)).get(f"/dicom-web/studies/{study.uid}/metadata")


def day(
    stack: Stack,
    people: People,
    seconds: float,
    *,
    seed: int = 1,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Live through a working day in so many seconds: it rises until noon, rests, and falls towards the evening."""
    choose = random.Random(seed)  # noqa: S311 - no secret
    log_in(people)
    start_s = time.monotonic()
    studies: dict[str, list[Study]] = {clinic: [] for clinic in CLINICS}
    number = 0
    while (passed := (time.monotonic() - start_s) / seconds) < 1:
        is_noon = 0.45 < passed < 0.55
        busy = 0.1 if is_noon else 1 - abs(passed - 0.5)
        clinic = CLINICS[0] if choose.random() < 0.65 else CLINICS[1]
        if not studies[clinic] or choose.random() < 0.5:
            number += 1
            studies[clinic].append(export(stack, clinic, number, bad=choose.random() < 0.12))
        for name in READERS[clinic]:
            if choose.random() < busy:
                look(stack, people, name, choose.choice(studies[clinic]))
        if choose.random() < 0.1:
            look_elsewhere(stack, people, "no-clinic", choose.choice(studies[clinic]))
        if choose.random() < 0.08:
            mistype(stack, choose.choice(("physician-a", "physician-b")))
            people.token(choose.choice(READERS[clinic]), fresh=True)
        sleep(choose.uniform(1, 6) / max(busy, 0.1))
