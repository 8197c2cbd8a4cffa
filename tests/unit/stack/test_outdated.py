"""What is newer and what is below its floor is told from what Debian and the clients say."""

from __future__ import annotations

from pathlib import Path

import pytest
from stack import images, outdated
from stack.outdated import Part
from stack.settings import PODMAN_DIR, read_env
from stack.shell import CommandError

SAID = """\
Pin nginx 1.26.3-3+deb13u11
Pin ohif 3.13.2
Has nginx 1.26.3-3+deb13u11
Has libc6 2.41-12
Reading package lists...
Inst libc6 [2.41-12] (2.41-12+deb13u1 Debian-Security:13/stable-security [amd64])
Inst nginx [1.26.3-3+deb13u11] (1.26.3-3+deb13u12 Debian-Security:13/stable-security [amd64]) []
Conf nginx (1.26.3-3+deb13u12 Debian-Security:13/stable-security [amd64])
"""
FLOORS = {"nginx": "1.26.3-3+deb13u12", "ohif": "3.13.2"}


def test_every_floor_of_versions_env_is_proved_by_an_image_that_is_asked() -> None:
    versions = read_env(images.VERSIONS)
    recipes = [image.recipe.read_text() for image in (*images.IMAGES, *images.OPTIONAL)]
    names = [name for recipe in recipes for name in outdated.floors(recipe, versions)]
    assert {"orthanc", "postgresql-17", "openjdk-21-jre-headless", "keycloak", "ohif"} <= {*names}
    proved = {floor for recipe in recipes for floor in outdated.floors(recipe, versions).values()}
    assert proved == {value for key, value in versions.items() if key.endswith("_FLOOR")}


def test_of_an_image_its_floors_and_what_is_newer_are_told() -> None:
    assert outdated.of_image("nginx", SAID, FLOORS) == [
        Part("nginx", "libc6", "2.41-12", "", "2.41-12+deb13u1"),
        Part("nginx", "nginx", "1.26.3-3+deb13u11", FLOORS["nginx"], "1.26.3-3+deb13u12"),
        Part("nginx", "ohif", "3.13.2", "3.13.2", ""),
    ]


def test_a_program_that_an_image_lacks_is_no_silence() -> None:
    with pytest.raises(CommandError, match="the image nginx has no orthanc"):
        outdated.of_image("nginx", SAID, {"orthanc": "1.13.0"})


def test_what_is_below_its_floor_comes_first_and_counts() -> None:
    parts = outdated.of_image("nginx", SAID, FLOORS)
    assert [p.name for p in parts if outdated.below(p, outdated._is_older)] == ["nginx"]  # noqa: SLF001
    lines = outdated.table(parts, outdated._is_older)  # noqa: SLF001
    assert lines[0].split() == ["where", "what", "is", "floor", "newest"]
    assert lines[1].startswith("! below its floor  nginx  nginx")
    assert lines[2].startswith("newer              nginx  libc6")
    assert lines[3] == "1 others are at their newest, or Debian has none newer"
    with_newer = [Part("x", "nginx", "1.26.3-3+deb13u12", FLOORS["nginx"])]
    assert not outdated.below(with_newer[0], outdated._is_older)  # noqa: SLF001


def test_pins_are_compared_with_what_the_clients_say() -> None:
    versions = read_env(images.VERSIONS)
    lock = Path("importer/requirements.txt")
    said = (
        "@ohif/app 3.14.0\norg.keycloak:keycloak-quarkus-dist 26.7.3\n"
        "org.apache.maven.plugins:maven-dependency-plugin 3.9.0\nPrometheus_Client 0.27.0\n"
    )
    text = "prometheus-client==0.26.0 \\\n    --hash=sha256:00\n"
    found = outdated.of_pins(versions, {lock: text}, outdated.newest(said))
    told = {part.name: (part.version, part.newest) for part in found}
    assert told["@ohif/app"] == (versions["OHIF_VERSION"], "3.14.0")
    assert told["prometheus-client"] == ("0.26.0", "0.27.0")
    assert len(told) == 4
    with pytest.raises(CommandError, match="no newest version was told of @ohif/app"):
        outdated.of_pins(versions, {lock: text}, outdated.newest(said.partition("\n")[2]))


def test_every_lock_file_of_what_runs_is_read() -> None:
    for lock in (*outdated.LOCKS, *outdated.GO_LOCKS):
        assert outdated.pinned(lock.read_text()), lock
    assert PODMAN_DIR / "requirements.txt" in outdated.LOCKS
    assert set(outdated.GO_LOCKS) == set(PODMAN_DIR.glob("*/go.mod"))


def test_of_a_go_module_its_tools_are_pins_and_what_they_need_is_not() -> None:
    text = (
        "module x\n\ngo 1.26.5\n\ntool (\n\texample.org/a/v7\n\texample.org/b/app/b\n)\n\nrequire (\n"
        "\texample.org/a/v7 v7.1.0 // indirect\n\texample.org/b v1.2.3 // indirect\n"
        "\texample.org/bb v0.1.0 // indirect\n)\n"
    )
    assert outdated.pinned(text) == [("example.org/a/v7", "7.1.0"), ("example.org/b", "1.2.3")]
    alone = "module x\n\ntool example.org/a\n\nrequire (\n\texample.org/a v7.1.0 // indirect\n)\n"
    assert outdated.pinned(alone) == [("example.org/a", "7.1.0")]
