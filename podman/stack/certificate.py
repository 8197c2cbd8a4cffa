"""nginx's certificate: the operator's own, or one that the stack's own authority signs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stack.credentials import UIDS, write_private
from stack.shell import CommandError, attempt, say

if TYPE_CHECKING:
    from stack.settings import Settings

RENEW_BEFORE_S = 30 * 86400
_NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc"


@dataclass(frozen=True, slots=True)
class Certificate:
    """Where nginx's certificate chain and key lie on the host, and whether an own authority signed it."""

    chain: Path
    key: Path
    own_authority: bool


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


def ensure_certificate(settings: Settings) -> Certificate:
    """Copy the operator's certificate for nginx, or make one of the stack's own authority."""
    folder = settings.data_dir / "tls"
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    own = not settings.values["TLS_CERTIFICATE"]
    result = Certificate(folder / "server.crt", folder / "server.key", own)
    if not own:
        for source, target in (
            ("TLS_CERTIFICATE_KEY", result.key),
            ("TLS_CERTIFICATE", result.chain),
        ):
            text = Path(settings.values[source]).read_text()
            if not target.exists() or target.read_text() != text:
                write_private(target, text, UIDS["nginx"])
    elif not _usable(result, settings.host_name, folder / "ca.crt"):
        say(
            f"certificate: making one for {settings.host_name}; browsers trust it once {folder}/ca.crt is installed"
        )
        _sign(result, settings.host_name, folder)
    return result


def _usable(certificate: Certificate, name: str, authority: Path) -> bool:
    there = certificate.chain.exists() and certificate.key.exists() and authority.exists()
    if (
        not there
        or ends_within(certificate.chain, RENEW_BEFORE_S)
        or not names_host(certificate.chain, name)
    ):
        return False
    # An operator's certificate that is no longer set is not ours to go on using.
    verified = attempt(["openssl", "verify", "-CAfile", str(authority), str(certificate.chain)])
    return verified.returncode == 0 and belong_together(certificate.chain, certificate.key)


def _sign(certificate: Certificate, name: str, folder: Path) -> None:
    authority, authority_key = folder / "ca.crt", folder / "ca.key"
    if not authority.exists():
        openssl(
            f"req -x509 {_NEW_KEY} -keyout {{key}} -out {{out}} -days 3650"
            " -subj /CN=DICOM-Web-Viewer-Stack -addext keyUsage=critical,keyCertSign,cRLSign",
            key=authority_key,
            out=authority,
        )
        authority_key.chmod(0o400)
        authority.chmod(0o444)
    chain, key = folder / "server.crt.part", folder / "server.key.part"
    openssl(
        f"req -x509 {_NEW_KEY} -CA {{authority}} -CAkey {{authority_key}} -keyout {{key}} -out {{out}} -days 397"
        " -subj /CN={name} -addext subjectAltName={kind}:{name}"
        " -addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth",
        authority=authority,
        authority_key=authority_key,
        key=key,
        out=chain,
        kind="IP" if is_address(name) else "DNS",
        name=name,
    )
    for part, target in ((key, certificate.key), (chain, certificate.chain)):
        os.chown(part, UIDS["nginx"], UIDS["nginx"])
        part.chmod(0o400)
        part.rename(target)
