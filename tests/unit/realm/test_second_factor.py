"""The tests' own authenticator computes what a phone shows."""

import pytest
from harness.second_factor import PERIOD_S, code

# RFC 6238 appendix B, SHA-1, the last six of its eight digits.
VECTORS = {59: "287082", 1111111109: "081804", 1234567890: "005924", 20000000000: "353130"}


@pytest.mark.parametrize(("now_s", "expected"), VECTORS.items())
def test_a_code_is_that_of_the_standard(now_s: int, expected: str) -> None:
    assert code(b"12345678901234567890", now_s // PERIOD_S) == expected
