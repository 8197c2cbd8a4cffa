"""A patient's name that was dropped, searched for and looked at is in no log, label, metric, alert or audit record.

Each search looks for something that is there as well: one that finds nothing at all would prove nothing.
"""

from __future__ import annotations

import json
import secrets
import shutil
from typing import TYPE_CHECKING

import pytest
from harness.canaries import among, files
from harness.dicomweb import Reader
from harness.drop import drop_files, put, settled
from harness.logs import asked, fetched, found
from harness.phantom import Identity, ct
from harness.stack import TESTS
from harness.viewer import window
from harness.wait import wait_until
from stack.shell import attempt, podman

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.people import People
    from harness.phantom import Study
    from harness.stack import Stack
    from playwright.sync_api import Browser

CANARY = f"Zq{secrets.token_hex(6)}"
CLINIC = f"clinic-{secrets.token_hex(4)}"
WANTED = {form.encode(): "the patient" for form in (CANARY, CANARY.upper(), CANARY.lower())}
# Two scrapes, two evaluations and the time to group.
ALERT_TIMEOUT_S = 180


@pytest.fixture(scope="module")
def study(stack: Stack, people: People, browser: Browser) -> Iterator[Study]:
    """Provide a study with the name, which was dropped, searched, looked at and failed as well."""
    people.clinic(CLINIC, "Clinic of the canary")
    people.person(f"reader-{CLINIC}", "physician", CLINIC)
    counted = f'dicom_imports_total{{clinic_id="{CLINIC}", status="not_dicom"}}'
    query = ("promtool", "query", "instant", "http://prometheus:9090", counted)
    wait_until(
        lambda: CLINIC in stack.exec("prometheus", *query).stdout, 120, "the clinic is counted"
    )
    made = ct(5, Identity(CANARY, f"{CANARY}^Erika", description=CANARY), slices=3)
    outcome = drop_files(stack, CLINIC, {f"{CANARY}/{n}": c for n, c in made.files.items()})
    assert not outcome.failed, outcome.reasons
    _fail(stack, next(iter(made.files.values())))
    _look(stack, people, made, browser)
    yield made
    # Else the stack's status would go on telling of it.
    for day in (stack.files / "failed" / CLINIC).iterdir():
        shutil.rmtree(day)


def _fail(stack: Stack, good: bytes) -> None:
    """Drop what cannot be imported: one that breaks off within its header, and no DICOM at all."""
    folder = f"{CANARY} Erika"
    put(
        stack.inbox(CLINIC) / folder, {f"{CANARY}.dcm": good[:900], f"{CANARY}.pdf.dcm": b"no" * 99}
    )
    assert len(settled(stack, CLINIC, folder).failed) == 2


def _look(stack: Stack, people: People, made: Study, browser: Browser) -> None:
    """Search for the name and look at the picture, in a browser and by a program."""
    name = f"reader-{CLINIC}"
    viewer = window(browser, stack.url, TESTS / ".artifacts" / "screenshots")
    viewer.open()
    viewer.log_in(name, people.passwords[name])
    viewer.open_study(CANARY, made.uid)
    viewer.see(made.pictures)
    # Of a token the signature: its beginning is that of any other.
    WANTED[viewer.access_token().rpartition(".")[2].encode()] = "a token"
    viewer.page.context.close()
    reader = Reader(stack, people.token(name, fresh=True))
    assert reader.search(f"/dicom-web/studies?PatientName={CANARY}*")
    assert reader.search(f"/dicom-web/studies?00100010={CANARY.upper()}*&includefield=all")
    assert CANARY in reader.get(f"/dicom-web/studies/{made.uid}/metadata").text
    # What no route knows, and what one refuses.
    for path in (f"/dicom-web/patients?PatientID={CANARY}", f"/dicom-web/studies?Patient={CANARY}"):
        reader.get(path)


def found_in(texts: list[tuple[str, bytes]], control: str) -> set[tuple[str, str]]:
    """Return where the patient and the control were found."""
    return among(texts, {**WANTED, control.encode(): "the control"})


