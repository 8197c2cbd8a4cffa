"""The web front's files: accepted by nginx itself, and right when nothing stands behind them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import requests
from access_audit.spool import parse
from harness import stack as stacks
from harness.headers import SECURITY_HEADERS, not_once
from harness.raw import connection, exchange, first, request, serial, statuses
from harness.wait import wait_until
from stack import words
from stack.certificate import ensure_certificate, served
from stack.credentials import UIDS
from stack.settings import PODMAN_DIR, load
from stack.shell import attempt, podman
from stack.site import STRICT_TRANSPORT, site_conf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from access_audit.spool import Request

NGINX = PODMAN_DIR / "nginx"
# The broadcast address: no connection to it is ever tried.
NOBODY = "255.255.255.255"
SERVICES = ("importer", "keycloak", "ohif", "orthanc")
CONFIGURATIONS = ("/etc/nginx/nginx.conf", "/etc/ohif/nginx.conf")


def _door(name: str, *services: str) -> list[str]:
    """Return podman's options for a door; the stand-ins run beside nginx, on the same loopback."""
    volume = f"--volume={NGINX}/doors/{name}.conf:/etc/nginx/doors/{name}.conf:ro"
    return [volume, *(f"--add-host={service}:127.0.0.1" for service in services)]


DOOR = _door("grafana", "grafana")
_OPERATORS = [
    *_door("classic", "prometheus"),
    *_door("operator", "alertmanager", "oauth2proxy"),
    f"--volume={NGINX}/pages:/etc/nginx/pages:ro",
]
OPERATORS = [*_OPERATORS, *_door("embedded", "victorialogs", "victoriametrics")]
WITH_GRAFANA = [*_OPERATORS, *DOOR]
DOORS = {
    "no door": [],
    "Grafana's door": DOOR,
    "the inbox's door": _door("inbox"),
    "the operator's doors": OPERATORS,
    "the operator's doors with Grafana": WITH_GRAFANA,
}
STAND_IN = """
import http.server, json

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        if self.path.startswith("/grafana/d/"):
            self.send_header("Content-Security-Policy", "script-src 'nonce-signed'")
        self.send_header("X-Frame-Options", "deny")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "unsafe-url")
        self.end_headers()
        asked = {name.lower(): value for name, value in self.headers.items()}
        self.wfile.write(json.dumps({"path": self.path, "headers": asked}).encode())
    def log_message(self, *words):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", 3000), Handler).serve_forever()
"""
# oauth2-proxy, which takes its time, and all that lies behind it.
OPERATED = """
import http.server, json, threading, time

checks = []

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"path": self.path, "headers": asked, "checks": len(checks)}).encode()
        status, headers = 200, {"Access-Control-Allow-Origin": "*", "X-Frame-Options": "x"}
        if self.path == "/operator/session/auth":
            checks.append(1)
            time.sleep(0.3)
            good = "__Host-operator=good" in asked.get("cookie", "")
            status, headers = (202 if good else 401), {}
            if good:
                headers["Set-Cookie"] = f"__Host-operator=newer{len(checks)}; Path=/; Secure"
        elif self.path.startswith("/operator/session/start"):
            status, headers = 302, {"Location": "https://login.example/"}
            headers["Set-Cookie"] = "csrf=" + asked["x-auth-request-redirect"] + "; Secure"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *words):
        pass

for port in (9090, 9093, 8428, 9428):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever).start()
http.server.ThreadingHTTPServer(("127.0.0.1", 4180), Handler).serve_forever()
"""
TOKEN = f"token.{secrets.token_hex(16)}"
SEARCHED = f"Patient{secrets.token_hex(8)}"


@dataclass(frozen=True, slots=True)
class Front:
    """nginx alone: its addresses, its certificate's authority, its container."""

    url: str
    plain_url: str
    session: requests.Session
    container: str
    spool: Path

    def audited(self, path: str, count: int = 1) -> list[Request]:
        """Return what the auditor would read of requests for a path, once there are so many."""

        def found() -> list[Request]:
            lines = b"".join(file.read_bytes() for file in sorted(self.spool.iterdir()))
            requests = [parse(line) for line in lines.splitlines()]
            these = [request for request in requests if request.path == path]
            return these if len(these) >= count else []

        return wait_until(found, 10, f"{path} is written for the audit")

    def get(self, path: str, *, method: str = "GET", **headers: str) -> requests.Response:
        """Send a request with the path exactly as given."""
        prepared = self.session.prepare_request(
            requests.Request(method, self.url, headers={k.title(): v for k, v in headers.items()})
        )
        prepared.url = self.url + path
        return self.session.send(
            prepared, allow_redirects=False, timeout=10, verify=self.session.verify
        )

    def log(self) -> str:
        """Return what nginx wrote."""
        done = attempt(["podman", "logs", self.container])
        return done.stdout + done.stderr


