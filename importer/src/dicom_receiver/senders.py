"""Who may store into which clinic: calling AE titles (PS3.8 9.3.2) with the addresses that they call from."""

import fcntl
import ipaddress
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dicom_importer.received import AE_TITLE
from dicom_importer.scan import CLINIC

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_TITLE = re.compile(AE_TITLE, re.ASCII)


class SenderError(ValueError):
    """A sender cannot be registered or found; the text says why and what to do."""


@dataclass(frozen=True, order=True, slots=True)
class Sender:
    """A device: the clinic that it stores into, its AE title, and the network that it calls from."""

    clinic: str
    ae_title: str
    network: str

    def calls_from(self, address: Address) -> bool:
        """Say whether an address is one of this sender's."""
        return address in ipaddress.ip_network(self.network)


def sender(clinic: str, ae_title: str, address: str) -> Sender:
    """Return a sender of checked words; raises SenderError."""
    if not CLINIC.match(clinic):
        raise SenderError(f"{clinic!r} is no clinic's id: as it was given to make clinic")
    if not _TITLE.fullmatch(ae_title):
        raise SenderError(
            f"{ae_title!r} is no AE title that is taken: 1 to 16 letters (A to Z), digits, '_', '-', '.', '+'"
            " and spaces inside, with small and capital letters as the device has them"
        )
    try:
        network = ipaddress.ip_network(address)
    except ValueError:
        raise SenderError(
            f"{address!r} is no address: give the device's own, such as 192.0.2.10, or its network, such as"
            " 192.0.2.0/28"
        ) from None
    return Sender(clinic, ae_title, str(network))


def address(text: str) -> Address:
    """Return a peer's address; IPv4 may come in the dress of IPv6."""
    found = ipaddress.ip_address(text.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


def find(known: tuple[Sender, ...], ae_title: str, peer: Address) -> Sender | None:
    """Return who calls by this title from this address."""
    for one in known:
        if one.ae_title == ae_title and one.calls_from(peer):
            return one
    return None


def read(path: Path) -> tuple[Sender, ...]:
    """Return the senders of a file, none where there is none yet; raises OSError and SenderError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    try:
        listed = json.loads(text)
        return tuple(sorted(sender(x["clinic"], x["ae_title"], x["network"]) for x in listed))
    except (ValueError, TypeError, KeyError) as error:
        raise SenderError(f"{path} is no list of senders: {error}") from error


def add(path: Path, new: Sender) -> None:
    """Add a sender durably; raises SenderError where its title and an address of it are another clinic's."""
    with _alone(path):
        known = read(path)
        for one in known:
            overlaps = ipaddress.ip_network(one.network).overlaps
            same = one.ae_title == new.ae_title and _same_family(one, new)
            if same and one.clinic != new.clinic and overlaps(ipaddress.ip_network(new.network)):
                raise SenderError(
                    f"{new.ae_title} from {one.network} stores into clinic {one.clinic} already: remove that"
                    " sender first, or give this device another AE title"
                )
        _write(path, {*known, new})


def remove(path: Path, ae_title: str, network: str) -> tuple[Sender, ...]:
    """Remove the senders of a title, at an address only where one is given; raises SenderError without any."""
    with _alone(path):
        known = read(path)
        gone = tuple(
            one for one in known if one.ae_title == ae_title and network in ("", one.network)
        )
        if not gone:
            where = f" from {network}" if network else ""
            raise SenderError(f"there is no sender {ae_title}{where}: make senders lists them")
        _write(path, set(known) - set(gone))
    return gone


def _same_family(one: Sender, other: Sender) -> bool:
    return ("." in one.network) == ("." in other.network)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(path: Path, known: set[Sender]) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        json.dump([asdict(one) for one in sorted(known)], file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Register:
    """The senders as the file has them now: it is read again when it is another one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark: tuple[int, int] | None = None
        self._known: tuple[Sender, ...] = ()

    def known(self) -> tuple[Sender, ...]:
        """Return the senders; raises OSError and SenderError: nobody is let in by a file that cannot be read."""
        try:
            found = self._path.stat()
            mark = found.st_ino, found.st_mtime_ns
        except FileNotFoundError:
            mark = 0, 0
        if mark != self._mark:
            self._known = read(self._path)
            self._mark = mark
        return self._known
