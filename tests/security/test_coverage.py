"""Nothing is offered that the table lacks: by nginx, by Orthanc and its plugins, by ours, by the importer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from clinic_access.routes import ROUTES, parse, query_pairs
from security.offered import METHODS, chosen, locations
from security.routes import CALLERS, OBJECTS, ROWS, WITHIN
from security.scene import made
from stack.settings import PODMAN_DIR, TOP

if TYPE_CHECKING:
    from security.offered import Offer

SAMPLE = made(1)
PLUGIN = PODMAN_DIR / "orthanc" / "clinic_access_plugin.py"
PAGE = TOP / "importer" / "src" / "dicom_importer" / "page" / "api.py"
WEB = TOP / "importer" / "src" / "dicom_importer" / "web.py"


def asked() -> set[tuple[str, str]]:
    """Return method and path that the plugin lets somebody ask, with UIDs filled in."""
    return {(method, SAMPLE.fill(path)) for method, path in WITHIN}


def is_open(method: str, path: str) -> bool:
    """Tell whether the plugin has a route for what Orthanc is asked."""
    parts = urlsplit(SAMPLE.fill(path))
    return parse(method, parts.path, query_pairs(parts.geturl())) is not None


def test_every_row_states_all_cells() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        columns = {len(row.policy[caller]) for caller in CALLERS}
        assert columns in ({1}, {len(OBJECTS)}), row.name


def test_every_location_of_nginx_has_a_row() -> None:
    among = [one for one in locations() if one.server != "inner"]
    assert len(among) > 15
    reached = {
        chosen(
            SAMPLE.fill(row.path).partition("?")[0],
            [one for one in among if one.server == ("plain" if row.is_plain else "tls")],
        )
        for row in ROWS
    }
    # Below one of the doors' own: nginx looks there only after it.
    reached |= {
        one for one in among for row in ROWS if "grafana" in row.path and one.fits(row.path)
    }
    assert [one for one in among if one not in reached] == []


def test_on_the_backend_nginx_tells_how_busy_it_is_and_nothing_else() -> None:
    text = (PODMAN_DIR / "nginx" / "nginx.conf").read_text()
    (inner,) = re.findall(r"^        listen nginx:\d+;\n.*?^    }", text, re.MULTILINE | re.DOTALL)
    assert {one.text for one in locations() if one.server == "inner"} == {"/", "/status"}
    assert re.findall(r"stub_status|return \d+|proxy_pass|root|alias", inner) == [
        "stub_status",
        "return 404",
    ]


def test_what_orthanc_and_its_plugins_offer_is_closed_unless_the_table_says_who_may(
    offered: Offer,
) -> None:
    assert len(offered) > 350
    assert [one for one in sorted(offered) if is_open(*one) != (one in WITHIN)] == [
        # WADO-URI is told by its query.
        ("GET", "/wado")
    ]


def test_what_the_table_opens_is_offered(offered: Offer) -> None:
    ours = re.findall(r'^        "(/[^"]+)": hooks\.', PLUGIN.read_text(), re.MULTILINE)
    assert len(ours) == 8
    own = {one for one in WITHIN if any(re.fullmatch(pattern, one[1]) for pattern in ours)}
    # Each of ours by some row.
    assert [p for p in ours if not any(re.fullmatch(p, path) for _, path in own)] == []
    assert sorted(set(WITHIN) - own - offered) == []


def test_every_route_of_the_plugins_rules_is_in_the_table() -> None:
    missing = [
        (method, pattern.pattern)
        for method, pattern, _ in ROUTES
        if not any(m == method and pattern.fullmatch(path) for m, path in asked())
    ]
    assert missing == []


def test_a_route_that_the_table_opens_is_open_for_one_method_only() -> None:
    for method, path in WITHIN:
        others = [m for m in METHODS if m != method and (m, path) not in WITHIN]
        assert [m for m in others if is_open(m, path)] == []


def test_what_the_importer_answers_has_rows() -> None:
    own = set(re.findall(r'case "(/[a-z]+)":', WEB.read_text()))
    assert own == {"/health", "/metrics"}
    paths = {row.path for row in ROWS}
    assert own <= paths
    assert "/store/metrics" in paths
    store = re.search(r'^_STORE = re.compile\(r"(.*)", re.ASCII\)$', WEB.read_text(), re.MULTILINE)
    assert store
    stored = [row.path.removeprefix("/orthanc") for row in ROWS if row.is_store]
    assert all(re.fullmatch(store[1], SAMPLE.fill(path)) for path in stored)


def test_what_the_importers_page_answers_has_rows() -> None:
    text = PAGE.read_text()
    (pattern,) = re.findall(r'^_ROUTE = re.compile\(r"(.*)"\)$', text, re.MULTILINE)
    paths = [row.path.removeprefix("/inbox/api") for row in ROWS if "/inbox/api/" in row.path]
    found = {match[2] for path in paths if (match := re.fullmatch(pattern, path))}
    (named,) = re.findall(r"\(([a-z]+(?:\|[a-z]+)+)\)", pattern)
    assert found == set(named.split("|"))
    assert len(found) == 4
    assert set(re.findall(r'request.path == "(/[a-z]+)"', text)) <= set(paths)
