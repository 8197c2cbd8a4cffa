"""Dropping files as a workstation does, and waiting until the importer has filed them away."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.stack import Stack


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where each dropped file ended, by relative path, and the reasons of failures."""

    processed: dict[str, Path]
    failed: dict[str, Path]
    reasons: dict[str, dict[str, object]]


def drop_files(
    stack: Stack, clinic: str, files: Mapping[str, bytes | Path], *, timeout_s: float = 60
) -> Outcome:
    """Drop files as one folder into a clinic's inbox, wait until it is empty and tell what became of each."""
    folder = f"export-{secrets.token_hex(4)}"
    put(stack.inbox(clinic) / folder, files)
    return settled(stack, clinic, folder, timeout_s=timeout_s)


def put(target: Path, files: Mapping[str, bytes | Path]) -> None:
    """Write files below a folder, as an export does: directly under their final names."""
    for name, source in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, bytes):
            path.write_bytes(source)
        else:
            shutil.copyfile(source, path)


def remaining(folder: Path) -> list[Path]:
    """Return the files that still lie below a folder of an inbox."""
    # Unlike Path.rglob, it does not mind what vanishes meanwhile.
    return [Path(top) / name for top, _, names in os.walk(folder) for name in names]


def settled(stack: Stack, clinic: str, folder: str, *, timeout_s: float = 60) -> Outcome:
    """Wait until a dropped folder is empty and tell what became of each of its files."""
    inbox = stack.inbox(clinic) / folder
    wait_until(lambda: not remaining(inbox), timeout_s, f"{inbox} is filed away", stack.logs)
    processed = _filed(stack.files / "processed" / clinic, folder)
    failed = _filed(stack.files / "failed" / clinic, folder)
    errors = {name: path for name, path in failed.items() if name.endswith(".error.json")}
    reasons = {
        name.removesuffix(".error.json"): json.loads(path.read_text())
        for name, path in errors.items()
    }
    return Outcome(processed, {n: p for n, p in failed.items() if n not in errors}, reasons)


def _filed(root: Path, folder: str) -> dict[str, Path]:
    return {
        str(path.relative_to(top)): path
        for top in root.glob(f"*/{folder}")
        for path in top.rglob("*")
        if path.is_file()
    }
