"""A multipart body comes apart into the same parts however it is cut while it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dicom_importer.multipart import MAX_HEAD_BYTES, MalformedBodyError, parse_type, parts
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = b"Content-Type: application/dicom\r\n\r\n"


def pieces(body: bytes, cuts: list[int]) -> Iterator[bytes]:
    """Cut a body into pieces."""
    at = 0
    for cut in [*sorted(cuts), len(body)]:
        if cut > at:
            yield body[at:cut]
            at = cut


def split(body: bytes, cuts: list[int] | None = None, boundary: str = "b") -> list[bytes]:
    """Return the contents of a body's parts."""
    return [b"".join(part.content) for part in parts(pieces(body, cuts or []), boundary)]


def joined(contents: list[bytes], boundary: str = "b", preamble: bytes = b"") -> bytes:
    """Put parts together (RFC 2046 5.1.1)."""
    mark = f"\r\n--{boundary}".encode()
    body = preamble + mark + b"\r\n" + (mark + b"\r\n").join(HEAD + one for one in contents)
    return body + mark + b"--\r\n"


@given(
    # What is almost a boundary, too.
    contents=st.lists(
        st.lists(
            st.sampled_from([b"\r\n", b"--", b"\r\n--", b"\r", b"\n", b"-", b"x", b"\0DICM"])
        ).map(b"".join),
        min_size=1,
        max_size=4,
    ),
    preamble=st.sampled_from([b"", b" ", b"\r\n\r\n"]),
    cuts=st.lists(st.integers(0, 200)),
)
def test_any_content_comes_through_whatever_the_pieces(
    contents: list[bytes], preamble: bytes, cuts: list[int]
) -> None:
    assert split(joined(contents, "bound", preamble), cuts, "bound") == contents


@pytest.mark.parametrize("end", [b"--", b"--\r\n", b"--  \r\nwhat follows is nobody's\r\n--b\r\n"])
def test_a_body_may_begin_and_end_with_its_boundary(end: bytes) -> None:
    assert split(b"--b \t\r\n" + HEAD + b"x\r\n--b" + end) == [b"x"]


def test_the_type_of_a_part_is_told() -> None:
    body = b"--b\r\ncontent-TYPE: Application/DICOM; transfer-syntax=1.2\r\nX: y\r\n\r\n.\r\n--b\r\n\r\n.\r\n--b--"
    types = []
    for part in parts(iter([body]), "b"):
        types.append(part.content_type)
        assert list(part.content) == [b"."]
    assert types == ["application/dicom", "text/plain"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary at all",
        b"the rest of a part\r\n--b\r\n" + HEAD + b"x\r\n--b--",
        b"--b",
        b"--b\r\n" + HEAD,
        b"--b\r\n" + HEAD + b"cut off",
        b"--b\r\n" + HEAD + b"x\r\n--b",
        b"--b\r\n" + HEAD + b"x\r\n--b-",
        b"--b\r\n" + HEAD + b"x\r\n--c--\r\n",
        b"--bb\r\n" + HEAD + b"x\r\n--bb--\r\n",
        b"--b\r\nX: " + b"y" * 2 * MAX_HEAD_BYTES + b"\r\n\r\nx\r\n--b--",
    ],
)
def test_what_is_cut_off_or_no_multipart_is_no_body(body: bytes) -> None:
    with pytest.raises(MalformedBodyError):
        split(body, list(range(len(body))))


def test_an_endless_part_is_never_held() -> None:
    chunk = bytes(1 << 16)
    endless = iter([b"--b\r\n" + HEAD, *[chunk] * 64, b"\r\n--b--"])
    part = next(parts(endless, "b"))
    assert max(map(len, part.content)) <= 2 * len(chunk)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'Multipart/Related; type="application/DICOM"; boundary="a b=c"',
            ("multipart/related", "application/dicom", "a b=c"),
        ),
        (
            "multipart/related; boundary=x; type=application/dicom; start=y",
            ("multipart/related", "application/dicom", "x"),
        ),
        ("application/dicom", ("application/dicom", "", "")),
        ("", ("text/plain", "", "")),
    ],
)
def test_a_content_type_is_read(text: str, expected: tuple[str, str, str]) -> None:
    assert parse_type(text) == expected