def free_ports() -> tuple[int, int]:
    """Return two ports that nobody listens on."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    """Provide ports for HTTP and HTTPS."""
    return free_ports()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide the folder of certificate and generated configuration."""
    return tmp_path_factory.mktemp("front")


@pytest.fixture(scope="module")
def options(data_dir: Path, ports: tuple[int, int]) -> list[str]:
    """Provide podman's options: the shipping files, as compose.yml mounts them."""
    changes = {"DATA_DIR": str(data_dir), "PUBLIC_URL": f"https://localhost:{ports[1]}"}
    settings = load(stacks.temporary_copy(stacks.TESTS / "stack.env", **changes))
    certificate = ensure_certificate(settings)
    site = data_dir / "site.conf"
    site.write_text(site_conf(settings, trusted=False))
    mounts = {
        NGINX / "nginx.conf": "/etc/nginx/nginx.conf",
        NGINX / "includes": "/etc/nginx/includes",
        PODMAN_DIR / "ohif": "/etc/ohif",
        site: "/etc/nginx/site.conf",
        certificate.path.parent: "/etc/nginx/tls",
        data_dir / "acme-challenge": "/var/lib/acme/acme-challenge",
    }
    challenge = data_dir / "acme-challenge/.well-known/acme-challenge"
    challenge.mkdir(parents=True)
    (challenge / "proof").write_text("proof")
    volumes = [f"--volume={source}:{target}:ro" for source, target in mounts.items()]
    spool = data_dir / "spool"
    spool.mkdir()
    os.chown(spool, UIDS["nginx"], UIDS["nginx"])
    volumes.append(f"--volume={spool}:/var/log/nginx-audit")
    hosts = [f"--add-host={name}:{NOBODY}" for name in SERVICES]
    hosts.append("--add-host=nginx:127.0.0.1")
    hardening = ["--read-only", "--cap-drop=ALL", "--user=7101:7101", "--tmpfs=/tmp"]
    return [*volumes, *hosts, *hardening, "--sysctl=net.ipv4.ip_unprivileged_port_start=0"]


@contextmanager
def running(
    data_dir: Path, ports: tuple[int, int], options: list[str], tag: str
) -> Iterator[Front]:
    """Run nginx alone, published at the ports; ends when it does not start."""
    name = f"nginx-alone-{secrets.token_hex(4)}"
    published = [f"--publish=127.0.0.1:{p}:{c}" for p, c in zip(ports, (80, 443), strict=True)]
    podman("run", "--detach", f"--name={name}", *published, *options, tag)
    session = stacks.Session(data_dir / "tls" / "ca.crt")
    alone = Front(
        f"https://localhost:{ports[1]}",
        f"http://localhost:{ports[0]}",
        session,
        name,
        data_dir / "spool",
    )

    def is_up() -> bool:
        try:
            return session.get(f"{alone.plain_url}/healthz", timeout=2).ok
        except requests.ConnectionError:
            return False

    try:
        wait_until(is_up, 20, "nginx starts although the other services are down", alone.log)
        yield alone
    finally:
        session.close()
        podman("rm", "--force", name)


@contextmanager
def another(
    data_dir: Path, options: list[str], tag: str, *, trusted: bool = False, **changes: str
) -> Iterator[Front]:
    """Run nginx once more, with other options or settings, or as if its certificate were trusted."""
    ports = free_ports()
    own = {"DATA_DIR": str(data_dir), "PUBLIC_URL": f"https://localhost:{ports[1]}", **changes}
    settings = load(stacks.temporary_copy(stacks.TESTS / "stack.env", **own))
    site = data_dir / f"site-{ports[1]}.conf"
    site.write_text(site_conf(settings, trusted=trusted))
    kept = [o for o in options if not o.endswith(":/etc/nginx/site.conf:ro")]
    kept.append(f"--volume={site}:/etc/nginx/site.conf:ro")
    with running(data_dir, ports, kept, tag) as alone:
        yield alone


@pytest.fixture(scope="module")
def front(
    data_dir: Path, ports: tuple[int, int], options: list[str], image: Callable[[str], str]
) -> Iterator[Front]:
    """Provide nginx with nothing behind it."""
    with running(data_dir, ports, options, image("nginx")) as alone:
        yield alone


@pytest.fixture
def dashboards(data_dir: Path, options: list[str], image: Callable[[str], str]) -> Iterator[Front]:
    """Provide nginx with Grafana's door, and behind it a server that answers what it was asked."""
    with (
        another(data_dir, [*options, *DOOR], image("nginx")) as door,
        beside(door, image("importer"), STAND_IN),
    ):
        wait_until(lambda: door.get("/grafana/").status_code == 200, 20, "it answers", door.log)
        yield door


@contextmanager
def beside(front: Front, tag: str, program: str) -> Iterator[None]:
    """Run a stand-in on nginx's own loopback."""
    name = f"{front.container}-beside"
    podman(
        *("run", "--detach", f"--name={name}", f"--network=container:{front.container}"),
        *("--no-healthcheck", "--entrypoint=python3", tag, "-c", program),
    )
    try:
        yield
    finally:
        podman("rm", "--force", "--time=0", name)


