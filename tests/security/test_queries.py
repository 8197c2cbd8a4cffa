"""Query tricks: no spelling of a search, a path or a header gives anything of another clinic."""

from __future__ import annotations

import ssl
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from dicom_importer.door import UPLOADS_EACH
from harness.raw import connection, exchange, first, request, statuses
from hypothesis import given, settings
from hypothesis import strategies as st
from security.scene import MULTIPART, Stored, bearer, changed, dated, made, part, seen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from security.scene import Scene

PROMPT_S = 10
# nginx waits 15 s for the next piece of a header or a body.
PATIENCE_S = 40

MIXED: Mapping[str, Callable[[Stored, Stored], str]] = {
    "foreign series": lambda a, b: f"{a.in_study}/series/{b.series}/metadata",
    "foreign instance": lambda a, b: f"{a.in_series}/instances/{b.instance}",
    "foreign series and instance": lambda a, b: (
        f"{Stored(a.study, b.series, b.instance).path}/frames/1"
    ),
    "foreign study of an own series": lambda a, b: f"{Stored(b.study, a.series, a.instance).path}",
    "list of studies": lambda a, b: f"{a.in_study},{b.study}/metadata",
    "list of series": lambda a, b: f"{a.in_series},{b.series}/metadata",
    "list of instances": lambda a, b: f"{a.path},{b.instance}/metadata",
    "list by backslash": lambda a, b: f"{a.in_study}%5C{b.study}/metadata",
    "bulk data of a foreign instance": lambda a, b: (
        f"{Stored(a.study, b.series, b.instance).path}/bulk/7FE00010"
    ),
    "search below a foreign series": lambda a, b: f"{a.in_study}/series/{b.series}/instances",
    "WADO-URI of a foreign object": lambda a, b: Stored(a.study, a.series, b.instance).wado_uri,
    "WADO-URI of a foreign series": lambda a, b: Stored(a.study, b.series, b.instance).wado_uri,
    "WADO-URI with the study twice": lambda a, b: f"{a.wado_uri}&studyUID={b.study}",
    "WADO-URI with the object twice": lambda a, b: f"{b.wado_uri}&studyUID={a.study}",
    "WADO-URI with an encoded key": lambda a, b: f"{b.wado_uri}&%73tudyUID={a.study}",
    "WADO-URI with two lists": lambda a, b: (
        f"{Stored(f'{a.study},{b.study}', f'{a.series},{b.series}', b.instance).wado_uri}"
    ),
    "WADO-URI without the study": lambda _, b: b.wado_uri.replace("studyUID", "study"),
    "WADO-URI by semicolons": lambda a, b: f"{a.wado_uri};studyUID={b.study}",
}


@pytest.mark.parametrize("trick", MIXED)
def test_uids_of_two_clinics_in_one_request_give_nothing_of_the_other(
    scene: Scene, trick: str
) -> None:
    own, other = scene.own, scene.other
    for thing in (own, other):
        assert scene.ask("physician-ab", thing.path).status_code == 200
    answer = scene.ask("physician-a", MIXED[trick](own, other))
    assert answer.status_code in (400, 404) or answer.json() == []
    assert other.series not in answer.text
    assert other.instance not in answer.text


@pytest.mark.parametrize(
    "line",
    [
        "GET {wado}#&studyUID=2.25.1",
        "GET {wado}%23&studyUID=2.25.1",
        "GET {I}#/../../../../../../studies",
        "GET {S}/metadata#",
        "GET {S}\xff/metadata",
        "GET {wado}&studyUID\xff=1",
        "GET /dicom-web/\xff",
        "GET http://attacker.example{S}/metadata",
        "GET {authority}{S}/metadata",
    ],
)
def test_a_line_that_two_servers_may_read_differently_gives_nothing_of_another(
    scene: Scene, line: str
) -> None:
    url = scene.stack.url
    physician = authorization(scene, "physician-a")
    for thing, allowed in ((scene.other, {400, 404}), (scene.own, {200, 400, 404})):
        asked = thing.fill(line.replace("{authority}", url))
        status, body = first(url, scene.stack.ca_file, request(url, asked, physician))
        assert status in allowed
        assert status == 200 or thing.study.encode() not in body


