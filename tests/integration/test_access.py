"""The access matrix: each route of the archive by each caller for an own, foreign, absent study."""

from __future__ import annotations

import json
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from harness import phantom
from harness.drop import drop_files
from harness.people import service_token
from pydicom.uid import generate_uid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import requests
    from harness.people import People
    from harness.stack import Stack


@dataclass(frozen=True, slots=True)
class Stored:
    """The three UIDs of one object."""

    study: str
    series: str
    instance: str

    @property
    def path(self) -> str:
        """The object's resource (PS3.18 10.4)."""
        return f"{self.in_series}/instances/{self.instance}"

    @property
    def in_series(self) -> str:
        """The resource of its series."""
        return f"{self.in_study}/series/{self.series}"

    @property
    def in_study(self) -> str:
        """The resource of its study."""
        return f"/dicom-web/studies/{self.study}"

    @property
    def wado_uri(self) -> str:
        """The object by WADO-URI (PS3.18 9.1)."""
        return (
            f"/wado?requestType=WADO&studyUID={self.study}&seriesUID={self.series}"
            f"&objectUID={self.instance}&contentType=application/dicom"
        )


ABSENT = Stored("2.25.1", "2.25.2", "2.25.3")
TOKEN_LIFETIME_S = 200  # the realm's is 300


@dataclass(frozen=True, slots=True)
class Archive:
    """Requests by name of caller, and one object of each of two clinics."""

    stack: Stack
    tokens: Callable[[str], str | None]
    a: Stored
    b: Stored

    def ask(self, caller: str, path: str, method: str = "GET", **headers: str) -> requests.Response:
        """Send a request; 'nobody' sends no token."""
        token = self.tokens(caller)
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.stack.session() as session:
            return session.request(
                method,
                self.stack.url + path,
                headers={"Accept": "*/*"} | bearer | named,
                allow_redirects=False,
            )

    def rows(self, caller: str, path: str) -> list[dict[str, Any]]:
        """Search (PS3.18 10.6); returns the rows of an answer that must be a success."""
        answer = self.ask(caller, path)
        assert answer.status_code == 200, (
            f"{caller} {path}: {answer.status_code} {answer.text[:300]}"
        )
        assert answer.headers["Content-Type"].startswith("application/dicom+json")
        return list(answer.json())


@pytest.fixture(scope="module")
def archive(stack: Stack, people: People) -> Archive:
    """Provide a study of each clinic, dropped into its inbox, and the callers' tokens."""
    services = {"importer": "orthanc-api", "monitoring": "monitoring"}

    def token(caller: str) -> str | None:
        if caller in services:
            return service_token(stack, services[caller])
        return None if caller == "nobody" else people.token(caller, fresh=True)

    stored: list[Stored] = []
    for clinic in ("clinic-a", "clinic-b"):
        study = phantom.ct(seed=len(stored), slices=2, size=63)
        outcome = drop_files(stack, clinic, study.files)
        assert not outcome.failed, outcome.reasons
        series, instance = study.identity.uid("series"), study.identity.uid("instance", 0)
        stored.append(Stored(study.uid, series, instance))
    cached: dict[str, tuple[float, str | None]] = {}

    def tokens(caller: str) -> str | None:
        if caller not in cached or cached[caller][0] < monotonic():
            cached[caller] = (monotonic() + TOKEN_LIFETIME_S, token(caller))
        return cached[caller][1]

    return Archive(stack, tokens, *stored)


RETRIEVALS: Mapping[str, Callable[[Stored], str]] = {
    "study": lambda o: o.in_study,
    "study metadata": lambda o: f"{o.in_study}/metadata",
    "study rendered": lambda o: f"{o.in_study}/rendered",
    "study thumbnail": lambda o: f"{o.in_study}/thumbnail",
    "series": lambda o: o.in_series,
    "series metadata": lambda o: f"{o.in_series}/metadata",
    "series rendered": lambda o: f"{o.in_series}/rendered",
    "series thumbnail": lambda o: f"{o.in_series}/thumbnail",
    "instance": lambda o: o.path,
    "instance metadata": lambda o: f"{o.path}/metadata",
    "instance rendered": lambda o: f"{o.path}/rendered",
    "instance thumbnail": lambda o: f"{o.path}/thumbnail",
    "frame": lambda o: f"{o.path}/frames/1",
    "frame rendered": lambda o: f"{o.path}/frames/1/rendered",
    "bulk data": lambda o: f"{o.path}/bulk/7FE00010",
    "WADO-URI": lambda o: o.wado_uri,
    "below /orthanc": lambda o: f"/orthanc{o.path}/metadata",
    "WADO-URI below /orthanc": lambda o: f"/orthanc{o.wado_uri}",
}

