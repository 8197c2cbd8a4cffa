"""The identity provider's signature keys, fetched anew when they age or a new one appears."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from clinic_access.tokens import parse_keys

LIFETIME_S = 300.0
# A token with an invented kid makes us ask again: not more often than this. A failed attempt
# counts too, so that requests fail at once, and do not queue, while Keycloak is down.
MIN_INTERVAL_S = 1.0

Keys = Mapping[str, RSAPublicKey]


class KeysUnavailableError(Exception):
    """No keys at hand that are fresh enough, and none to be had."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    keys: Keys
    at_s: float


class KeyRing:
    """Keeps the keys; fetch returns a JWK set and raises OSError, clock is monotonic."""

    def __init__(self, fetch: Callable[[], bytes], clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = Lock()
        self._fetched: _Fetched | None = None
        self._tried_at_s: float | None = None

    def current(self) -> Keys:
        """Return the keys at hand, fetched anew when older than LIFETIME_S."""
        fetched = self._fresh()
        return fetched.keys if fetched else self._refetch()

    def newer(self, kid: str) -> Keys:
        """Return the keys after one more look for an unknown kid."""
        fetched = self._fresh()
        return fetched.keys if fetched and kid in fetched.keys else self._refetch()

    def _fresh(self) -> _Fetched | None:
        fetched = self._fetched
        return fetched if fetched and self._clock() < fetched.at_s + LIFETIME_S else None

    def _refetch(self) -> Keys:
        with self._lock:
            tried = self._tried_at_s
            if tried is None or self._clock() >= tried + MIN_INTERVAL_S:
                try:
                    keys = parse_keys(self._fetch())
                    self._fetched = _Fetched(keys, self._clock())
                except (OSError, ValueError) as error:
                    if self._fresh() is None:
                        raise KeysUnavailableError(str(error)) from error
                finally:
                    # The end counts: those who waited for an attempt that hung do not repeat it.
                    self._tried_at_s = self._clock()
            fetched = self._fresh()
        if fetched is None:
            raise KeysUnavailableError("asked a moment ago, in vain")
        return fetched.keys
