"""Moments, memory and verdicts of the reading bench are told from the right samples; its peers differ as they say."""

from __future__ import annotations

import os
import re
from threading import Event
from typing import TYPE_CHECKING

import pytest
from bench.reading import proc, static
from bench.reading.archive import Study, allocated
from bench.reading.browsers import ATTEMPTS, SEEN, undisturbed
from bench.reading.capacity_report import STEPS, latency_table, memory_table
from bench.reading.doors import APP_CONFIG, BARE, DOORS, STATIC, WHOLE, without_login
from bench.reading.figures import Figure, ratios, table
from bench.reading.listing import COLD, WARM
from bench.reading.moments import Fetched, Opening, Seen, entered_ms, opening
from bench.reading.network import CUT_OFF
from bench.reading.peers import CONFIG, LISTENS
from bench.reading.room import FOLDERS, Growth
from bench.reading.room import report as room_report
from bench.reading.series import report as series_report
from bench.reading.sizes import sizes
from bench.reading.volume import Planes
from bench.reading.volume import report as volume_report
from bench.reading.window import CutOffError
from bench.template import Kind, encode
from playwright.sync_api import Error as PageError
from stack.settings import PODMAN_DIR

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://localhost:19443"
STUDY = Study("12345678901234567890", 2)


def frame_of(study: Study, index: int, ended_ms: float) -> Fetched:
    path = f"{study.series_path}/instances/{study.instances[index]}/frames/1"
    return Fetched(URL + path, ended_ms - 10, ended_ms)


def page(path: str, began_ms: float) -> Fetched:
    return Fetched(URL + path, began_ms, began_ms + 5, is_page=True)


def test_a_list_is_waited_for_from_the_return_of_a_login() -> None:
    came = [
        page("/", 1000),
        page("/auth/realms/dicom/protocol/openid-connect/auth", 2000),
        page("/auth/realms/dicom/login-actions/authenticate", 3000),
        page("/callback", 4000),
        Fetched(f"{URL}/app.js", 4100, 4200),
        page("/viewer", 5000),
    ]
    assert entered_ms(reversed(came)) == 4000
    assert entered_ms(came[:1]) == 1000
    with pytest.raises(ValueError, match="never"):
        entered_ms(came[1:3])


def test_an_opening_ends_with_its_last_frame() -> None:
    metadata = [Fetched(f"{URL}{STUDY.series_path}/metadata", 1100, 1350)]
    came = [frame_of(STUDY, 0, 2500), frame_of(STUDY, 1, 2000)]
    seen = Seen(1000, 0, (0.0, 1800.0), 2600)
    assert seen.panes() == 1
    assert opening(1000, seen, came, metadata, STUDY) == Opening(0.8, 1.5, 0.25)
    with pytest.raises(ValueError, match="metadata was never fetched"):
        opening(1000, seen, came, [], STUDY)


def test_what_the_machines_network_cut_off_is_measured_again() -> None:
    outcomes: list[Exception | str] = [CutOffError("a frame"), PageError(CUT_OFF), "measured"]

    def measure() -> str:
        if isinstance(one := outcomes.pop(0), Exception):
            raise one
        return one

    assert undisturbed(measure) == "measured"
    outcomes[:] = [PageError("no such page"), "measured"]
    with pytest.raises(PageError, match="no such page"):
        undisturbed(measure)
    outcomes[:] = [CutOffError("a frame")] * ATTEMPTS + ["measured"]
    with pytest.raises(CutOffError, match="a frame"):
        undisturbed(measure)


def test_a_process_may_be_named_as_it_likes() -> None:
    assert proc.parse_stat("12 (a) (b 3) S 7 1 1") == (12, "a) (b 3", 7)


def test_a_tree_has_all_that_was_started_below_it_and_no_other() -> None:
    listed = [(4, "d", 3), (3, "c", 2), (2, "b", 1), (5, "e", 1), (1, "init", 0)]
    assert proc.descendants(2, listed) == {2: "b", 3: "c", 4: "d"}
    assert proc.descendants(9, listed) == {}