@pytest.mark.parametrize("end", ["", "/metadata", "/frames/1", "/bulk/7FE00010", "/thumbnail"])
def test_below_an_own_study_what_is_foreign_is_as_absent_as_what_is_nowhere(
    scene: Scene, end: str
) -> None:
    own, other, nowhere = scene.own, scene.other, scene.absent
    assert scene.ask("physician-a", own.path + end).status_code == 200
    for mixed in (
        [Stored(own.study, own.series, thing.instance) for thing in (other, nowhere)],
        [Stored(own.study, thing.series, thing.instance) for thing in (other, nowhere)],
    ):
        foreign, absent = (seen(scene.ask("physician-a", thing.path + end)) for thing in mixed)
        assert foreign == absent
        assert foreign[0] == 404


PIECES = (
    *(
        "InstitutionName=clinic-b",
        "00080080=clinic-b",
        "0008,0080=clinic-b",
        "0008%2C0080=clinic-b",
    ),
    *("institutionname=clinic-b", "INSTITUTIONNAME=clinic-b", "InstitutionName=CLINIC-B"),
    *("InstitutionName=*", "InstitutionName=clinic-?", "InstitutionName=", "InstitutionName"),
    "InstitutionName=clinic-a&InstitutionName=clinic-b",
    *("InstitutionName=clinic-a,clinic-b", "InstitutionName=clinic-a%5Cclinic-b"),
    *("%49nstitutionName=clinic-b", "Institution%4Eame=clinic-b", "InstitutionName%00=clinic-b"),
    *("InstitutionName%20=clinic-b", "+InstitutionName=clinic-b", "InstitutionName[]=clinic-b"),
    *("RequestAttributesSequence.InstitutionName=clinic-b", "00400275.00080080=clinic-b"),
    *("includefield=all", "includefield=00080080", "includefield=InstitutionName"),
    *("includefield=RequestAttributesSequence", "includefield=00400275.00080080"),
    *("includefield=7FE00010", "fuzzymatching=true", "emptyvaluematching=true"),
    *(
        "StudyInstanceUID={other}",
        "StudyInstanceUID={own},{other}",
        "StudyInstanceUID={own}%5C{other}",
    ),
    *("StudyInstanceUID={own}&StudyInstanceUID={other}", "0020000D={other}", "0020000d={other}"),
    *("SeriesInstanceUID={other_series}", "SOPInstanceUID={other_instance}"),
    *("PatientID={other_patient}", "PatientID=*", "PatientName=*", "PatientName=Phantom^One"),
    *("StudyDate=19000101-29991231", "ModalitiesInStudy=CT", "limit=1000&offset=0", "limit=0"),
    *("limit=1000", "offset=1", "offset=999999", "_method=GET", "expand=true", "since=0"),
    *(";InstitutionName=clinic-b", "%26InstitutionName=clinic-b", "x=1%26InstitutionName=clinic-b"),
)


def fill(scene: Scene, query: str) -> str:
    """Put the UIDs of the own and the other study into a query."""
    own, other = scene.own, scene.other
    return query.format(
        own=own.study,
        other=other.study,
        other_series=other.series,
        other_instance=other.instance,
        other_patient=other.patient,
    )


def assert_nothing_of_another(scene: Scene, path: str) -> None:
    """Assert that physician-a finds nothing of clinic-b, and nothing of no clinic."""
    answer = scene.ask("physician-a", path)
    assert answer.status_code in (200, 400), path
    for name in ("other", "unowned"):
        thing = scene.objects[name]
        assert not [
            uid for uid in (thing.study, thing.series, thing.instance) if uid in answer.text
        ]
    if answer.status_code == 200:
        rows = answer.json()
        clinics = {value for row in rows for value in row["00080080"]["Value"]}
        assert clinics <= {"clinic-a"}


