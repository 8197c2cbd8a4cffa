"""The files in DATA_DIR/logs, which Podman writes, a service each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stack.credentials import sync_folder
from stack.shell import attempt

if TYPE_CHECKING:
    from pathlib import Path

    from stack.settings import Settings

# As in the compose files.
MAX_BYTES = 20_000_000


def shorten(settings: Settings) -> None:
    """Keep the end of what has grown beyond its size, of services that do not run.

    Podman begins a file anew when one life of a container has filled it, and counts from zero at each start.
    The shipper reads the end that is kept a second time: it cannot know what it is the end of.
    """
    for path in sorted((settings.data_dir / "logs").glob("*.log")):
        if path.stat().st_size > 2 * MAX_BYTES and not _runs(settings.container(path.stem)):
            _keep_end(path)


def _runs(container: str) -> bool:
    shown = attempt(["podman", "container", "inspect", "-f", "{{.State.Running}}", container])
    return shown.stdout.strip() == "true"


def _keep_end(path: Path) -> None:
    part = path.with_suffix(".part")
    with path.open("rb") as whole, part.open("wb") as end:
        part.chmod(0o600)
        whole.seek(-MAX_BYTES, 2)
        # From the next whole line on.
        whole.readline()
        while block := whole.read(2**20):
            end.write(block)
    part.rename(path)
    sync_folder(path.parent)
