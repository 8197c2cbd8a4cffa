"""The second factor of admins: enrolled and given on Keycloak's own pages, computed as a phone does (RFC 6238)."""

from __future__ import annotations

import hashlib
import hmac
import html
import re
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from harness.wait import wait_until

if TYPE_CHECKING:
    import requests

    from harness.stack import Session

PERIOD_S = 30
DIGITS = 6
SLOWED_DOWN_S = 60


@dataclass(slots=True)
class Phone:
    """One person's authenticator; it remembers what it showed, since Keycloak takes a code once."""

    secret: bytes = b""
    last_step: int = 0

    def code(self) -> str:
        """Give a code that was not given before; Keycloak takes one a period early or late too."""
        wait_until(
            lambda: int(time.time() // PERIOD_S) >= self.last_step, PERIOD_S + 1, "unused code"
        )
        self.last_step = max(int(time.time() // PERIOD_S) - 1, self.last_step + 1)
        return code(self.secret, self.last_step)


def code(secret: bytes, step: int) -> str:
    """Compute the code of a period counted from 1970 (RFC 6238 4.2 with RFC 4226 5.3)."""
    digest = hmac.new(secret, step.to_bytes(8, "big"), hashlib.sha1).digest()
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}}"


def prove(session: Session, answer: requests.Response, phone: Phone) -> requests.Response:
    """Pass the page that follows the password, enrolling the phone if Keycloak asks for that."""
    onwards = answer.headers.get("Location", "")
    page = session.get(onwards) if onwards else answer
    action = re.search(r'<form[^>]*action="([^"]+)"', page.text)
    assert action, page.text[:3000]
    if offered := re.search(r'name="totpSecret"[^>]*value="([^"]+)"', page.text):
        secret = html.unescape(offered[1])
        phone.secret = secret.encode()
        fields = {"totp": phone.code(), "totpSecret": secret, "userLabel": "test"}
    else:
        assert 'name="otp"' in page.text, page.text[:3000]
        fields = {"otp": phone.code()}
    return send_form(session, html.unescape(action[1]), fields)


def send_form(session: Session, action: str, fields: dict[str, str]) -> requests.Response:
    """Send a login form; where tests have logged in so often that nginx slows them down, once it lets them."""
    answers: list[requests.Response] = []

    def is_taken() -> bool:
        answers.append(session.post(action, data=fields, allow_redirects=False))
        return answers[-1].status_code != HTTPStatus.TOO_MANY_REQUESTS

    wait_until(is_taken, SLOWED_DOWN_S, "nginx takes another login")
    return answers[-1]
