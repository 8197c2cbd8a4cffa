"""Values that must be found nowhere but with their readers, and the places where they might turn up."""

from __future__ import annotations

import base64
import io
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SHORTEST = 12


def forms(values: Mapping[str, str], clients: Mapping[str, str]) -> dict[bytes, str]:
    """Return each value's forms with the value's name: as it is, and as a client's basic authentication."""
    found = {}
    for name, value in values.items():
        assert len(value) >= SHORTEST, f"{name} is too short to be told from other text"
        found[value.encode()] = name
        if client := clients.get(name):
            found[base64.b64encode(f"{client}:{value}".encode())] = name
    return found


def among(texts: Iterable[tuple[str, bytes]], wanted: Mapping[bytes, str]) -> set[tuple[str, str]]:
    """Return where which value was found."""
    return {(place, name) for place, text in texts for form, name in wanted.items() if form in text}


def processes() -> Iterator[tuple[str, bytes]]:
    """Yield environment and arguments of every process of this host, those in containers included."""
    for folder in Path("/proc").glob("[0-9]*"):
        for part in ("cmdline", "environ"):
            try:
                yield part, (folder / part).read_bytes()
            except OSError:  # It has ended meanwhile.
                continue


def files(top: Path, without: Iterable[Path] = ()) -> Iterator[tuple[str, bytes]]:
    """Yield every file below a folder, and what packed ones hold."""
    left_out = tuple(without)
    for path in sorted(top.rglob("*")):
        if not path.is_file() or path.is_symlink() or any(path.is_relative_to(o) for o in left_out):
            continue
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # Its service has removed it meanwhile.
            continue
        yield str(path), content
        if path.name.endswith(".tar.gz"):
            with tarfile.open(fileobj=io.BytesIO(content)) as packed:
                for member in packed.getmembers():
                    if held := packed.extractfile(member):
                        yield f"{path}: {member.name}", held.read()


def in_trees(tops: Iterable[str], wanted: Mapping[bytes, str]) -> set[str]:
    """Return the files below folders that hold one of the values; quick enough for whole images."""
    with tempfile.NamedTemporaryFile() as patterns:
        # By file: its own arguments must not be what is found.
        patterns.write(b"\n".join(wanted) + b"\n")
        patterns.flush()
        grep = ["grep", "-rlFa", "--devices=skip", f"--file={patterns.name}", *tops]
        done = subprocess.run(grep, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stderr[-2000:]
    return set(done.stdout.splitlines())
