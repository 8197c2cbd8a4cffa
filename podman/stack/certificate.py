"""nginx's certificate: the operator's own, or one that the stack's own authority signs.

nginx reads it at each handshake, so that a renewed one needs no restart: chain and key are one file, exchanged at once.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stack.credentials import UIDS, write_private
from stack.shell import CommandError, attempt, say

if TYPE_CHECKING:
    from stack.settings import Settings

FOLDER, FILE = "tls/nginx", "server.pem"
# Copies for the DICOM receiver, with DICOM_TLS and DICOM_CLIENT_CA; it too reads a new one at the next handshake.
RECEIVER_FOLDER, CLIENTS_FILE = "tls/receiver", "clients.pem"
LIFETIME_DAYS = 365
RENEW_BEFORE_S = 30 * 86400
_NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc"


@dataclass(frozen=True, slots=True)
class Certificate:
    """Where nginx's certificate chain lies on the host, its key behind it, and whether browsers trust it."""

    path: Path
    trusted: bool


def openssl(words: str, **values: str | Path) -> str:
    """Run openssl with `{name}` in its words replaced by the values; returns what it printed, raises CommandError."""
    done = attempt(["openssl", *(word.format(**values) for word in words.split())])
    if done.returncode:
        raise CommandError(f"openssl {words.format(**values)} failed: {done.stderr.strip()}")
    return done.stdout


def names_host(chain: Path, name: str) -> bool:
    """Whether the first certificate of a PEM file is for this host name or address."""
    option = "-checkip" if is_address(name) else "-checkhost"
    return "does match" in openssl(
        f"x509 -in {{chain}} -noout {option} {{name}}", chain=chain, name=name
    )


def is_address(name: str) -> bool:
    """Whether a host is given by IPv4 address."""
    return name.replace(".", "").isdecimal()


def ends_within(chain: Path, seconds: int) -> bool:
    """Whether a certificate is no longer valid in so many seconds."""
    return (
        attempt(
            ["openssl", "x509", "-in", str(chain), "-noout", "-checkend", str(seconds)]
        ).returncode
        != 0
    )


def belong_together(chain: Path, key: Path) -> bool:
    """Whether a key is that of the first certificate of a PEM file."""
    public = openssl("x509 -in {chain} -noout -pubkey", chain=chain)
    return public == openssl("pkey -in {key} -pubout", key=key)


def is_trusted(chain: Path) -> bool:
    """Whether an authority that this machine trusts signed a certificate, by the chain that comes with it."""
    return attempt(["openssl", "verify", "-untrusted", str(chain), str(chain)]).returncode == 0


def served(settings: Settings) -> Path:
    """Return where the file that nginx reads lies on the host."""
    return settings.data_dir / FOLDER / FILE


def ensure_certificate(settings: Settings) -> Certificate:
    """Copy the operator's certificate for nginx, or make one of the stack's own authority."""
    found = _ensure_certificate(settings)
    _hand_on(settings)
    return found


def _hand_on(settings: Settings) -> None:
    """Give the DICOM receiver what it needs for TLS, and nothing where it speaks none."""
    folder = settings.data_dir / RECEIVER_FOLDER
    if settings.values["DICOM_PORT"]:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    sources = {
        FILE: str(served(settings)) if settings.values["DICOM_TLS"] else "",
        CLIENTS_FILE: settings.values["DICOM_CLIENT_CA"],
    }
    for name, source in sources.items():
        path = folder / name
        if not source or not settings.values["DICOM_PORT"]:
            path.unlink(missing_ok=True)
        elif not path.exists() or path.read_text() != Path(source).read_text():
            write_private(path, Path(source).read_text(), UIDS["receiver"])


def _ensure_certificate(settings: Settings) -> Certificate:
    path, folder = served(settings), settings.data_dir / "tls"
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if settings.values["TLS_CERTIFICATE"]:
        names = ("TLS_CERTIFICATE", "TLS_CERTIFICATE_KEY")
        # A file need not end with a line's end.
        text = "\n".join(Path(settings.values[name]).read_text() for name in names)
        if not path.exists() or path.read_text() != text:
            write_private(path, text, UIDS["nginx"])
        return Certificate(path, is_trusted(path))
    if not _usable(path, settings.host_name, folder / "ca.crt"):
        say(
            f"certificate: making one for {settings.host_name}; browsers trust it once {folder}/ca.crt is installed"
        )
        _sign(path, settings.host_name, folder)
    return Certificate(path, trusted=False)


def renew(settings: Settings) -> None:
    """Let the stack's own authority sign a new key; raises ValueError where the key is the operator's."""
    if source := settings.values["TLS_CERTIFICATE_KEY"]:
        raise ValueError(f"the key is your own: renew {source} and its certificate, then make up")
    path = served(settings)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    _sign(path, settings.host_name, settings.data_dir / "tls")


def _usable(path: Path, name: str, authority: Path) -> bool:
    there = path.exists() and authority.exists()
    if not there or ends_within(path, RENEW_BEFORE_S) or not names_host(path, name):
        return False
    # An operator's certificate that is no longer set is not ours to go on using.
    verified = attempt(["openssl", "verify", "-CAfile", str(authority), str(path)])
    return verified.returncode == 0 and belong_together(path, path)


def _sign(path: Path, name: str, folder: Path) -> None:
    authority, authority_key = folder / "ca.crt", folder / "ca.key"
    if not authority.exists():
        with tempfile.TemporaryDirectory(dir=folder) as made:
            key, chain = Path(made) / "key", Path(made) / "chain"
            openssl(
                f"req -x509 {_NEW_KEY} -keyout {{key}} -out {{out}} -days 3650"
                " -subj /CN=DICOM-Web-Viewer-Stack -addext keyUsage=critical,keyCertSign,cRLSign",
                key=key,
                out=chain,
            )
            # The key first: interrupted, both are made anew.
            write_private(authority_key, key.read_text(), 0)
            write_private(authority, chain.read_text(), 0, 0o444)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        key, chain = Path(made) / "key", Path(made) / "chain"
        openssl(
            f"req -x509 {_NEW_KEY} -CA {{authority}} -CAkey {{authority_key}} -keyout {{key}} -out {{out}}"
            f" -days {LIFETIME_DAYS}"
            " -subj /CN={name} -addext subjectAltName={kind}:{name}"
            " -addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth",
            authority=authority,
            authority_key=authority_key,
            key=key,
            out=chain,
            kind="IP" if is_address(name) else "DNS",
            name=name,
        )
        write_private(path, chain.read_text() + key.read_text(), UIDS["nginx"])
