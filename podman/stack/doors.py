"""The doors for uploads beside the front door: who has an account, and which inboxes a door is shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from stack import accounts
from stack.compose import compose, image_in_use, inboxes_file, services
from stack.files import write_if_changed
from stack.settings import SettingsError
from stack.shell import say

if TYPE_CHECKING:
    from stack.settings import Settings

CLOSED = "nobody uploads by SFTP: set SFTP_PORT, then make up"


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
    try:
        keys = _keys(key_file) if key_file else ""
        inbox = settings.data_dir / "files" / "inbox"
        password = accounts.give(_folder(settings), inbox, clinic, keys)
    except (OSError, UnicodeDecodeError, accounts.AccountError) as error:
        raise SettingsError(f"no account was made: {error}") from error
    bring(settings)
    say(accounts.told(clinic, password).rstrip("\n"))
    say(f"it uploads by SFTP into /inbox at {address(settings, clinic)}, {_proof(settings)}")


def add_first(settings: Settings, clinic: str) -> None:
    """Make the account of a clinic that is new, where there is a door."""
    if "sftp" in services(settings) and clinic not in accounts.read(_folder(settings)):
        add(settings, clinic, "")


def remove(settings: Settings, clinic: str) -> None:
    """Remove a clinic's account, and end its sessions; raises SettingsError."""
    _refuse_closed(settings)
    try:
        accounts.remove(_folder(settings), clinic)
    except accounts.AccountError as error:
        raise SettingsError(str(error)) from error
    bring(settings)
    say(f"clinic {clinic} has no account any more; what it uploaded stays")


def show(settings: Settings) -> bool:
    """Print who has an account; returns whether there is a door."""
    if "sftp" not in services(settings):
        say(CLOSED)
        return False
    say(accounts.listed(_folder(settings)).rstrip("\n") or "no clinic has an account: make account")
    say(f"uploads by SFTP go to {address(settings, 'CLINIC')}, {_proof(settings)}")
    return True


def address(settings: Settings, clinic: str) -> str:
    """Return where a clinic uploads to, as sftp takes it."""
    return f"sftp://{clinic}@{settings.host_name}:{settings.values['SFTP_PORT']}"


def _proof(settings: Settings) -> str:
    key = settings.data_dir / "secrets" / "sftp.sftp_host_key"
    return f"whose host key is {accounts.fingerprint(key)}"


def _keys(path: str) -> str:
    text = Path(path).read_text()
    if not text.strip():
        raise accounts.AccountError(f"{path} holds no key")
    return text


def _folder(settings: Settings) -> Path:
    return settings.data_dir / "secrets" / "accounts"


def _refuse_closed(settings: Settings) -> None:
    if "sftp" not in services(settings):
        raise SettingsError(CLOSED)


def bring(settings: Settings) -> None:
    """Have the door be shown other inboxes: it starts anew if they are others, and who uploads resumes."""
    if "sftp" not in services(settings):
        return
    show_inboxes(settings)
    compose(settings, image_in_use(settings, "sftp"), "up", "-d", "--no-deps", "sftp")
