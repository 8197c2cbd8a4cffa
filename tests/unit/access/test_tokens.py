"""A token is believed only when its signature and claims are right; each refusal says why."""

from __future__ import annotations

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
from cryptography.hazmat.primitives.asymmetric import rsa
from harness.forging import FORGERIES, HEADER, STRANGE, Forger
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW_S = 1_800_000_000.0
ISSUER = "https://archive.example/auth/realms/dicom"
OURS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
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
FORGER = Forger(OURS, "ours", CLAIMS, int(NOW_S))
GOOD = FORGER.signed()
OWN_FIELDS = {"alg", "kid", "typ"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=4), values),
    max_leaves=6,
)
CLINICS = st.lists(st.sampled_from(["clinic-a", "clinic-b", "clinic", "*", "Clinic-A", ""]))


def refusal(token: str) -> str:
    """Return why a token is refused, beside a good one that is not."""
    assert verify(GOOD, KEYS, ISSUER, NOW_S).subject == "11f0"
    with pytest.raises(TokenRefusedError) as refused:
        verify(token, KEYS, ISSUER, NOW_S)
    return str(refused.value)


def test_a_good_token_names_its_caller_and_orders_the_clinics() -> None:
    assert verify(GOOD, KEYS, ISSUER, NOW_S) == Caller(
        kind=Kind.PERSON,
        subject="11f0",
        name="physician-a",
        roles=frozenset({"physician"}),
        clinic_ids=("clinic-a", "clinic-b"),
        expires_at_s=NOW_S + 290,
    )


@pytest.mark.parametrize("audience", ["orthanc-api", ["account", "orthanc-api"]])
def test_the_audience_may_stand_alone_or_among_others(audience: object) -> None:
    token = FORGER.signed(aud=audience)
    assert verify(token, KEYS, ISSUER, NOW_S).subject == "11f0"


@pytest.mark.parametrize(
    ("client", "kind"), [("orthanc-api", Kind.IMPORTER), ("monitoring", Kind.MONITORING)]
)
def test_a_service_account_without_roles_and_clinics_is_known_by_its_client(
    client: str, kind: Kind
) -> None:
    token = FORGER.signed(azp=client, roles=None, clinic_ids=None, preferred_username=None)
    caller = verify(token, KEYS, ISSUER, NOW_S)
    assert (caller.kind, caller.roles, caller.clinic_ids) == (kind, frozenset(), ())


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_token_is_refused_with_its_reason(name: str) -> None:
    forge, reason = FORGERIES[name]
    assert refusal(forge(FORGER)) == reason


def test_a_token_without_clinics_and_one_with_an_empty_list_have_none() -> None:
    none: tuple[object, ...] = (None, [])
    for ids in none:
        token = FORGER.signed(clinic_ids=ids)
        assert verify(token, KEYS, ISSUER, NOW_S).clinic_ids == ()


def test_a_key_that_is_not_at_hand_is_named_so_that_newer_ones_can_be_fetched() -> None:
    with pytest.raises(UnknownKeyError) as unknown:
        verify(FORGER.signed({"kid": "theirs"}), KEYS, ISSUER, NOW_S)
    assert unknown.value.kid == "theirs"


def test_what_is_no_token_is_refused() -> None:
    head, body, signature = GOOD.split(".")
    for token in ("", "a", "a.b.c", "..", f"{head}.{body}.", f"{head}.{body[:-3]}.{signature}"):
        assert refusal(token)


def test_a_signed_payload_that_is_no_object_is_refused() -> None:
    token = jwt.PyJWS().encode(b'["physician"]', OURS, algorithm="RS256", headers={"kid": "ours"})
    assert refusal(token) == "token malformed"


@given(st.text(max_size=200))
def test_no_text_makes_verification_fail_in_another_way(text: str) -> None:
    with pytest.raises(TokenRefusedError):
        verify(text, KEYS, ISSUER, NOW_S)


@given(st.integers(min_value=0, max_value=len(GOOD) - 2), st.sampled_from("AZaz09-_."))
def test_no_single_character_can_be_changed(place: int, character: str) -> None:
    changed = GOOD[:place] + character + GOOD[place + 1 :]
    if changed != GOOD:
        with pytest.raises(TokenRefusedError):
            verify(changed, KEYS, ISSUER, NOW_S)


@given(st.integers(min_value=0, max_value=len(GOOD) - 1))
def test_no_part_of_a_token_is_one(length: int) -> None:
    with pytest.raises(TokenRefusedError):
        verify(GOOD[:length], KEYS, ISSUER, NOW_S)


@given(st.dictionaries(st.text(max_size=8).filter(lambda n: n not in OWN_FIELDS), JSON, min_size=1))
def test_no_other_header_field_is_let_through_even_with_a_right_signature(
    fields: Mapping[str, object],
) -> None:
    with pytest.raises(TokenRefusedError, match=HEADER):
        verify(FORGER.signed(fields), KEYS, ISSUER, NOW_S)


@given(st.text(max_size=8).filter(lambda name: name != "RS256") | JSON)
def test_no_other_algorithm_is_let_through_even_with_a_right_signature(name: object) -> None:
    with pytest.raises(TokenRefusedError, match=HEADER):
        verify(FORGER.signed({"alg": name}), KEYS, ISSUER, NOW_S)


@given(st.dictionaries(st.sampled_from(sorted(CLAIMS)), JSON | CLINICS))
def test_signed_claims_of_any_kind_are_read_as_they_are_or_refused(
    changes: dict[str, object],
) -> None:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    try:
        caller = verify(FORGER.signed(**changes), KEYS, ISSUER, NOW_S)
    except TokenRefusedError:
        return
    assert (claims["iss"], claims["typ"], claims["azp"]) == (ISSUER, "Bearer", "ohif-viewer")
    assert (caller.subject, caller.kind) == (claims["sub"], Kind.PERSON)
    assert NOW_S < caller.expires_at_s == claims["exp"] < float("inf")
    assert caller.roles == set(claims.get("roles", ()))
    assert set(caller.clinic_ids) == set(claims.get("clinic_ids", ()))
    assert all(map(is_clinic_id, caller.clinic_ids))


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
        entry(STRANGE, kid="encryption", use="enc", alg="RSA-OAEP"),
        entry(weak, kid="weak", use="sig"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret", "use": "sig"},
    ]
    keys = parse_keys(json.dumps({"keys": entries}).encode())
    assert list(keys) == ["ours"]
    assert verify(GOOD, keys, ISSUER, NOW_S).subject == "11f0"


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{}", b'{"keys": [{"kty": "RSA"}]}', b'{"keys": ["x"]}', b"<html>"]
)
def test_what_is_no_key_set_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match="not a JWK set"):
        parse_keys(document)
