"""The folder of what one DICOM association brought: its name tells the audit who sent it, and from where."""

import re
from dataclasses import dataclass
from datetime import datetime

# The end of its name.
RECEIVED = ".dimse"
# Of the characters that a title may have (PS3.5 6.2, AE) those that a folder's name may have everywhere.
AE_TITLE = r"[A-Za-z0-9_.+-](?:[A-Za-z0-9 _.+-]{0,14}[A-Za-z0-9_.+-])?"
_NAME = re.compile(
    rf"\d{{8}}-\d{{6}}-[0-9a-f]{{8}}-({AE_TITLE})@([0-9a-f.:]+){re.escape(RECEIVED)}", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Peer:
    """Who opened an association: its calling AE title, and its address."""

    ae_title: str
    address: str


def name(now: datetime, token: str, peer: Peer) -> str:
    """Return a folder's name; the token (eight hexadecimal digits) tells those of one second apart."""
    return f"{now:%Y%m%d-%H%M%S}-{token}-{peer.ae_title}@{peer.address}{RECEIVED}"


def peer(submission: str) -> Peer | None:
    """Return who sent what lies in a folder, None where its name is not one of ours."""
    found = _NAME.fullmatch(submission)
    return Peer(found[1], found[2]) if found else None
