"""A repository of restic that opens at once: each opening takes half a second else, and tests open one often."""

from __future__ import annotations

import hashlib
import json
import os
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB
from cryptography.hazmat.primitives.poly1305 import Poly1305

if TYPE_CHECKING:
    from pathlib import Path

NONCE_BYTES, TAG_BYTES = 16, 16
# What scrypt takes least work with.
LEAST = {"N": 2, "r": 1, "p": 1}


def give(repository: Path, password: str) -> None:
    """Write the key of a new repository in a folder anew."""
    (path,) = (repository / "keys").iterdir()
    name, text = anew(path.read_text(), password)
    path.with_name(name).write_text(text)
    path.unlink()


def anew(text: str, password: str) -> tuple[str, str]:
    """Return the name and text of a key, so that its password is proved with the least work.

    As restic's design document says ("Keys, Encryption and MAC"): scrypt, AES-256 in counter mode,
    Poly1305-AES.
    """
    key = json.loads(text)
    sealed = b64decode(key["data"])
    nonce, encrypted = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:-TAG_BYTES]
    master = _crypt(_derive(key, password), nonce, encrypted)
    key |= LEAST
    key["data"] = b64encode(_seal(_derive(key, password), master)).decode()
    made = json.dumps(key)
    return hashlib.sha256(made.encode()).hexdigest(), made


def _derive(key: dict[str, object], password: str) -> bytes:
    salt = b64decode(str(key["salt"]))
    n, r, p = (int(str(key[name])) for name in ("N", "r", "p"))
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, dklen=64, maxmem=256 << 20)


def _crypt(derived: bytes, nonce: bytes, text: bytes) -> bytes:
    return Cipher(AES(derived[:32]), CTR(nonce)).encryptor().update(text)


def _seal(derived: bytes, text: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    encrypted = _crypt(derived, nonce, text)
    masked = Cipher(AES(derived[32:48]), ECB()).encryptor().update(nonce)  # noqa: S305 - one block, as Poly1305-AES says
    return nonce + encrypted + Poly1305.generate_tag(derived[48:] + masked, encrypted)