@pytest.mark.parametrize("piece", PIECES)
def test_no_spelling_of_a_query_finds_another_clinics_study(scene: Scene, piece: str) -> None:
    query = fill(scene, piece)
    for level in ("studies", "series", "instances"):
        assert_nothing_of_another(scene, f"/dicom-web/{level}?{query}")
        uid = f"StudyInstanceUID={scene.other.study}"
        assert scene.rows("physician-ab", f"/dicom-web/{level}?{uid}")


def test_no_combination_of_spellings_finds_another_clinics_study(scene: Scene) -> None:
    levels = st.sampled_from(["studies", "series", "instances"])
    pieces = st.lists(st.sampled_from(PIECES), min_size=2, max_size=5)

    @settings(max_examples=200)
    @given(levels, pieces)
    def holds(level: str, chosen: list[str]) -> None:
        assert_nothing_of_another(scene, f"/dicom-web/{level}?{fill(scene, '&'.join(chosen))}")

    holds()


def test_no_key_and_no_value_finds_another_clinics_study(scene: Scene) -> None:
    keys = st.sampled_from(["InstitutionName", "00080080", "PatientID", "includefield"]) | st.text(
        max_size=12
    )
    values = st.sampled_from(["clinic-b", "*", scene.other.study, "all"]) | st.text(max_size=12)

    @settings(max_examples=200)
    @given(st.lists(st.tuples(keys, values), max_size=4))
    def holds(pairs: list[tuple[str, str]]) -> None:
        query = urlencode(pairs, errors="surrogatepass")
        assert_nothing_of_another(scene, f"/dicom-web/studies?{query}")

    holds()


def test_a_search_below_a_foreign_study_answers_as_below_an_absent_one(scene: Scene) -> None:
    for level in ("/series", "/instances", "/series?includefield=all", "/instances?limit=1"):
        assert scene.rows("physician-ab", scene.other.in_study + level)
        foreign = scene.ask("physician-a", scene.other.in_study + level)
        absent = scene.ask("physician-a", scene.absent.in_study + level)
        assert seen(foreign) == seen(absent)
        assert foreign.json() == []


@pytest.mark.parametrize(
    "query", ["limit=x", "offset=-1", "limit=1.5", "StudyInstanceUID=1.2.*", "PatientID=%00"]
)
def test_a_query_that_makes_no_sense_is_refused(scene: Scene, query: str) -> None:
    assert scene.ask("physician-a", f"/dicom-web/studies?{query}").status_code == 400
    assert scene.ask("physician-a", "/dicom-web/studies?limit=1").status_code == 200


