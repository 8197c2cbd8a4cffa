"""Forged tokens: one table of what stands in place of a good one, for the pure functions and over HTTP."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Nobody's but the attacker's.
STRANGE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
MINUTE_S = 60

HEADER = "token header not accepted"
MALFORMED = "token malformed"
SIGNATURE = "token signature wrong"
UNKNOWN = "token signed with an unknown key"


@dataclass(frozen=True, slots=True)
class Forger:
    """The realm's own key, by which even what Keycloak never writes is signed, and a good token's claims."""

    key: rsa.RSAPrivateKey
    kid: str
    claims: dict[str, object]
    now_s: int

    def signed(self, header: Mapping[str, object] | None = None, /, **changes: object) -> str:
        """Sign the claims with the realm's key, some of them changed, or left out by None."""
        return self.by(self.key, self.claims | changes, header)

    def by(
        self,
        key: rsa.RSAPrivateKey,
        claims: Mapping[str, object],
        header: Mapping[str, object] | None = None,
    ) -> str:
        """Sign with a key what is not None."""
        kept = {name: value for name, value in claims.items() if value is not None}
        head = {"alg": "RS256", "typ": "JWT", "kid": self.kid, **(header or {})}
        unsigned = compact(head, kept)
        algorithm = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256)
        return f"{unsigned}.{encode(algorithm.sign(unsigned.encode(), key))}"

    def secretly(self, algorithm: str, secret: bytes) -> str:
        """Sign with a secret that is no secret."""
        unsigned = compact({"alg": algorithm, "typ": "JWT", "kid": self.kid}, self.claims)
        signature = jwt.algorithms.get_default_algorithms()[algorithm].sign(
            unsigned.encode(), secret
        )
        return f"{unsigned}.{encode(signature)}"

    def unsigned(self, **header: object) -> str:
        """Leave the signature empty."""
        return compact({"typ": "JWT", "kid": self.kid, **header}, self.claims) + "."

    def public(self, encoding: str) -> bytes:
        """Return the realm's public key, which anybody may read."""
        return self.key.public_key().public_bytes(
            getattr(serialization.Encoding, encoding),
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )


def encode(data: bytes) -> str:
    """Write bytes as a token does (RFC 7515 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(header: Mapping[str, object], claims: Mapping[str, object]) -> str:
    """Put together what a signature is made over (RFC 7515 7.1)."""
    return f"{encode(json.dumps(header).encode())}.{encode(json.dumps(claims).encode())}"


def own_jwk() -> dict[str, object]:
    """Return the attacker's key as a token may bring it along (RFC 7515 4.1.3)."""
    return dict(json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(STRANGE.public_key())))


Forgery = tuple["Callable[[Forger], str]", str]


def _header(**fields: object) -> Forgery:
    return lambda f: f.signed(fields), HEADER


def _own_key(**fields: object) -> Forgery:
    return lambda f: f.by(STRANGE, f.claims, fields), HEADER


def _unsigned(**fields: object) -> Forgery:
    return lambda f: f.unsigned(**fields), HEADER


def _public_key_as_secret(algorithm: str, form: str) -> Forgery:
    return lambda f: f.secretly(algorithm, f.public(form)), HEADER


def _spelled(character: str, part: int) -> Forgery:
    def forge(f: Forger) -> str:
        parts = f.signed().split(".")
        parts[part] = f"{parts[part][:4]}{character}{parts[part][4:]}"
        return ".".join(parts)

    return forge, MALFORMED


def _claim(reason: str, **changes: object) -> Forgery:
    return lambda f: f.signed(**changes), reason


def _clinics(*ids: object) -> Forgery:
    return lambda f: f.signed(clinic_ids=list(ids)), "clinic_ids malformed"


def _time(reason: str, claim: str, offset_s: int) -> Forgery:
    return lambda f: f.signed(**{claim: f.now_s + offset_s}), reason


def _curve(f: Forger) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return jwt.encode(dict(f.claims), key, algorithm="ES256", headers={"kid": f.kid})


