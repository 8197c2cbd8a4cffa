"""Only the routes on the list exist, in exactly one spelling each."""

from __future__ import annotations

import pytest
from clinic_access.routes import Access, Route, inner_path, is_uid, parse, query_pairs
from hypothesis import given
from hypothesis import strategies as st

STUDY, SERIES, INSTANCE = "1.2.3", "1.2.3.4", "1.2.3.4.5"
ID = "0f1e2d3c-4b5a6978-8796a5b4-c3d2e1f0-0f1e2d3c"
S = f"/dicom-web/studies/{STUDY}"
E = f"{S}/series/{SERIES}"
I = f"{E}/instances/{INSTANCE}"  # noqa: E741 - the three levels S, E and I as PS3.4 abbreviates them

ALLOWED = [
    ("GET", "/clinic-search/studies", Route(Access.SEARCH)),
    ("GET", "/clinic-search/instances", Route(Access.SEARCH)),
    ("GET", f"/clinic-search/studies/{STUDY}/series", Route(Access.SEARCH, STUDY)),
    (
        "GET",
        f"/clinic-search/studies/{STUDY}/series/{SERIES}/instances",
        Route(Access.SEARCH, STUDY, SERIES),
    ),
    *(
        ("GET", S + end, Route(Access.RETRIEVE, STUDY))
        for end in ("", "/metadata", "/rendered", "/thumbnail")
    ),
    *(
        ("GET", E + end, Route(Access.RETRIEVE, STUDY, SERIES))
        for end in ("", "/metadata", "/thumbnail")
    ),
    *(
        ("GET", I + end, Route(Access.RETRIEVE, STUDY, SERIES, INSTANCE))
        for end in (
            "",
            "/metadata",
            "/rendered",
            "/thumbnail",
            "/frames",
            "/frames/1",
            "/frames/1,2,30",
            "/frames/7/rendered",
            "/frames/7/thumbnail",
            "/bulk/7FE00010",
            "/bulk/00081140/1/00091010",
        )
    ),
    ("POST", "/dicom-web/studies", Route(Access.STORE)),
    ("POST", "/instances", Route(Access.STORE)),
    ("POST", S, Route(Access.STORE)),
    ("GET", "/studies", Route(Access.NATIVE_READ)),
    ("GET", f"/series/{ID}", Route(Access.NATIVE_READ)),
    ("POST", "/clinic-access/held", Route(Access.VERIFY)),
    ("POST", "/clinic-access/aged", Route(Access.VERIFY)),
    ("POST", "/clinic-access/files", Route(Access.VERIFY)),
    ("POST", "/clinic-access/set-aside", Route(Access.REMOVE)),
    ("POST", "/tools/lookup", Route(Access.VERIFY)),
    ("GET", f"/instances/{ID}/attachments/dicom/md5", Route(Access.VERIFY)),
    ("POST", f"/studies/{ID}/update-dicomweb-cache", Route(Access.VERIFY)),
    ("DELETE", f"/instances/{ID}", Route(Access.REMOVE)),
    ("DELETE", f"/studies/{ID}", Route(Access.REMOVE)),
    ("GET", "/tools/metrics-prometheus", Route(Access.METRICS)),
    ("GET", "/health", Route(Access.HEALTH)),
]

DENIED = [
    ("GET", "/"),
    ("GET", ""),
    # Orthanc's own search, which knows no clinics, and its client for other archives.
    ("GET", "/dicom-web/studies"),
    ("GET", f"{S}/series"),
    ("GET", f"{E}/instances"),
    ("GET", "/dicom-web/servers"),
    ("GET", "/dicom-web/info"),
    ("GET", "/dicom-web/app/client/index.html"),
    # Spellings of what is allowed.
    ("GET", "/dicom-web/studies/"),
    ("GET", f"{S}/"),
    ("GET", f"/{S}"),
    ("GET", f"/dicom-web//studies/{STUDY}"),
    ("GET", f"/dicom-web/./studies/{STUDY}"),
    ("GET", f"/dicom-web/../dicom-web/studies/{STUDY}"),
    ("GET", f"/DICOM-WEB/studies/{STUDY}"),
    ("GET", f"{S}/METADATA"),
    ("GET", f"{S};x/metadata"),
    ("GET", f"{S}\n"),
    ("GET", f"{S}/metadata\n"),
    ("GET", f"{S}%2Fmetadata"),
    ("GET", f"{S}\x00"),
    # What Orthanc would take for any study, or for several.
    ("GET", "/dicom-web/studies/*"),
    ("GET", "/dicom-web/studies/1.2.*/metadata"),
    ("GET", f"{S}\\1.2.4"),
    ("GET", f"{S},1.2.4"),
    ("GET", "/dicom-web/studies/."),
    ("GET", "/dicom-web/studies/1..2"),
    ("GET", "/dicom-web/studies/1.2."),
    ("GET", f"/dicom-web/studies/{'1' * 65}"),
    ("GET", f"{I}/frames/0"),
    ("GET", f"{I}/frames/1,"),
    ("GET", f"{I}/bulk/../../x"),
    ("GET", f"{I}/bulk/7FE00010/"),
    ("POST", f"{S}/series"),
    ("DELETE", S),
    ("PUT", S),
    ("", S),
    ("get", S),
    ("GET", "/instances"),
    ("PUT", "/instances"),
    ("DELETE", f"/series/{ID}"),
    ("DELETE", f"/patients/{ID}"),
    ("DELETE", f"/studies/{ID}/"),
    ("DELETE", f"/studies/{ID},{ID}"),
    ("DELETE", f"/studies/{STUDY}"),
    ("DELETE", "/studies"),
    ("DELETE", "/instances"),
    ("DELETE", f"/instances/{ID}/metadata/1024"),
    ("DELETE", f"/instances/{ID}/attachments/dicom"),
    ("PUT", f"/instances/{ID}"),
    ("GET", f"/studies/{ID}/update-dicomweb-cache"),
    ("POST", f"/studies/{ID}/reconstruct"),
    ("POST", "/tools/bulk-delete"),
    ("GET", f"/studies/{ID}/archive"),
    ("GET", f"/studies/{ID.upper()}"),
    ("POST", "/tools/bulk-content"),
    ("POST", "/tools/execute-script"),
    ("POST", "/tools/reset"),
    ("GET", "/wado"),
    ("POST", "/wado"),
]


