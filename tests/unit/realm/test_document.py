"""The realm file with this deployment's address, language, secrets and mail."""

import json
from pathlib import Path

import pytest
from dicom_importer.realm import config, document
from dicom_importer.realm.config import Config, ConfigError, Mail
from dicom_importer.realm.document import DocumentError, fill, smtp_server
from dicom_importer.realm.representation import records

SMALL_REALM = {
    "clients": [
        {"clientId": "grafana", "redirectUris": ["${PUBLIC_URL}/x"]},
        {"clientId": "ohif-viewer", "publicClient": True},
    ],
    "defaultLocale": "${LANGUAGE_TAG}",
    "supportedLocales": ["de", "en"],
}


def settings(folder: Path, **environment: str) -> Config:
    names = [*config.CLIENT_SECRETS.values(), "realm_reconciler_secret", "smtp_password"]
    for name in names:
        (folder / name).write_text(f"value of {name}\n")
    realm_file = folder / "realm.json"
    realm_file.write_text(json.dumps(SMALL_REALM))
    given = {"PUBLIC_URL": "https://dicom.example"} | environment
    return config.load(given, secrets=folder, realm_file=realm_file)


def test_placeholders_are_filled_at_any_depth() -> None:
    assert fill({"a": ["${X}/b", {"c": "${X}${Y}"}], "d": 1}, {"X": "x", "Y": "y"}) == {
        "a": ["x/b", {"c": "xy"}],
        "d": 1,
    }


def test_the_placeholders_of_keycloak_itself_stay() -> None:
    assert fill("${username}", {}) == "${username}"


def test_a_filled_value_is_not_filled_again() -> None:
    assert fill("${X}", {"X": "${Y}", "Y": "y"}) == "${Y}"


def test_an_unknown_placeholder_is_an_error() -> None:
    with pytest.raises(DocumentError, match=r"\$\{NOBODY_SETS_THIS\}"):
        fill(["${NOBODY_SETS_THIS}"], {})


def test_confidential_clients_get_their_secrets_and_public_ones_none(tmp_path: Path) -> None:
    grafana, viewer = records(document.load(settings(tmp_path))["clients"])
    assert grafana["secret"] == f"value of {config.CLIENT_SECRETS['grafana']}"
    assert grafana["redirectUris"] == ["https://dicom.example/x"]
    assert "secret" not in viewer


def test_an_unknown_language_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="does not speak tlh: use one of de, en"):
        document.load(settings(tmp_path, LANGUAGE_TAG="tlh"))


def test_without_a_mail_server_nobody_can_ask_for_a_new_password(tmp_path: Path) -> None:
    realm = document.load(settings(tmp_path))
    assert "smtpServer" not in realm
    assert "resetPasswordAllowed" not in realm


def test_a_mail_server_lets_people_reset_their_password(tmp_path: Path) -> None:
    realm = document.load(settings(tmp_path, SMTP_HOST="mail.example", SMTP_FROM="a@b.example"))
    assert realm["smtpServer"] == {
        "auth": "false",
        "from": "a@b.example",
        "host": "mail.example",
        "port": "587",
        "ssl": "false",
        "starttls": "true",
    }
    assert realm["resetPasswordAllowed"] is True


def test_port_465_speaks_tls_from_the_first_byte() -> None:
    server = smtp_server(Mail("mail.example", "465", "a@b.example", "user", "secret"))
    assert (server["ssl"], server["starttls"]) == ("true", "false")
    assert (server["auth"], server["user"], server["password"]) == ("true", "user", "secret")


@pytest.mark.parametrize("url", ["", "http://dicom.example", "https://dicom.example/"])
def test_an_address_that_browsers_cannot_use_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="PUBLIC_URL must be https"):
        settings(tmp_path, PUBLIC_URL=url)


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="orthanc_api_secret: No such file"):
        _without(tmp_path, "orthanc_api_secret")


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    settings(tmp_path)
    (tmp_path / "grafana_secret").write_text("\n")
    with pytest.raises(ConfigError, match="grafana_secret is empty"):
        config.load({"PUBLIC_URL": "https://dicom.example"}, secrets=tmp_path)


def test_the_mail_password_is_wanted_only_with_a_mail_user(tmp_path: Path) -> None:
    settings(tmp_path)
    (tmp_path / "smtp_password").unlink()
    given = {
        "PUBLIC_URL": "https://dicom.example",
        "SMTP_FROM": "a@b.example",
        "SMTP_HOST": "mail.example",
    }
    assert config.load(given, secrets=tmp_path).mail is not None
    with pytest.raises(ConfigError, match="smtp_password"):
        config.load({**given, "SMTP_USER": "user"}, secrets=tmp_path)


def _without(folder: Path, name: str) -> None:
    settings(folder)
    (folder / name).unlink()
    config.load({"PUBLIC_URL": "https://dicom.example"}, secrets=folder)