@contextmanager
def answered(door: Front, tag: str) -> Iterator[Front]:
    """Run stand-ins for all that is behind the operator's doors."""
    # Nobody is there yet who could say who comes.
    away = door.get("/prometheus/graph", cookie="__Host-operator=good")
    assert (away.status_code, "starting or being updated" in away.text) == (503, True)
    with beside(door, tag, OPERATED):
        wait_until(lambda: door.get("/operator/").status_code == 401, 20, "it answers", door.log)
        yield door


@pytest.fixture(scope="module")
def operated(data_dir: Path, options: list[str], image: Callable[[str], str]) -> Iterator[Front]:
    """Provide nginx with the operator's doors, and stand-ins for all that is behind them."""
    with (
        another(data_dir, [*options, *OPERATORS], image("nginx")) as door,
        answered(door, image("importer")),
    ):
        yield door


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("path", CONFIGURATIONS)
def test_nginx_accepts_its_configuration(
    path: str, options: list[str], image: Callable[[str], str], door: str
) -> None:
    # The viewer's own file says where its process id goes, the front door's caller does.
    pid = ["-g", "pid /tmp/nginx.pid;"] if path.startswith("/etc/nginx") else []
    check = ["nginx", "-e", "stderr", "-t", "-c", path, *pid]
    done = attempt(["podman", "run", "--rm", *options, *DOORS[door], image("nginx"), *check])
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_the_policys_hashes_are_those_of_the_viewers_inline_scripts(
    image: Callable[[str], str],
) -> None:
    page = podman("run", "--rm", image("nginx"), "cat", "/usr/share/ohif/index.html")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    policy = (NGINX / "includes" / "security.conf").read_text()
    assert scripts
    assert sorted(re.findall(r"'sha256-([^']+)'", policy)) == sorted(digests)


def test_only_the_security_headers_file_adds_headers() -> None:
    files = [f for f in NGINX.rglob("*.conf") if f.is_file()]
    assert len(files) > 8
    assert [f.name for f in files if "add_header " in f.read_text()] == ["security.conf"]


def test_plain_http_and_other_host_names_are_sent_to_the_public_address(front: Front) -> None:
    plain = front.session.get(f"{front.plain_url}/viewer?a=b", allow_redirects=False, timeout=10)
    other = front.get("/viewer?a=b", host="elsewhere.example")
    assert [(a.status_code, a.headers["Location"]) for a in (plain, other)] == [
        (307, f"{front.url}/viewer?a=b")
    ] * 2


def test_a_renewed_certificate_is_served_at_once_and_open_connections_stay(
    front: Front, data_dir: Path, ports: tuple[int, int]
) -> None:
    changes = {"DATA_DIR": str(data_dir), "PUBLIC_URL": f"https://localhost:{ports[1]}"}
    settings = load(stacks.temporary_copy(stacks.TESTS / "stack.env", **changes))
    before = serial(front.url)
    with connection(front.url, str(front.session.verify)) as opened:
        served(settings).unlink()
        ensure_certificate(settings)
        assert serial(front.url) != before
        opened.sendall(request(front.url, "GET /auth/"))
        assert statuses(opened.recv(1 << 16)) == [404]


def test_a_certificate_authority_finds_its_proof_over_plain_http_and_nothing_else(
    front: Front,
) -> None:
    def get(path: str) -> requests.Response:
        return front.session.get(front.plain_url + path, allow_redirects=False, timeout=10)

    proof = get("/.well-known/acme-challenge/proof")
    assert (proof.status_code, proof.text) == (200, "proof")
    assert get("/.well-known/acme-challenge/other").status_code == 404
    assert get("/.well-known/acme-challenge/").status_code == 404
    assert get("/.well-known/other").status_code == 307


def test_front_door_and_viewer_share_a_port_where_they_share_a_host(
    options: list[str], image: Callable[[str], str], tmp_path: Path
) -> None:
    # As without containers: the viewer answers on its own address, the front door on all others.
    name = f"nginx-shared-{secrets.token_hex(4)}"
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "127.0.0.1 localhost\n127.0.10.10 nginx\n127.0.10.12 ohif\n"
        f"{NOBODY} importer keycloak orthanc\n"
    )
    hosts.chmod(0o644)
    own = [o for o in options if not o.startswith(("--add-host", "--sysctl"))]
    own.append(f"--volume={hosts}:/etc/hosts:ro")
    viewer = ["nginx", "-e", "stderr", "-p", "/usr/share", "-c", "/etc/ohif/nginx.conf"]
    sysctl = "--sysctl=net.ipv4.ip_unprivileged_port_start=0"
    try:
        podman(
            *("run", "--detach", f"--name={name}", "--network=none", sysctl, *own),
            *(image("nginx"), *viewer),
        )
        podman(
            *("run", "--detach", f"--name={name}-front", f"--network=container:{name}", *own),
            image("nginx"),
        )

        def answers() -> list[str]:
            ask = "exec 3<>/dev/tcp/$0/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3"
            found = [
                attempt(["podman", "exec", name, "bash", "-c", ask, address]).stdout
                for address in ("127.0.10.12", "127.0.0.1", "127.0.10.10")
            ]
            return [" ".join(line.split()[1:2]) for line in found]

        wait_until(lambda: "" not in answers(), 20, "both answer")
        for _ in range(5):
            assert answers() == ["200", "307", "307"]
        # A request before the viewer listened reaches the front door, which must not keep that connection.
        ask = "exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n' >&3; cat <&3"
        led_away = podman("exec", name, "timeout", "5", "bash", "-c", ask)
        assert "Connection: close" in led_away
    finally:
        podman("rm", "--force", f"{name}-front")
        podman("rm", "--force", name)


