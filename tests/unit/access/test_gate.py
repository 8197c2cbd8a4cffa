"""The gate with its caches: what it asks, how often, and what it does when nobody answers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from clinic_access.cache import ExpiringCache
from clinic_access.gate import OWNER_LIFETIME_S, TOKEN_LIFETIME_S, Collaborators, Gate, Request
from clinic_access.index import IndexMissingError
from clinic_access.keys import LIFETIME_S, MIN_INTERVAL_S, KeyRing, KeysUnavailableError
from clinic_access.pace import PAUSE_S, READS_AT_ONCE
from clinic_access.rules import RETURNING, Deny
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import example, given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from clinic_access.routes import Route

ISSUER = "https://archive.example/auth/realms/dicom"
OLD = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NEW = rsa.generate_private_key(public_exponent=65537, key_size=2048)
STUDY = "/dicom-web/studies/1.2"


@dataclass
class World:
    """A clock that stands still until it is moved, Keycloak's keys and an archive."""

    now_s: float = 1_800_000_000.0
    keys: dict[str, rsa.RSAPrivateKey] = field(default_factory=lambda: {"old": OLD})
    owners: dict[str, str] = field(default_factory=lambda: {"1.2": "clinic-a"})
    is_up: bool = True
    fetches: int = 0
    fetch_takes_s: float = 0.0
    lookups: int = 0
    lacking: str = ""

    def fetch(self) -> bytes:
        """Answer as Keycloak's JWKS endpoint does."""
        self.fetches += 1
        self.now_s += self.fetch_takes_s
        if not self.is_up:
            raise ConnectionRefusedError
        keys = [
            json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())) | {"kid": kid}
            for kid, key in self.keys.items()
        ]
        return json.dumps({"keys": keys}).encode()

    def find_owner(self, study: str) -> str | None:
        """Answer as Orthanc does."""
        self.lookups += 1
        return self.owners.get(study)

    def lacks(self, route: Route) -> bool:
        """Answer as the archive's disk does while images come back."""
        if self.lacking == "unknown":
            raise IndexMissingError
        return route.study == self.lacking

    def gate(self) -> Gate:
        """Make a gate in this world."""

        def clock() -> float:
            return self.now_s

        return Gate(
            ISSUER,
            KeyRing(self.fetch, clock),
            Collaborators(self.find_owner, clock, clock, self.lacks),
        )

    def token(self, kid: str = "old", **changes: Any) -> str:  # noqa: ANN401 - any claim
        """Sign a token of a physician of clinic-a that lasts five minutes."""
        claims = {
            "iss": ISSUER,
            "aud": "orthanc-api",
            "azp": "ohif-viewer",
            "typ": "Bearer",
            "sub": "11f0",
            "exp": self.now_s + 300,
            "roles": ["physician"],
            "clinic_ids": ["clinic-a"],
        }
        key = self.keys.get(kid, NEW)
        return jwt.encode(claims | changes, key, algorithm="RS256", headers={"kid": kid})


