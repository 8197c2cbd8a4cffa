"""What Samba keeps of a password: the MD4 of its UTF-16 (MS-NLMP 3.3.1, RFC 1320), which OpenSSL no longer gives."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_WORD = 0xFFFFFFFF
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_BLOCK_BYTES, _LENGTH_BYTES = 64, 8


def nt_hash(password: str) -> str:
    """Return the hash in hexadecimal, as smbpasswd(5) writes it."""
    return _md4(password.encode("utf-16-le")).hex().upper()


def _md4(message: bytes) -> bytes:
    padding = b"\x80" + bytes(-(len(message) + 1 + _LENGTH_BYTES) % _BLOCK_BYTES)
    whole = message + padding + struct.pack("<Q", 8 * len(message))
    state = _START
    for start in range(0, len(whole), _BLOCK_BYTES):
        state = _with_block(state, struct.unpack_from("<16I", whole, start))
    return struct.pack("<4I", *state)


def _with_block(
    before: tuple[int, int, int, int], words: tuple[int, ...]
) -> tuple[int, int, int, int]:
    a, b, c, d = before
    for mixed, constant, order, shifts in _ROUNDS:
        for step, index in enumerate(order):
            turned = (a + mixed(b, c, d) + words[index] + constant) & _WORD
            shift = shifts[step % 4]
            a, b, c, d = d, (turned << shift | turned >> (32 - shift)) & _WORD, b, c
    one, two, three, four = ((x + y) & _WORD for x, y in zip(before, (a, b, c, d), strict=True))
    return one, two, three, four


_ROUNDS: tuple[
    tuple[Callable[[int, int, int], int], int, tuple[int, ...], tuple[int, int, int, int]], ...
] = (
    (lambda x, y, z: (x & y) | (~x & z), 0, tuple(range(16)), (3, 7, 11, 19)),
    (
        lambda x, y, z: (x & y) | (x & z) | (y & z),
        0x5A827999,
        (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
        (3, 5, 9, 13),
    ),
    (
        lambda x, y, z: x ^ y ^ z,
        0x6ED9EBA1,
        (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15),
        (3, 9, 11, 15),
    ),
)
