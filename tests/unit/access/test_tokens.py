"""A token is believed only when its signature and claims are right; each refusal says why."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from clinic_access.tokens import (
    Caller,
    Kind,
    TokenRefusedError,
    UnknownKeyError,
    is_clinic_id,
    parse_keys,
    verify,
)
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW_S = 1_800_000_000.0
ISSUER = "https://archive.example/auth/realms/dicom"
OURS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
FOREIGN = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEYS = {"ours": OURS.public_key()}
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": "orthanc-api",
    "azp": "ohif-viewer",
    "typ": "Bearer",
    "sub": "11f0",
    "preferred_username": "physician-a",
    "iat": int(NOW_S) - 10,
    "exp": int(NOW_S) + 290,
    "roles": ["physician"],
    "clinic_ids": ["clinic-b", "clinic-a"],
}


def sign(
    claims: Mapping[str, Any],
    key: rsa.RSAPrivateKey = OURS,
    header: Mapping[str, Any] | None = None,
) -> str:
    """Sign claims as Keycloak does."""
    headers = {"kid": "ours", **(header or {})}
    return jwt.encode(dict(claims), key, algorithm="RS256", headers=headers)


def compact(header: Mapping[str, Any], claims: Mapping[str, Any], signature: bytes = b"") -> str:
    """Put a token together by hand."""

    def encode(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(map(encode, parts))


def refusal(token: str) -> str:
    """Return why a token is refused, beside a good one that is not."""
    assert verify(sign(CLAIMS), KEYS, ISSUER, NOW_S).subject == "11f0"
    with pytest.raises(TokenRefusedError) as refused:
        verify(token, KEYS, ISSUER, NOW_S)
    return str(refused.value)


def test_a_good_token_names_its_caller_and_orders_the_clinics() -> None:
    assert verify(sign(CLAIMS), KEYS, ISSUER, NOW_S) == Caller(
        kind=Kind.PERSON,
        subject="11f0",
        name="physician-a",
        roles=frozenset({"physician"}),
        clinic_ids=("clinic-a", "clinic-b"),
        expires_at_s=NOW_S + 290,
    )


@pytest.mark.parametrize("audience", ["orthanc-api", ["account", "orthanc-api"]])
def test_the_audience_may_stand_alone_or_among_others(audience: object) -> None:
    token = sign(CLAIMS | {"aud": audience})
    assert verify(token, KEYS, ISSUER, NOW_S).subject == "11f0"


@pytest.mark.parametrize(
    ("client", "kind"), [("orthanc-api", Kind.IMPORTER), ("monitoring", Kind.MONITORING)]
)
def test_a_service_account_without_roles_and_clinics_is_known_by_its_client(
    client: str, kind: Kind
) -> None:
    absent = ("roles", "clinic_ids", "preferred_username")
    claims = {key: value for key, value in CLAIMS.items() if key not in absent}
    caller = verify(sign(claims | {"azp": client}), KEYS, ISSUER, NOW_S)
    assert (caller.kind, caller.roles, caller.clinic_ids) == (kind, frozenset(), ())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": None}, "another issuer"),
        ({"iss": "https://archive.example/auth/realms/master"}, "another issuer"),
        ({"aud": None}, "another audience"),
        ({"aud": "account"}, "another audience"),
        ({"aud": ["account"]}, "another audience"),
        ({"aud": "orthanc-api-2"}, "another audience"),
        ({"aud": {"orthanc-api": 1}}, "aud malformed"),
        ({"azp": None}, "another client"),
        ({"azp": "grafana"}, "another client"),
        ({"azp": ["ohif-viewer"]}, "another client"),
        ({"typ": None}, "not an access token"),
        ({"typ": "ID"}, "not an access token"),
        ({"typ": "Refresh"}, "not an access token"),
        ({"typ": "bearer"}, "not an access token"),
        ({"exp": None}, "expired"),
        ({"exp": int(NOW_S)}, "expired"),
        ({"exp": "9999999999"}, "exp malformed"),
        ({"exp": True}, "exp malformed"),
        ({"nbf": int(NOW_S) + 60}, "not valid yet"),
        ({"iat": int(NOW_S) + 60}, "not valid yet"),
        ({"sub": None}, "names no subject"),
        ({"sub": ""}, "names no subject"),
        ({"roles": "admin"}, "roles malformed"),
        ({"roles": {"admin": True}}, "roles malformed"),
        ({"clinic_ids": "clinic-a"}, "clinic_ids malformed"),
        ({"clinic_ids": [["clinic-a"]]}, "clinic_ids malformed"),
        ({"clinic_ids": {"clinic-a": 1}}, "clinic_ids malformed"),
        ({"clinic_ids": ["*"]}, "clinic_ids malformed"),
        ({"clinic_ids": ["clinic-?"]}, "clinic_ids malformed"),
        ({"clinic_ids": ["Clinic-A"]}, "clinic_ids malformed"),
        ({"clinic_ids": ["clinic-a\\clinic-b"]}, "clinic_ids malformed"),
        ({"clinic_ids": ["clinic-a,clinic-b"]}, "clinic_ids malformed"),
        ({"clinic_ids": [""]}, "clinic_ids malformed"),
        ({"clinic_ids": ["clinic-a\n"]}, "clinic_ids malformed"),
        ({"clinic_ids": ["a" * 33]}, "clinic_ids malformed"),
        ({"clinic_ids": [f"c{n}" for n in range(1_000)]}, "clinic_ids malformed"),
    ],
)
def test_a_wrong_claim_is_refused_by_name(changes: dict[str, Any], reason: str) -> None:
    claims = {key: value for key, value in (CLAIMS | changes).items() if value is not None}
    assert reason in refusal(sign(claims))


def test_a_token_without_clinics_and_one_with_an_empty_list_have_none() -> None:
    for claims in (
        {k: v for k, v in CLAIMS.items() if k != "clinic_ids"},
        CLAIMS | {"clinic_ids": []},
    ):
        assert verify(sign(claims), KEYS, ISSUER, NOW_S).clinic_ids == ()


def test_an_unsigned_token_is_refused() -> None:
    for algorithm in ("none", "None", "NONE", ""):
        assert (
            refusal(compact({"alg": algorithm, "kid": "ours"}, CLAIMS))
            == "token header not accepted"
        )


def test_a_token_signed_with_the_public_key_as_a_secret_is_refused() -> None:
    public = OURS.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    unsigned = compact({"alg": "HS256", "kid": "ours", "typ": "JWT"}, CLAIMS).rpartition(".")[0]
    signature = algorithm.sign(unsigned.encode(), public)
    token = f"{unsigned}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    assert refusal(token) == "token header not accepted"


@pytest.mark.parametrize(
    "field",
    [
        {"jku": "https://attacker.example/keys"},
        {"jwk": {"kty": "RSA"}},
        {"x5u": "https://attacker.example/certificate"},
        {"x5c": ["AA=="]},
        {"crit": ["exp"]},
        {"b64": False},
    ],
)
def test_a_header_that_brings_its_own_key_or_rules_is_refused(field: Mapping[str, Any]) -> None:
    token = compact({"alg": "RS256", "kid": "ours", "typ": "JWT", **field}, CLAIMS, b"x")
    assert refusal(token) == "token header not accepted"


def test_a_key_that_is_not_ours_is_refused() -> None:
    assert refusal(sign(CLAIMS, FOREIGN)) == "token signature wrong"
    with pytest.raises(UnknownKeyError) as unknown:
        verify(sign(CLAIMS, FOREIGN, {"kid": "theirs"}), KEYS, ISSUER, NOW_S)
    assert unknown.value.kid == "theirs"
    assert refusal(compact({"alg": "RS256"}, CLAIMS, b"x")) == "token names no key"


def test_what_is_no_token_is_refused() -> None:
    good = sign(CLAIMS)
    head, body, signature = good.split(".")
    for token in (
        "",
        "a",
        "a.b.c",
        "..",
        good[:-4],
        f"{head}.{body}",
        f"{head}.{body}.",
        f"{good}.x",
    ):
        assert refusal(token)
    assert refusal(f"{head}.{body[:-3]}.{signature}")
    assert refusal(compact({"alg": "RS256", "kid": "ours"}, CLAIMS)) == "token signature wrong"
    assert refusal("a" * 70_000) == "token too long"


def test_a_signed_payload_that_is_no_object_is_refused() -> None:
    token = jwt.PyJWS().encode(b'["physician"]', OURS, algorithm="RS256", headers={"kid": "ours"})
    assert refusal(token) == "token malformed"


@given(st.text(max_size=200))
def test_no_text_makes_verification_fail_in_another_way(text: str) -> None:
    with pytest.raises(TokenRefusedError):
        verify(text, KEYS, ISSUER, NOW_S)


@given(st.integers(min_value=0, max_value=len(sign(CLAIMS)) - 2), st.sampled_from("AZaz09-_."))
def test_no_single_character_can_be_changed(place: int, character: str) -> None:
    good = sign(CLAIMS)
    changed = good[:place] + character + good[place + 1 :]
    if changed != good:
        with pytest.raises(TokenRefusedError):
            verify(changed, KEYS, ISSUER, NOW_S)


@given(st.text(max_size=40))
def test_a_clinic_id_holds_nothing_that_a_query_could_take_for_more(text: str) -> None:
    if is_clinic_id(text):
        assert text.isascii()
        assert text == text.lower()
        assert not set(text) & set("*?\\,/ \n")


def test_only_strong_rsa_signature_keys_are_taken_from_a_key_set() -> None:
    def entry(key: rsa.RSAPrivateKey, **fields: str) -> dict[str, Any]:
        return {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), **fields}

    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - on purpose
    entries = [
        entry(OURS, kid="ours", use="sig", alg="RS256"),
        entry(FOREIGN, kid="encryption", use="enc", alg="RSA-OAEP"),
        entry(weak, kid="weak", use="sig"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret", "use": "sig"},
    ]
    keys = parse_keys(json.dumps({"keys": entries}).encode())
    assert list(keys) == ["ours"]
    assert verify(sign(CLAIMS), keys, ISSUER, NOW_S).subject == "11f0"


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{}", b'{"keys": [{"kty": "RSA"}]}', b'{"keys": ["x"]}', b"<html>"]
)
def test_what_is_no_key_set_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match="not a JWK set"):
        parse_keys(document)
