"""Databases are kept before another version uses them, and only then; nothing that counts gives way to nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from dicom_backup import before, dumps
from dicom_backup.dumps import DumpError

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_backup.config import Config
    from unit.backup.site import Database, Site

pytestmark = pytest.mark.usefixtures("programs")


@pytest.fixture
def config(site: Site) -> Config:
    """Provide the settings of a host whose roles have passwords, and a folder for dumps of versions."""
    for name in ("orthanc", "keycloak"):
        (site.config.data_dir / "secrets" / f"postgresql.{name}_db_password").write_text("secret")
    return site.config


def kept(config: Config) -> set[str]:
    """Return the versions of which there are whole dumps."""
    found = set()
    for path in config.backup_dir.iterdir():
        if path.is_dir() and (path / "backup").exists():
            dumps.load(path / "backup" / "dumps")
            found.add(path.name)
    return found


def mark(config: Config) -> str:
    """Return which version used the databases last."""
    return (config.backup_dir / before.MARK).read_text().strip()


def test_a_version_that_follows_another_finds_its_databases_kept_once(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    before.keep_if_changed(config, "v1")
    assert kept(config) == {before.UNKNOWN}
    with monkeypatch.context() as patch:
        patch.setattr(dumps, "make", lambda *_: pytest.fail("it is the same version"))
        before.keep_if_changed(config, "v1")
    before.keep_if_changed(config, "v2")
    assert kept(config) == {"v1"}
    # Back: what the first version left stays beside what the second leaves.
    before.keep_if_changed(config, "v1")
    assert kept(config) == {"v1", "v2"}
    before.keep_if_changed(config, "v3")
    assert kept(config) == {"v1"}
    assert mark(config) == "v3"


def test_an_empty_database_takes_no_dumps_place(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    before.keep_if_changed(config, "v1")
    before.keep_if_changed(config, "v2")
    made = (config.backup_dir / "v1" / "backup" / "dumps" / dumps.DOCUMENT).read_text()
    monkeypatch.setattr(before, "_HAS_TABLES", "SELECT 0")
    before.keep_if_changed(config, "v1")
    before.keep_if_changed(config, "v2")
    assert kept(config) == {"v1"}
    document = config.backup_dir / "v1" / "backup" / "dumps" / dumps.DOCUMENT
    assert document.read_text() == made


def test_a_dump_that_cannot_be_made_is_an_error_and_the_next_start_tries_again(
    config: Config, tmp_path: Path
) -> None:
    away = replace(config, database_host=str(tmp_path / "nowhere"))
    with pytest.raises(DumpError, match="the database orthanc cannot be asked"):
        before.keep_if_changed(away, "v1")
    assert not (config.backup_dir / before.MARK).exists()
    before.keep_if_changed(config, "v1")
    assert kept(config) == {before.UNKNOWN}


def test_what_was_kept_comes_back(
    config: Config, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {
        "BACKUP_DATA_DIR": str(config.data_dir),
        "DATABASE_HOST": config.database_host,
    }
    database.ask("keycloak", "INSERT INTO realm (name) VALUES ('kept')", user="keycloak")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        assert before.main(["keep"]) == 0
        assert "dumped and read to the end" in capsys.readouterr().out
        database.ask("keycloak", "DELETE FROM realm", user="keycloak")
        assert before.main(["bring"]) == 0
    assert "kept" in database.ask("keycloak", "SELECT name FROM realm")
    document = json.loads((config.dumps_dir / dumps.DOCUMENT).read_text())
    assert document["orthanc_schema"] == "6"
