"""Brings an image back from its original: one that the archive lacks, or that it cannot read.

The archive's index lists an image whose bytes are damaged or gone on its disk, and takes it for
stored when it is sent again. So it has to leave the index first. It does only while its original is
open, was read to its end, and has the MD5 that the archive lists under the identifier that these
very bytes get there: then nothing goes that does not come back as it was.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from dicom_importer import storing
from dicom_importer.archive import Archive
from dicom_importer.instance import Limits, Prepared
from dicom_importer.ownership import Ownership
from dicom_importer.reasons import REASONS, Failure, Rejected, Unavailable
from dicom_importer.stow import Refused, SendingBroke

# A database that breaks may look like a damaged file for a moment.
ASK_AGAIN_AFTER_S = (1.0, 2.0)
TRIES = 8
MAX_DELAY_S = 30.0

# Unread is what cannot be read and is listed with other bytes than the original's: perhaps another
# version, so it is left.
State = Literal["held", "lacking", "damaged", "unread"]
Status = Literal["held", "damaged", "unread", "stored", "repaired", "failed"]


@dataclass(frozen=True, slots=True)
class Tools:
    """What is worked with."""

    archive: Archive
    owner: Ownership
    limits: Limits


class Looked(Protocol):
    """What was seen of an image."""

    @property
    def unread(self) -> bool:
        """Whether the archive could not read its bytes, which is sure only when asked again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an original; words say why it failed."""

    status: Status
    words: str = ""

    @property
    def unread(self) -> bool:
        """Whether the archive lists the image and could not read it."""
        return self.status in ("damaged", "unread")


_Item = TypeVar("_Item")
_Look = TypeVar("_Look", bound=Looked)


def looks(
    pool: ThreadPoolExecutor, look: Callable[[_Item], _Look], items: Sequence[_Item]
) -> list[_Look]:
    """Look at each, and after a wait again at what could not be read, until that is sure."""
    found = list(pool.map(look, items))
    for delay_s in ASK_AGAIN_AFTER_S:
        unread = [index for index, one in enumerate(found) if one.unread]
        if not unread:
            break
        time.sleep(delay_s)
        look_again(pool, look, items, found, unread)
    return found


def look_again(
    pool: ThreadPoolExecutor,
    look: Callable[[_Item], _Look],
    items: Sequence[_Item],
    found: list[_Look],
    which: Iterable[int],
) -> None:
    """Put what is seen now in place of what was found of some."""
    chosen = list(which)
    again = pool.map(look, [items[index] for index in chosen])
    for index, one in zip(chosen, again, strict=True):
        found[index] = one


def state(tools: Tools, clinic: str, ready: Prepared, *, lost: bool = False) -> State:
    """Say what the archive has of this image; raises Failure when it is another one, Unavailable.

    The archive may answer from its memory what its disk has lost: who has seen that says so.
    """
    archive, own = tools.archive, ready.opened.archive_id
    listed = archive.md5(own)
    same = listed == ready.md5
    held = [own] if same else archive.instances(ready.opened.header.sop_uid)
    if lost and held:
        # Without any file there is nothing in it that could be another version.
        return "damaged" if same or (listed is None and own in held) else "unread"
    # Before they are compared: that would take bytes that are gone for an archive that is away.
    if not all(archive.reads_back(one, ready.body.length) for one in held):
        return "damaged" if same else "unread"
    if held and not same:
        storing.compare_held(clinic, ready, held, archive, tools.limits)
    return "held" if held else "lacking"


def bring(tools: Tools, clinic: str, ready: Prepared, *, sure: bool, lost: bool = False) -> Status:
    """Store an instance unless the archive holds it, and verify it.

    What is damaged is stored anew when that is sure; `lost` is what was seen to be so.
    Raises Failure, Refused, Unavailable.
    """
    archive, owner, head = tools.archive, tools.owner, ready.opened.header
    owner.check(head, clinic, ready.opened.identity)
    seen = state(tools, clinic, ready, lost=lost)
    if seen in ("held", "unread") or (seen == "damaged" and not sure):
        return seen
    if seen == "damaged":
        archive.remove(ready.opened.archive_id)
    try:
        md5 = archive.store(head, ready.body, ready.source.fileno(), lambda: None)
    except (Refused, SendingBroke):
        # The next try would take it for held.
        storing.remove_doubtful(ready.md5, archive.instances(head.sop_uid), archive)
        raise
    if md5 not in [archive.md5(one) for one in archive.instances(head.sop_uid)]:
        raise Rejected("not_held")
    study = owner.study(head.study_uid)
    if study is None or study.clinic != clinic:
        raise Rejected("not_held", "the archive reads another InstitutionName (0008,0080)")
    # What was damaged and sent in vain at first is lacking by now.
    return "repaired" if sure else "stored"


def persist(work: Callable[[], Status]) -> Outcome:
    """Do it, however often the archive is away meanwhile; raises Unavailable when it stays away."""
    for attempt in range(TRIES):
        try:
            return Outcome(work())
        except FileNotFoundError:
            return Outcome("failed", "it is gone: its time was over.")
        except OSError as error:
            return Outcome("failed", error.strerror or type(error).__name__)
        except (Failure, Refused) as failure:
            return Outcome("failed", f"{REASONS[failure.code].found} {failure.detail}".rstrip())
        except Unavailable:
            if attempt == TRIES - 1:
                raise
            time.sleep(min(MAX_DELAY_S, float(1 << attempt)))
    raise AssertionError