# Per caller: the status for a study of clinic-a, of clinic-b and of nobody.
RETRIEVE = {
    "nobody": (401, 401, 401),
    "no-clinic": (404, 404, 404),
    "technician-a": (403, 403, 403),
    "physician-a": (200, 404, 404),
    "physician-b": (404, 200, 404),
    "physician-ab": (200, 200, 404),
    "admin-x": (200, 200, 404),
    "importer": (200, 200, 404),
    "monitoring": (403, 403, 403),
}

# What two answers may differ in without telling anything of the resource.
VOLATILE = {"date", "x-request-id"}


def seen(answer: requests.Response) -> tuple[int, bytes, dict[str, str]]:
    """Return all that a client can see of an answer, but for the time."""
    headers = {k: v for k, v in answer.headers.items() if k.lower() not in VOLATILE}
    return answer.status_code, answer.content, headers


@pytest.mark.parametrize("caller", RETRIEVE)
@pytest.mark.parametrize("route", RETRIEVALS)
def test_each_caller_retrieves_what_the_table_says(
    archive: Archive, route: str, caller: str
) -> None:
    path = RETRIEVALS[route]
    control = archive.ask("physician-a", path(archive.a))
    assert control.status_code == 200, f"{path(archive.a)}: {control.text[:300]}"
    answers = [archive.ask(caller, path(stored)) for stored in (archive.a, archive.b, ABSENT)]
    assert tuple(answer.status_code for answer in answers) == RETRIEVE[caller]
    for answer in answers:
        if answer.status_code != 200:
            assert_reason(answer)


def assert_reason(answer: requests.Response) -> None:
    """Assert that a refusal says which one it is, and nothing else."""
    said = json.loads(answer.text)
    assert said.keys() == {"status", "error"}
    assert said["status"] == answer.status_code
    if answer.status_code == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    if answer.status_code == 403:
        assert said["error"] == "role does not allow this"


@pytest.mark.parametrize("route", RETRIEVALS)
def test_a_foreign_study_answers_as_an_absent_one(archive: Archive, route: str) -> None:
    path = RETRIEVALS[route]
    assert archive.ask("physician-b", path(archive.b)).status_code == 200
    for caller in ("physician-a", "no-clinic"):
        foreign = archive.ask(caller, path(archive.b))
        absent = archive.ask(caller, path(ABSENT))
        assert seen(foreign) == seen(absent)


MIXED: Mapping[str, Callable[[Stored, Stored], str]] = {
    "foreign series": lambda a, b: f"{a.in_study}/series/{b.series}/metadata",
    "foreign instance": lambda a, b: f"{a.in_series}/instances/{b.instance}",
    "foreign series and instance": lambda a, b: (
        f"{Stored(a.study, b.series, b.instance).path}/frames/1"
    ),
    "list of studies": lambda a, b: f"{a.in_study},{b.study}/metadata",
    "WADO-URI of a foreign object": lambda a, b: Stored(a.study, a.series, b.instance).wado_uri,
    "WADO-URI of a foreign series": lambda a, b: Stored(a.study, b.series, b.instance).wado_uri,
    "WADO-URI with the study twice": lambda a, b: f"{a.wado_uri}&studyUID={b.study}",
    "WADO-URI with the object twice": lambda a, b: f"{b.wado_uri}&studyUID={a.study}",
    "WADO-URI without the study": lambda _a, b: b.wado_uri.replace("studyUID", "study"),
}


@pytest.mark.parametrize("trick", MIXED)
def test_uids_of_two_clinics_in_one_request_give_nothing(archive: Archive, trick: str) -> None:
    for stored in (archive.a, archive.b):
        assert archive.ask("physician-ab", stored.path).status_code == 200
    answer = archive.ask("physician-a", MIXED[trick](archive.a, archive.b))
    assert answer.status_code in (400, 404)
    assert archive.b.series not in answer.text
    assert archive.b.instance not in answer.text


SEARCHES = {
    "/dicom-web/studies": "0020000D",
    "/dicom-web/series": "0020000E",
    "/dicom-web/instances": "00080018",
    "/orthanc/dicom-web/studies": "0020000D",
}
FINDERS = {
    "no-clinic": set[str](),
    "physician-a": {"a"},
    "physician-b": {"b"},
    "physician-ab": {"a", "b"},
    "admin-x": {"a", "b"},
    "importer": {"a", "b"},
}