def test_shared_memory_counts_by_part() -> None:
    text = "55d-7ff ---p 0 00:00 0 [rollup]\nRss:  900 kB\nPss:  300 kB\nPss_Dirty:  100 kB\n"
    assert proc.parse_pss(text) == 300 * 1024
    assert proc.parse_pss("") == 0


def test_the_most_of_each_and_of_all_together_are_kept() -> None:
    found = iter([{"a": 5, "b": 1}, {"a": 1, "b": 6}])
    both = Event()

    def measure() -> dict[str, int]:
        if (one := next(found, None)) is None:
            both.set()
            return {"a": 0, "b": 0}
        return one

    with proc.Sampler(measure) as sampler:
        assert both.wait(30)
    assert sampler.peaks == {"a": 5, "b": 6}
    assert sampler.total == 7


def test_this_process_has_memory() -> None:
    own = proc.trees_bytes({"own": os.getpid(), "gone": 2**22 + 1})
    assert own["own"] > 1_000_000
    assert own["gone"] == 0


def test_a_figure_is_judged_at_its_median() -> None:
    good, bad = (
        Figure("good", (0.5, 0.9, 9.0), bound=1.0),
        Figure("bad", (0.5, 1.1, 1.2), bound=1.0),
    )
    text = table("Some", [good, bad, Figure("told", (2.0,), ""), Figure("never", ())])
    assert "| good | 0.9 (0.5 to 9) s | 1 s | yes |" in text
    assert "| bad | 1.1 (0.5 to 1.2) s | 1 s | **no** |" in text
    assert "| told | 2 (2 to 2) |  |  |" in text
    assert "never" not in text


def test_all_frames_are_held_against_the_static_files_of_the_same_round() -> None:
    assert ratios([2.0, 9.0], [1.0, 3.0]) == (2.0, 3.0)
    took = {WHOLE: (1.3, 9.0), BARE: (2.0, 2.0), STATIC: (1.0, 3.0)}
    found = {
        (door, state): [Opening(0.5, seconds, 0.1) for seconds in took[door]]
        for door in DOORS
        for state in (WARM, COLD)
    }
    text = series_report(found, 512, 2)
    assert f"| {WHOLE.title}, warm, of the static files | 2.15 (1.3 to 3) | 1.3 | **no** |" in text
    assert f"| {WHOLE.title}, cold, of the static files | 2.15 (1.3 to 3) |  |  |" in text
    assert f"| {WHOLE.title}, warm | 0.1 (0.1 to 0.1) s | 0.5 s | yes |" in text
    assert f"| {WHOLE.title}, cold | 0.1 (0.1 to 0.1) s | 3 s | yes |" in text


def test_memory_of_the_browser_is_told_in_volumes() -> None:
    size = sizes(1)
    one = size.volume_bytes
    found = Planes(
        "Mesa", [9.0, 1.0, 2.0], [9.0, 3.0, 5.0], [3 * one, 5 * one], [one, 2 * one, 2 * one]
    )
    text = volume_report(found, size)
    assert "| the volume whole, later ones | 4 (3 to 5) s |" in text
    assert "above the empty viewer | 4 (4 to 4) volumes | 3 volumes | **no** |" in text
    assert "| 0 (0 to 0) volumes | 0.25 volumes | yes |" in text
    assert "Drawn by Mesa. A volume is 268 MB." in text


def test_the_stack_is_held_against_what_the_architecture_allows() -> None:
    memory = {0: {"nginx": 10**7, "orthanc": 10**9}, 5: {"nginx": 2 * 10**7, "orthanc": 2 * 10**9}}
    lines = memory_table(memory, {0: 1_010_000_000, 5: 2_015_000_000}).splitlines()
    assert lines[2] == "| peak MB | nobody | 5 at once |"
    assert lines[4:] == [
        "| orthanc | 1000 | 2000 |",
        "| nginx | 10 | 20 |",
        "| **together**, at one time | 1010 | 2015 |",
        "| the architecture's table | 4000 | 9000 |",
        "",
    ]
    steps = {5: {step: [1.0, 2.0, 6.0] for step in STEPS}}
    assert "| all frames, 5 at once | 2 (1 to 6) s |" in latency_table(steps, sizes(1), 3)