@pytest.mark.parametrize("path", ["/", "/auth/realms/dicom/login-actions/authenticate"])
def test_a_person_gets_a_page_that_tries_again_while_a_service_is_down(
    front: Front, path: str
) -> None:
    answer = front.get(path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert 'http-equiv="refresh"' in answer.text
    assert "starting or being updated" in answer.text


def test_the_archive_asks_for_a_token_without_asking_anybody(front: Front) -> None:
    for headers in ({}, {"authorization": "Basic YTpi"}, {"authorization": "Bearer a b"}):
        answer = front.get("/dicom-web/studies", **headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="dicom"'
        assert answer.json()["status"] == 401


def test_a_token_that_cannot_be_checked_is_answered_503(front: Front) -> None:
    answer = front.get("/dicom-web/studies", authorization=f"Bearer {TOKEN}")
    assert (answer.status_code, answer.json()["status"]) == (503, 503)


@pytest.mark.parametrize("tag", ["en", "de", "fr"])
def test_the_front_speaks_the_sites_language(
    data_dir: Path, options: list[str], image: Callable[[str], str], tag: str
) -> None:
    text = words.file(tag).read_text()
    language = json.loads(text)
    said = language["front"]
    own = [o for o in options if not o.startswith("--add-host=ohif")]
    own += [*_door("inbox"), f"--volume={NGINX}/inbox:/etc/nginx/inbox:ro"]
    own += [f"--volume={words.LANGUAGES}:/etc/nginx/languages:ro", "--add-host=ohif:127.0.0.2"]
    alike = [o for o in options if not o.startswith(("--add-host", "--sysctl"))]
    viewer = ["nginx", "-e", "stderr", "-p", "/usr/share", "-c", "/etc/ohif/nginx.conf"]
    with another(data_dir, own, image("nginx"), LANGUAGE_TAG=tag) as front:
        name = f"{front.container}-viewer"
        network = f"--network=container:{front.container}"
        podman("run", "--detach", f"--name={name}", network, *alike, image("nginx"), *viewer)
        try:
            # The front door must not be asked before: it would reach itself and keep that connection.
            ask = "exec 3<>/dev/tcp/127.0.0.2/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3"
            reach = ["podman", "exec", name, "bash", "-c", ask]
            wait_until(lambda: " 200 " in attempt(reach).stdout, 20, "the viewer answers")
            settings = front.get("/app-config.js")
        finally:
            podman("rm", "--force", name)
        assert settings.headers["Content-Type"].startswith("application/javascript")
        assert f"const language = '{tag}';" in settings.content.decode()
        for status in ("401", "403", "503"):
            assert f"{status}: `{said[f'viewer_{status}']}`" in settings.content.decode()
        assert "<!--" not in settings.content.decode()
        page, refused = front.get("/auth/"), front.get("/dicom-web/studies")
        assert (page.status_code, refused.status_code) == (404, 401)
        for part in (f'<html lang="{language["language"]}">', said["404"], said["study_list"]):
            assert part in page.content.decode()
        assert refused.json() == {"status": 401, "error": said["401"]}
        inbox = front.get("/inbox/").content.decode()
        assert inbox.startswith(f'<!doctype html>\n<html lang="{language["language"]}">\n')
        assert f"<noscript><p>{said['no_script']}</p></noscript>" in inbox
        assert "<!--" not in inbox
        told = front.get("/inbox/words.json")
        assert (told.headers["Content-Type"], told.content.decode()) == ("application/json", text)
        assert front.get("/inbox/words.json", method="POST").status_code == 405


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_the_archive_and_the_viewer_are_only_read(front: Front, method: str) -> None:
    path = "/dicom-web/studies/1.2/metadata"
    archive = front.get(path, method=method, authorization=f"Bearer {TOKEN}")
    viewer = front.get("/", method=method)
    assert [archive.status_code, viewer.status_code] == [405, 405]
    assert archive.headers["Allow"] == "GET"


@pytest.mark.parametrize(
    "path", ["/dicom-web/studies", "/dicom-web/studies/1.2", "/orthanc/dicom-web/studies/"]
)
def test_studies_are_stored_by_post_and_by_nothing_else(front: Front, path: str) -> None:
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
        answer = front.get(path, method=method, authorization=f"Bearer {TOKEN}")
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, POST")
    assert front.get(path, method="POST").status_code == 401
    # Nobody is there who could say whose token it is.
    assert front.get(path, method="POST", authorization=f"Bearer {TOKEN}").status_code == 503
    assert front.get(f"/store{path}", method="POST").status_code == 404


@pytest.mark.parametrize("header", ["Content-Length: 50000000", "Transfer-Encoding: chunked"])
def test_a_read_has_no_body(front: Front, header: str) -> None:
    # It would be kept in this container's memory until all of it is there.
    bearer = f"Authorization: Bearer {TOKEN}"
    for path in ("/dicom-web/studies", "/wado", "/orthanc/system"):
        refused = request(front.url, f"GET {path}", bearer, header)
        allowed = request(front.url, f"GET {path}", bearer, "Content-Length: 0")
        found = [first(front.url, str(front.session.verify), r)[0] for r in (refused, allowed)]
        # Nobody is there who could say whose token it is.
        assert found == [413, 503]


def test_a_body_of_more_than_four_gigabytes_is_refused_beforehand(front: Front) -> None:
    for path in ("/dicom-web/studies", "/orthanc/dicom-web/studies"):
        answer = front.get(path, method="POST", **{"content-length": str(5 << 30)})
        assert answer.status_code == 413


@pytest.mark.parametrize(
    "path",
    [
        "/auth/",
        "/auth/metrics",
        "/auth/admin/dicom/console/",
        "/auth/admin/realms",
        "/auth/admin/realms/master",
        "/auth/realms/dicom/broker/x/login",
        "/auth/realms/dicom/clients-registrations/openid-connect",
        "/auth/realms/dicom/device",
        "/auth/realms/dicom/protocol/openid-connect/auth/device",
        "/auth/realms/dicom/protocol/openid-connect/token/introspect",
        "/auth/realms/dicom/protocol/saml",
        "/auth/realms/master/protocol/openid-connect/auth",
        "/clinic-search/studies",
        "/alertmanager/",
        "/dashboards/",
        "/grafana/",
        "/inbox/",
        "/logs/",
        "/operator/",
        "/prometheus/",
        "/session-check",
    ],
)
def test_what_is_not_for_everyone_is_not_there(front: Front, path: str) -> None:
    assert front.get(path).status_code == 404


def test_where_grafana_is_there_is_a_door_to_it(dashboards: Front) -> None:
    claimed = {"upgrade": "websocket", "x-forwarded-for": "192.0.2.7"}
    answer = dashboards.get("/grafana/d/stack?orgId=1", **claimed)
    asked = answer.json()
    assert (answer.status_code, asked["path"]) == (200, "/grafana/d/stack?orgId=1")
    authority = dashboards.url.removeprefix("https://")
    headers = asked["headers"]
    assert headers["host"] == headers["x-forwarded-host"] == authority
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-forwarded-for"] != "192.0.2.7"
    assert (headers["connection"], headers["upgrade"]) == ("upgrade", "websocket")
    bare = dashboards.get("/grafana")
    assert (bare.status_code, bare.headers["Location"]) == (307, f"{dashboards.url}/grafana/")


def test_a_page_of_grafana_has_its_own_policy_and_the_other_headers_of_every_answer(
    dashboards: Front,
) -> None:
    page, other = dashboards.get("/grafana/d/stack"), dashboards.get("/grafana/x.js")
    assert page.headers["Content-Security-Policy"] == "script-src 'nonce-signed'"
    assert other.headers["Content-Security-Policy"].startswith("default-src 'none';")
    for answer in (page, other):
        assert not_once(answer) == []
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize(
    "path",
    [
        "/grafana/metrics",
        "/grafana/%6detrics",
        "/grafana/api/health",
        "/grafana/healthz",
        "/inbox/",
    ],
)
def test_what_grafana_tells_of_itself_is_not_for_everyone(dashboards: Front, path: str) -> None:
    assert dashboards.get(path).status_code == 404


def test_who_asks_grafana_too_much_is_slowed_down(dashboards: Front) -> None:
    answers = [dashboards.get("/grafana/x.js").status_code for _ in range(700)]
    assert answers[:300] == [200] * 300
    assert 429 in answers


@pytest.mark.parametrize(
    ("path", "inner"),
    [
        ("/prometheus/graph?g0.expr=up", "/classic/graph?g0.expr=up"),
        ("/prometheus/api/v1/query?query=up", "/api/v1/query?query=up"),
        ("/alertmanager/api/v2/alerts", "/api/v2/alerts"),
        ("/dashboards/vmui/", "/vmui/"),
        ("/dashboards/api/v1/query_range?query=up", "/api/v1/query_range?query=up"),
        ("/logs/select/logsql/query?query=*", "/select/logsql/query?query=*"),
    ],
)
def test_the_operators_doors_lead_where_they_should_with_a_session_alone(
    operated: Front, path: str, inner: str
) -> None:
    cookie = f"other=1; __Host-operator=good{secrets.token_hex(4)}"
    answer = operated.get(path, cookie=cookie, authorization="Bearer x")
    assert (answer.status_code, answer.json()["path"]) == (200, inner)
    # What lies behind learns nothing that opens something else.
    assert not {"cookie", "authorization"} & answer.json()["headers"].keys()
    assert not_once(answer) == []
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    # The session was confirmed anew.
    assert answer.headers["Set-Cookie"].startswith("__Host-operator=newer")
    for refused in (operated.get(path), operated.get(path, cookie="__Host-operator=bad")):
        assert (refused.status_code, "Set-Cookie" in refused.headers) == (401, False)
        assert not_once(refused) == []


def test_a_page_without_a_session_leads_to_the_login_and_back(operated: Front) -> None:
    answer = operated.get("/prometheus/graph?g0.expr=up&g0.tab=1", accept="text/html,*/*")
    assert (answer.status_code, answer.headers["Location"]) == (302, "https://login.example/")
    assert answer.headers["Set-Cookie"].startswith("csrf=/prometheus/graph?g0.expr=up&g0.tab=1;")


def test_those_that_come_with_one_cookie_are_confirmed_once(operated: Front) -> None:
    cookie = f"__Host-operator=good{secrets.token_hex(4)}"
    before = operated.get("/prometheus/graph", cookie="__Host-operator=good").json()["checks"]
    with ThreadPoolExecutor(16) as pool:
        asked = [
            pool.submit(operated.get, f"/dashboards/api/v1/query?query={n}", cookie=cookie)
            for n in range(32)
        ]
        answers = [one.result() for one in asked]
    assert {a.status_code for a in answers} == {200}
    assert {a.json()["checks"] for a in answers} == {before + 1}
    # Each of them learns of the new cookie, whichever the browser hears last.
    assert len({a.headers["Set-Cookie"] for a in answers}) == 1
    # Another cookie is another session.
    other = operated.get("/prometheus/graph", cookie=f"{cookie}x").json()
    assert other["checks"] == before + 2


def test_a_refusal_is_not_remembered(operated: Front) -> None:
    checks = []
    for _ in range(2):
        assert operated.get("/operator/", cookie="__Host-operator=bad").status_code == 401
        known = operated.get(
            "/prometheus/graph", cookie=f"__Host-operator=good{secrets.token_hex(4)}"
        )
        checks.append(known.json()["checks"])
    # The refused one and the fresh one.
    assert checks[1] - checks[0] == 2


def test_the_operators_page_asks_the_logs_where_they_are(
    operated: Front, data_dir: Path, options: list[str], image: Callable[[str], str]
) -> None:
    good = {"cookie": "__Host-operator=good"}
    page = operated.get("/operator/", **good).text
    assert ("/operator/logs?" in page, "/grafana/explore?" in page) == (True, False)
    with (
        another(data_dir, [*options, *WITH_GRAFANA], image("nginx")) as door,
        answered(door, image("importer")),
    ):
        page = door.get("/operator/", **good).text
        assert ("/operator/logs?" in page, "/grafana/explore?" in page) == (False, True)
        assert door.get("/operator/").status_code == 401


def test_the_pages_that_ship_load_nothing_from_elsewhere(operated: Front) -> None:
    good = {"cookie": "__Host-operator=good"}
    for page in ("/operator/", "/alertmanager/"):
        answer = operated.get(page, **good)
        assert answer.headers["Content-Type"] == "text/html"
        assert (
            "'unsafe-inline'" not in answer.headers["Content-Security-Policy"].split("style-src")[0]
        )
        assert re.findall(r'(?:src|href)="(?!/)', answer.text) == []
        assert re.findall(r"<script>| on[a-z]+=|<style", answer.text) == []
        for part in re.findall(r'(?:src|href)="(/operator/[a-z]+\.(?:css|js))"', answer.text):
            assert operated.get(part, **good).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/dicom-web//studies",
        "/dicom-web/../orthanc/studies",
        "/dicom-web/%2e%2e/orthanc/studies",
        "/dicom-web/studies%2f1.2",
        "/dicom-web/studies;a=b",
        "/dicom-web/%73tudies",
        "/auth/realms/dicom/..;/master/account",
    ],
)
def test_a_path_that_can_be_read_in_two_ways_is_refused(front: Front, path: str) -> None:
    assert front.get(path, authorization=f"Bearer {TOKEN}").status_code == 400