@pytest.mark.parametrize(("method", "path", "route"), ALLOWED)
def test_a_listed_route_is_found_with_its_uids(method: str, path: str, route: Route) -> None:
    assert parse(method, path, ()) == route


@pytest.mark.parametrize(("method", "path"), DENIED)
def test_what_is_not_listed_does_not_exist(method: str, path: str) -> None:
    assert parse(method, path, ()) is None


WADO = {
    "requestType": "WADO",
    "studyUID": STUDY,
    "seriesUID": SERIES,
    "objectUID": INSTANCE,
    "contentType": "application/dicom",
}


def test_wado_uri_names_all_three_levels() -> None:
    assert parse("GET", "/wado", tuple(WADO.items())) == Route(
        Access.RETRIEVE, STUDY, SERIES, INSTANCE
    )
    viewer = tuple((WADO | {"transferSyntax": "*"}).items())
    assert parse("GET", "/wado", viewer) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"requestType": "wado"},
        {"studyUID": ""},
        {"studyUID": "*"},
        {"seriesUID": f"{SERIES},1.9"},
        {"objectUID": "1.2.3.4.?"},
        {"STUDYUID": STUDY},
        {"anonymize": "yes"},
        {"frameNumber": "2"},
        {"_method": "DELETE"},
        {"transferSyntax": "1.2.840.10008.1.2"},
    ],
)
def test_wado_uri_with_a_doubtful_key_does_not_exist(changes: dict[str, str]) -> None:
    assert parse("GET", "/wado", tuple((WADO | changes).items())) is None


@pytest.mark.parametrize("missing", ["requestType", "studyUID", "seriesUID", "objectUID"])
def test_wado_uri_without_one_of_its_keys_does_not_exist(missing: str) -> None:
    assert parse("GET", "/wado", tuple((k, v) for k, v in WADO.items() if k != missing)) is None


def test_wado_uri_with_a_key_twice_does_not_exist() -> None:
    for key, value in WADO.items():
        assert parse("GET", "/wado", (*WADO.items(), (key, value))) is None


@pytest.mark.parametrize(
    ("method", "uri", "path"),
    [
        ("GET", "/dicom-web/studies?limit=1", "/clinic-search/studies"),
        ("GET", f"/dicom-web/studies/{STUDY}/series", f"/clinic-search/studies/{STUDY}/series"),
        (
            "GET",
            f"/orthanc{E}/instances",
            f"/clinic-search/studies/{STUDY}/series/{SERIES}/instances",
        ),
        ("POST", "/dicom-web/studies", "/dicom-web/studies"),
        ("GET", f"{S}/metadata", f"{S}/metadata"),
        ("GET", "/orthanc/system", "/system"),
        ("GET", "/dicom-web/%73tudies", "/clinic-search/studies"),
        ("GET", "/dicom-web/studies%2f1.2", "/dicom-web/studies/1.2"),
    ],
)
def test_a_public_uri_is_mapped_as_nginx_maps_it(method: str, uri: str, path: str) -> None:
    assert inner_path(method, uri) == path


def test_a_uri_is_split_at_the_question_mark_alone() -> None:
    assert query_pairs("//[?a=1#&a=2") == [("a", "1#"), ("a", "2")]
    assert inner_path("GET", "/dicom-web/studies#x?y") == "/dicom-web/studies#x"
    assert inner_path("GET", "//host/dicom-web/studies") == "//host/dicom-web/studies"


def test_a_query_keeps_its_duplicates() -> None:
    assert query_pairs("/wado?a=1&a=2&b=%2C&c=") == [("a", "1"), ("a", "2"), ("b", ","), ("c", "")]


@given(st.text(alphabet="0123456789.*?\\,-\n ab", max_size=70))
def test_a_uid_is_digits_and_single_dots(text: str) -> None:
    expected = 0 < len(text) <= 64 and all(p.isascii() and p.isdigit() for p in text.split("."))
    assert is_uid(text) is expected
