"""The access token of the importer's account at the identity provider."""

import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode

from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError
from urllib3.util import make_headers

from dicom_importer.reasons import Unavailable

CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 30
TOKEN_MARGIN_S = 30


class Token:
    """The access token of the importer's account, renewed in time; the secret stays in its file."""

    def __init__(
        self,
        http: PoolManager,
        url: str,
        client: tuple[str, Path],
        monotonic: Callable[[], float],
    ) -> None:
        self._http = http
        self._url = url
        self._client = client
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._value = ""
        self._until = 0.0

    def get(self) -> str:
        """Return a token that is valid; raises Unavailable."""
        with self._lock:
            if self._monotonic() >= self._until:
                self._fetch()
            return self._value

    def drop(self) -> None:
        """Forget a token that was not accepted."""
        with self._lock:
            self._until = 0.0

    def _fetch(self) -> None:
        name, secret_file = self._client
        try:
            basic = make_headers(basic_auth=f"{name}:{secret_file.read_text().strip()}")
            answer = self._http.request(
                "POST",
                self._url,
                body=urlencode({"grant_type": "client_credentials", "scope": "openid"}),
                headers=basic | {"Content-Type": "application/x-www-form-urlencoded"},
                timeout=Timeout(connect=CONNECT_TIMEOUT_S, read=ANSWER_TIMEOUT_S),
                retries=False,
            )
            if answer.status != HTTPStatus.OK:
                raise Unavailable(f"no token: status {answer.status}")
            grant = answer.json()
            self._value = str(grant["access_token"])
            self._until = self._monotonic() + float(grant["expires_in"]) - TOKEN_MARGIN_S
        except (OSError, HTTPError, ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"no token: {type(error).__name__}") from error
