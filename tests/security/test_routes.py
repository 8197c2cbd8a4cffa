"""The table of routes against the real stack: from outside, and on the backend, where only the plugin decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness.headers import not_once
from security.routes import ANSWERS, CALLERS, OBJECTS, ROWS, STRANGERS, WITHIN, Row, everyone
from security.scene import MULTIPART, Scene, made, part, seen

if TYPE_CHECKING:
    import requests
    from security.offered import Offer

# What nginx has at Orthanc's own addresses; the rest is below /orthanc.
PUBLIC = ("/dicom-web", "/wado", "{")
# Behind which another program stands in the NixOS form, or none.
OF_ONE_FORM = ("/dashboards", "/grafana", "/logs", "/operator/dashboards", "/operator/logs")
WADO_QUERY = "?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={instance}"


def told(answer: requests.Response, word: str) -> str:
    """Return the table's word where the answer is what it means, else what the answer was."""
    status, text = ANSWERS[word]
    # Only the head of an answer without a body can be compared.
    is_alike = answer.status_code == status and (
        answer.request.method == "HEAD" or text in answer.text
    )
    return word if is_alike else f"{answer.status_code} {answer.text[:200]}"


def cells(scene: Scene, row: Row, caller: str) -> tuple[str, ...]:
    """Ask one route as one caller, and tell of each object in the table's words."""
    found: list[str] = []
    alike: dict[str, object] = {}
    for name, word in zip(OBJECTS, row.policy[caller], strict=False):
        thing = made(90) if row.is_store and name == "absent" else scene.objects[name]
        path, headers = thing.fill(row.path), dict(row.headers)
        if row.is_plain:
            answer = scene.plainly(caller, path)
        elif row.is_store:
            body = part(thing.content)
            answer = scene.ask(caller, path, row.method, {"Content-Type": MULTIPART}, body)
        else:
            answer = scene.ask(caller, path, row.method, headers)
        found.append(told(answer, word))
        # Whoever gets one of these twice learns nothing from a comparison.
        is_compared = word != "200" and not row.is_store
        if is_compared and seen(answer) != alike.setdefault(word, seen(answer)):
            found[-1] = f"unlike {alike[word]}: {seen(answer)}"
        assert not_once(answer) == []
        if answer.status_code >= 400 and not row.is_plain:
            assert "clinic-" not in answer.text
    return tuple(found)


def asks_who_comes(scene: Scene) -> bool:
    """Whether sessions at the operator's pages are known: always, but for an appliance over Debian's programs."""
    if scene.stack.settings is not None:
        return True
    answer = scene.ask("nobody", "/operator/")
    assert answer.status_code in (401, 503)
    return answer.status_code != 503


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_route_answers_each_caller_as_the_table_says(scene: Scene, row: Row) -> None:
    if scene.stack.settings is None and row.path.startswith(OF_ONE_FORM):
        pytest.skip("the NixOS form has Grafana and Loki, and the Podman form does not")
    if row.policy == everyone("no session") and not asks_who_comes(scene):
        pytest.skip(
            "nobody runs there who says whose session it is (oauth2-proxy): it stays closed"
        )
    assert {caller: cells(scene, row, caller) for caller in CALLERS} == row.policy


def test_without_a_token_no_path_of_the_archive_tells_whether_it_exists(scene: Scene) -> None:
    closed = [row for row in ROWS if "401" in row.policy["nobody"] and row.method == "GET"]
    assert len(closed) > 100
    answers = [
        seen(scene.ask("nobody", thing.fill(row.path)))
        for row in closed
        for thing in (scene.own, scene.absent)
    ]
    assert [answer for answer in answers if answer != answers[0]] == []


def test_what_orthanc_offers_beyond_the_table_is_not_there_for_anybody(
    scene: Scene, offered: Offer
) -> None:
    own = scene.own
    rows = {(row.method, own.fill(row.path).partition("?")[0]) for row in ROWS}
    public = {
        (method, own.fill(path if path.startswith(PUBLIC) else f"/orthanc{path}"))
        for method, path in offered
    }
    beyond = sorted(public - rows)
    assert len(beyond) > 300
    unexpected = []
    for method, path in beyond:
        for caller in CALLERS:
            answer = scene.ask(caller, path, method)
            expected = 404 if method == "GET" else 405
            if caller == "nobody" or (expected == 404 and caller in STRANGERS):
                expected = 401
            if answer.status_code != expected:
                unexpected.append(f"{caller} {method} {path}: {answer.status_code}")
    assert unexpected == []


def test_on_the_backend_orthanc_answers_those_that_the_table_names(
    scene: Scene, offered: Offer
) -> None:
    unexpected = []
    for method, path in sorted(offered | set(WITHIN)):
        # What could be removed is not there.
        thing = scene.own if method == "GET" else scene.absent
        if scene.stack.settings is None and path == "/health":
            # There these tests are on Orthanc's own host, to which it tells its health.
            continue
        filled = thing.fill(path + (WADO_QUERY if path == "/wado" else ""))
        for caller in CALLERS:
            token = scene.token(caller)
            answer = scene.inside(token, filled, method, b"" if method != "GET" else None)
            is_refused = answer.status_code == 403
            if is_refused == (caller in WITHIN.get((method, path), ())):
                unexpected.append(f"{caller} {method} {path}: {answer.status_code}")
            assert is_refused or answer.status_code in (200, 400, 401, 404), f"{method} {path}"
    assert unexpected == []