def _padded(f: Forger, size: int) -> str:
    return f.signed(padding="x" * size)


# Each with the reason that is given for it.
FORGERIES: Mapping[str, Forgery] = {
    **{
        f"alg {name or 'empty'}": _unsigned(alg=name)
        for name in ("none", "None", "NONE", "nOnE", "")
    },
    "no alg": _unsigned(),
    "RS256 in name only": (lambda f: f.unsigned(alg="RS256"), SIGNATURE),
    **{
        f"{name} with the public key as {form}": _public_key_as_secret(name, form)
        for name in ("HS256", "HS512")
        for form in ("PEM", "DER")
    },
    "HS256 with nothing": (lambda f: f.secretly("HS256", b""), HEADER),
    "ES256": (_curve, HEADER),
    **{
        f"{name} in the header": _header(alg=name)
        for name in ("rs256", "RS384", "RS512", "PS256", "EdDSA")
    },
    "kid of nobody": (lambda f: f.signed({"kid": "theirs"}), UNKNOWN),
    "kid that is a path": (
        lambda f: f.signed({"kid": "../../../../dev/null"}),
        UNKNOWN,
    ),
    "kid that is a query": (
        lambda f: f.signed({"kid": "' OR '1'='1"}),
        UNKNOWN,
    ),
    "kid that is none": (lambda f: f.signed({"kid": None}), MALFORMED),
    "kid that is a list": (lambda f: f.signed({"kid": [f.kid]}), MALFORMED),
    "jku": _own_key(jku="https://attacker.example/keys"),
    "jwk": _own_key(jwk=own_jwk()),
    "x5u": _own_key(x5u="https://attacker.example/certificate"),
    "x5c": _own_key(x5c=[encode(b"certificate")]),
    "x5t": _own_key(x5t="AA"),
    "jku beside a right signature": _header(jku="https://attacker.example/keys"),
    "crit": _header(crit=["exp"]),
    "crit of nothing": _header(crit=[]),
    "b64": _header(b64=False, crit=["b64"]),
    "zip": _header(zip="DEF"),
    "cty": _header(cty="JWT"),
    "another key": (lambda f: f.by(STRANGE, f.claims), SIGNATURE),
    "another realm's key and name": (
        lambda f: f.by(
            STRANGE, f.claims | {"iss": f"{f.claims['iss']}".replace("dicom", "master")}
        ),
        SIGNATURE,
    ),
    "signature cut": (lambda f: f.signed()[:-8], SIGNATURE),
    "signature of another token": (
        lambda f: f"{f.signed(roles=['admin']).rpartition('.')[0]}.{f.signed().rpartition('.')[2]}",
        SIGNATURE,
    ),
    "signature twice": (lambda f: f"{f.signed()}.{f.signed().rpartition('.')[2]}", MALFORMED),
    "no signature": (lambda f: f.signed().rpartition(".")[0], MALFORMED),
    **{
        f"{where} {character!r}": _spelled(character, part)
        for part, where in enumerate(("header with", "claims with", "signature with"))
        for character in " \n:=+\0\u00e9"
    },
    "expired": _time("token expired", "exp", 0),
    "expired for long": _time("token expired", "exp", -MINUTE_S),
    "without an end": _claim("token expired", exp=None),
    "an end that is text": _claim("exp malformed", exp="9999999999"),
    "an end that is true": _claim("exp malformed", exp=True),
    "an end that is a list": _claim("exp malformed", exp=[9999999999]),
    # JSON has no such numbers, Python reads them.
    "an end that is no number": _claim("exp malformed", exp=float("nan")),
    "an end that never comes": _claim("exp malformed", exp=float("inf")),
    "an end of 400 digits": _claim("exp malformed", exp=10**400),
    "not yet valid": _time("token not valid yet", "nbf", MINUTE_S),
    "issued in the future": _time("token not valid yet", "iat", MINUTE_S),
    "a beginning that is no number": _claim("nbf malformed", nbf=float("nan")),
    "no iss": _claim("token of another issuer", iss=None),
    "iss of another realm": (
        lambda f: f.signed(iss=f"{f.claims['iss']}".replace("dicom", "master")),
        "token of another issuer",
    ),
    "iss with a slash more": (
        lambda f: f.signed(iss=f"{f.claims['iss']}/"),
        "token of another issuer",
    ),
    "iss in a list": (lambda f: f.signed(iss=[f.claims["iss"]]), "token of another issuer"),
    "no aud": _claim("token for another audience", aud=None),
    "aud account": _claim("token for another audience", aud="account"),
    "aud that begins alike": _claim("token for another audience", aud="orthanc-api-2"),
    "aud that is a part": _claim("token for another audience", aud="orthanc"),
    "aud with both in one": _claim("token for another audience", aud="account orthanc-api"),
    "aud in upper case": _claim("token for another audience", aud=["ORTHANC-API"]),
    "aud in an object": _claim("aud malformed", aud={"orthanc-api": 1}),
    "aud nested": _claim("aud malformed", aud=[["orthanc-api"]]),
    "no azp": _claim("token of another client", azp=None),
    "azp grafana": _claim("token of another client", azp="grafana"),
    "azp realm-reconciler": _claim("token of another client", azp="realm-reconciler"),
    "azp in a list": _claim("token of another client", azp=["ohif-viewer"]),
    "no typ": _claim("not an access token", typ=None),
    **{
        f"typ {name}": _claim("not an access token", typ=name)
        for name in ("ID", "Refresh", "Offline", "Logout", "bearer")
    },
    "no sub": _claim("token names no subject", sub=None),
    "sub empty": _claim("token names no subject", sub=""),
    "roles as text": _claim("roles malformed", roles="admin"),
    "roles in an object": _claim("roles malformed", roles={"admin": True}),
    "roles nested": _claim("roles malformed", roles=[["admin"]]),
    "clinic_ids as text": _claim("clinic_ids malformed", clinic_ids="clinic-b"),
    "clinic_ids in an object": _claim("clinic_ids malformed", clinic_ids={"clinic-b": 1}),
    "clinic_ids nested": _clinics(["clinic-b"]),
    "clinic_ids with a number": _clinics("clinic-a", 1),
    "clinic_ids with nothing": _clinics("clinic-a", None),
    "clinic_ids with true": _clinics("clinic-a", True),  # noqa: FBT003 - an entry
    **{
        f"clinic_ids {name}": _clinics("clinic-a", text)
        for name, text in {
            "empty text": "",
            "star": "*",
            "star at the end": "clinic-*",
            "question mark": "clinic-?",
            "percent": "clinic-%",
            "upper case": "CLINIC-B",
            "two by backslash": "clinic-a\\clinic-b",
            "two by comma": "clinic-a,clinic-b",
            "path": "../clinic-b",
            "space": "clinic-b ",
            "line feed": "clinic-b\n",
            "NUL": "clinic-b\0",
            "escape": "clinic-b\x1b",
            "full width": "\uff43linic-b",
            "dotless": "cl\u0131nic-b",
            "right to left": "clinic-b\u202e",
            "lone surrogate": "clinic-b\ud800",
            "hyphen at the end": "clinic-",
            "33 characters": "a" * 33,
        }.items()
    },
    "101 clinics": _clinics(*(f"c{number}" for number in range(101))),
    "1000 clinics": _clinics(*(f"c{number}" for number in range(1_000))),
    "10000 clinics": (
        lambda f: f.signed(clinic_ids=[f"c{number}" for number in range(10_000)]),
        "token too long",
    ),
    "64 kB": (lambda f: _padded(f, 48_000), "token too long"),
    "64 kB of nothing": (lambda _: "a" * 65_536, "token too long"),
    "nested without an end": (lambda _: f"{encode(b'[' * 9_000)}.{encode(b'{}')}.x", MALFORMED),
}