@pytest.mark.parametrize(
    "line", ["GET /%zz", "GET /x%00", "GET /../x", "GET /a b", "G\x01T /", "OPTIONS *"]
)
def test_a_request_line_that_cannot_be_read_is_the_clients_fault(front: Front, line: str) -> None:
    answer = exchange(front.url, str(front.session.verify), request(front.url, line))
    assert statuses(answer) == [400]
    assert b"X-Content-Type-Options: nosniff" in answer


def test_a_request_line_without_an_end_is_the_clients_fault(front: Front) -> None:
    # As much as nginx takes of one: of more, the rest would be answered with a reset.
    line = b"GET /".ljust(16 << 10, b"a")
    assert statuses(exchange(front.url, str(front.session.verify), line)) == [414]


@pytest.mark.parametrize("path", ["/dicom-web", "/orthanc"])
def test_a_missing_slash_is_added_at_the_public_address(front: Front, path: str) -> None:
    # nginx knows neither the port that is published nor its name.
    assert front.get(path).headers["Location"] == f"{path}/"


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        ("GET /a b", (), 400),
        ("GET /../x", (), 400),
        ("GET /dicom-web//studies", (), 400),
        ("GET /dicom-web/studies", (), 401),
        ("GET /auth/", (), 404),
        ("GET /grafana/", (), 404),
        ("POST /", (), 405),
        ("TRACE /", (), 405),
        ("GET /wado", ("Authorization: Bearer x", "Content-Length: 1"), 413),
        (f"GET /{'a' * (16 << 10)}", (), 414),
        ("GET /", (f"X: {'a' * (16 << 10)}",), 431),
        ("GET /", ("Transfer-Encoding: x",), 501),
        ("GET /", (), 503),
        ("GET /x.js", (), 503),
        ("GET /auth/resources/x", (), 503),
        ("GET /dicom-web/studies", ("Authorization: Bearer x",), 503),
    ],
    ids=lambda value: str(value)[:40],
)
def test_every_error_has_the_security_headers_once(
    front: Front, line: str, headers: tuple[str, ...], status: int
) -> None:
    answer = exchange(front.url, str(front.session.verify), request(front.url, line, *headers))
    assert statuses(answer) == [status]
    names = [line.partition(b":")[0].decode().lower() for line in answer.split(b"\r\n")]
    assert [n for n in SECURITY_HEADERS if names.count(n.lower()) != 1] == []
    assert "strict-transport-security" not in names, "the certificate is of our own authority"


