"""The reconciler's own secret: the newest that Keycloak believes is used, and the newest of all is told to it."""

from dataclasses import dataclass, field

import pytest
import requests
from dicom_importer.realm import master
from dicom_importer.realm.rest import Keycloak, KeycloakError

URL = "http://keycloak:8080/auth"


@dataclass
class Provider(requests.Session):
    """Keycloak as far as this goes: one client with one secret."""

    believed: str
    asked: list[str] = field(default_factory=list)
    puts: int = 0

    def post(self, _url: str, **form: object) -> requests.Response:  # type: ignore[override]
        """Give a token for the secret."""
        given = form["data"]
        assert isinstance(given, dict)
        self.asked.append(given["client_secret"])
        if self.asked[-1] != self.believed:
            return answer(401, b'{"error": "unauthorized_client"}')
        return answer(200, b'{"access_token": "t", "expires_in": 60}')

    def request(self, method: str, url: str, **given: object) -> requests.Response:  # type: ignore[override]
        """Show the client, or change its secret."""
        if method == "PUT":
            assert url == f"{URL}/admin/realms/master/clients/id"
            body = given["json"]
            assert isinstance(body, dict)
            self.believed = body["secret"]
            self.puts += 1
        return answer(200, b'[{"id": "id", "clientId": "realm-reconciler"}]')


def answer(status: int, body: bytes) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response._content = body  # noqa: SLF001 - how requests' own tests build one
    return response


@pytest.mark.parametrize("believed", ["new", "old", "older"])
def test_keycloak_is_told_the_newest_once(believed: str) -> None:
    provider, said = Provider(believed), list[str]()
    for _ in range(2):
        keycloak = Keycloak(URL, master.RECONCILER, ("new", "old", "older"), provider)
        master.keep_secret(keycloak, "new", said.append)
        assert keycloak.all("/master/clients")
    assert provider.believed == "new"
    assert provider.puts == len(said) == (0 if believed == "new" else 1)
    assert provider.asked[-1] == "new"


def test_an_unknown_secret_is_an_error_that_shows_none() -> None:
    keycloak = Keycloak(URL, master.RECONCILER, ("new", "old"), Provider("another"))
    with pytest.raises(KeycloakError, match="does not accept the client realm-reconciler") as found:
        master.keep_secret(keycloak, "new", lambda _: None)
    assert "old" not in str(found.value)