def names(places: set[tuple[str, str]]) -> set[str]:
    """Return what was found at all."""
    return {name for _, name in places}


def test_no_log_has_it(stack: Stack, study: Study) -> None:
    own = f"label=io.podman.compose.project={stack.podman_settings.project}"
    listed = podman("ps", "--all", "--format", "{{.Names}}", "--filter", own).split()
    told = [(name, attempt(["podman", "logs", name])) for name in listed]
    texts = [(name, (done.stdout + done.stderr).encode()) for name, done in told]
    texts += [*files(stack.data_dir / "logs")]
    places = found_in(texts, study.uid)
    assert names(places) == {"the control"}, places
    assert {place.rpartition("-")[2] for place, _ in places} >= {"importer", "nginx"}


def test_neither_the_log_store_nor_its_labels_nor_what_waits_for_it_has_it(
    stack: Stack, study: Study
) -> None:
    wait_until(
        lambda: found(stack, f'{{service="nginx"}} "{study.uid}"'), 60, "it has the requests"
    )
    whole = asked(stack, "query", query="*")
    labels = "".join(
        asked(stack, what, query="*") for what in ("streams", "field_names", "stream_ids")
    )
    # On the disk it is packed: a search of its files would prove nothing.
    waiting = [*files(stack.data_dir / "shipper"), *files(stack.data_dir / "metrics")]
    texts = [("lines", whole.encode()), ("labels", labels.encode()), *waiting]
    # What was sent stays in the shipper's file until it is written over.
    for control, least in ((study.uid, {"lines"}), (CLINIC, {"lines", "labels"})):
        places = found_in(texts, control)
        assert names(places) == {"the control"}, places
        assert {place for place, _ in places} >= least


@pytest.mark.usefixtures("study")
def test_no_metric_has_it(stack: Stack) -> None:
    match = '--match={__name__=~".+"}'
    series = stack.exec(
        "prometheus", "promtool", "query", "series", match, "http://prometheus:9090"
    )
    assert series.returncode == 0, series.stderr
    assert found_in([("series", series.stdout.encode())], CLINIC) == {("series", "the control")}


@pytest.mark.usefixtures("study")
def test_no_alert_has_it(stack: Stack) -> None:
    url = "--alertmanager.url=http://alertmanager:9093"
    ask = ("amtool", "alert", "query", "-o", "json", url)

    def held() -> str:
        return stack.exec("alertmanager", *ask).stdout

    # That its file failed is told, of its clinic.
    wait_until(lambda: CLINIC in held(), ALERT_TIMEOUT_S, "the failure is told of", held)
    fired = fetched(stack, "prometheus", 17, "9090/api/v1/alerts")
    places = found_in([("held", held().encode()), ("fired", fired.encode())], CLINIC)
    assert names(places) == {"the control"}
    assert {place for place, _ in places} >= {"held"}


def test_no_record_of_the_audit_has_it(stack: Stack, study: Study) -> None:
    folders = ("access", "importer")

    def places() -> set[tuple[str, str]]:
        texts = [*files(stack.data_dir / "audit"), *files(stack.data_dir / "auditor")]
        return found_in(texts, study.uid)

    wait_until(
        lambda: all(any(f"/audit/{f}/" in place for place, _ in places()) for f in folders),
        60,
        "the audit has the import and the access",
        lambda: stack.logs("auditor"),
    )
    assert names(places()) == {"the control"}


@pytest.mark.parametrize("place", ["a log", "a label", "a record"])
def test_where_it_stands_it_is_found(place: str) -> None:
    said = {
        "a log": f"2026-11-26T07:48:11 rejected {CANARY.lower()}.dcm",
        "a label": json.dumps({"stream": {"patient": CANARY}}),
        "a record": json.dumps({"what": {"name": f"{CANARY.upper()}^ERIKA"}}),
    }
    assert names(found_in([(place, said[place].encode())], "nothing else")) == {"the patient"}