def test_strict_transport_is_asked_over_tls_only(
    data_dir: Path, options: list[str], image: Callable[[str], str]
) -> None:
    with another(data_dir, options, image("nginx"), trusted=True) as trusted:
        assert trusted.get("/auth/").headers["Strict-Transport-Security"] == STRICT_TRANSPORT
        assert trusted.get("/x").headers["Strict-Transport-Security"] == STRICT_TRANSPORT
        plain = trusted.session.get(trusted.plain_url, allow_redirects=False, timeout=10)
        assert plain.status_code == 307
        assert not_once(plain) == []
        assert "Strict-Transport-Security" not in plain.headers


def test_neither_tokens_nor_queries_nor_referrers_reach_the_log(front: Front) -> None:
    address = f"/dicom-web/studies?PatientName={SEARCHED}"
    front.get(address, authorization=f"Bearer {TOKEN}", referer=front.url + address)
    front.get(f"/callback?code={SEARCHED}")
    front.get(f"/auth/realms/dicom/login-actions/authenticate?session_code={SEARCHED}")
    log = wait_until(lambda: front.log() if "/callback" in front.log() else "", 10, "it is logged")
    assert SEARCHED not in log
    assert TOKEN not in log
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert {"/dicom-web/studies", "/callback"} <= {line["path"] for line in lines}


