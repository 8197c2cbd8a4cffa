"""The dashboards of both programs are made of one list, and each shows all of it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from stack import dashboards
from stack.settings import PODMAN_DIR

if TYPE_CHECKING:
    from pathlib import Path

DASHBOARDS = {dashboard.name: dashboard for dashboard in dashboards.read()}
PROVISIONING = PODMAN_DIR / "grafana" / "provisioning"


def document(path: Path) -> dict[str, object]:
    return dict(json.loads(path.read_text()))


def test_the_dashboards_are_those_of_the_operators_questions() -> None:
    assert list(DASHBOARDS) == ["imports", "archive", "viewers", "logins", "host"]


def test_the_files_are_what_is_made_of_the_list() -> None:
    made = dashboards.files()
    for path, text in made.items():
        assert path.read_text() == text, f"{path}: run python -m stack.dashboards"
    for folder in (dashboards.GRAFANA, dashboards.VICTORIAMETRICS):
        assert set(folder.iterdir()) == {path for path in made if path.parent == folder}


def test_a_key_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "panels.yaml"
    panel = {"title": "x", "unit": "GB", "quieries": [{"expr": "up"}]}
    path.write_text(
        yaml.safe_dump({"dashboards": [{"name": "x", "title": "x", "panels": [panel]}]})
    )
    with pytest.raises(KeyError, match="queries"):
        dashboards.read(path)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_both_programs_show_every_query_with_its_legend(name: str) -> None:
    wanted = [
        (panel.title, [(query.expr, query.legend or panel.title) for query in panel.queries])
        for panel in DASHBOARDS[name].panels
    ]
    rows = document(next(dashboards.VICTORIAMETRICS.glob(f"*-{name}.json")))["rows"]
    assert isinstance(rows, list)
    shown = [
        (p["title"], list(zip(p["expr"], p["alias"], strict=True)))
        for row in rows
        for p in row["panels"]
    ]
    assert shown == wanted
    panels = document(dashboards.GRAFANA / f"{name}.json")["panels"]
    assert isinstance(panels, list)
    assert [
        (p["title"], [(t["expr"], t["legendFormat"]) for t in p["targets"]]) for p in panels
    ] == wanted
    assert len({p["id"] for p in panels}) == len(panels)
    places = {(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels}
    assert len(places) == len(panels)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_line_is_named_by_clinics_and_programs_never_by_people(name: str) -> None:
    allowed = {
        *("alertname", "area", "clinic_id", "datname", "device", "event", "job", "outcome"),
        *("place", "route", "service", "status"),
    }
    for panel in DASHBOARDS[name].panels:
        for query in panel.queries:
            assert set(dashboards.labels(query.legend)) <= allowed


def lost(written: object, read: object, place: str = "") -> list[str]:
    """Return the places of what was written and not read, or read otherwise."""
    if isinstance(written, dict) and isinstance(read, dict):
        return [
            found
            for key, value in written.items()
            for found in (
                lost(value, read[key], f"{place}/{key}") if key in read else [f"{place}/{key}"]
            )
        ]
    if isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        pairs = enumerate(zip(written, read, strict=True))
        return [found for n, (a, b) in pairs for found in lost(a, b, f"{place}/{n}")]
    return [] if written == read else [place]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_grafanas_own_types_know_every_key_and_value(name: str) -> None:
    written = document(dashboards.GRAFANA / f"{name}.json")

    def read(told: dict[str, object]) -> object:
        return json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(told)))

    assert lost(written, read(written)) == []
    # What they do not know is lost.
    assert lost(written | {"pannels": []}, read(written | {"pannels": []})) == ["/pannels"]


def test_grafana_finds_its_dashboards_and_their_data_source() -> None:
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "stack.yaml").read_text())[
        "providers"
    ]
    compose = (PODMAN_DIR / "compose.grafana.yml").read_text()
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in compose
    sources = yaml.safe_load((PROVISIONING / "datasources" / "stack.yaml").read_text())
    known = {(one["type"], one["uid"]) for one in sources["datasources"]}
    for path in dashboards.GRAFANA.iterdir():
        used = re.findall(r'"type": "(\w+)",\s+"uid": "(\w+)"', path.read_text())
        assert used
        assert set(used) <= known


def test_the_operators_page_asks_ten_questions_by_links() -> None:
    links = re.findall(r'href="(/prometheus/graph\?[^"]+)"', dashboards.PAGE.read_text())
    asked = [parse_qs(urlsplit(link.replace("&amp;", "&")).query)["g0.expr"][0] for link in links]
    assert asked == list(dashboards.questions().values())
    assert len(asked) == 10
    links = re.findall(r'href="/operator/logs\?([^"]+)"', dashboards.PAGE.read_text())
    assert [parse_qs(link)["query"][0] for link in links] == list(
        dashboards.log_questions().values()
    )
    assert len(links) >= 9