@pytest.mark.parametrize("caller", FINDERS)
@pytest.mark.parametrize("path", SEARCHES)
def test_a_search_finds_the_clinics_of_the_caller(archive: Archive, path: str, caller: str) -> None:
    uids = f"StudyInstanceUID={archive.a.study},{archive.b.study}"
    rows = archive.rows(caller, f"{path}?{uids}&includefield=all")
    found = {row["0020000D"]["Value"][0] for row in rows}
    assert found == {getattr(archive, which).study for which in FINDERS[caller]}
    assert all(row[SEARCHES[path]]["Value"] for row in rows)


@pytest.mark.parametrize("caller", ["nobody", "technician-a", "monitoring"])
@pytest.mark.parametrize("path", SEARCHES)
def test_who_may_not_search_is_told_so(archive: Archive, path: str, caller: str) -> None:
    assert archive.ask("physician-a", path).status_code == 200
    answer = archive.ask(caller, path)
    assert answer.status_code == (401 if caller == "nobody" else 403)
    assert_reason(answer)


@pytest.mark.parametrize(
    "trick",
    [
        "InstitutionName=clinic-b",
        "00080080=clinic-b",
        "0008,0080=clinic-b",
        "institutionname=clinic-b",
        "InstitutionName=*",
        "InstitutionName=clinic-a&InstitutionName=clinic-b",
        "InstitutionName=clinic-a,clinic-b",
        "InstitutionName=clinic-a%5Cclinic-b",
        "%49nstitutionName=clinic-b",
        "InstitutionName=",
        "includefield=all&fuzzymatching=true",
        "StudyInstanceUID={b}",
        "StudyInstanceUID={a},{b}",
        "StudyInstanceUID={a}%5C{b}",
        "limit=1000&offset=0",
    ],
)
def test_no_spelling_of_a_query_finds_another_clinics_study(archive: Archive, trick: str) -> None:
    query = trick.format(a=archive.a.study, b=archive.b.study)
    for path in ("studies", "series", "instances"):
        found = json.dumps(archive.rows("physician-a", f"/dicom-web/{path}?{query}"))
        assert archive.b.study not in found
        assert archive.b.study in json.dumps(
            archive.rows("physician-b", f"/dicom-web/{path}?StudyInstanceUID={archive.b.study}")
        )


def test_a_search_below_a_foreign_study_answers_as_below_an_absent_one(archive: Archive) -> None:
    for level in ("/series", "/instances"):
        assert archive.rows("physician-b", archive.b.in_study + level)
        foreign = archive.ask("physician-a", archive.b.in_study + level)
        absent = archive.ask("physician-a", ABSENT.in_study + level)
        assert seen(foreign) == seen(absent)
        assert foreign.json() == []


@pytest.mark.parametrize("query", ["limit=x", "offset=-1", "StudyInstanceUID=1.2.*"])
def test_a_query_that_makes_no_sense_is_refused(archive: Archive, query: str) -> None:
    assert archive.ask("physician-a", f"/dicom-web/studies?{query}").status_code == 400


@pytest.mark.parametrize("level", ["studies", "instances"])
def test_pages_of_two_clinics_joined_equal_the_whole(archive: Archive, level: str) -> None:
    query = f"StudyInstanceUID={archive.a.study},{archive.b.study}"
    whole = archive.rows("physician-ab", f"/dicom-web/{level}?{query}")
    assert len(whole) == {"studies": 2, "instances": 4}[level]
    pages = [
        archive.rows("physician-ab", f"/dicom-web/{level}?{query}&limit=1&offset={offset}")
        for offset in range(len(whole) + 1)
    ]
    assert [row for page in pages for row in page] == whole


# Per route: who gets an answer; everybody else who has a token gets the status named.
OTHERS: Mapping[str, tuple[set[str], int]] = {
    "/orthanc/system": ({"admin-x", "importer"}, 403),
    "/orthanc/statistics": ({"admin-x", "importer"}, 403),
    "/orthanc/changes": ({"admin-x", "importer"}, 403),
    "/orthanc/studies": ({"admin-x", "importer"}, 403),
    "/orthanc/tools/metrics-prometheus": ({"monitoring"}, 403),
    "/orthanc/instances": (set(), 404),
    "/orthanc/patients": (set(), 404),
    "/orthanc/jobs": (set(), 404),
    "/orthanc/plugins": (set(), 404),
    "/orthanc/modalities": (set(), 404),
    "/orthanc/app/explorer.html": (set(), 404),
    "/orthanc/tools/execute-script": (set(), 404),
    "/dicom-web/servers": (set(), 404),
    "/dicom-web/info": (set(), 404),
    "/dicom-web/app/client/index.html": (set(), 404),
}
CALLERS = ("physician-a", "technician-a", "no-clinic", "admin-x", "importer", "monitoring")


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("path", OTHERS)
def test_orthancs_own_routes_are_closed_but_for_a_few(
    archive: Archive, path: str, caller: str
) -> None:
    who, otherwise = OTHERS[path]
    answer = archive.ask(caller, path)
    assert answer.status_code == (200 if caller in who else otherwise)