def test_each_request_to_the_archive_is_a_line_for_the_auditor(front: Front) -> None:
    number = secrets.randbelow(10**9)
    study = f"/dicom-web/studies/1.2.{number}"
    claims = {"sub": "5b0f", "preferred_username": "anna", "roles": ["physician"]}
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    head, signature = secrets.token_hex(16), secrets.token_hex(16)
    front.get(
        f"{study}?PatientName={SEARCHED}", authorization=f"Bearer {head}.{middle}.{signature}"
    )
    front.get(f"/wado?requestType=WADO&studyUID=1.2.{number}&patient={SEARCHED}")
    front.get(f"/wado?studyUID={SEARCHED}")
    front.get(f"/orthanc{study}/metadata", method="DELETE")
    front.get(f"{study}//metadata")
    front.get(study, method="POST")
    # Nobody is there who could say whose token it is.
    asked, posted = front.audited(study, 2)
    assert (asked.study_uid, asked.method, asked.status) == (f"1.2.{number}", "GET", 503)
    assert (asked.who.name, asked.who.verified, asked.client != "") == ("anna", False, True)
    assert (posted.method, posted.status, len(posted.id)) == ("POST", 401, 32)
    by_query, without = front.audited("/wado", 2)[-2:]
    assert (by_query.study_uid, without.study_uid) == (f"1.2.{number}", "")
    assert [r.status for r in front.audited(f"/orthanc{study}/metadata")] == [401]
    assert [r.status for r in front.audited(f"{study}//metadata")] == [400]
    written = b"".join(file.read_bytes() for file in front.spool.iterdir()).decode()
    assert middle in written
    for secret in (SEARCHED, TOKEN, head, signature):
        assert secret not in written


