"""The operator's pages in a browser: they draw under our policy, ask nobody else, and keep pictures of a scripted day.

`make pictures` lets the day before the pictures last longer.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from harness.day import day
from harness.second_factor import Phone
from playwright.sync_api import TimeoutError as PageTimeoutError
from stack import dashboards

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.people import People
    from harness.stack import Stack
    from harness.viewer import Viewer
    from playwright.sync_api import Page

DAY_S = float(os.environ.get("DAY_S", "60"))
TIMEOUT_MS = 60_000
PAGES = {
    "/operator/": "What operators ask most",
    "/alertmanager/": "alerts as of",
    "/prometheus/alerts": "ImportFailed",
    "/prometheus/targets": "victoriametrics",
    "/prometheus/graph?g0.expr=up&g0.tab=1": "nginxmetrics",
    "/logs/": "Query examples",
}
# How VictoriaMetrics' own interface is told how much to show.
RANGE = f"g0.range_input={max(2, round(DAY_S / 60) + 1)}m&g0.relative_time=none"


@pytest.fixture(autouse=True, scope="module")
def _podman(stack: Stack) -> None:
    """Skip for an appliance that the tests attached to: it has Grafana in their place."""
    assert stack.podman_settings.project


@pytest.fixture(scope="module")
def _traffic(stack: Stack, people: People) -> None:
    """Let a day pass in two clinics."""
    day(stack, people, DAY_S)


def log_in(viewer: Viewer, people: People, path: str) -> Page:
    """Open a page of the operator's as an admin, whose phone the tests hold."""
    phone = people.phones.setdefault("admin-x", Phone())
    if not phone.secret:
        people.token("admin-x")
    page = viewer.page
    page.goto(viewer.url + path)
    field = page.locator("#otp")
    viewer.fill_in_login("admin-x", people.passwords["admin-x"])
    try:
        field.wait_for(timeout=TIMEOUT_MS / 4)
    except PageTimeoutError:
        # Keycloak's page took back what was sent as fast as nobody types.
        viewer.fill_in_login("admin-x", people.passwords["admin-x"])
        field.wait_for(timeout=TIMEOUT_MS)
    field.fill(phone.code())
    page.locator("#kc-login").click()
    page.wait_for_url(lambda url: "/auth/" not in url, timeout=TIMEOUT_MS)
    return page


def judge(viewer: Viewer) -> None:
    """Expect that nothing was blocked and nobody else was asked."""
    assert viewer.watch.policy_violations() == []
    assert viewer.watch.elsewhere(viewer.url) == []


@pytest.mark.usefixtures("_traffic")
def test_every_dashboard_is_drawn(people: People, new_window: Callable[[], Viewer]) -> None:
    viewer = new_window()
    page = log_in(viewer, people, "/dashboards/")
    # It draws what is in sight.
    page.set_viewport_size({"width": 1280, "height": 2600})
    for dashboard in dashboards.read():
        page.goto(f"{viewer.url}/dashboards/vmui/#/dashboards?{RANGE}")
        page.reload()
        page.get_by_text(dashboard.title, exact=True).first.click(timeout=TIMEOUT_MS)
        for panel in dashboard.panels:
            page.get_by_text(panel.title).first.wait_for(timeout=TIMEOUT_MS)
        page.wait_for_load_state("networkidle")
        page.locator(".vm-spinner").first.wait_for(state="detached", timeout=TIMEOUT_MS)
        assert page.locator("canvas").count() >= len(dashboard.panels)
        page.screenshot(path=viewer.pictures / f"dashboard-{dashboard.name}.png", full_page=True)
    judge(viewer)


def test_each_page_works_under_its_policy_until_the_admin_logs_out(
    people: People, new_window: Callable[[], Viewer]
) -> None:
    viewer = new_window()
    page = log_in(viewer, people, "/operator/")
    for path, word in PAGES.items():
        page.goto(viewer.url + path)
        page.get_by_text(word).first.wait_for(timeout=TIMEOUT_MS)
        viewer.keep_picture(f"page-{re.sub(r'[^a-z]+', '-', path.partition('?')[0]).strip('-')}")
    page.goto(f"{viewer.url}/operator/")
    page.get_by_role("button", name="Log out").click()
    page.locator("#username").wait_for(timeout=TIMEOUT_MS)
    page.goto(f"{viewer.url}/operator/")
    page.locator("#username").wait_for(timeout=TIMEOUT_MS)
    judge(viewer)
