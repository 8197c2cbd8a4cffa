"""Who may store over DICOM: `make sender`, `make senders`, `make remove-sender`, run in a container of their own.

The service only reads what these write, and does so at each association: nothing is started anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stack import files
from stack.compose import image_in_use
from stack.credentials import UIDS
from stack.settings import PODMAN_DIR
from stack.shell import CommandError, attempt, say

if TYPE_CHECKING:
    from stack.settings import Settings

CLOSED = "the door is closed: set DICOM_PORT, then make up (README, Over DICOM)"


def run(settings: Settings, *words: str) -> None:
    """Run a command of dicom-receiver about senders, and print what it says; raises CommandError with its message."""
    folder = settings.data_dir / "receiver"
    files.own(folder, "receiver", 0o700)
    image = image_in_use(settings, "importer")["importer"]
    conf = PODMAN_DIR / "importer" / "importer.conf"
    done = attempt(
        [
            *("podman", "run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL"),
            *("--security-opt=no-new-privileges", "--no-healthcheck", "--log-driver=none"),
            f"--user={UIDS['receiver']}:{UIDS['importer']}",
            f"--volume={conf}:/etc/dicom-importer/importer.conf:ro",
            f"--volume={folder}:/var/lib/dicom-receiver",
            f"--volume={settings.data_dir / 'files' / 'inbox'}:/files/inbox:ro",
            *(image, "dicom-receiver", *words),
        ]
    )
    if done.returncode:
        raise CommandError((done.stderr.strip() or done.stdout.strip()).splitlines()[-1])
    say(done.stdout.rstrip())
    if not settings.values["DICOM_PORT"]:
        say(CLOSED)
