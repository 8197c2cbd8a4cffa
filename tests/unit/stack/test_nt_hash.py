"""The hash that Samba knows a password by."""

from __future__ import annotations

import pytest
from stack.nt_hash import nt_hash


@pytest.mark.parametrize(
    ("password", "known"),
    [
        ("", "31D6CFE0D16AE931B73C59D7E0C089C0"),
        # MS-NLMP 4.2.2.1.2
        ("Password", "A4F49C406510BDCAB6824EE7C30FD852"),
    ],
)
def test_it_is_that_of_the_protocols_own_examples(password: str, known: str) -> None:
    assert nt_hash(password) == known


def test_passwords_that_differ_in_the_last_of_many_blocks_have_different_ones() -> None:
    hashes = {nt_hash("x" * 99 + letter) for letter in "abc"}
    assert len(hashes) == 3
