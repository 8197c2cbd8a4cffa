"""Keycloak's admin REST, as a service account of the realm master."""

import time
from collections.abc import Callable, Sequence
from http import HTTPStatus

import requests

from dicom_importer.realm.representation import Json, Representation, record, records, text

REQUEST_TIMEOUT_S = 30
RENEW_BEFORE_S = 10
POLL_INTERVAL_S = 2
PROGRESS_INTERVAL_S = 10


class KeycloakError(Exception):
    """Keycloak refused a request or did not answer."""


class AbsentError(KeycloakError):
    """What was asked for does not exist."""


class Keycloak:
    """A connection that renews its token; paths are relative to /admin/realms.

    Its secret is the first of several that Keycloak believes.
    """

    def __init__(
        self, url: str, client_id: str, secrets: Sequence[str], session: requests.Session
    ) -> None:
        self._url = url
        self._client_id = client_id
        self._secrets = secrets
        self._session = session
        self.secret = ""
        self._token = ""
        self._renew_at = 0.0

    def forget_token(self) -> None:
        """Ask for a new token next time: the account's roles have changed."""
        self._renew_at = 0.0

    def get(self, path: str, **parameters: str) -> Json:
        """Read; raises AbsentError, KeycloakError."""
        answer: Json = self._send("GET", path, None, parameters).json()
        return answer

    def one(self, path: str) -> Representation:
        """Read one object."""
        return record(self.get(path))

    def all(self, path: str, **parameters: str) -> list[Representation]:
        """Read a list of objects; Keycloak's default page of 100 is lifted."""
        return records(self.get(path, max="-1", **parameters))

    def post(self, path: str, body: Json) -> str:
        """Create; gives the new object's id where Keycloak tells it, else nothing."""
        location = self._send("POST", path, body).headers.get("Location", "")
        return location.rpartition("/")[2]

    def put(self, path: str, body: Json = None) -> None:
        """Replace."""
        self._send("PUT", path, body)

    def delete(self, path: str, body: Json = None) -> None:
        """Remove."""
        self._send("DELETE", path, body)

    def _send(
        self, method: str, path: str, body: Json, parameters: dict[str, str] | None = None
    ) -> requests.Response:
        try:
            response = self._session.request(
                method,
                f"{self._url}/admin/realms{path}",
                headers={"Authorization": f"Bearer {self._current_token()}"},
                json=body,
                params=parameters,
                timeout=REQUEST_TIMEOUT_S,
            )
        except requests.RequestException as error:
            raise KeycloakError(f"Keycloak does not answer: {error}") from error
        if response.status_code == HTTPStatus.NOT_FOUND:
            raise AbsentError(f"{path} does not exist in Keycloak")
        if not response.ok:
            raise KeycloakError(
                f"Keycloak refused {method} {path}: {response.status_code} {_reason(response)}"
            )
        return response

    def _current_token(self) -> str:
        if time.monotonic() < self._renew_at:
            return self._token
        for secret in self._secrets:
            response = self._ask_token(secret)
            self.secret = secret
            if response.status_code != HTTPStatus.UNAUTHORIZED:
                break
        if not response.ok:
            raise KeycloakError(
                f"Keycloak does not accept the client {self._client_id}: "
                f"{response.status_code} {_reason(response)}"
            )
        answer = record(response.json())
        self._token = text(answer, "access_token")
        lifetime_s = float(str(answer["expires_in"]))
        self._renew_at = time.monotonic() + lifetime_s - RENEW_BEFORE_S
        return self._token

    def _ask_token(self, secret: str) -> requests.Response:
        try:
            return self._session.post(
                f"{self._url}/realms/master/protocol/openid-connect/token",
                data={
                    "client_id": self._client_id,
                    "client_secret": secret,
                    "grant_type": "client_credentials",
                },
                timeout=REQUEST_TIMEOUT_S,
            )
        except requests.RequestException as error:
            raise KeycloakError(f"Keycloak does not answer: {error}") from error


def wait_until_ready(
    url: str, session: requests.Session, timeout_s: float, say: Callable[[str], None]
) -> None:
    """Wait until Keycloak answers, telling every 10 s that it still does not."""
    started_s = told_s = time.monotonic()
    while True:
        try:
            response = session.get(f"{url}/realms/master", timeout=REQUEST_TIMEOUT_S)
            state = f"it answers {response.status_code}"
            if response.ok:
                return
        except requests.RequestException as error:
            state = type(error).__name__
        now_s = time.monotonic()
        if now_s - started_s > timeout_s:
            raise KeycloakError(f"Keycloak was not ready within {timeout_s:.0f} s ({state})")
        if now_s - told_s > PROGRESS_INTERVAL_S:
            told_s = now_s
            say(f"waiting for Keycloak since {now_s - started_s:.0f} s ({state})")
        time.sleep(POLL_INTERVAL_S)


def _reason(response: requests.Response) -> str:
    """Give Keycloak's own words for a refusal."""
    try:
        body = response.json()
    except requests.JSONDecodeError:
        return response.text[:200]
    if not isinstance(body, dict):
        return str(body)[:200]
    words = [body.get(key) for key in ("field", "errorMessage", "error_description", "error")]
    return ": ".join(str(word) for word in words if word) or str(body)[:200]
