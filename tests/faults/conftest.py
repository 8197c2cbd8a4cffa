"""Another clinic's study in the archive, and the steps of an undisturbed flow."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from faults.end_state import Archive, faults
from faults.scene import Scene, packed_trial, record, trial
from faults.submission import File, Submission
from harness.own_importer import own_importer
from harness.phantom import Identity, ct

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faults.steps import Step
    from harness.stack import Stack
    from harness.strace import Call


@pytest.fixture(scope="session")
def scene(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Provide an archive that holds a study of another clinic."""
    who = Identity()
    study = ct(9, who, slices=1, size=9)
    (content,) = study.files.values()
    file = File(content, "success", "", study.uid, who.uid("instance", 0))
    found = Scene(stack, tmp_path_factory.mktemp("importers"), Archive(stack), who)
    importer = own_importer(found.root / "foreign", stack)
    dropped = Submission(f"other-{secrets.token_hex(4)}", "export", {"image.dcm": file})
    dropped.drop(importer)
    importer.finish(1)
    assert faults(importer, [dropped], found.archive) == []
    yield found
    # Whatever was done to importers in between.
    assert faults(importer, [dropped], found.archive) == []


@pytest.fixture(scope="session")
def recorded(scene: Scene) -> dict[Step, Call]:
    """Provide the steps of a worker that nothing disturbs, each with the call in its middle."""
    return record(trial(scene))


@pytest.fixture(scope="session")
def recorded_unpacking(scene: Scene) -> dict[Step, Call]:
    """Provide the same of a worker that gets a zip file."""
    return record(packed_trial(scene))