def ask(token: str | None, path: str = STUDY, method: str = "GET", **headers: str) -> Request:
    """Make a request as Orthanc describes it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    bearer = {"authorization": f"Bearer {token}"} if token else {}
    return Request(method, path, (), bearer | named, "172.29.0.10")


def status(denial: Deny | None) -> int:
    """Return the status of a denial, 200 for none."""
    return denial.status if denial else 200


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", 200),
        ('multipart/related; type="application/dicom"; transfer-syntax=*', 200),
        ("multipart/related; transfer-syntax=1.2.840.10008.1.2.4.50", 200),
        ("multipart/related; transfer-syntax=1.2.840.10008.1.2.4.80", 406),
        ('*/*, multipart/related; transfer-syntax="1.2.840.10008.1.2.4.81"', 406),
        ("multipart/related; transfer-syntax=1.2.840.10008.1.2.4.90", 406),
        ("multipart/related; transfer-syntax=1.2.840.10008.1.2.4.91", 406),
        ("multipart/related; type=Image/JLS", 406),
        ('multipart/related; type="image/jp2"', 406),
    ],
)
def test_nobody_has_made_what_only_gdcm_encodes(accept: str, expected: int) -> None:
    world = World()
    gate, token = world.gate(), world.token()
    assert status(gate.decide(ask(token, accept=accept))) == expected
    # Of what is not theirs they learn nothing by it, and searching is another thing.
    assert status(gate.decide(ask(token, "/dicom-web/studies/9.9", accept=accept))) == 404
    assert status(gate.decide(ask(token, "/clinic-search/studies", accept=accept))) == 200


KNOWN = World()
KNOWING = KNOWN.gate()
KNOWN_TOKEN = KNOWN.token()


def test_without_a_bearer_token_nothing_is_told_not_even_whether_a_route_exists() -> None:
    gate = World().gate()
    for headers in (
        {},
        {"authorization": ""},
        {"authorization": "Basic eDp5"},
        {"authorization": "Bearer "},
    ):
        for path in (STUDY, "/nowhere", "/system"):
            assert gate.decide(Request("GET", path, (), headers, "172.29.0.10")) == Deny(
                401, "no bearer token"
            )


@pytest.mark.parametrize(
    "written",
    [
        "Bearer {good}, Bearer {good}",
        "Bearer {good},Bearer {other}",
        "Bearer {good} {good}",
        "Bearer  {good}",
        "Bearer\t{good}",
        "Bearer {good}\n",
        "Bearer {good}\0",
        "Bearer={good}",
        'Bearer "{good}"',
        "Token {good}",
        "BearerBearer {good}",
        " Bearer {good}",
        "{good}",
        "Basic {good}",
        "DPoP {good}",
    ],
)
def test_a_header_that_is_not_one_bearer_token_says_nothing_of_anybody(written: str) -> None:
    world = World()
    gate, good = world.gate(), world.token()
    assert gate.decide(ask(good)) is None
    other = world.token(sub="22", roles=["admin"])
    headers = {"authorization": written.format(good=good, other=other)}
    assert status(gate.decide(Request("GET", STUDY, (), headers, "172.29.0.10"))) == 401


@given(st.text(max_size=30), st.text(max_size=30))
@example("", "")
def test_nothing_may_stand_around_a_token_that_is_known_already(before: str, after: str) -> None:
    headers = {"authorization": f"Bearer {before}{KNOWN_TOKEN}{after}"}
    denial = KNOWING.decide(Request("GET", STUDY, (), headers, "172.29.0.10"))
    assert status(denial) == (401 if before or after else 200)


def test_a_token_is_verified_once_and_then_remembered_until_it_ends() -> None:
    world = World()
    gate, token = world.gate(), world.token()
    assert gate.decide(ask(token)) is None
    caller = gate.caller({"authorization": f"Bearer {token}"})
    assert gate.caller({"authorization": f"bearer {token}"}) is caller
    world.now_s += TOKEN_LIFETIME_S
    assert gate.caller({"authorization": f"Bearer {token}"}) is not caller
    world.now_s += 290 - 1
    assert gate.decide(ask(token)) is None
    world.now_s += 1
    assert gate.decide(ask(token)) == Deny(401, "token expired")


def test_the_owner_is_asked_for_once_and_again_after_its_time() -> None:
    world = World()
    gate, token = world.gate(), world.token()
    for _ in range(100):
        assert gate.decide(ask(token, f"{STUDY}/series/1/instances/2/frames/3")) is None
    assert world.lookups == 1
    world.owners["1.2"] = "clinic-b"
    world.now_s += OWNER_LIFETIME_S
    assert status(gate.decide(ask(token))) == 404


def test_a_cache_warmed_by_one_clinic_opens_nothing_to_another() -> None:
    world = World()
    gate = world.gate()
    assert gate.decide(ask(world.token())) is None
    foreign = gate.decide(ask(world.token(sub="22", clinic_ids=["clinic-b"])))
    absent = gate.decide(ask(world.token(), "/dicom-web/studies/1.2.9"))
    assert foreign == absent == Deny(404, "no such resource")


def test_an_absent_study_is_asked_for_again_since_it_may_arrive() -> None:
    world = World()
    gate, token = world.gate(), world.token()
    assert status(gate.decide(ask(token, "/dicom-web/studies/7"))) == 404
    world.owners["7"] = "clinic-a"
    assert gate.decide(ask(token, "/dicom-web/studies/7")) is None


def test_nobody_but_a_physician_makes_the_archive_look_up_an_owner() -> None:
    world = World()
    gate = world.gate()
    assert status(gate.decide(ask(world.token(roles=["technician"])))) == 403
    assert gate.decide(ask(world.token(roles=["admin"]))) is None
    assert world.lookups == 0


def test_a_new_key_is_fetched_when_a_token_names_it() -> None:
    world = World()
    gate = world.gate()
    assert gate.decide(ask(world.token())) is None
    world.keys = {"new": NEW}
    world.now_s += MIN_INTERVAL_S
    assert gate.decide(ask(world.token("new"))) is None
    assert gate.decide(ask(world.token("new", sub="other"))) is None
    assert world.fetches == 2


def test_invented_keys_do_not_make_the_gate_ask_again_and_again() -> None:
    world = World()
    gate = world.gate()
    for number in range(50):
        assert gate.decide(ask(world.token(f"k{number}"))) == Deny(
            401, "token signed with an unknown key"
        )
    assert world.fetches == 1
    assert gate.decide(ask(world.token())) is None


def test_without_keys_the_answer_is_503_at_once_and_it_heals() -> None:
    world = World(is_up=False)
    gate = world.gate()
    for _ in range(50):
        assert gate.decide(ask(world.token())) == Deny(503, "identity provider not available")
    assert world.fetches == 1
    world.is_up = True
    world.now_s += MIN_INTERVAL_S
    assert gate.decide(ask(world.token())) is None


def test_who_waited_for_an_attempt_that_hung_does_not_repeat_it() -> None:
    world = World(is_up=False, fetch_takes_s=3.0)
    gate = world.gate()
    for _ in range(10):
        assert status(gate.decide(ask(world.token()))) == 503
    assert world.fetches == 1


def test_keys_are_used_while_they_are_fresh_and_not_longer() -> None:
    world = World()
    gate = world.gate()
    assert gate.decide(ask(world.token())) is None
    world.is_up = False
    world.now_s += LIFETIME_S - 1
    assert gate.decide(ask(world.token())) is None
    world.now_s += 1
    assert status(gate.decide(ask(world.token(sub="another")))) == 503


def test_a_key_set_that_is_none_counts_as_no_answer() -> None:
    ring = KeyRing(lambda: b"<html>", lambda: 0.0)
    with pytest.raises(KeysUnavailableError):
        ring.current()


def test_health_is_open_on_the_spot_only() -> None:
    gate = World().gate()
    assert gate.decide(Request("GET", "/health", (), {}, "127.0.0.1")) is None
    forwarded = {"x-forwarded-for": "203.0.113.9"}
    assert status(gate.decide(Request("GET", "/health", (), forwarded, "127.0.0.1"))) == 401
    assert status(gate.decide(Request("GET", "/health", (), {}, "172.29.0.10"))) == 401
    assert status(gate.decide(Request("GET", "/system", (), {}, "127.0.0.1"))) == 401


IMPORTER: dict[str, Any] = {
    "azp": "orthanc-api",
    "sub": "33",
    "preferred_username": "service-account-orthanc-api",
    "roles": [],
    "clinic_ids": [],
}
OBJECT = "/instances/0f1e2d3c-4b5a6978-8796a5b4-c3d2e1f0-0f1e2d3c"


def test_the_importer_removes_and_nobody_else_does() -> None:
    world = World()
    gate, importer = world.gate(), world.token(**IMPORTER)
    assert gate.decide(ask(importer, OBJECT, "DELETE")) is None
    assert status(gate.decide(ask(importer, "/series/" + OBJECT[11:], "DELETE"))) == 404
    assert status(gate.decide(ask(world.token(roles=["admin"]), OBJECT, "DELETE"))) == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", STUDY),
        ("GET", "/clinic-search/studies"),
        ("GET", "/studies"),
        ("GET", f"{OBJECT}/file"),
        ("POST", "/dicom-web/studies"),
        ("POST", "/clinic-access/held"),
        ("DELETE", OBJECT),
    ],
)
def test_the_importers_account_is_worth_nothing_from_outside(method: str, path: str) -> None:
    world = World()
    gate, importer = world.gate(), world.token(**IMPORTER)
    assert gate.decide(ask(importer, path, method)) is None
    outside = ask(importer, path, method, x_forwarded_for="203.0.113.9")
    assert gate.decide(outside) == Deny(403, "role does not allow this")
    assert gate.decide(ask(world.token(), STUDY, x_forwarded_for="203.0.113.9")) is None


def explain(token: str | None, method: str, uri: str) -> int:
    """Return the status that a refused public request is given."""
    world = World()
    token = world.token(clinic_ids=["clinic-b"]) if token else None
    request = ask(token, "/clinic-access/refusal", x_original_method=method, x_original_uri=uri)
    assert world.gate().decide(request) is None
    return world.gate().explain(request).status


@pytest.mark.parametrize(
    ("method", "uri", "expected"),
    [
        ("GET", STUDY, 404),
        ("HEAD", STUDY, 404),
        ("GET", "/dicom-web/studies/1.2.9/metadata?x=1", 404),
        ("GET", "/orthanc/system", 403),
        ("GET", "/dicom-web/servers", 404),
        ("GET", "/studies?_method=delete", 404),
        ("POST", "/dicom-web/studies", 403),
        ("DELETE", STUDY, 404),
    ],
)
def test_a_refusal_is_explained_by_what_was_asked(method: str, uri: str, expected: int) -> None:
    assert explain("b", method, uri) == expected
    assert explain(None, method, uri) == 401


ODD = st.text(max_size=12) | st.sampled_from(
    [
        "//[",
        "//[::1",
        "/wado?",
        "http://[",
        "/wado#?",
        "/%",
        "/%ff",
        "?;&=",
        "/\ud800",
        "/wado?%",
        "[]",
    ]
)


@given(ODD, ODD, st.sampled_from(["GET", "POST", "", "\0"]), st.sampled_from(["/wado", STUDY]))
def test_no_uri_and_no_path_makes_the_gate_fail_in_another_way(
    uri: str, rest: str, method: str, path: str
) -> None:
    bearer = {"authorization": f"Bearer {KNOWN_TOKEN}"}
    headers = bearer | {"x-original-uri": uri + rest, "x-original-method": method}
    for request in (
        Request(method, path + rest, (), headers, "127.0.0.1"),
        Request(method, path, ((uri, rest),), headers, "127.0.0.1"),
    ):
        assert status(KNOWING.decide(request)) in (200, 403, 404)
    assert KNOWING.explain(Request("GET", "/clinic-access/refusal", (), headers, "")).status >= 400


def test_a_repeated_key_of_wado_uri_is_seen_in_the_uri_as_it_was_written() -> None:
    world = World()
    gate, token = world.gate(), world.token()
    query = (("requestType", "WADO"), ("studyUID", "1.2"), ("seriesUID", "3"), ("objectUID", "4"))
    written = "/wado?" + "&".join(f"{key}={value}" for key, value in query)

    def decide(uri: str) -> int:
        headers = {"authorization": f"Bearer {token}", "x-original-uri": uri}
        return status(gate.decide(Request("GET", "/wado", query, headers, "172.29.0.10")))

    assert decide(written) == 200
    for uri in (f"{written}&studyUID=1.2", f"{written}&%73tudyUID=9", "/wado", "/wado?studyUID=9"):
        assert decide(uri) == 404


def test_a_cache_forgets_by_time_and_by_number() -> None:
    now = [0.0]
    cache: ExpiringCache[int, int] = ExpiringCache(3, lambda: now[0])
    for key in range(5):
        cache.put(key, key * key, lifetime_s=10)
    assert [cache.get(key) for key in range(5)] == [None, None, 4, 9, 16]
    now[0] = 10
    assert [cache.get(key) for key in range(5)] == [None] * 5


def test_who_reads_too_fast_from_outside_is_told_so_whatever_token_comes_next() -> None:
    world = World()
    gate = world.gate()

    def outside(token: str, path: str = STUDY) -> Request:
        return ask(token, path, x_forwarded_for="192.0.2.7", x_original_uri=STUDY)

    allowed = [gate.decide(outside(world.token())) for _ in range(10)]
    assert allowed == [None] * 10
    first, other = world.token(), world.token(sub="22")
    while (denial := gate.decide(outside(first))) is None:
        pass
    assert denial.status == 429
    later = world.token(jti="another")
    assert status(gate.decide(outside(later))) == 429
    assert gate.explain(outside(later, "/clinic-access/refusal")) == denial
    # A refusal for another reason stays what it is.
    elsewhere = ask(later, x_forwarded_for="192.0.2.7", x_original_uri="/dicom-web/studies/9")
    assert gate.explain(elsewhere).status == 404
    assert gate.decide(outside(other)) is None
    # On the backend services ask.
    assert gate.decide(ask(later)) is None
    world.now_s += PAUSE_S
    assert gate.decide(outside(world.token())) is None


def test_what_is_refused_counts_for_nothing() -> None:
    world = World()
    gate, token = world.gate(), world.token()
    refused = ask(token, "/dicom-web/studies/9", x_forwarded_for="192.0.2.7")
    assert {status(gate.decide(refused)) for _ in range(READS_AT_ONCE + 1)} == {404}
    assert gate.decide(ask(token, x_forwarded_for="192.0.2.7")) is None


@pytest.mark.parametrize("lacking", ["1.2", "unknown"])
def test_a_study_that_is_not_back_from_the_backup_is_refused_and_only_to_who_may_read_it(
    lacking: str,
) -> None:
    world = World(owners={"1.2": "clinic-a", "1.3": "clinic-a", "1.4": "clinic-b"}, lacking=lacking)
    gate, token = world.gate(), world.token()
    outside = {"x_forwarded_for": "203.0.113.9"}
    assert gate.decide(ask(token, STUDY, **outside)) == RETURNING
    named = {"x_original_method": "GET", "x_original_uri": STUDY}
    assert gate.explain(ask(token, "/clinic-access/refusal", **outside, **named)) == RETURNING
    # Another clinic's physician does not learn of it.
    stranger = world.token(sub="22f0", clinic_ids=["clinic-b"])
    assert status(gate.decide(ask(stranger, STUDY, **outside))) == 404
    # The importer, which asks directly, is told by Orthanc of each image.
    assert gate.decide(ask(token, STUDY)) is None
    world.lacking = ""
    assert gate.decide(ask(token, STUDY, **outside)) is None
