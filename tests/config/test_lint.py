"""Every program text of the repository passes its linters, formatters and type checks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
CONFIG = "importer/pyproject.toml"
PYTHON = ("bench", "importer/src", "podman", "tests")


def tool(name: str) -> str:
    """Return the path of a tool of the tests' own environment."""
    return str(Path(sys.executable).with_name(name))


def tracked(*patterns: str) -> list[str]:
    """Return the repository's files that match, new ones included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=TOP, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split() if (TOP / name).exists()]


def shell_scripts() -> list[str]:
    """Return every file that begins as a shell script."""
    return [
        n
        for n in tracked()
        if (TOP / n).read_bytes()[:64].startswith((b"#!/usr/bin/env bash", b"#!/bin/sh"))
    ]


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "--no-cache", "--config", CONFIG, *PYTHON],
        ["ruff", "format", "--no-cache", "--check", "--config", CONFIG, *PYTHON],
        ["mypy", "--config-file", CONFIG, "bench"],
        ["mypy", "--config-file", CONFIG, "importer/src"],
        ["mypy", "--config-file", CONFIG, "podman/stack"],
        ["mypy", "--config-file", CONFIG, "podman/orthanc/clinic_access_plugin.py"],
        ["mypy", "--config-file", CONFIG, "--explicit-package-bases", "tests"],
    ],
    ids=lambda command: " ".join(word for word in command if not word.startswith("--")),
)
def test_python_is_clean(command: list[str]) -> None:
    # What `make` sets for the operator's commands would hide a stub.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [tool(command[0]), *command[1:]],
        cwd=TOP,
        check=False,
        capture_output=True,
        text=True,
        env=env,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.parametrize(
    "command", [["shellcheck"], ["shfmt", "-d", "-i", "2"]], ids=["shellcheck", "shfmt"]
)
def test_shell_is_clean(command: list[str]) -> None:
    scripts = shell_scripts()
    assert len(scripts) >= 4
    done = subprocess.run(
        [*command, *scripts], cwd=TOP, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_shell_scripts_stay_short() -> None:
    assert [n for n in shell_scripts() if len((TOP / n).read_text().splitlines()) > 100] == []
