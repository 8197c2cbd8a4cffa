"""An upgrade knows what runs, refuses what cannot work, and forbids what would spoil its way back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from stack import __main__ as stack_main
from stack import cluster, health, preflight, rolling_back, upgrade_state, upgrading, version
from stack.settings import SettingsError, load
from stack.shell import CommandError, run
from stack.upgrade_state import BACK, GOING_BACK, UPGRADED, UPGRADING, State
from stack.version import Version

if TYPE_CHECKING:
    from pathlib import Path

    from stack.settings import Settings

OLD, NEW = Version("v1.0", "a" * 40), Version("v1.1", "b" * 40)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Provide settings of a stack that does not run, with a cluster of version 17."""
    env = tmp_path / "env"
    env.write_text(
        f"DATA_DIR={tmp_path}/data\nPROJECT=not-running\nHTTP_PORT=18980\nHTTPS_PORT=18943\n"
    )
    for folder in ("backup", "config", "postgresql/17/main", "importer"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    return load(env)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Provide a clone with two versions, of which the older is tagged."""
    top = tmp_path / "clone"
    git = ["git", "-C", str(top), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    run(["git", "init", "--quiet", str(top)])
    for text in ("one", "two"):
        (top / "file").write_text(text)
        run([*git, "add", "."])
        run([*git, "commit", "--quiet", "-m", text])
        if text == "one":
            run([*git, "tag", "release/1.0"])
    return top


def test_a_version_has_a_name_for_people_and_says_when_files_were_changed(clone: Path) -> None:
    found = version.of_sources(clone)
    assert found
    assert found.name.startswith("release-1.0-1-g")
    assert len(found.commit) == 40
    (clone / "file").write_text("changed")
    changed = version.of_sources(clone)
    assert changed
    assert changed.name == f"{found.name}-dirty"


def test_sources_that_are_taken_out_know_what_they_are(clone: Path, tmp_path: Path) -> None:
    named = version.named("release/1.0", clone)
    assert named.name == "release-1.0"
    version.export(named, tmp_path / "out", clone)
    assert (tmp_path / "out" / "file").read_text() == "one"
    assert version.of_sources(tmp_path / "out") == named
    assert version.of_sources(tmp_path) is None
    newest = version.of_sources(clone)
    assert newest
    assert version.is_older(named, newest, clone)
    assert not version.is_older(newest, named, clone)
    with pytest.raises(SettingsError, match="git knows no version v9"):
        version.named("v9", clone)


def test_what_runs_is_remembered(settings: Settings) -> None:
    assert version.recorded(settings) is None
    version.record(settings, OLD)
    assert version.recorded(settings) == OLD
    version.record(settings, None)
    assert version.recorded(settings) is None


def test_without_a_record_the_operator_says_what_runs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "of_sources", lambda: NEW)
    with pytest.raises(SettingsError, match="not recorded: say it, as make upgrade FROM="):
        upgrading.upgrade(settings, "", lambda _: None)


def test_the_same_version_is_no_upgrade(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(version, "of_sources", lambda: OLD)
    version.record(settings, OLD)
    upgrading.upgrade(settings, "", lambda _: pytest.fail("nothing is to be started"))
    assert "nothing to upgrade" in capsys.readouterr().out
    assert upgrade_state.load(settings) is None


def test_everything_that_cannot_work_is_said_and_nothing_is_written(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "of_sources", lambda: NEW)
    monkeypatch.setattr(version, "is_older", lambda one, other: (one, other) == (NEW, OLD))
    monkeypatch.setattr(preflight, "problems", lambda _: [])
    monkeypatch.setattr(upgrading, "major", lambda: 16)
    version.record(settings, OLD)
    with pytest.raises(SettingsError) as refused:
        upgrading.upgrade(settings, "", lambda _: None)
    said = str(refused.value)
    assert "v1.1 is older than v1.0" in said
    assert "the databases are of PostgreSQL 17 and these sources bring 16" in said
    assert "the stack does not run" in said
    assert upgrade_state.load(settings) is None


def test_a_disk_without_room_for_the_databases_is_said(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "of_sources", lambda: NEW)
    monkeypatch.setattr(version, "is_older", lambda *_: False)
    monkeypatch.setattr(preflight, "problems", lambda _: [])
    monkeypatch.setattr(health, "state", lambda *_: "healthy")
    monkeypatch.setattr(cluster, "size_bytes", lambda _: 2**50)
    version.record(settings, OLD)
    with pytest.raises(SettingsError, match=r"GiB free, and for dumps and copies .* are needed"):
        upgrading.upgrade(settings, "", lambda _: None)


def test_what_another_stack_keeps_is_not_forgotten(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State(OLD, NEW, 17, images={"nginx": "localhost/dicom-stack/nginx:aa"}, program="p:bb")
    kept = upgrading.KEPT_REPOSITORY
    mine = [f"{kept}/not-running/nginx:aa", f"{kept}/not-running/program:bb"]
    others = [f"{kept}/not-running-test/nginx:aa", "localhost/dicom-stack/nginx:00"]
    earlier = f"{kept}/not-running/nginx:00"
    removed: list[str] = []
    monkeypatch.setattr(upgrading, "podman", lambda *_: "\n".join([*mine, *others, earlier]))
    monkeypatch.setattr(upgrading, "attempt", lambda argv: removed.append(argv[-1]))
    for folder in ("backup/before-v0.9", "backup/before-v1.0", "backup/dumps", "versions/v0.9"):
        (settings.data_dir / folder).mkdir(parents=True)
    upgrading._forget_earlier(settings, state)  # noqa: SLF001 - the step itself
    assert removed == [earlier]
    there = {path.name for path in (settings.data_dir / "backup").iterdir()}
    assert there == {"before-v1.0", "dumps"}
    assert list((settings.data_dir / "versions").iterdir()) == []


def test_less_than_before_is_said() -> None:
    state = State(OLD, NEW, 17, counts={"studies": 3, "people": 2})
    upgrading.missing(state, {"studies": 4, "people": 2})
    with pytest.raises(CommandError, match="not everything is there: 2 studies, 3 before"):
        upgrading.missing(state, {"studies": 2, "people": 2})


@pytest.mark.parametrize(
    ("phase", "sources", "said"),
    [
        (UPGRADING, NEW, "make upgrade goes on with it"),
        (UPGRADING, OLD, "make upgrade goes on with it"),
        (GOING_BACK, NEW, "it has not ended: make rollback"),
        (BACK, NEW, "went back to v1.0, and these sources are another version"),
        (BACK, None, "went back to v1.0"),
        (BACK, OLD, ""),
        (GOING_BACK, OLD, ""),
        (UPGRADED, NEW, ""),
        (UPGRADED, OLD, ""),
    ],
)
def test_make_up_does_not_spoil_the_way_there_or_back(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    phase: str,
    sources: Version | None,
    said: str,
) -> None:
    monkeypatch.setattr(version, "of_sources", lambda: sources)
    monkeypatch.setattr(stack_main, "bring_up", lambda _: None)
    upgrade_state.save(settings, State(OLD, NEW, 17, phase))
    if said:
        with pytest.raises(SettingsError, match=said):
            stack_main.up(settings)
    else:
        stack_main.up(settings)


def test_there_is_no_way_back_from_where_nobody_went(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="there was no upgrade here"):
        rolling_back.data(settings)


@pytest.mark.parametrize("cut", range(4))
def test_the_way_back_goes_on_wherever_it_was_cut_off(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    """From another major version, whose old cluster was kept: by renames alone."""
    monkeypatch.setattr(rolling_back, "clear", lambda _: None)
    monkeypatch.setattr(rolling_back, "exists", lambda _: True)
    data = settings.data_dir
    state = State(OLD, NEW, 17, UPGRADING, ["dumps", "migrated", "started"])
    upgrade_state.save(settings, state)
    old = upgrade_state.kept(settings, state)
    (old / "journal").mkdir(parents=True)
    (old / "journal" / "journal.sqlite").write_text("old")
    (old / "settings.env").write_text(settings.env_file.read_text())
    (data / "importer" / "journal.sqlite").write_text("new")
    (data / "importer" / "journal.sqlite-shm").write_text("new")
    (data / "postgresql" / "17").rename(old / "postgresql-17")
    (data / "postgresql" / "18" / "main").mkdir(parents=True)
    settings.env_file.write_text(settings.env_file.read_text() + "COOLDOWN_S=7\n")

    calls = 0

    def cut_off(_: object, given: State, step: str, note: object = upgrade_state.note) -> None:
        nonlocal calls
        calls += 1
        if calls == cut + 1:
            raise KeyboardInterrupt
        note(settings, given, step)  # type: ignore[operator]

    with monkeypatch.context() as patch:
        patch.setattr(rolling_back, "note", cut_off)
        if cut < 3:
            with pytest.raises(KeyboardInterrupt):
                rolling_back.data(settings)
    found = rolling_back.data(settings)
    assert found.phase == GOING_BACK
    aside = data / "backup" / found.aside
    assert (data / "postgresql" / "17" / "main").is_dir()
    assert (aside / "postgresql-18" / "main").is_dir()
    assert cluster.major(settings) == 17
    assert (data / "importer" / "journal.sqlite").read_text() == "old"
    assert not (data / "importer" / "journal.sqlite-shm").exists()
    assert (aside / "journal" / "journal.sqlite").read_text() == "new"
    assert "COOLDOWN_S" not in settings.env_file.read_text().replace("COOLDOWN_S=2", "")
    assert "COOLDOWN_S=7" in settings.env_file.with_name("env.v1.1").read_text()
    assert json.loads((data / version.RECORD).read_text())["name"] == "v1.0"
    again = replace(found, phase=BACK)
    upgrade_state.save(settings, again)
    with pytest.raises(SettingsError, match=r"is back at v1\.0 already"):
        rolling_back.data(settings)
