"""Verification of Keycloak's access tokens; each refusal carries its reason."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

AUDIENCE = "orthanc-api"
CLINIC_ID = re.compile(r"[a-z0-9](?:-?[a-z0-9])*")
MAX_CLINIC_ID_CHARS = 32
MAX_CLINICS = 100
MAX_TOKEN_CHARS = 16_384
MIN_KEY_BITS = 2048
MAX_TIME_S = 1e11  # the year 5138

# RFC 7515 7.1. Python's decoder passes over whatever else stands between the characters, so that
# one token would have endless spellings.
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")

# Keycloak writes these three and no other; whatever else a header names (jku, jwk, x5u, crit,
# b64) could only ask for another way of verification.
_HEADER_FIELDS = frozenset({"alg", "kid", "typ"})


class Kind(Enum):
    """Which of the realm's clients a caller came through."""

    PERSON = "ohif-viewer"
    IMPORTER = "orthanc-api"
    MONITORING = "monitoring"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a verified token speaks for; expires_at_s is in seconds since 1970."""

    kind: Kind
    subject: str
    name: str
    roles: frozenset[str]
    clinic_ids: tuple[str, ...]
    expires_at_s: float


class TokenRefusedError(Exception):
    """The token is not one that the archive accepts; the message is the reason."""


class UnknownKeyError(TokenRefusedError):
    """The token names a key that is not among those at hand: newer ones may have it."""

    def __init__(self, kid: str) -> None:
        super().__init__("token signed with an unknown key")
        self.kid = kid


def is_clinic_id(text: str) -> bool:
    """Tell whether the text can be a clinic's id."""
    return len(text) <= MAX_CLINIC_ID_CHARS and CLINIC_ID.fullmatch(text) is not None


def parse_keys(document: bytes) -> dict[str, RSAPublicKey]:
    """Take the RSA signature keys out of a JWK set (RFC 7517) by their kid.

    Raises ValueError where the document is none.
    """
    try:
        entries = json.loads(document)["keys"]
        usable = [e for e in entries if e.get("kty") == "RSA" and e.get("use", "sig") == "sig"]
        keys = {str(e["kid"]): jwt.PyJWK(e, algorithm="RS256").key for e in usable}
    except (AttributeError, KeyError, TypeError, ValueError, jwt.PyJWTError) as error:
        raise ValueError(f"not a JWK set: {error}") from error
    return {kid: key for kid, key in keys.items() if key.key_size >= MIN_KEY_BITS}


def verify(token: str, keys: Mapping[str, RSAPublicKey], issuer: str, now_s: float) -> Caller:
    """Return whom the token speaks for.

    Raises TokenRefusedError with the reason, UnknownKeyError where only the key is missing.
    """
    if len(token) > MAX_TOKEN_CHARS:
        raise TokenRefusedError("token too long")
    if _COMPACT.fullmatch(token) is None:
        raise TokenRefusedError("token malformed")
    return _caller(_signed_claims(token, keys), issuer, now_s)


def _signed_claims(token: str, keys: Mapping[str, RSAPublicKey]) -> dict[str, object]:
    """Return the payload of a token whose RS256 signature is right (RFC 7515 5.2)."""
    try:
        header = jwt.get_unverified_header(token)
        if header.get("alg") != "RS256" or not header.keys() <= _HEADER_FIELDS:
            raise TokenRefusedError("token header not accepted")
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise TokenRefusedError("token names no key")
        if kid not in keys:
            raise UnknownKeyError(kid)
        payload = jwt.PyJWS().decode(token, keys[kid], algorithms=["RS256"])
        claims = json.loads(payload)
    except jwt.InvalidSignatureError as error:
        raise TokenRefusedError("token signature wrong") from error
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise TokenRefusedError("token malformed") from error
    if not isinstance(claims, dict):
        raise TokenRefusedError("token malformed")
    return claims


def _caller(claims: Mapping[str, object], issuer: str, now_s: float) -> Caller:
    """Check the claims of a signed token (RFC 7519 4.1) and read the caller from them."""
    if claims.get("typ") != "Bearer":
        raise TokenRefusedError("not an access token")
    if claims.get("iss") != issuer:
        raise TokenRefusedError("token of another issuer")
    audience = claims.get("aud")
    # A single audience is a string (RFC 7519 4.1.3): not one to search for a part of.
    if AUDIENCE not in ([audience] if isinstance(audience, str) else _texts(claims, "aud")):
        raise TokenRefusedError("token for another audience")
    expires_at_s = _time(claims, "exp")
    if expires_at_s is None or expires_at_s <= now_s:
        raise TokenRefusedError("token expired")
    for name in ("nbf", "iat"):
        if (_time(claims, name) or 0) > now_s:
            raise TokenRefusedError("token not valid yet")
    client = claims.get("azp")
    kind = next((kind for kind in Kind if kind.value == client), None)
    if kind is None:
        raise TokenRefusedError("token of another client")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise TokenRefusedError("token names no subject")
    username = claims.get("preferred_username")
    return Caller(
        kind=kind,
        subject=subject,
        name=username if isinstance(username, str) else kind.value,
        roles=frozenset(_texts(claims, "roles")),
        clinic_ids=_clinic_ids(claims),
        expires_at_s=expires_at_s,
    )


def _clinic_ids(claims: Mapping[str, object]) -> tuple[str, ...]:
    ids = sorted(set(_texts(claims, "clinic_ids")))
    if len(ids) > MAX_CLINICS or not all(map(is_clinic_id, ids)):
        raise TokenRefusedError("clinic_ids malformed")
    return tuple(ids)


def _texts(claims: Mapping[str, object], name: str) -> list[str]:
    """Read a claim that is a list of strings, and empty where it is absent."""
    value = claims.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TokenRefusedError(f"{name} malformed")
    return value


def _time(claims: Mapping[str, object], name: str) -> float | None:
    """Read a NumericDate, in seconds since 1970; a bool is an int in Python and no date.

    Python reads NaN, which no comparison would end, and numbers beyond a float.
    """
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_TIME_S:
        return float(value)
    raise TokenRefusedError(f"{name} malformed")
