"""Real files mutated at random: the reader ends, in little memory, with an instance or a named failure.

EXAMPLES scales it: `make fuzz` tries many more than `make test`.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import tempfile
import tracemalloc
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
from dicom_importer import compare, header, index, instance, zipped
from dicom_importer.header import GROUP_8, GROUP_400, INSTITUTION, ORIGINAL, SOP
from dicom_importer.instance import Limits
from dicom_importer.reasons import REASONS, Failure
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from unit.importer.mutation import MUTATIONS, Mutation, mutate, originals, zips

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from pydicom.dataset import Dataset

EXAMPLES = int(os.environ.get("EXAMPLES", "300"))
TIME = "20261124083300.123456+0000"
LIMIT_BYTES = 1 << 22
# A chunk to inflate and one that comes out of it, a text of each kind, and what lists them.
PEAK_BYTES = 3 << 20
HANG_S = 20
OURS = (GROUP_8, INSTITUTION, GROUP_400, ORIGINAL)

many = settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Fail what takes too long or too much memory."""

    def hang(*_: object) -> None:
        raise AssertionError(f"it takes more than {HANG_S} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    tracemalloc.start()
    try:
        yield
        peak_bytes = tracemalloc.get_traced_memory()[1]
        assert peak_bytes < PEAK_BYTES, f"it takes {peak_bytes} bytes"
    finally:
        tracemalloc.stop()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def on_disk(content: bytes) -> Iterator[BinaryIO]:
    """Hold a file with this content."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        file.seek(0)
        yield file


def named(failure: Failure) -> None:
    """Fail what has no words for people."""
    assert failure.code in REASONS
    assert failure.status in ("not_dicom", "rejected")


def sent(content: bytes, spool: Path) -> bytes | None:
    """Return what would be stored of a file, None when it fails."""
    with on_disk(content) as file, bounded():
        try:
            with instance.prepared(file, "clinic-a", TIME, Limits(spool, LIMIT_BYTES)) as ready:
                chunks = ready.body.chunks(ready.source.fileno())
                out = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
                out.writelines(chunks)
        except Failure as failure:
            named(failure)
            return None
    with out:
        out.seek(0)
        return out.read()


def raw(content: bytes) -> dict[int, object] | None:
    """Return what pydicom finds in a file, None when it makes nothing of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = pydicom.dcmread(io.BytesIO(content), force=True)
            return {tag: plain(found, tag) for tag in found.keys()}  # noqa: SIM118
        except Exception:  # noqa: BLE001 - pydicom has no error of its own
            return None


def plain(found: Dataset, tag: int) -> object:
    """Return an element's value as it lies there; sequences may be read already."""
    element: object = found.get_item(tag)
    return element.value if isinstance(element, RawDataElement) else str(element)


@many
@given(original=st.sampled_from(range(len(originals()))), mutations=MUTATIONS)
def test_a_mutated_file_fails_by_name_or_is_stored_as_it_is(
    original: int, mutations: list[Mutation]
) -> None:
    content = mutate(originals()[original], mutations)
    with tempfile.TemporaryDirectory() as spool:
        stored = sent(content, Path(spool))
        if stored is None:
            return
        # As the archive's own copy is judged when it comes back.
        limits = Limits(Path(spool), 2 * LIMIT_BYTES)
        with (
            on_disk(content) as ours,
            on_disk(stored) as theirs,
            instance.opened(ours, limits) as first,
            instance.opened(theirs, limits) as second,
        ):
            assert second.header.institution.strip(b"\0 ") == b"clinic-a"
            assert second.identity == first.identity
            with contextlib.suppress(Failure):
                assert compare.same(first.plain, first.header, second.plain, second.header)
    before, after = raw(content), raw(stored)
    # What another reader understood before, it has to understand as the clinic's.
    if before and after and SOP in before:
        assert str(after[INSTITUTION]).count("clinic-a") == 1
        for tag in OURS:
            before.pop(tag, None)
            after.pop(tag, None)
        assert after == before


@many
@given(original=st.sampled_from(range(len(originals()))), mutations=MUTATIONS)
def test_whatever_lies_beside_images_is_told_apart(
    original: int, mutations: list[Mutation]
) -> None:
    with on_disk(mutate(originals()[original], mutations)) as file, bounded():
        assert header.is_image(file) in (True, False)
        for name in index.listed(file):
            assert isinstance(name, str)


@many
@given(original=st.sampled_from(range(len(zips()))), mutations=MUTATIONS)
def test_a_mutated_zip_fails_by_name_or_gives_what_it_says(
    original: int, mutations: list[Mutation]
) -> None:
    content = mutate(zips()[original], mutations)
    with on_disk(content) as file, bounded():
        try:
            where = zipped.directory(file, len(content))
            for entry in zipped.entries(file, where):
                assert not entry.path.startswith("/")
                assert ".." not in entry.path.split("/")
                for _ in zipped.content(file, entry, where):
                    pass
        except Failure as failure:
            named(failure)


def test_most_originals_are_stored() -> None:
    with tempfile.TemporaryDirectory() as spool:
        stored = [sent(content, Path(spool)) for content in originals()]
    assert sum(one is not None for one in stored) > len(stored) // 2