def test_database_and_disk_stand_beside_the_architecture() -> None:
    grown = dict.fromkeys(FOLDERS, 0) | {"dicom": 110, "files": 90}
    text = room_report([Growth(100, grown)], 4000, 500, sizes(1), 30)
    assert "| database, a study of 500 MB (954 slices) | 480 KB | 100 KB |" in text
    assert "| disk, a day of 20 studies of 500 MB | 20.0 GB | 10 GB |" in text
    assert "| images of the study that takes as much as the table allows | 193 |  |" in text
    assert "| of it, once the originals' 30 days are over | 11.0 GB | 10 GB |" in text
    assert "| disk, a year of such days, and the originals of 30 | 4.29 TB | 3.65 TB |" in text
    assert "| of that day in files/ | 9.00 GB |  |" in text


def test_a_file_of_two_names_takes_its_disk_once(tmp_path: Path) -> None:
    top = tmp_path
    (top / "a").mkdir()
    (top / "without").mkdir()
    (top / "a" / "file").write_bytes(os.urandom(100_000))
    os.link(top / "a" / "file", top / "link")
    (top / "without" / "file").write_bytes(os.urandom(100_000))
    known: set[tuple[int, int]] = set()
    assert 100_000 <= allocated(top, known, "without") < 150_000
    assert allocated(top / "a", known) == 0


def test_the_peers_viewer_is_the_products_but_for_the_login() -> None:
    theirs = APP_CONFIG.read_text()
    ours = without_login(theirs)
    assert "oidc" not in ours
    assert "<!--#" not in ours
    assert "const language = 'en';" in ours
    kept = [line for line in theirs.splitlines() if "<!--#" not in line]
    lost = [line for line in kept if line not in ours.splitlines()]
    assert all(line.startswith("      ") for line in lost if "oidc" not in line)
    assert any("automaticSilentRenew" in line for line in lost)


def test_a_login_that_is_set_otherwise_is_not_left_in_unseen() -> None:
    with pytest.raises(ValueError, match="0 settings"):
        without_login(APP_CONFIG.read_text().replace("  oidc: [", "  login: ["))


def test_the_peers_speak_as_the_product_does() -> None:
    ours = CONFIG.read_text()
    theirs = (PODMAN_DIR / "nginx" / "nginx.conf").read_text()
    for name in ("ssl_protocols", "ssl_ciphers", "ssl_ecdh_curve", "http2", "keepalive_requests"):
        (expected,) = set(re.findall(rf"^\s+({name} .*;)$", theirs, re.MULTILINE))
        assert expected in ours
    assert [f"listen {port} ssl;" in ours for port in LISTENS.values()] == [True, True]
    assert f"boundary={static.BOUNDARY}'" in ours


def test_a_static_frame_is_one_part_of_its_pixels() -> None:
    head, _, rest = static.frame(b"pixels").partition(b"\r\n\r\n")
    assert head.startswith(b"--BENCH\r\nContent-Type: application/octet-stream;")
    assert rest == b"pixels\r\n--BENCH--\r\n"


def test_a_row_is_known_by_the_name_that_the_benchs_patients_have() -> None:
    (needle,) = re.findall(r"textContent\.includes\('(\w+)'\)", SEEN.read_text())
    assert f"{needle}^".encode() in encode(Kind("studies", 2048, 1))


def test_a_small_bench_still_has_a_list_of_more_than_one_page_and_a_volume() -> None:
    small = sizes(0.001)
    assert (small.studies, small.slices, small.openings) == (120, 64, 2)
    assert sizes(1) == type(small)(5000, 512, 10)
