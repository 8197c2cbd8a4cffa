"""How much at once: the viewer's hundred frames pass, a program that copies the archive does not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from clinic_access.pace import READS_AT_ONCE
from harness.wait import wait_until
from security.scene import Scene, bearer, reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests
    from harness.people import People

# The one whom no other test needs, of the same clinic and at the same address as all others.
SCRAPER, NEIGHBOUR = "scraper", "physician-a"
WORKERS = 16


def frames(scene: Scene, token: str, count: int, workers: int) -> Iterator[requests.Response]:
    """Ask for a frame so many times over, and end at the first answer that is none."""
    url = f"{scene.stack.url}{scene.own.path}/frames/1"
    sessions = [scene.stack.session() for _ in range(workers)]

    def ask(number: int) -> requests.Response:
        return sessions[number % workers].get(url, headers=bearer(token))

    with ThreadPoolExecutor(workers) as pool:
        for begun in range(0, count, workers):
            answers = list(pool.map(ask, range(begun, begun + workers)))
            yield from answers
            if any(answer.status_code != 200 for answer in answers):
                break
    for session in sessions:
        session.close()


def test_a_hundred_frames_at_once_pass_for_several_at_one_address(scene: Scene) -> None:
    for caller in (NEIGHBOUR, "physician-ab", "admin-x"):
        answers = list(frames(scene, scene.token(caller), 100, 100))
        assert [answer.status_code for answer in answers] == [200] * 100


def test_a_scraper_is_told_to_wait_whatever_token_it_brings_and_its_neighbour_is_not(
    scene: Scene, people: People
) -> None:
    people.person(SCRAPER, "physician", "clinic-a")
    token = people.token(SCRAPER, fresh=True)
    neighbour = bearer(scene.token(NEIGHBOUR))
    # In less than a minute, or as much flows in as goes out.
    answers = list(frames(scene, token, 2 * READS_AT_ONCE, WORKERS))
    passed = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert READS_AT_ONCE <= len(passed) < 2 * READS_AT_ONCE
    for answer in (*refused, *frames(scene, people.token(SCRAPER, fresh=True), 1, 1)):
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")
        assert reason(answer) == "Too many requests at once; please wait a moment."
    with scene.stack.session() as session:
        asked = session.get(f"{scene.stack.url}{scene.own.path}/frames/1", headers=neighbour)
    assert asked.status_code == 200

    def is_free() -> bool:
        (answer,) = frames(scene, token, 1, 1)
        return answer.status_code == 200

    wait_until(is_free, 20, "who has waited reads on")
