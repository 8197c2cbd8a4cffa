"""A person of the bench's stack, logged in as a browser does: code flow with PKCE through Keycloak's own form."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import HTTPCookieProcessor, HTTPSHandler, OpenerDirector

from stack.people import realm
from stack.shell import CommandError

if TYPE_CHECKING:
    from ssl import SSLContext

    from stack.settings import Settings

CLIENT = "ohif-viewer"
TIMEOUT_S = 30


def add_person(settings: Settings, name: str, clinic: str, role: str) -> str:
    """Make a person with a lasting password, which is returned."""
    password = secrets.token_urlsafe(12) + "aA1!"
    who = ("--name", name, "--clinic", clinic, "--role", role)
    realm(settings, "user", *who, "--reset", "--password-stdin", stdin=password)
    return password


def token(settings: Settings, tls: SSLContext, name: str, password: str) -> str:
    """Return an access token of a person; raises CommandError."""
    # No redirect is followed: the code is in the last one's address.
    opener = OpenerDirector()
    for handler in (HTTPSHandler(context=tls), HTTPCookieProcessor()):
        opener.add_handler(handler)
    endpoints = f"{settings.public_url}/auth/realms/dicom/protocol/openid-connect"
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    back = f"{settings.public_url}/callback"
    asked = {
        "client_id": CLIENT,
        "response_type": "code",
        "scope": "openid",
        "redirect_uri": back,
        "state": secrets.token_urlsafe(8),
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    _, page = _ask(opener, f"{endpoints}/auth?{urlencode(asked)}")
    form = re.search(rb'<form[^>]*action="([^"]+)"', page)
    if form is None:
        raise CommandError(f"Keycloak shows no login form: {page[:500]!r}")
    credentials = {"username": name, "password": password}
    address, page = _ask(opener, html.unescape(form[1].decode()), credentials)
    code = parse_qs(urlsplit(address).query).get("code")
    if not code:
        raise CommandError(f"{name} cannot log in: {page[:500]!r}")
    redeemed = {
        "grant_type": "authorization_code",
        "client_id": CLIENT,
        "code": code[0],
        "redirect_uri": back,
        "code_verifier": verifier,
    }
    _, answer = _ask(opener, f"{endpoints}/token", redeemed)
    return str(json.loads(answer)["access_token"])


def _ask(opener: OpenerDirector, url: str, form: dict[str, str] | None = None) -> tuple[str, bytes]:
    """Return where an answer leads to, and its content."""
    with opener.open(url, urlencode(form).encode() if form else None, TIMEOUT_S) as answer:
        content: bytes = answer.read()
    if answer.status not in {HTTPStatus.OK, HTTPStatus.FOUND}:
        raise CommandError(f"{urlsplit(url).path}: {answer.status} {content[:500]!r}")
    return answer.headers.get("Location", ""), content
