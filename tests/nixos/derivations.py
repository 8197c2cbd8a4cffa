"""Derivation files, read for the texts that building them would write."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from harness.nix import store_on_host

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.nix import Nix

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_VALUE = r'\("{name}","((?:[^"\\]|\\.)*)"\)'
_TEXT = re.compile(_VALUE.format(name="text"))
_OUTPUT = re.compile(_VALUE.format(name="out"))


def unescape(text: str) -> str:
    """Undo the escapes of a string in a derivation file."""
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text, flags=re.DOTALL)


def requisites(nix: Nix, derivation: str) -> list[Path]:
    """Return where what a derivation needs lies here: derivation files and copied sources."""
    listed = nix.run("nix-store", "--query", "--requisites", derivation)
    assert listed.returncode == 0, listed.stderr
    store = store_on_host()
    return [store / Path(line).relative_to("/nix") for line in listed.stdout.split()]


def texts(paths: Iterable[Path]) -> dict[str, str]:
    """Return every text that derivations generate, by its name in the store."""
    found = {}
    for path in paths:
        content = path.read_text(errors="replace")
        text, output = _TEXT.search(content), _OUTPUT.search(content)
        if text and output:
            found[Path(output[1]).name.partition("-")[2]] = unescape(text[1])
    return found
