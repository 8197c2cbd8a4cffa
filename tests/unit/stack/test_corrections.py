"""The commands of corrections as make gives them: what is said of a patient, what backups hold, an export's file."""

from __future__ import annotations

import dataclasses
import os
import stat
import subprocess
from pathlib import Path

import pytest
from stack import deleted, importing
from stack.settings import Settings, load

TOP = Path(__file__).resolve().parents[3]
EXPORT = TOP / "podman/export.sh"


def said(*words: str, **more: str) -> str:
    """Return what make would run."""
    argv = ["/usr/bin/make", "-n", "-C", str(TOP), *words, "STUDY=1.2.3", "REASON=why"]
    environment = {"PATH": "/usr/bin:/bin", "NAME": "a-host", **more}
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env=environment)
    return done.stdout


def test_what_is_said_of_a_patient_goes_by_a_pipe() -> None:
    told = said("correct", "PATIENT_ID=4711", "NAME=Noether^Emmy")
    assert 'printf \'%s\\n\' "PATIENT_ID=$PATIENT_ID" "NAME=$NAME" |' in told
    assert "Noether" not in told
    told = said("merge", "CLINIC=clinic-a", "FROM=1", "TO=2")
    assert '"FROM=$FROM" "TO=$TO" |' in told


def test_a_name_of_the_environment_is_not_the_patients() -> None:
    assert "NAME" not in said("correct", "PATIENT_ID=4711")
    assert "printf" not in said("correct")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Provide settings of their own."""
    path = tmp_path / ".env"
    path.write_text(f"DATA_DIR={tmp_path}/data\n")
    return load(path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"BACKUP_TARGET": ""}, "no backup holds it"),
        ({"BACKUP_KEEP_MONTHLY": "5"}, "for up to 5 months"),
        ({"BACKUP_PRUNE": "no"}, "until they are removed there"),
    ],
)
def test_it_is_said_for_how_long_backups_hold_what_is_deleted(
    settings: Settings, changes: dict[str, str], told: str
) -> None:
    values = {**settings.values, "BACKUP_TARGET": "/mnt/backup", **changes}
    assert told in deleted.backups(dataclasses.replace(settings, values=values))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["delete", "--study", "1.2.3"], True),
        (["retention", "--by", "x", "--yes", "--reason", "x"], True),
        (["retention", "--by", "x"], False),
        (["retention", "--by", "x", "--csv", "--yes", "--reason", "x"], False),
        (["verify"], False),
    ],
)
def test_what_backups_hold_is_said_beneath_what_deletes(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    *,
    told: bool,
) -> None:
    done = subprocess.CompletedProcess[bytes]([], 0)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert importing.run(settings, "importer", words) == 0
    assert (deleted.NONE in capsys.readouterr().out) is told


def exported(target: Path | str, *command: str) -> subprocess.CompletedProcess[str]:
    """Write what a command prints into a file."""
    argv = [str(EXPORT), str(target), *command]
    return subprocess.run(argv, check=False, capture_output=True, text=True)


def test_an_export_is_a_file_of_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        done = exported(tmp_path / "a b.zip", "echo", "whole")
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a b.zip").read_text() == "whole\n"
    assert stat.S_IMODE((tmp_path / "a b.zip").stat().st_mode) == 0o600


def test_an_export_that_fails_leaves_nothing_and_overwrites_nothing(tmp_path: Path) -> None:
    assert exported(tmp_path / "a.zip", "/bin/sh", "-c", "echo half; exit 3").returncode == 3
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.zip").write_text("older")
    done = exported(tmp_path / "a.zip", "echo", "new")
    assert (done.returncode, "is there already" in done.stderr) == (1, True)
    assert (tmp_path / "a.zip").read_text() == "older"
    assert exported("", "echo", "new").returncode == 1
