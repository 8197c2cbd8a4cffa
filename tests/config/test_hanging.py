"""Dental studies hang as dentists expect, judged by the code of the viewer that is in the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness import dental, phantom
from harness.dental.teeth import MOUNT
from harness.hanging import hang
from harness.phantom.building import as_file, put
from harness.phantom.volumes import Stack, single
from stack.settings import PODMAN_DIR
from stack.shell import podman

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.hanging import Hung
    from harness.phantom import Study

ACROSS = 7
WHO = phantom.Identity(key="hanging")
SERIES = dental.mount(WHO, in_one_series=False).study
FILES = list(SERIES.files.values())
PANORAMIC = dental.panoramic(phantom.Identity(key="panoramic")).study
SLICES = dental.slices(phantom.Identity(key="slices")).study


def ct(part: str, pixel_mm: float, slice_mm: float) -> list[bytes]:
    """Build two slices of a CT that says so of itself."""
    stack = Stack(pixel_mm, window=(-500, 2500))
    files = []
    for index in range(2):
        ds = single(WHO, stack, index)
        put(ds, BodyPartExamined=part, SliceThickness=slice_mm)
        files.append(as_file(ds))
    return files


STUDIES: dict[str, list[bytes]] = {
    "panoramic": [*PANORAMIC.files.values()],
    "cephalometric": [*dental.cephalometric(WHO).study.files.values()],
    "both": [*PANORAMIC.files.values(), *dental.cephalometric(WHO).study.files.values()],
    "mount": [*dental.mount(WHO).study.files.values()],
    "mount in series": FILES,
    "mount by region": [*dental.mount(WHO, names_teeth=False).study.files.values()],
    "two bitewings": [FILES[7], FILES[10]],
    "slices": [*SLICES.files.values()],
    "volume": [*dental.volume(WHO).study.files.values()],
    "volume and panoramic": [*PANORAMIC.files.values(), *SLICES.files.values()],
    "fine cubes of a head": ct("HEAD", 0.3, 0.3),
    "fine cubes of nothing": ct("", 0.3, 0.3),
    "head": ct("HEAD", 0.45, 5),
    "coarse cubes of a head": ct("HEAD", 1, 1),
    "fine cubes of a chest": ct("CHEST", 0.3, 0.3),
    "nothing": ct("", 0.45, 0.6),
    "one slice": [*phantom.ct(1, WHO, slices=1, size=9).files.values()],
    "document": [*phantom.document(b"%PDF-1.4", WHO).files.values()],
}


@pytest.fixture(scope="module")
def hung(
    image: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Hung]:
    """Look up how a study hangs."""
    folder: Path = tmp_path_factory.mktemp("viewer")
    shell = ["--rm", "--network=none", "--entrypoint=sh", image("nginx"), "-c"]
    bundle = folder / "app.bundle.js"
    bundle.write_text(podman("run", *shell, "cat /usr/share/ohif/app.bundle.*.js"))
    extension = PODMAN_DIR / "ohif" / "dental.js"
    hanging = hang(bundle, extension, STUDIES.values(), folder)
    return dict(zip(STUDIES, hanging, strict=True)).__getitem__


def uids(study: Study) -> tuple[str, ...]:
    return tuple(study.identity.uid("instance", index) for index in range(len(study.files)))


@pytest.mark.parametrize("kind", ["panoramic", "cephalometric"])
def test_a_single_radiograph_fills_the_window(kind: str, hung: Callable[[str], Hung]) -> None:
    assert hung(kind).protocol == f"dental.{kind}"
    assert len(hung(kind).images) == 1
    assert hung(kind).images[0]


def test_a_cephalogram_hangs_beside_the_panoramic_radiograph(hung: Callable[[str], Hung]) -> None:
    assert hung("both").stage == "Cephalometric and panoramic"
    assert hung("both").images == (WHO.uid("instance", 0), *uids(PANORAMIC))


@pytest.mark.parametrize("kind", ["mount", "mount in series", "mount by region"])
def test_each_image_of_a_mount_is_at_its_place(kind: str, hung: Callable[[str], Hung]) -> None:
    mount = hung(kind)
    assert (mount.protocol, mount.stage) == ("dental.intra-oral", "Full mount")
    # The phantom has them in the order in which they are read: from the upper left of the mount.
    assert mount.images == uids(SERIES)
    assert list(mount.corners) == sorted(mount.corners, key=lambda corner: (corner[1], corner[0]))
    rows = [
        [at for at in mount.corners if at[1] == y] for y in sorted({y for _, y in mount.corners})
    ]
    assert [len(row) for row in rows] == [ACROSS, 4, ACROSS]
    # What is left of the middle is of the patient's right.
    for place, (x, _) in zip(MOUNT, mount.corners, strict=True):
        assert place.laterality == ("R" if x < 0.43 else "B" if x < 0.5 else "L"), place.name


def test_a_few_intra_oral_images_hang_without_a_mount(hung: Callable[[str], Hung]) -> None:
    few = hung("two bitewings")
    assert (few.protocol, few.stage) == ("dental.intra-oral", "Four series")
    assert set(few.images) - {""} == {uids(SERIES)[7], uids(SERIES)[10]}


@pytest.mark.parametrize(
    "kind",
    [
        *("slices", "volume", "volume and panoramic"),
        *("fine cubes of a head", "fine cubes of nothing"),
    ],
)
def test_a_cone_beam_ct_hangs_in_three_planes(kind: str, hung: Callable[[str], Hung]) -> None:
    assert hung(kind).protocol == "dental.volume"
    assert hung(kind).planes == ("axial", "coronal", "sagittal")
    assert len(set(hung(kind).images)) == 1


@pytest.mark.parametrize(
    "kind",
    [
        *("head", "coarse cubes of a head", "fine cubes of a chest", "nothing"),
        *("one slice", "document"),
    ],
)
def test_anything_else_hangs_as_it_did(kind: str, hung: Callable[[str], Hung]) -> None:
    assert hung(kind).protocol == "default"
