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
from harness.stack import TESTS
from stack import dashboards, images
from stack.settings import PODMAN_DIR
from stack.shell import attempt

if TYPE_CHECKING:
    from pathlib import Path

DASHBOARDS = {dashboard.name: dashboard for dashboard in dashboards.read()}
PROVISIONING = PODMAN_DIR / "grafana" / "provisioning"
GENERAL = [one for one in dashboards.log_questions() if one.general]
_GRAMMAR = TESTS / "harness" / "logql"
LOGQL = images.Image("logql", "base", _GRAMMAR / "Containerfile", _GRAMMAR, (_GRAMMAR,))


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
    for page, other in (
        (dashboards.PAGE, dashboards.GRAFANA_PAGE),
        (dashboards.GRAFANA_PAGE, dashboards.PAGE),
    ):
        own, others = (set(re.findall(r'href="([^"]+)"', p.read_text())) for p in (page, other))
        # They differ in where the logs are asked.
        assert len(own - others) == len(GENERAL) >= 9


def test_each_question_to_the_logs_is_a_link_in_the_language_of_their_store() -> None:
    links = re.findall(r'href="/operator/logs\?([^"]+)"', dashboards.PAGE.read_text())
    assert [parse_qs(link)["query"][0] for link in links] == [one.logsql for one in GENERAL]
    links = re.findall(r'href="/grafana/explore\?([^"]+)"', dashboards.GRAFANA_PAGE.read_text())
    asked = [json.loads(parse_qs(link.replace("&amp;", "&"))["panes"][0])["logs"] for link in links]
    assert [pane["queries"][0]["expr"] for pane in asked] == [one.logql for one in GENERAL]
    spans = [pane["range"] for pane in asked]
    assert spans == [{"from": f"now-{one.span}", "to": "now"} for one in GENERAL]
    sources = yaml.safe_load((PROVISIONING / "datasources" / "stack.yaml").read_text())
    loki = next(one for one in sources["datasources"] if one["type"] == "loki")
    assert {pane["queries"][0]["datasource"]["uid"] for pane in asked} == {loki["uid"]}


def test_grafanas_own_grammar_understands_each_question_in_logql() -> None:
    tag = images.build("", (LOGQL,))[LOGQL.name]

    def faults(*queries: str) -> list[list[int]]:
        command = ["podman", "run", "--rm", "--interactive", "--network=none", tag]
        return list(json.loads(attempt(command, stdin=json.dumps(queries)).stdout))

    queries = [one.logql for one in dashboards.log_questions()]
    assert len(queries) >= 10
    assert faults(*queries) == [[]] * len(queries)
    # What is none is found.
    wrong = ('{service="nginx"', "sum by service (rate({a=~`b`}[1d]))", '_time:1h {a="b"}')
    assert all(faults(*wrong))


def test_the_questions_in_logql_name_labels_that_lines_have() -> None:
    for one in dashboards.log_questions():
        selectors = re.findall(r"\{([^}]*)\}", one.logql)
        assert selectors
        for selector in selectors:
            assert set(re.findall(r"(\w+)=", selector)) <= {"service", "level", "clinic"}
