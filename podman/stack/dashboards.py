"""Dashboards and the operator's pages, made of one list: `python -m stack.dashboards` writes them."""

from __future__ import annotations

import html
import json
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import yaml

from stack.settings import PODMAN_DIR, TOP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

LIST = PODMAN_DIR / "dashboards" / "panels.yaml"
GRAFANA = PODMAN_DIR / "grafana" / "dashboards"
VICTORIAMETRICS = PODMAN_DIR / "victoriametrics" / "dashboards"
PAGES = PODMAN_DIR / "nginx" / "pages"
# By what keeps the logs; nginx' doors say which is shown.
PAGE, GRAFANA_PAGE = PAGES / "operator.html", PAGES / "operator-grafana.html"
LOGS = TOP / "docs" / "logs.md"
# What VictoriaMetrics writes behind a number, and Grafana's name for the same.
UNITS = {
    "GB": ("GB", "decgbytes"),
    "MB": ("MB", "decmbytes"),
    "bytes": ("B", "decbytes"),
    "days": ("days", "d"),
    "hours": ("h", "h"),
    "milliseconds": ("ms", "ms"),
    "minutes": ("min", "m"),
    "per second": ("/s", "reqps"),
    "percent": ("%", "percent"),
    "seconds": ("s", "s"),
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Operation</title>
<link rel="stylesheet" href="/operator/pages.css">
</head>
<body>
<h1>Operation</h1>
<ul>
  <li><a href="/operator/dashboards">Dashboards</a>: imports, archive, viewers, logins, host</li>
  <li><a href="/alertmanager/">Alerts</a> that are sent now, and what is silenced</li>
  <li><a href="/operator/logs">Logs</a> of every service</li>
  <li><a href="/prometheus/targets">What is watched</a>, <a href="/prometheus/alerts">what it alerts about</a>,
    <a href="/prometheus/graph">ask for any number</a></li>
  <li><a href="/auth/admin/dicom/console/">People and clinics</a> (from the networks that ADMIN_NETWORKS names)</li>
</ul>
<h2>What operators ask most</h2>
<ul>
  NUMBERS
</ul>
<h2>What operators ask the logs</h2>
<ul>
  LOGS
</ul>
<form method="post" action="/operator/session/sign_out?rd=%2F"><button>Log out</button></form>
</body>
</html>
"""
# Of Grafana's grid, which is 24 wide.
WIDTH, HEIGHT = 12, 8


@dataclass(frozen=True, slots=True)
class Query:
    """A query in PromQL, and what its lines are called: text with labels as `{{label}}`."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of a dashboard."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    about: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Panels in their order, under a name for files and addresses."""

    name: str
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class LogQuestion:
    """What an operator asks the logs: in LogsQL for VictoriaLogs, in LogQL for Loki."""

    asks: str
    logsql: str
    logql: str

    @property
    def general(self) -> bool:
        """Whether it can be asked as it stands: others need a time or a study to be filled in."""
        return re.search(r"_time:\d", self.logsql) is not None

    @property
    def span(self) -> str:
        """The time that it is about, as `1h` or `7d`."""
        return str(re.findall(r"_time:(\d+[hd])", self.logsql)[0])


def read(path: Path = LIST) -> tuple[Dashboard, ...]:
    """Read the list; raises TypeError for a key that is none, KeyError for one that is missing."""
    return tuple(
        Dashboard(one["name"], one["title"], tuple(_panel(dict(p)) for p in one["panels"]))
        for one in yaml.safe_load(path.read_text())["dashboards"]
    )


def questions(path: Path = LIST) -> dict[str, str]:
    """Read the questions of the operator's page: the query of each."""
    return {one["asks"]: one["expr"] for one in yaml.safe_load(path.read_text())["questions"]}


def log_questions(path: Path = LOGS) -> tuple[LogQuestion, ...]:
    """Read the questions that the documentation asks the logs, in both languages."""
    section = path.read_text().partition("\n## Asking\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| `(.+)`(?: with .*)? \|$", section, re.MULTILINE)
    asked: dict[str, list[str]] = {}
    for asks, query in rows:
        asked.setdefault(asks, []).append(query.replace("\\|", "|"))
    return tuple(LogQuestion(asks, *queries) for asks, queries in asked.items())


def _panel(told: dict[str, object]) -> Panel:
    queries = told.pop("queries")
    assert isinstance(queries, list)  # noqa: S101 - our own file
    return Panel(queries=tuple(Query(**query) for query in queries), **told)  # type: ignore[arg-type]


def victoriametrics(dashboard: Dashboard) -> str:
    """Return a dashboard as VictoriaMetrics' interface reads it (-vmui.customDashboardsPath)."""
    panels = [
        {
            "title": panel.title,
            "description": panel.about,
            "unit": UNITS.get(panel.unit, (panel.unit, ""))[0],
            "expr": [query.expr for query in panel.queries],
            "alias": [query.legend or panel.title for query in panel.queries],
            "showLegend": True,
            "width": 6,
        }
        for panel in dashboard.panels
    ]
    return _text({"title": dashboard.title, "rows": [{"panels": panels}]})


def grafana(dashboard: Dashboard) -> str:
    """Return a dashboard as Grafana's provisioning reads it."""
    source = {"type": "prometheus", "uid": "prometheus"}
    panels = [
        {
            "id": number + 1,
            "type": "timeseries",
            "title": panel.title,
            "description": panel.about,
            "datasource": source,
            "fieldConfig": {
                "defaults": {"unit": UNITS.get(panel.unit, ("", "short"))[1]},
                "overrides": [],
            },
            "gridPos": {
                "h": HEIGHT,
                "w": WIDTH,
                "x": WIDTH * (number % 2),
                "y": HEIGHT * (number // 2),
            },
            "options": {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                "tooltip": {"mode": "multi", "sort": "desc"},
            },
            "targets": [
                {
                    "datasource": source,
                    "expr": query.expr,
                    "legendFormat": query.legend or panel.title,
                    "refId": chr(ord("A") + place),
                }
                for place, query in enumerate(panel.queries)
            ],
        }
        for number, panel in enumerate(dashboard.panels)
    ]
    return _text(
        {
            "uid": f"stack-{dashboard.name}",
            "title": dashboard.title,
            "tags": ["dicom-stack"],
            "editable": False,
            "graphTooltip": 1,
            "panels": panels,
            "refresh": "1m",
            "schemaVersion": 39,
            "time": {"from": "now-24h", "to": "now"},
            "timezone": "browser",
        }
    )


def page(logs: Callable[[LogQuestion], str]) -> str:
    """Return the operator's page, with each question to the logs as the link that `logs` makes of it."""
    numbers = (
        (asks, f"/prometheus/graph?g0.expr={quote(expr, safe='')}&g0.tab=1")
        for asks, expr in questions().items()
    )
    asked = (
        (f"{one.asks[0].upper()}{one.asks[1:]}?", logs(one))
        for one in log_questions()
        if one.general
    )
    return _PAGE.replace("  NUMBERS\n", _links(numbers)).replace("  LOGS\n", _links(asked))


def victorialogs_link(question: LogQuestion) -> str:
    """Return where VictoriaLogs answers a question; nginx leads to its page."""
    return f"/operator/logs?query={quote(question.logsql, safe='')}"


def explore_link(question: LogQuestion) -> str:
    """Return where Grafana answers a question: its page Explore, over the data source of Loki."""
    query = {
        "refId": "A",
        "datasource": {"type": "loki", "uid": "loki"},
        "expr": question.logql,
        # One that counts is asked once, for the whole time.
        "queryType": "range" if question.logql.startswith("{") else "instant",
    }
    shown = {"from": f"now-{question.span}", "to": "now"}
    panes = {"logs": {"datasource": "loki", "queries": [query], "range": shown}}
    panes_text = quote(json.dumps(panes, separators=(",", ":")), safe="")
    return f"/grafana/explore?schemaVersion=1&orgId=1&panes={panes_text}"


def _links(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(
        f'  <li><a href="{html.escape(link)}">{html.escape(asks)}</a></li>\n'
        for asks, link in pairs
    )


def files() -> dict[Path, str]:
    """Return every file that is made of the list."""
    made = {PAGE: page(victorialogs_link), GRAFANA_PAGE: page(explore_link)}
    for number, dashboard in enumerate(read(), start=1):
        # It has them in the order of the files' names.
        made[VICTORIAMETRICS / f"{number}-{dashboard.name}.json"] = victoriametrics(dashboard)
        made[GRAFANA / f"{dashboard.name}.json"] = grafana(dashboard)
    return made


def labels(legend: str) -> list[str]:
    """Return the labels that a legend names."""
    return re.findall(r"{{(\w+)}}", legend)


def _text(document: dict[str, object]) -> str:
    return json.dumps(document, indent=2) + "\n"


def main() -> int:
    """Write the files."""
    for path, text in files().items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
