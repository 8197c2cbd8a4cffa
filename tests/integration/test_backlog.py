"""A clinic's backlog holds up another clinic's study by the batches on their way at that moment, and no more."""

from __future__ import annotations

import json
import secrets
import socket
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from dicom_importer.jobs import BATCH_FILES
from harness.own_importer import own_importer
from harness.phantom import Identity, ct
from harness.wait import wait_until
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from pathlib import Path

    from harness.own_importer import OwnImporter
    from harness.stack import Stack

BACKLOG = 300
SIZE = 256
TIMEOUT_S = 60


def drop(importer: OwnImporter, clinic: str, images: int) -> None:
    """Put a study into an inbox at once."""
    staging = importer.files / clinic
    staging.mkdir()
    for name, content in ct(0, Identity(), slices=images, size=SIZE).files.items():
        (staging / name).write_bytes(content)
    staging.rename(importer.inbox / clinic / "export")


def successes(importer: OwnImporter) -> dict[str, tuple[str, datetime]]:
    """Return clinic and time of each image that was stored, by its UID."""
    lines = importer.log.read_text().splitlines(keepends=True)
    records = [json.loads(line) for line in lines if line.endswith("}\n")]
    return {
        str(one["sop_uid"]): (str(one["clinic"]), datetime.fromisoformat(one["time"]))
        for one in records
        if one["event"] == "success"
    }


def waited_s(stack: Stack, port: int, clinic: str) -> float:
    """Return how long the images of a clinic took from being ready to being filed."""
    with stack.session() as session:
        text = session.get(f"http://127.0.0.1:{port}/metrics").text
    (found,) = (
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "dicom_import_duration_seconds_sum"
        and sample.labels["clinic_id"] == clinic
    )
    return float(found)


@pytest.mark.parametrize("connections", [1, 2])
def test_a_backlog_holds_up_another_clinic_by_no_more_than_what_is_on_its_way(
    stack: Stack, tmp_path: Path, connections: int
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    settings = {"CONNECTIONS": str(connections), "LISTEN_PORT": str(port)}
    importer = own_importer(tmp_path / "importer", stack, **settings)
    # The one that waits comes last by name too.
    busy, quiet = (f"{name}-{secrets.token_hex(4)}" for name in ("busy", "quiet"))
    for clinic in (busy, quiet):
        (importer.inbox / clinic).mkdir()
    with importer.running():
        drop(importer, busy, BACKLOG)
        wait_until(lambda: len(successes(importer)) > 5, TIMEOUT_S, "it is busy", importer.tail)
        drop(importer, quiet, 1)

        def filed() -> str:
            return next((uid for uid, one in successes(importer).items() if one[0] == quiet), "")

        uid = wait_until(filed, TIMEOUT_S, "the other clinic's image is stored", importer.tail)
        found = successes(importer)
        assert len(found) < BACKLOG, "the backlog was over too soon to tell"
        ready_at = found[uid][1] - timedelta(seconds=waited_s(stack, port, quiet))
    with closing(sqlite3.connect(importer.root / "state" / "journal.sqlite")) as journal:
        ids = dict(journal.execute("SELECT sop_uid, id FROM file").fetchall())
    ahead = [one for one, (_, at) in found.items() if at > ready_at and ids[one] < ids[uid]]
    # One batch on each connection was on its way; and it is ready from the beginning of a sweep,
    # during which each connection may take one more before it is offered.
    assert len(ahead) <= 2 * connections * BATCH_FILES