def test_what_is_no_request_to_the_archive_is_no_line_for_the_auditor(front: Front) -> None:
    paths = ["/", "/viewer", "/dicom-webbed", "/auth/resources/x", "/grafana/", "/callback"]
    for path in paths:
        front.get(path)
    front.session.get(f"{front.plain_url}/healthz", timeout=10)
    assert front.audited("/healthz")
    written = b"".join(file.read_bytes() for file in front.spool.iterdir()).splitlines()
    assert not {parse(line).path for line in written} & set(paths)


def test_a_line_that_cannot_be_written_stops_nobody(
    data_dir: Path, options: list[str], image: Callable[[str], str]
) -> None:
    own = [o for o in options if not o.endswith("/nginx-audit")]
    own.append("--tmpfs=/var/log/nginx-audit:size=8k,mode=0777")
    with another(data_dir, own, image("nginx")) as cramped:
        asked = f"?PatientName={SEARCHED}"
        answers = [cramped.get(f"/dicom-web/studies/1.{n}{asked}").status_code for n in range(200)]
        assert set(answers) == {401}
        full = attempt(["podman", "exec", cramped.container, "df", "/var/log/nginx-audit"])
        assert "100%" in full.stdout
        # nginx would tell of it with the whole request.
        assert SEARCHED not in cramped.log()


def client(nginx: Front, **headers: str) -> str:
    """Return whom the audit takes for the client of a request with these headers."""
    path = f"/wado/{secrets.token_hex(8)}"
    nginx.get(path, **headers)
    (asked,) = nginx.audited(path)
    return asked.client


@pytest.fixture
def behind(
    front: Front, data_dir: Path, options: list[str], image: Callable[[str], str]
) -> Iterator[Front]:
    """Provide nginx behind a proxy that it trusts: whoever connects from this machine."""
    own = client(front)
    with another(
        data_dir, options, image("nginx"), TRUSTED_PROXIES=own, ADMIN_NETWORKS=own
    ) as alone:
        yield alone


CONSOLE = "/auth/admin/dicom/console/"
CLAIMS = ("x-forwarded-for", "x-real-ip", "client-ip", "cf-connecting-ip", "true-client-ip")


def test_what_a_client_claims_of_its_address_changes_nothing(front: Front) -> None:
    own = client(front)
    for name in CLAIMS:
        for claimed in ("192.0.2.7", "127.0.0.1", f"192.0.2.7, {own}"):
            assert client(front, **{name: claimed}) == own
    assert client(front, forwarded="for=192.0.2.7;host=x;proto=https") == own
    assert front.get(CONSOLE, **{"x-forwarded-for": "127.0.0.1"}).status_code == 404


def test_behind_a_trusted_proxy_the_client_is_the_last_that_no_proxy_is(behind: Front) -> None:
    own = client(behind)
    for claimed, taken in (
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("127.0.0.1, 192.0.2.7", "192.0.2.7"),
        (f"192.0.2.7, {own}", "192.0.2.7"),
        ("192.0.2.7, unknown", own),
        ("unknown", own),
        ("", own),
    ):
        assert client(behind, **{"x-forwarded-for": claimed}) == taken
    for name in CLAIMS[1:]:
        assert client(behind, **{name: "192.0.2.7"}) == own


def test_behind_a_trusted_proxy_networks_and_limits_are_the_clients(behind: Front) -> None:
    # Keycloak is down here.
    assert behind.get(CONSOLE).status_code == 503
    assert behind.get(CONSOLE, **{"x-forwarded-for": "192.0.2.7"}).status_code == 404

    def guess(address: str) -> int:
        path = "/auth/realms/dicom/login-actions/authenticate"
        headers = {"x-forwarded-for": address}
        return behind.get(path, method="POST", **headers).status_code

    assert [guess("192.0.2.8") for _ in range(40)][-1] == 429
    assert guess("192.0.2.9") == 503


def test_a_guesser_of_passwords_is_slowed_down(front: Front) -> None:
    guesses = [
        front.get("/auth/realms/dicom/login-actions/authenticate", method="POST") for _ in range(40)
    ]
    assert [answer.status_code for answer in guesses[:15]] == [503] * 15, "Keycloak is down here"
    assert (guesses[-1].status_code, guesses[-1].headers["Retry-After"]) == (429, "5")


def test_a_viewer_that_asks_for_a_whole_series_at_once_is_not_slowed_down(front: Front) -> None:
    frames = {front.get("/dicom-web/studies/1/metadata").status_code for _ in range(1200)}
    assert frames == {401}
