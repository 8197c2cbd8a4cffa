"""The doors for uploads beside the front door: who has an account, and which inboxes a door is shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from stack import accounts
from stack.compose import compose, image_in_use, inboxes_file, services
from stack.files import write_if_changed
from stack.settings import SettingsError
from stack.shell import podman, say

if TYPE_CHECKING:
    from stack.settings import Settings

# The doors that accounts open.
DOORS = {"sftp", "smb"}
CLOSED = "nobody uploads by an account: set SFTP_PORT, or SMB_PORT and SMB_ADDRESS, then make up"


def show_inboxes(settings: Settings) -> None:
    """Write down which inboxes the door is shown, each beneath a folder of its own that is root's."""
    if "sftp" not in services(settings):
        return
    inbox = settings.data_dir / "files" / "inbox"
    known = [clinic for clinic in accounts.read(_folder(settings)) if (inbox / clinic).is_dir()]
    shown = [f"{inbox / clinic}:/srv/sftp/{clinic}/inbox" for clinic in known]
    text = yaml.safe_dump({"services": {"sftp": {"volumes": shown} if shown else {}}})
    write_if_changed(inboxes_file(settings, "sftp"), text)


def add(settings: Settings, clinic: str, key_file: str) -> None:
    """Make or renew a clinic's account; prints the new password, once. Raises SettingsError."""
    _refuse_closed(settings)
    known = clinic in accounts.read(_folder(settings))
    try:
        keys = _keys(key_file) if key_file else ""
        inbox = settings.data_dir / "files" / "inbox"
        password = accounts.give(_folder(settings), inbox, clinic, keys)
    except (OSError, UnicodeDecodeError, accounts.AccountError) as error:
        raise SettingsError(f"no account was made: {error}") from error
    bring(settings)
    if known:
        _end_shares(settings)
    say(accounts.told(clinic, password, _doors(settings)).rstrip("\n"))


def add_first(settings: Settings, clinic: str) -> None:
    """Make the account of a clinic that is new, where there is a door."""
    if DOORS & {*services(settings)} and clinic not in accounts.read(_folder(settings)):
        add(settings, clinic, "")


def remove(settings: Settings, clinic: str) -> None:
    """Remove a clinic's account, and end its sessions; raises SettingsError."""
    _refuse_closed(settings)
    try:
        accounts.remove(_folder(settings), clinic)
    except accounts.AccountError as error:
        raise SettingsError(str(error)) from error
    bring(settings)
    _end_shares(settings)
    say(f"clinic {clinic} has no account any more; what it uploaded stays")


def show(settings: Settings) -> bool:
    """Print who has an account; returns whether there is a door."""
    if not DOORS & {*services(settings)}:
        say(CLOSED)
        return False
    say(accounts.listed(_folder(settings), _doors(settings)).rstrip("\n"))
    return True


def _doors(settings: Settings) -> accounts.Doors:
    """Return where they are; what is not published has no port."""
    values, key = settings.values, settings.data_dir / "secrets" / "sftp.sftp_host_key"
    sftp_port, smb_port = values["SFTP_PORT"], values["SMB_PORT"]
    return accounts.Doors(settings.host_name, sftp_port, key, values["SMB_ADDRESS"], smb_port)


def _end_shares(settings: Settings) -> None:
    """End every session at a share: who is logged in would stay so, by a password that no longer counts."""
    if "smb" in services(settings):
        podman("restart", "--time=5", settings.container("smb"))


def _keys(path: str) -> str:
    text = Path(path).read_text()
    if not text.strip():
        raise accounts.AccountError(f"{path} holds no key")
    return text


def _folder(settings: Settings) -> Path:
    return settings.data_dir / "secrets" / "accounts"


def _refuse_closed(settings: Settings) -> None:
    if not DOORS & {*services(settings)}:
        raise SettingsError(CLOSED)


def bring(settings: Settings) -> None:
    """Have the door be shown other inboxes: it starts anew if they are others, and who uploads resumes."""
    if "sftp" in services(settings):
        show_inboxes(settings)
        compose(settings, image_in_use(settings, "sftp"), "up", "-d", "--no-deps", "sftp")
