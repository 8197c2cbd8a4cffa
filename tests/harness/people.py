"""The people of the test clinics, and logging in as a browser does: code flow with PKCE through Keycloak's own form."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from stack.people import add_clinic
from stack.shell import attempt

from harness.second_factor import Phone, prove, send_form

if TYPE_CHECKING:
    import subprocess

    import requests

    from harness.stack import Session, Stack

CLINICS = {"clinic-a": "Clinic A", "clinic-b": "Clinic B"}
PEOPLE = {
    "physician-a": ("physician", "clinic-a"),
    "physician-b": ("physician", "clinic-b"),
    "physician-ab": ("physician", "clinic-a,clinic-b"),
    "technician-a": ("technician", "clinic-a"),
    "no-clinic": ("physician", ""),
    "admin-x": ("admin", ""),
}


@dataclass(slots=True)
class People:
    """Usernames, passwords and tokens of the test people; made on first use."""

    stack: Stack
    passwords: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, dict[str, str]] = field(default_factory=dict)
    phones: dict[str, Phone] = field(default_factory=dict)

    def make(self) -> None:
        """Create the clinics and people on the stack."""
        for clinic, name in CLINICS.items():
            self.clinic(clinic, name)
        for name, (role, clinics) in PEOPLE.items():
            self.person(name, role, clinics)

    def clinic(self, clinic: str, name: str) -> None:
        """Create a clinic: its group and its inbox."""
        if self.stack.settings:
            add_clinic(self.stack.settings, clinic, name)
        else:
            _ok(attempt([*self.stack.control, "clinic", clinic, name], timeout_s=180))

    def person(self, name: str, role: str, clinics: str) -> None:
        """Create a person with a password that needs no change, or give an existing one a new password."""
        password = self.passwords.setdefault(name, secrets.token_urlsafe(12) + "aA1!")
        where = ("--clinic", clinics) if clinics else ()
        _ok(
            self.stack.realm(
                "user",
                "--name",
                name,
                *where,
                "--role",
                role,
                "--reset",
                "--password-stdin",
                stdin=password,
            )
        )

    def tell(self, command: str, **words: str) -> subprocess.CompletedProcess[str]:
        """Give one of the operator's commands about people and clinics, its words by make's names in their order."""
        if self.stack.settings:
            return self.stack.attempt(command, **words)
        return attempt([*self.stack.control, command, *words.values()], timeout_s=180)

    def told(self, command: str, **words: str) -> str:
        """Give such a command and expect that all is well; returns what it said."""
        done = self.tell(command, **words)
        _ok(done)
        return done.stdout

    def token(self, name: str, *, fresh: bool = False) -> str:
        """Return an access token of a person."""
        return self.all_tokens(name, fresh=fresh)["access_token"]

    def all_tokens(self, name: str, *, fresh: bool = False) -> dict[str, str]:
        """Return the answer of the token endpoint for a person."""
        if fresh or name not in self.tokens:
            phone = self.phones.setdefault(name, Phone())
            self.tokens[name] = login(self.stack, name, self.passwords[name], phone)
        return self.tokens[name]

    def claims(self, name: str) -> dict[str, object]:
        """Return the claims of a person's access token."""
        return claims(self.token(name))


def _ok(done: object) -> None:
    assert getattr(done, "returncode", 1) == 0, (
        f"{getattr(done, 'stdout', '')}\n{getattr(done, 'stderr', '')}"
    )


def claims(token: str) -> dict[str, object]:
    """Decode a token's claims without judging it."""
    part = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


def endpoint(stack: Stack, name: str) -> str:
    """Return the public address of one of the realm's OpenID Connect endpoints."""
    return f"{stack.url}/auth/realms/dicom/protocol/openid-connect/{name}"


def open_login_form(
    stack: Stack, session: Session, **overrides: str
) -> tuple[requests.Response, str]:
    """Begin the code flow; returns Keycloak's answer and the PKCE verifier."""
    verifier = secrets.token_urlsafe(48)
    challenge = (
        base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    )
    query = {
        "client_id": "ohif-viewer",
        "response_type": "code",
        "scope": "openid",
        "redirect_uri": f"{stack.url}/callback",
        "state": secrets.token_urlsafe(8),
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    } | overrides
    wanted = {key: value for key, value in query.items() if value}
    return session.get(endpoint(stack, "auth"), params=wanted, allow_redirects=False), verifier


def form_action(page: str) -> str:
    """Return where the form of a Keycloak page is sent to."""
    found = re.search(r'<form[^>]*action="([^"]+)"', page)
    assert found, f"no form on the page: {page[:2000]}"
    return html.unescape(found[1])


def login(stack: Stack, username: str, password: str, phone: Phone | None = None) -> dict[str, str]:
    """Log in through Keycloak's own form, with the phone where a second factor is asked for; returns the tokens."""
    with stack.session() as session:
        page, verifier = open_login_form(stack, session)
        assert page.status_code == 200, f"login page: {page.status_code} {page.text[:500]}"
        credentials = {"username": username, "password": password}
        answer = send_form(session, form_action(page.text), credentials)
        if phone and "code=" not in answer.headers.get("Location", ""):
            answer = prove(session, answer, phone)
        assert answer.status_code == 302, (
            f"login of {username}: {answer.status_code} {answer.text[:3000]}"
        )
        code = parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]
        return redeem(stack, session, code, verifier)


def redeem(stack: Stack, session: Session, code: str, verifier: str) -> dict[str, str]:
    """Exchange an authorization code for tokens."""
    answer = session.post(
        endpoint(stack, "token"),
        data={
            "grant_type": "authorization_code",
            "client_id": "ohif-viewer",
            "code": code,
            "redirect_uri": f"{stack.url}/callback",
            "code_verifier": verifier,
        },
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def service_token(stack: Stack, client: str) -> str:
    """Return an access token of a service account, by its secret on the host."""
    names = {
        "auditor": "auditor_secret",
        "orthanc-api": "orthanc_api_secret",
        "monitoring": "monitoring_secret",
        "grafana": "grafana_secret",
        "operator-pages": "operator_pages_secret",
    }
    path = stack.data_dir / "secrets" / f"realm.{names[client]}"
    with stack.session() as session:
        answer = session.post(
            endpoint(stack, "token"),
            data={"grant_type": "client_credentials", "scope": "openid"},
            auth=(client, path.read_text()),
        )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])