@pytest.mark.parametrize("level", ["studies", "series", "instances"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_pages_of_two_clinics_joined_equal_the_whole(scene: Scene, level: str, size: int) -> None:
    things = [(clinic, made(200 + n)) for n, clinic in enumerate(("clinic-a", "clinic-b") * 3)]
    scene.drop(things)
    uids = ",".join(thing.study for _, thing in things)
    query = f"/dicom-web/{level}?StudyInstanceUID={uids}"
    whole = scene.rows("physician-ab", query)
    assert {row["0020000D"]["Value"][0] for row in whole} == set(uids.split(","))
    pages = [
        scene.rows("physician-ab", f"{query}&limit={size}&offset={offset}")
        for offset in range(0, len(whole) + size, size)
    ]
    assert [row for page in pages for row in page] == whole
    for mine, clinic in (("physician-a", "clinic-a"), ("physician-b", "clinic-b")):
        rows = scene.rows(mine, query)
        assert rows == [row for row in whole if row["00080080"]["Value"] == [clinic]]
        assert len(rows) == 3


def test_studies_are_listed_the_newest_first_and_without_a_date_last(scene: Scene) -> None:
    times = [("20260301", "130000"), ("20260301", "120000"), ("20260228", ""), ("", "110000")]
    things = [dated(made(220 + n), day, at) for n, (day, at) in enumerate(times)]
    things.append(dated(made(229), None, None))
    clinics = ("clinic-a", "clinic-b", "clinic-a", "clinic-b", "clinic-a")
    scene.drop([*zip(reversed(clinics), reversed(things), strict=True)])

    def listed(caller: str, query: str = "") -> list[str]:
        rows = scene.rows(caller, f"/dicom-web/studies?{query}")
        return [str(row["0020000D"]["Value"][0]) for row in rows]

    for caller, whose in (
        ("physician-a", {"clinic-a"}),
        ("physician-b", {"clinic-b"}),
        ("physician-ab", {"clinic-a", "clinic-b"}),
        ("admin-x", {"clinic-a", "clinic-b"}),
    ):
        mine = [t.study for t, clinic in zip(things, clinics, strict=True) if clinic in whose]
        whole = listed(caller)
        assert [uid for uid in whole if uid in mine] == mine
        assert not {t.study for t in things} - {*mine} & {*whole}
        pages = [listed(caller, f"limit=7&offset={at}") for at in range(0, len(whole) + 7, 7)]
        assert [uid for page in pages for uid in page] == whole
        for dates, which in (
            ("20260228-20260301", slice(0, 3)),
            ("20260301-", slice(0, 2)),
            ("20260301", slice(0, 2)),
            ("-20260228", slice(2, 4)),
        ):
            expected = [t.study for t in things[which] if t.study in mine]
            found = listed(caller, f"StudyDate={dates}")
            assert [uid for uid in found if uid in mine] == expected
            # Orthanc's own comparison, which a condition beside the date leads to, agrees.
            assert set(listed(caller, f"StudyDate={dates}&PatientID=P-*")) <= set(found)


ODD: tuple[dict[str, str | None], ...] = (
    {},
    dict.fromkeys(("PatientName", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"), ""),
    dict.fromkeys(("StudyID", "AccessionNumber", "StudyDate", "StudyTime", "StudyDescription"), ""),
    dict.fromkeys(("PatientName", "StudyID", "AccessionNumber", "StudyDescription"), None),
    {
        "SpecificCharacterSet": "\\ISO 2022 IR 87",
        "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    },
    {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Ли́за^Ⅷ=王^小東", "StudyID": "№ 7"},
    {"SpecificCharacterSet": "ISO_IR 100", "StudyDescription": 'Zähne "3\'8" <b>&amp;</b>'},
    {"ReferringPhysicianName": "A^B\\C^D=E", "StudyID": "1\\2", "PatientName": "^\\X^^^"},
    {"PatientName": "  Doe ^ John  ", "StudyDescription": " two  spaces ", "AccessionNumber": "  "},
    {"PatientName": "^^^", "StudyID": "\\", "StudyDescription": "a\tb\r\nc"},
)


def test_the_row_of_a_study_is_the_one_that_the_dicomweb_plugin_makes(scene: Scene) -> None:
    things = [changed(made(240 + n), **values) for n, values in enumerate(ODD)]
    scene.drop([("clinic-a", thing) for thing in things])
    asked = f"/dicom-web/studies?StudyInstanceUID={','.join(t.study for t in things)}"
    asked += "&includefield=StudyDescription"
    rows = scene.rows("physician-a", asked)
    assert len(rows) == len(things)
    # What is made of the files is asked of the plugin.
    theirs = scene.rows("physician-a", f"{asked},SOPClassesInStudy")
    assert all(row.pop("00080062") for row in theirs)
    for row, its in zip(rows, theirs, strict=True):
        assert row == its


def test_a_cache_warmed_by_one_clinic_opens_nothing_to_another(scene: Scene) -> None:
    own, other = made(210), made(211)
    scene.drop([("clinic-a", own), ("clinic-b", other)])
    ends = ("", "/metadata", "/series", "/thumbnail")
    for warm, cold, thing in (
        ("physician-a", "physician-b", own),
        ("physician-b", "physician-a", other),
    ):
        before = [seen(scene.ask(cold, scene.absent.in_study + end)) for end in ends]
        for _ in range(3):
            for end in ends:
                assert scene.ask(warm, thing.in_study + end).status_code == 200
                assert scene.ask("admin-x", thing.in_study + end).status_code == 200
            # Over the same connection too, which a proxy may take for the same person.
            token = bearer(scene.token(cold))
            for whose in (warm, cold):
                urls = [scene.stack.url + thing.in_study + end for end in ends]
                assert [seen(scene.send(whose, url, "GET", token, None)) for url in urls] == before


FORGED = {
    "Forwarded": "for=127.0.0.1;host=attacker.example;proto=http",
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Host": "attacker.example",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Prefix": "/attacker",
    "X-Forwarded-User": "admin-x",
    "X-Real-IP": "127.0.0.1",
    "X-Original-Method": "DELETE",
    "X-Original-URI": "/health",
    "X-Rewrite-URL": "/orthanc/studies",
    "X-Accel-Redirect": "/store/dicom-web/studies",
    "X-HTTP-Method-Override": "DELETE",
    "X-HTTP-Method": "DELETE",
    "X-Method-Override": "DELETE",
    "X_Forwarded_For": "127.0.0.1",
    "X_Original_URI": "/health",
    "Connection": "close, Authorization, X-Forwarded-For, X-Original-URI",
    "Upgrade": "h2c",
    "TE": "trailers",
    "Via": "1.1 attacker.example",
    "Max-Forwards": "0",
    "Origin": "https://attacker.example",
}


@pytest.mark.parametrize("name", FORGED)
def test_a_header_that_claims_something_changes_nothing(scene: Scene, name: str) -> None:
    forged = {name: FORGED[name]}
    for caller, path in (
        ("physician-a", f"{scene.own.in_study}/metadata"),
        ("physician-a", f"{scene.other.in_study}/metadata"),
        ("physician-a", scene.other.wado_uri),
        ("physician-a", "/orthanc/system"),
        ("nobody", f"{scene.own.in_study}/metadata"),
        ("nobody", "/orthanc/health"),
        ("importer", f"{scene.own.in_study}/metadata"),
        ("technician-a", "/dicom-web/studies?limit=1"),
    ):
        plain, claimed = (scene.ask(caller, path, headers=h) for h in ({}, forged))
        assert alike(plain) == alike(claimed)
        assert "attacker" not in claimed.text + str(claimed.headers)
    assert scene.ask("physician-a", f"{scene.own.in_study}/metadata").status_code == 200


def alike(answer: Any) -> tuple[object, ...]:  # noqa: ANN401 - a response
    """Return what is the same for the same question, however the connection was meant to go on."""
    status, content, headers = seen(answer)
    return status, content, {k: v for k, v in headers.items() if k.lower() != "connection"}


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("{S}?_method=DELETE", {}),
        ("/orthanc/studies/{study_id}?_method=DELETE", {}),
        ("/orthanc/studies/{study_id}?%5Fmethod=DELETE", {}),
        ("/orthanc/studies/{study_id}?_method=PUT&_method=DELETE", {}),
        ("/orthanc/instances/{instance_id}?_METHOD=DELETE", {}),
        ("/orthanc/studies/{study_id}", {"X-HTTP-Method-Override": "DELETE"}),
    ],
)
def test_a_method_in_disguise_changes_nothing(
    scene: Scene, path: str, header: dict[str, str]
) -> None:
    for caller in ("physician-a", "admin-x", "importer", "technician-a"):
        answer = scene.ask(caller, scene.own.fill(path), headers=header)
        assert answer.status_code in (200, 403, 404)
    assert scene.ask("physician-a", f"{scene.own.in_study}/metadata").status_code == 200


def test_every_uri_inside_metadata_points_at_the_public_address(scene: Scene) -> None:
    forged = {"X-Forwarded-Host": "attacker.example", "Forwarded": "host=attacker.example"}
    own = scene.own.in_study
    asked = (f"{own}/metadata", f"{own}/instances", f"{own}/series", "/dicom-web/instances?limit=5")
    answers = [scene.ask("physician-a", path, headers=forged).json() for path in asked]
    uris = list(_uris(answers))
    assert any(uri.upper().endswith("/BULK/7FE00010") for uri in uris)
    assert all(uri.startswith(f"{scene.stack.url}/dicom-web/studies/") for uri in uris)
    frames = scene.ask("physician-a", f"{scene.own.path}/frames/1", headers=forged)
    assert f"Content-Location: {scene.stack.url}/dicom-web/studies/".encode() in frames.content
    bulk = next(uri for uri in uris if "/bulk/" in uri).removeprefix(scene.stack.url)
    assert scene.ask("physician-a", bulk).status_code == 200
    assert scene.ask("physician-b", bulk).status_code == 404


def _uris(value: Any) -> list[str]:  # noqa: ANN401 - DICOM JSON
    """Return every bulk data URI and retrieve URL in DICOM JSON."""
    if isinstance(value, list):
        return [uri for item in value for uri in _uris(item)]
    if not isinstance(value, dict):
        return []
    own = [value["BulkDataURI"]] if "BulkDataURI" in value else []
    own += value["Value"] if value.get("vr") == "UR" else []
    return own + [uri for item in value.values() for uri in _uris(item)]


# What two servers could read as requests of different length.
SMUGGLING = (
    ("Content-Length: {length}", "Transfer-Encoding: chunked"),
    ("Transfer-Encoding: chunked", "Content-Length: 5"),
    ("Content-Length: 5", "Content-Length: {length}"),
    ("Content-Length: 5, {length}",),
    ("Content-Length: +5",),
    ("Content-Length: 0x5",),
    ("Content-Length: -1",),
    ("Content-Length: 5 5",),
    ("Content-Length : 5",),
    ("Content-Length: 99999999999999999999",),
    ("Transfer-Encoding: xchunked",),
    ("Transfer-Encoding: chunked, identity",),
    ("Transfer-Encoding: identity, chunked",),
    ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    ("Transfer-Encoding : chunked",),
    ("Transfer-Encoding: \x0bchunked",),
    ("X: y\r\n Transfer-Encoding: chunked", "Transfer-Encoding: xchunked"),
    ("X: \0", "Content-Length: 5"),
)
BAD_CHUNKS = (
    b"fffffffffffffffff\r\nx\r\n0\r\n\r\n",
    b"-1\r\nx\r\n0\r\n\r\n",
    b"0x1\r\nx\r\n0\r\n\r\n",
    b"1\r\nxx\r\n0\r\n\r\n",
    b"g\r\nx\r\n0\r\n\r\n",
)


def hidden(scene: Scene) -> bytes:
    """Return a request that an admin may make, to stand in the body of another."""
    return request(scene.stack.url, "GET /orthanc/statistics", authorization(scene, "admin-x"))


def authorization(scene: Scene, caller: str) -> str:
    """Make the header of a caller."""
    return f"Authorization: Bearer {scene.token(caller)}"


@pytest.mark.parametrize("headers", SMUGGLING, ids=" + ".join)
@pytest.mark.parametrize("line", ["GET {S}/metadata", "POST /dicom-web/studies"])
def test_a_body_of_two_lengths_is_refused_and_what_it_hides_is_not_run(
    scene: Scene, line: str, headers: tuple[str, ...]
) -> None:
    url, inner = scene.stack.url, hidden(scene)
    assert statuses(exchange(url, scene.stack.ca_file, inner)) == [200]
    caller = "technician-a" if line.startswith("POST") else "physician-a"
    named = [header.format(length=len(inner) + 5) for header in headers]
    sent = request(
        url,
        scene.own.fill(line),
        authorization(scene, caller),
        f"Content-Type: {MULTIPART}",
        *named,
        body=b"0\r\n\r\n" + inner,
        connection="keep-alive",
    )
    answer = exchange(url, scene.stack.ca_file, sent)
    assert set(statuses(answer)) <= {400, 413, 501}
    assert len(statuses(answer)) == 1
    assert b"CountInstances" not in answer


@pytest.mark.parametrize("chunks", BAD_CHUNKS)
def test_a_chunk_that_is_none_is_refused(scene: Scene, chunks: bytes) -> None:
    url = scene.stack.url
    headers = (f"Content-Type: {MULTIPART}", "Transfer-Encoding: chunked")
    line = ("POST /dicom-web/studies", authorization(scene, "technician-a"), *headers)
    sent = request(url, *line, body=chunks + hidden(scene), connection="keep-alive")
    answer = exchange(url, scene.stack.ca_file, sent)
    assert statuses(answer) == [400]


REFUSED = {"admin-x": 403, "nobody": 401, "physician-a": 400, "technician-a": 400}


@pytest.mark.parametrize("caller", REFUSED)
def test_a_refused_body_is_not_taken_for_the_next_request(scene: Scene, caller: str) -> None:
    url, inner = scene.stack.url, hidden(scene)
    own = [authorization(scene, caller)] if caller != "nobody" else []
    headers = (f"Content-Type: {MULTIPART}", f"Content-Length: {len(inner)}")
    sent = request(
        url, "POST /dicom-web/studies", *own, *headers, body=inner, connection="keep-alive"
    ) + request(url, f"GET {scene.own.in_study}/metadata", authorization(scene, "physician-a"))
    answer = exchange(url, scene.stack.ca_file, sent)
    refused = REFUSED[caller]
    # Either the connection ends with the refusal, or the second request is the second.
    assert statuses(answer) in ([refused], [refused, 200])
    assert b"CountInstances" not in answer
    for _ in range(20):
        assert scene.ask("physician-a", f"{scene.own.in_study}/metadata").status_code == 200


def test_who_sends_slowly_holds_nobody_up_and_is_cut_off(scene: Scene) -> None:
    url, ca_file = scene.stack.url, scene.stack.ca_file
    form = "Content-Type: application/x-www-form-urlencoded"
    token = "/auth/realms/dicom/protocol/openid-connect/token"  # noqa: S105 - a path
    physician, technician = (
        authorization(scene, f"{who}-a") for who in ("physician", "technician")
    )
    store = (technician, f"Content-Type: {MULTIPART}", "Content-Length: 1000000")
    begun = {
        "header": f"GET {scene.own.in_study} HTTP/1.1\r\nHost: x\r\nX-Slow: ".encode(),
        "login": request(url, f"POST {token}", form, "Content-Length: 1000"),
        "read": request(url, f"GET {scene.own.in_study}", physician, "Content-Length: 9"),
        "upload": request(url, "POST /dicom-web/studies", *store),
    }
    with ExitStack() as opened:
        slow = {
            kind: [
                opened.enter_context(connection(url, ca_file))
                # An account may have one more upload under way.
                for _ in range(UPLOADS_EACH - 1 if kind == "upload" else 60)
            ]
            for kind in begun
        }
        for kind, connections in slow.items():
            for one in connections:
                one.sendall(begun[kind])
        started = time.monotonic()
        for _ in range(20):
            assert scene.ask("physician-a", f"{scene.own.in_study}/metadata").status_code == 200
        named, body = {"Content-Type": MULTIPART}, part(made(220).content)
        stored = scene.ask("technician-a", "/dicom-web/studies", "POST", named, body)
        assert stored.status_code == 200
        assert time.monotonic() - started < PROMPT_S
        for kind in ("header", "login", "read"):
            assert {ended(one) for one in slow[kind]} <= {"", "408", "413"}
        assert time.monotonic() - started < PATIENCE_S


def ended(one: ssl.SSLSocket) -> str:
    """Wait until the other side closes; returns the status that it gave."""
    received = b""
    with suppress(ConnectionError, ssl.SSLError):
        while piece := one.recv(1 << 16):
            received += piece
    return received[9:12].decode()
