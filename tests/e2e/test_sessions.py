"""A session in the browser: it goes on for as long as the viewer is open."""

from __future__ import annotations

from contextlib import contextmanager
from time import time
from typing import TYPE_CHECKING

import pytest
from harness.people import claims
from harness.realm_key import administering
from harness.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.people import People
    from harness.phantom import Study
    from harness.stack import Stack
    from harness.viewer import Viewer

LIFESPAN_S = 60
REFRESHES = 3


@contextmanager
def short_tokens(stack: Stack) -> Iterator[None]:
    """Have Keycloak give tokens of a minute."""
    with administering(stack) as (session, realm):
        before = session.get(realm).json()["accessTokenLifespan"]
        assert before != LIFESPAN_S
        assert session.put(realm, json={"accessTokenLifespan": LIFESPAN_S}).ok
    try:
        yield
    finally:
        with administering(stack) as (session, realm):
            assert session.put(realm, json={"accessTokenLifespan": before}).ok


def open_study(viewer: Viewer, people: People, study: Study) -> None:
    viewer.open(f"/viewer?StudyInstanceUIDs={study.uid}")
    viewer.log_in("physician-a", people.passwords["physician-a"])
    viewer.see(study.pictures)


def grants(viewer: Viewer) -> list[int]:
    """Return the answers to the requests for tokens."""
    return [answer.status for answer in viewer.watch.answers("/openid-connect/token")]


def test_a_viewer_left_open_over_three_refreshes_goes_on_working(
    stack: Stack,
    people: People,
    drop_study: Callable[[str, str, int], Study],
    new_window: Callable[[], Viewer],
) -> None:
    if not (stack.data_dir / "secrets").exists():
        pytest.skip("the realm is set by its reconciler's secret, which is on another machine")
    first, second = (drop_study("clinic-a", "ct", seed) for seed in (8, 9))
    viewer = new_window()
    frames: list[str] = []
    viewer.page.on("frameattached", lambda frame: frames.append(frame.url))
    with short_tokens(stack):
        open_study(viewer, people, first)
        token = viewer.access_token()
        ends_s = int(str(claims(token)["exp"]))
        assert ends_s - int(str(claims(token)["iat"])) == LIFESPAN_S
        seen: list[str] = []

        def is_left() -> bool:
            viewer.page.evaluate("0")
            if (held := viewer.access_token()) not in seen:
                seen.append(held)
            return len(seen) > REFRESHES and time() > ends_s

        wait_until(is_left, 3 * LIFESPAN_S, "three refreshes have passed", lambda: str(len(seen)))
        assert set(grants(viewer)) == {200}
        # Without the page being loaded anew, which would be another login.
        viewer.page.locator("[data-cy=return-to-work-list]").click()
        viewer.open_study(second.identity.patient_name.partition("^")[0], second.uid)
        viewer.see(second.pictures)
    # No hidden page of the identity provider's, which browsers that keep cookies apart refuse.
    assert frames == []
    kept = viewer.page.evaluate("JSON.stringify(localStorage)")
    for each in seen:
        signature = each.rpartition(".")[2]
        assert signature not in kept
        assert [url for url in viewer.watch.requests if signature in url] == []
    refused = [a.url for a in viewer.watch.answers("/dicom-web/") if a.status in (401, 403)]
    assert refused == []
    assert viewer.watch.policy_violations() == []
