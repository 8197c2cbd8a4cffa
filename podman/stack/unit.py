"""The systemd unit that brings the stack back after a reboot, where systemd runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stack.files import write_if_changed
from stack.settings import TOP
from stack.shell import run, say

if TYPE_CHECKING:
    from stack.settings import Settings

UNITS = Path("/etc/systemd/system")


def text(settings: Settings) -> str:
    """Return the unit's text."""
    return f"""[Unit]
Description=DICOM Web Viewer Stack ({settings.project})
Wants=network-online.target
After=network-online.target local-fs.target
RequiresMountsFor={settings.data_dir}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/make -C "{TOP}" up ENV="{settings.env_file}"
ExecStop=/usr/bin/make -C "{TOP}" down ENV="{settings.env_file}"
TimeoutStartSec=30min

[Install]
WantedBy=multi-user.target
"""


def install(settings: Settings) -> None:
    """Install and enable the unit; does nothing on a host without systemd."""
    if not Path("/run/systemd/system").exists():
        say("no systemd here: after a reboot, run make up")
        return
    path = UNITS / f"{settings.project}.service"
    write_if_changed(path, text(settings))
    run(["systemctl", "daemon-reload"])
    run(["systemctl", "enable", "--quiet", path.name])