@pytest.mark.parametrize("path", OTHERS)
def test_without_a_token_no_route_tells_whether_it_exists(archive: Archive, path: str) -> None:
    assert archive.ask("nobody", path).status_code == 401
    nowhere = archive.ask("nobody", "/orthanc/nowhere")
    assert seen(archive.ask("nobody", path)) == seen(nowhere)


@pytest.mark.parametrize("caller", ["nobody", *CALLERS])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nobody_writes_through_the_public_address(
    archive: Archive, caller: str, method: str
) -> None:
    # Storing is in test_store.py.
    stored = ("/dicom-web/studies", archive.a.in_study) if method != "POST" else ()
    for path in (*stored, archive.a.in_series, "/orthanc/tools/lookup"):
        answer = archive.ask(caller, path, method)
        assert answer.status_code == (401 if caller == "nobody" else 405)
    assert archive.ask("physician-a", archive.a.in_study + "/metadata").status_code == 200


@pytest.mark.parametrize(
    "trick",
    [
        lambda o: (f"{o.in_study}?_method=DELETE", {}),
        lambda o: (o.in_study, {"X_HTTP_Method_Override": "DELETE"}),
        lambda _: ("/orthanc/studies?_method=PUT", {}),
    ],
)
def test_a_method_in_disguise_changes_nothing(
    archive: Archive, trick: Callable[[Stored], tuple[str, dict[str, str]]]
) -> None:
    path, headers = trick(archive.a)
    for caller in ("physician-a", "admin-x", "importer"):
        archive.ask(caller, path, "GET", **headers)
    assert archive.ask("physician-a", f"{archive.a.in_study}/metadata").status_code == 200


def test_every_uri_inside_metadata_points_at_the_public_address(archive: Archive) -> None:
    forged = {"X_Forwarded_Host": "attacker.example", "Forwarded": "host=attacker.example"}
    metadata = archive.ask("physician-a", f"{archive.a.in_study}/metadata", **forged).json()
    rows = archive.ask("physician-a", "/dicom-web/instances?limit=5", **forged).json()
    uris = list(_uris(metadata)) + list(_uris(rows))
    assert any(uri.upper().endswith("/BULK/7FE00010") for uri in uris)
    assert all(uri.startswith(f"{archive.stack.url}/dicom-web/studies/") for uri in uris)
    bulk = next(uri for uri in uris if "/bulk/" in uri)
    path = bulk.removeprefix(archive.stack.url)
    assert archive.ask("physician-a", path).status_code == 200
    assert archive.ask("physician-b", path).status_code == 404


def _uris(value: Any) -> list[str]:  # noqa: ANN401 - DICOM JSON
    """Return every bulk data URI and retrieve URL in DICOM JSON."""
    if isinstance(value, list):
        return [uri for item in value for uri in _uris(item)]
    if not isinstance(value, dict):
        return []
    own = [value["BulkDataURI"]] if "BulkDataURI" in value else []
    own += value["Value"] if value.get("vr") == "UR" else []
    return own + [uri for item in value.values() for uri in _uris(item)]


def test_a_token_that_is_not_an_access_token_of_this_realm_opens_nothing(
    archive: Archive, people: People
) -> None:
    good = people.all_tokens("physician-a")
    head, body, signature = good["access_token"].split(".")
    bad = {
        "refresh": good["refresh_token"],
        "id": good.get("id_token", ""),
        "unsigned": f"{head}.{body}.",
        "cut": f"{head}.{body}.{signature[:-8]}",
        "text": "x.y.z",
    }
    forged = Archive(archive.stack, bad.__getitem__, archive.a, archive.b)
    for name in bad:
        for path in (archive.a.in_study, "/dicom-web/studies", archive.a.wado_uri):
            answer = forged.ask(name, path)
            assert answer.status_code in (400, 401), f"{name}: {answer.status_code}"


def test_an_own_study_without_the_object_asked_for_is_absent(archive: Archive) -> None:
    assert archive.ask("physician-a", archive.a.path).status_code == 200
    missing = Stored(archive.a.study, archive.a.series, generate_uid())
    assert archive.ask("physician-a", missing.path).status_code == 404
